//! Rows: the store's own state as it is checkpointed, apart from blocks.
//!
//! ```text
//! i                      the global row: next id, floors, counts, hash of what was sealed
//! d | series u32         the dictionary, a row a series
//! h | group u32 | n u32  what happened to the heads of a group of series, in the order of n
//! ```
//! Only what changed since the last drain is written. The rows of a group are a log: each holds, for some of its series,
//! what their streams have grown by and the samples that wait, or all of a head where it was sealed or packed anew. When a group has
//! many rows or they are twice as long as what they tell, it is written afresh and the old rows are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::codec::{put_bytes, put_signed, put_varint, seal_row};
use super::head::Packed;
use super::record::{GROUP, Group, Sealed, Series};
use super::store::SeriesStore;
use super::{BlockId, KeyRef, SeriesId};

/// Prefix of the rows of heads.
pub const HEAD_PREFIX: u8 = b'h';
/// Prefix of the rows of the dictionary.
pub const DICTIONARY_PREFIX: u8 = b'd';
/// Prefix of the other rows.
pub const INFO_PREFIX: u8 = b'i';
/// No row's value is longer.
pub const ROW_BYTES_MAX: usize = 48 * 1024;
/// No more blocks are handed out for deletion by one drain.
pub const DELETIONS_MAX: usize = 5_000;

/// A row is begun when the last one has grown to this; what is added to it at once is smaller than what is left.
const ROW_FULL: usize = 28 * 1024;
const ROWS_MAX: usize = 24;

pub(super) const RESET: u8 = 1;
pub(super) const GONE: u8 = 2;
pub(super) const SEALED: u8 = 4;
pub(super) const REFUSED: u8 = 8;

/// Makes a row's value; may be called on any thread.
pub type MakeValue = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// One row to write or, without a value, to delete.
pub struct RowChange {
    /// The row's key; its first byte is one of the prefixes above.
    pub key: Vec<u8>,
    /// Makes the value, at most [`ROW_BYTES_MAX`] long; `None` deletes the row.
    pub value: Option<MakeValue>,
}

/// What a checkpoint has to write and delete, in one batch.
pub struct Drain {
    /// Rows, each key at most once.
    pub rows: Vec<RowChange>,
    /// Blocks to delete once the rows are durable, not before: after a crash the rows before would still want them.
    pub deletions: Vec<BlockId>,
}

fn key(prefix: u8, numbers: &[u32]) -> Vec<u8> {
    let mut key = vec![prefix];
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key
}

fn put(rows: &mut Vec<RowChange>, key: Vec<u8>, payload: Vec<u8>) {
    rows.push(RowChange { key, value: Some(Box::new(move || seal_row(&payload))) });
}

fn delete(rows: &mut Vec<RowChange>, key: Vec<u8>) {
    rows.push(RowChange { key, value: None });
}

impl SeriesStore {
    /// What changed since the last drain (or load). Whoever calls this has to write all of it; if that fails the peer
    /// stops. Takes some 100 ns a changed series; values are made later, where they are written.
    pub fn drain(&mut self) -> Drain {
        let mut rows = Vec::new();
        let global = self.global_row();
        if global != self.persisted_global {
            self.persisted_global.clone_from(&global);
            put(&mut rows, key(INFO_PREFIX, &[]), global);
        }
        for id in std::mem::take(&mut self.made) {
            if let Some(entry) = self.dictionary.entry(id) {
                let mut payload = Vec::new();
                put_signed(&mut payload, entry.born_ms);
                put_key(&mut payload, entry.key.parts());
                put(&mut rows, key(DICTIONARY_PREFIX, &[id.0]), payload);
            }
        }
        for id in std::mem::take(&mut self.removed) {
            delete(&mut rows, key(DICTIONARY_PREFIX, &[id.0]));
        }
        for (number, place) in (0u32..).zip(&mut self.groups) {
            let Some(group) = place else { continue };
            if std::mem::take(&mut group.changed) {
                group.drain(number, &mut self.sealing, &mut rows);
                if group.slots.iter().all(Option::is_none) {
                    *place = None;
                }
            }
        }
        let count = DELETIONS_MAX.min(self.deletions.len());
        Drain { rows, deletions: self.deletions.drain(..count).collect() }
    }

    fn global_row(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, u64::from(self.dictionary.next()));
        self.floors.0.iter().for_each(|&floor| put_signed(&mut out, floor));
        put_varint(&mut out, self.accepted);
        out.extend_from_slice(&self.sealed_hash.to_le_bytes());
        self.refused.0.iter().for_each(|&count| put_varint(&mut out, count));
        out
    }
}

fn put_key(out: &mut Vec<u8>, key: KeyRef<'_>) {
    out.push(u8::from(key.jvm.is_some()) | u8::from(key.instance.is_some()) << 1);
    for part in [Some(key.counter), Some(key.node), key.jvm, key.instance].into_iter().flatten() {
        put_bytes(out, part.as_bytes());
    }
}

fn put_packed(out: &mut Vec<u8>, packed: &Packed) {
    put_signed(out, packed.base);
    put_varint(out, u64::from(packed.count));
    put_bytes(out, &packed.bytes);
}

/// What is added to a group's log, cut into rows.
#[derive(Default)]
struct Log {
    full: Vec<Vec<u8>>,
    row: Vec<u8>,
}

impl Log {
    fn add(&mut self, part: &[u8]) {
        self.row.extend_from_slice(part);
        if self.row.len() >= ROW_FULL {
            self.full.push(std::mem::take(&mut self.row));
        }
    }
}

impl Group {
    fn drain(
        &mut self,
        number: u32,
        sealing: &mut BTreeMap<SeriesId, Vec<(Arc<Sealed>, bool)>>,
        rows: &mut Vec<RowChange>,
    ) {
        if self.slots.iter().all(Option::is_none) {
            self.delete_rows(number, rows);
            return;
        }
        let told: u32 = self.rows.iter().sum();
        let live: usize = self.slots.iter().flatten().map(|series| 64 + series.head.stream().len()).sum();
        let afresh = self.rows.len() >= ROWS_MAX || told as usize > 2 * live + 4096;
        let mut log = Log::default();
        let mut part = Vec::new();
        for slot in self.gone.drain(..).filter(|_| !afresh) {
            log.add(&[slot, GONE]);
        }
        for (slot, series) in (0u8..).zip(&mut self.slots) {
            let Some(series) = series else { continue };
            if !(afresh || series.changed) {
                continue;
            }
            let id = SeriesId(number * GROUP as u32 + u32::from(slot));
            for (sealed, persisted) in sealing.get_mut(&id).into_iter().flatten() {
                if afresh || !std::mem::replace(persisted, true) {
                    *persisted = true;
                    part.clear();
                    sealed.put(slot, &mut part);
                    log.add(&part);
                }
            }
            part.clear();
            series.put(slot, afresh, &mut part);
            log.add(&part);
        }
        if afresh {
            self.delete_rows(number, rows);
        }
        let Log { mut full, row } = log;
        if !row.is_empty() {
            full.push(row);
        }
        for payload in full {
            let at = self.first_row.wrapping_add(self.rows.len() as u32);
            self.rows.push_back(payload.len() as u32);
            put(rows, key(HEAD_PREFIX, &[number, at]), payload);
        }
    }

    fn delete_rows(&mut self, number: u32, rows: &mut Vec<RowChange>) {
        for old in 0..self.rows.len() as u32 {
            delete(rows, key(HEAD_PREFIX, &[number, self.first_row.wrapping_add(old)]));
        }
        self.first_row = self.first_row.wrapping_add(self.rows.len() as u32);
        self.rows.clear();
    }
}

impl Sealed {
    fn put(&self, slot: u8, out: &mut Vec<u8>) {
        out.extend([slot, SEALED]);
        put_signed(out, self.end);
        put_varint(out, self.sealed_at);
        out.extend_from_slice(&self.digest.to_le_bytes());
        put_packed(out, &self.packed);
    }
}

impl Series {
    fn put(&mut self, slot: u8, afresh: bool, out: &mut Vec<u8>) {
        let from = if afresh { None } else { self.persisted };
        let reset = if from.is_none() { RESET } else { 0 };
        let refused = if self.refused.is_some() { REFUSED } else { 0 };
        out.extend([slot, reset | refused]);
        if from.is_none() {
            put_signed(out, self.sealed_to);
            put_packed(out, &self.tail);
        }
        // Relative to what is sealed: mostly nothing.
        put_varint(out, self.sealed_to.wrapping_sub(self.stored_to) as u64);
        put_signed(out, self.head.first());
        let stream = self.head.stream();
        put_bytes(out, &stream[(from.unwrap_or_default() as usize).min(stream.len())..]);
        let mut waiting = Vec::new();
        self.head.waiting_chunk(&mut waiting);
        put_bytes(out, &waiting);
        if let Some(refused) = &self.refused {
            refused.0.iter().for_each(|&count| put_varint(out, count));
        }
        self.persisted = Some(stream.len() as u32);
        self.changed = false;
    }
}
