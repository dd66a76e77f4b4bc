//! Keys of the state's tables as bytes. Integers are big-endian; a text that is not last is ended by a zero,
//! which no name contains.

use std::sync::Arc;

use super::table::RowKey;
use crate::model::{EventId, Kind, Name, PeerId, RequestId, RunId, TaskId};

macro_rules! u64_key {
    ($($type:ident),*) => {$(
        impl RowKey for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0.to_be_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                Some($type(u64::from_be_bytes(bytes.try_into().ok()?)))
            }
        }
    )*};
}

u64_key!(PeerId, RunId, TaskId, EventId);

impl RowKey for () {
    fn write(&self, _: &mut Vec<u8>) {}
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl RowKey for RequestId {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(RequestId(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl RowKey for [u8; 32] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl RowKey for Name {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_str().as_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        Name::new(std::str::from_utf8(bytes).ok()?).ok()
    }
}

impl RowKey for (Kind, Name) {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.0 as u8);
        self.1.write(out);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, name) = bytes.split_first()?;
        Some((*Kind::ALL.get(usize::from(*kind))?, Name::read(name)?))
    }
}

impl RowKey for (Name, Name) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        out.push(0);
        self.1.write(out);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let zero = bytes.iter().position(|b| *b == 0)?;
        Some((Name::read(&bytes[..zero])?, Name::read(&bytes[zero + 1..])?))
    }
}

impl RowKey for (Name, u64) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        out.push(0);
        out.extend_from_slice(&self.1.to_be_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let zero = bytes.iter().position(|b| *b == 0)?;
        Some((Name::read(&bytes[..zero])?, u64::from_be_bytes(bytes[zero + 1..].try_into().ok()?)))
    }
}

impl RowKey for (TaskId, u64) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        out.extend_from_slice(&self.1.to_be_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let (task, seq) = bytes.split_at_checked(8)?;
        Some((TaskId::read(task)?, u64::from_be_bytes(seq.try_into().ok()?)))
    }
}

impl RowKey for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Arc::from(std::str::from_utf8(bytes).ok()?))
    }
}
