//! Records of the log, stored rows, sections: their part of [`crate::golden`].

use codeq::{Decode, Encode};

use super::wal::{Record, Vote};
use super::{Applied, BlockInfo, BlockKey};
use crate::consensus::LogPosition;
use crate::golden::{Entry, raw, variants};

variants!(records: Record {
    Record::Blank => Record::Blank,
    Record::Normal(_) => Record::Normal(vec![0xaa, 0xbb].into()),
    Record::Membership(_) => Record::Membership(vec![0xcc].into()),
});

fn in_the_log<T: Encode + Decode>(name: String, value: &T) -> Entry {
    fn written<T: Encode>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes).unwrap();
        bytes
    }
    raw(name, written(value), |bytes| {
        T::decode(bytes).map(|read| written(&read)).map_err(|error| error.to_string())
    })
}

pub(crate) fn family(applied: &Applied) -> Vec<Entry> {
    let info = BlockInfo {
        key: BlockKey([7; 11]),
        end: 1_700_000_000_123,
        count: 100,
        sealed_at: 300,
        digest: 9,
        bytes: 4096,
        crc: 11,
    };
    let mut all = vec![
        in_the_log("log-position".to_string(), &LogPosition { term: 3, index: 300 }),
        in_the_log("log-vote".to_string(), &Vote { term: 3, peer: 2, committed: true }),
        raw("block-info", info.encode().to_vec(), |bytes| {
            let bytes = bytes.try_into().map_err(|_| "its length".to_string())?;
            Ok(BlockInfo::decode(bytes).encode().to_vec())
        }),
    ];
    for (at, record) in records().iter().enumerate() {
        all.push(in_the_log(format!("log-record-{at}"), record));
    }
    all.extend(super::checkpoint::golden(applied));
    all.extend(super::snapshot::golden());
    all
}
