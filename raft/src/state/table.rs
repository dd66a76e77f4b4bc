//! Rows of the state, and which of them changed since somebody last asked.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::series::{MakeValue, RowChange};

/// A key of a [`Table`]: to bytes whose order is the key's, and back.
pub trait RowKey: Ord + Clone {
    /// Appends the key.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads what [`RowKey::write`] wrote; absent where it is something else.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// Who asks what has changed. Each is told what did since it asked last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To be written to disk. What was loaded is there already.
    Checkpoint = 1,
    /// To be compared with other peers. What was loaded counts as changed.
    Digest = 2,
}

const BOTH: u8 = Purpose::Checkpoint as u8 | Purpose::Digest as u8;

/// Which purposes have yet to be told of a change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

impl Marks {
    pub(super) const ALL: Marks = Marks(BOTH);
    pub(super) const LOADED: Marks = Marks(Purpose::Digest as u8);

    /// It has changed.
    pub(super) fn set(&mut self) {
        *self = Marks::ALL;
    }

    /// Whether `purpose` was yet to be told; now it is.
    pub(super) fn take(&mut self, purpose: Purpose) -> bool {
        let marked = self.0 & purpose as u8 != 0;
        self.0 &= !(purpose as u8);
        marked
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// An ordered map whose rows are shared, so that readers and the checkpoint take them without a copy.
pub struct Table<K, V> {
    prefix: u8,
    rows: BTreeMap<K, Arc<V>>,
    changed: BTreeMap<K, Marks>,
}

impl<K: RowKey, V: Clone> Table<K, V> {
    /// An empty table that is stored under `prefix`.
    pub fn new(prefix: u8) -> Self {
        Table { prefix, rows: BTreeMap::new(), changed: BTreeMap::new() }
    }

    /// The row at `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key)
    }

    /// Whether there is a row at `key`.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.contains_key(key)
    }

    /// Puts a row, and gives the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<Arc<V>> {
        self.changed.insert(key.clone(), Marks::ALL);
        self.rows.insert(key, Arc::new(value))
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        let removed = self.rows.remove(key);
        if removed.is_some() {
            self.changed.insert(key.clone(), Marks::ALL);
        }
        removed
    }

    /// A row to change in place; marks it changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.changed.insert(key.clone(), Marks::ALL);
        Some(Arc::make_mut(row))
    }

    /// Rows in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.rows.iter()
    }

    /// Rows of a range, in key order.
    pub fn range<Q: Ord + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)>
    where
        K: Borrow<Q>,
    {
        self.rows.range(range)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn key_bytes(&self, key: &K) -> Vec<u8> {
        let mut bytes = vec![self.prefix];
        key.write(&mut bytes);
        bytes
    }
}

/// A table as rows of bytes, whatever is in it.
pub(super) trait Rows {
    /// The first byte of its rows' keys.
    fn prefix(&self) -> u8;
    /// Appends the rows that changed since the last call for this purpose to `out`.
    fn drain_changes(&mut self, purpose: Purpose, out: &mut Vec<RowChange>);
    /// Takes a stored row, given without its prefix byte.
    ///
    /// # Errors
    /// [`codec::Error`] where key or value are not of this table.
    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), codec::Error>;
    /// The value of a row, given without its prefix byte.
    fn value(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// Shows every row, with its prefix byte, in key order.
    fn each(&self, show: &mut dyn FnMut(Vec<u8>, Vec<u8>));
}

impl<K, V> Rows for Table<K, V>
where
    K: RowKey,
    V: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    fn prefix(&self) -> u8 {
        self.prefix
    }

    fn drain_changes(&mut self, purpose: Purpose, out: &mut Vec<RowChange>) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|key, marks| {
            if marks.take(purpose) {
                let value = self.rows.get(key).map(|row| {
                    let row = Arc::clone(row);
                    Box::new(move || codec::encode_plain(&*row)) as MakeValue
                });
                out.push(RowChange { key: self.key_bytes(key), value });
            }
            !marks.is_empty()
        });
        self.changed = changed;
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), codec::Error> {
        let key = K::read(key).ok_or_else(|| codec::Error::corrupt("row key"))?;
        self.changed.insert(key.clone(), Marks::LOADED);
        self.rows.insert(key, Arc::new(codec::decode_plain(value)?));
        Ok(())
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        Some(codec::encode_plain(&**self.rows.get(&K::read(key)?)?))
    }

    fn each(&self, show: &mut dyn FnMut(Vec<u8>, Vec<u8>)) {
        for (key, row) in &self.rows {
            show(self.key_bytes(key), codec::encode_plain(&**row));
        }
    }
}
