//! Rows of the state, and which of them changed since somebody last asked.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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

impl Purpose {
    const EACH: [Purpose; 2] = [Purpose::Checkpoint, Purpose::Digest];
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

    fn has(self, purpose: Purpose) -> bool {
        self.0 & purpose as u8 != 0
    }
}

/// An ordered map whose rows are shared, so that readers and the checkpoint take them without a copy.
pub struct Table<K, V> {
    prefix: u8,
    rows: BTreeMap<K, Row<V>>,
    changed: Changed<K>,
}

/// The keys of what changed, for each purpose: at least once where its row has the mark, or is gone.
struct Changed<K>([Vec<K>; 2]);

impl<K: Clone> Changed<K> {
    /// Lists a key for the purposes that have not marked it yet.
    fn add(&mut self, key: &K, marked: Marks) {
        if marked.0 == BOTH {
            return;
        }
        for (keys, purpose) in self.0.iter_mut().zip(Purpose::EACH) {
            if !marked.has(purpose) {
                keys.push(key.clone());
            }
        }
    }
}

struct Row<V> {
    value: Arc<V>,
    marks: Marks,
}

/// A row that is there, found once, to look at and perhaps to change.
pub struct RowMut<'a, K, V> {
    row: &'a mut Row<V>,
    changed: &'a mut Changed<K>,
    key: &'a K,
}

impl<'a, K: Clone, V: Clone> RowMut<'a, K, V> {
    /// The row as it is.
    pub fn value(&self) -> &Arc<V> {
        &self.row.value
    }

    /// The row to change in place; marks it changed.
    pub fn change(self) -> &'a mut V {
        self.changed.add(self.key, self.row.marks);
        self.row.marks.set();
        Arc::make_mut(&mut self.row.value)
    }
}

impl<K: RowKey, V: Clone> Table<K, V> {
    /// An empty table that is stored under `prefix`.
    pub fn new(prefix: u8) -> Self {
        Table { prefix, rows: BTreeMap::new(), changed: Changed([Vec::new(), Vec::new()]) }
    }

    /// The row at `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key).map(|row| &row.value)
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
        let row = Row { value: Arc::new(value), marks: Marks::ALL };
        match self.rows.entry(key) {
            Entry::Vacant(place) => {
                self.changed.add(place.key(), Marks::default());
                place.insert(row);
                None
            }
            Entry::Occupied(mut place) => {
                self.changed.add(place.key(), place.get().marks);
                Some(place.insert(row).value)
            }
        }
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        let removed = self.rows.remove(key)?;
        self.changed.add(key, removed.marks);
        Some(removed.value)
    }

    /// A row to change in place; marks it changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.changed.add(key, row.marks);
        row.marks.set();
        Some(Arc::make_mut(&mut row.value))
    }

    /// A row to look at and perhaps to change.
    pub fn row_mut<'a>(&'a mut self, key: &'a K) -> Option<RowMut<'a, K, V>> {
        let row = self.rows.get_mut(key)?;
        Some(RowMut { row, changed: &mut self.changed, key })
    }

    /// Rows in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// Rows of a range, in key order.
    pub fn range<Q: Ord + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)>
    where
        K: Borrow<Q>,
    {
        self.rows.range(range).map(|(key, row)| (key, &row.value))
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
        let place = usize::from(purpose == Purpose::Digest);
        let mut keys = std::mem::take(&mut self.changed.0[place]);
        // Listed more than once where it was removed and put again.
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let value = self.rows.get_mut(&key).map(|row| {
                row.marks.take(purpose);
                let row = Arc::clone(&row.value);
                Box::new(move || codec::encode_plain(&*row)) as MakeValue
            });
            out.push(RowChange { key: self.key_bytes(&key), value });
        }
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), codec::Error> {
        let key = K::read(key).ok_or_else(|| codec::Error::corrupt("row key"))?;
        let row = Row { value: Arc::new(codec::decode_plain(value)?), marks: Marks::LOADED };
        self.changed.0[1].push(key.clone());
        self.rows.insert(key, row);
        Ok(())
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        Some(codec::encode_plain(&*self.rows.get(&K::read(key)?)?.value))
    }

    fn each(&self, show: &mut dyn FnMut(Vec<u8>, Vec<u8>)) {
        for (key, row) in &self.rows {
            show(self.key_bytes(key), codec::encode_plain(&*row.value));
        }
    }
}
