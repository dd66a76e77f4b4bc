//! Rows of the state, and which of them changed since the last checkpoint.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
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

/// An ordered map whose rows are shared, so that readers and the checkpoint take them without a copy.
pub struct Table<K, V> {
    prefix: u8,
    rows: BTreeMap<K, Arc<V>>,
    dirty: BTreeSet<K>,
}

impl<K: RowKey, V: Clone> Table<K, V> {
    /// An empty table that is stored under `prefix`.
    pub fn new(prefix: u8) -> Self {
        Table { prefix, rows: BTreeMap::new(), dirty: BTreeSet::new() }
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
        self.dirty.insert(key.clone());
        self.rows.insert(key, Arc::new(value))
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        let removed = self.rows.remove(key);
        if removed.is_some() {
            self.dirty.insert(key.clone());
        }
        removed
    }

    /// A row to change in place; marks it changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.dirty.insert(key.clone());
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
}

impl<K: RowKey, V: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Table<K, V> {
    /// Appends the rows that changed since the last call to `out`.
    pub fn drain_changes(&mut self, out: &mut Vec<RowChange>) {
        for key in std::mem::take(&mut self.dirty) {
            let mut bytes = vec![self.prefix];
            key.write(&mut bytes);
            let value = self.rows.get(&key).map(|row| {
                let row = Arc::clone(row);
                Box::new(move || codec::encode_plain(&*row)) as MakeValue
            });
            out.push(RowChange { key: bytes, value });
        }
    }

    /// Takes a stored row, given without its prefix byte.
    ///
    /// # Errors
    /// [`codec::Error`] where key or value are not of this table.
    pub fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), codec::Error> {
        let key = K::read(key).ok_or_else(|| codec::Error::corrupt("row key"))?;
        self.rows.insert(key, Arc::new(codec::decode_plain(value)?));
        Ok(())
    }

    /// Feeds every row, encoded, in key order, to `digest`.
    pub fn digest(&self, digest: &mut ring::digest::Context) {
        digest.update(&[self.prefix]);
        let mut key_bytes = Vec::new();
        for (key, row) in &self.rows {
            key_bytes.clear();
            key.write(&mut key_bytes);
            digest.update(&key_bytes);
            digest.update(&codec::encode_plain(&**row));
        }
    }
}
