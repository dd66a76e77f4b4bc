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

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::codec::{Bad, Reader, open_row, put_bytes, put_signed, put_varint, seal_row};
use super::head::{Head, Packed};
use super::jobs::{Job, SealJob};
use super::store::{GROUP, Group, REFUSALS, Refused, Sealed, Series, SeriesStore};
use super::{BlockId, BlockMeta, Error, KeyRef, Resolution, SeriesId};

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

const RESET: u8 = 1;
const GONE: u8 = 2;
const SEALED: u8 = 4;
const REFUSED: u8 = 8;

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

    fn load_global(&mut self, payload: &[u8]) -> Result<(), Bad> {
        let mut reader = Reader::new(payload);
        self.dictionary.restore_next(reader.at_most(u32::MAX as usize)? as u32);
        for floor in &mut self.floors.0 {
            *floor = reader.signed()?;
        }
        self.accepted = reader.varint()?;
        self.sealed_hash = reader.u64()?;
        self.refused = refused(&mut reader)?;
        reader.finish()?;
        self.persisted_global = payload.to_vec();
        Ok(())
    }
}

fn put_key(out: &mut Vec<u8>, key: KeyRef<'_>) {
    out.push(u8::from(key.jvm.is_some()) | u8::from(key.instance.is_some()) << 1);
    for part in [Some(key.counter), Some(key.node), key.jvm, key.instance].into_iter().flatten() {
        put_bytes(out, part.as_bytes());
    }
}

fn read_key<'a>(reader: &mut Reader<'a>) -> Result<KeyRef<'a>, Bad> {
    let flags = reader.u8()?;
    let (counter, node) = (reader.str()?, reader.str()?);
    let jvm = if flags & 1 != 0 { Some(reader.str()?) } else { None };
    let instance = if flags & 2 != 0 { Some(reader.str()?) } else { None };
    Ok(KeyRef { counter, node, jvm, instance })
}

fn refused(reader: &mut Reader<'_>) -> Result<Refused, Bad> {
    let mut refused = Refused::default();
    for count in &mut refused.0[..REFUSALS] {
        *count = reader.varint()?;
    }
    Ok(refused)
}

fn put_packed(out: &mut Vec<u8>, packed: &Packed) {
    put_signed(out, packed.base);
    put_varint(out, u64::from(packed.count));
    put_bytes(out, &packed.bytes);
}

fn read_packed(reader: &mut Reader<'_>) -> Result<Packed, Bad> {
    let (base, count) = (reader.signed()?, reader.at_most(super::BLOCK_SAMPLES_MAX)? as u32);
    Ok(Packed { base, count, bytes: reader.bytes()?.to_vec() })
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

    fn load(&mut self, number: u32, payload: &[u8], sealing: &mut Vec<Sealed>) -> Result<(), Bad> {
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            let (slot, flags) = (reader.u8()?, reader.u8()?);
            let id = SeriesId(number.wrapping_mul(GROUP as u32) + u32::from(slot));
            let Some(place) = self.slots.get_mut(usize::from(slot)) else {
                return Err(Bad("it names a slot that no group has"));
            };
            if flags & GONE != 0 {
                *place = None;
                sealing.retain(|sealed| sealed.id.series != id);
            } else if flags & SEALED != 0 {
                sealing.push(Sealed::read(id, &mut reader)?);
            } else {
                let series = place.get_or_insert_with(Series::new);
                series.read(flags, &mut reader)?;
            }
        }
        Ok(())
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

    fn read(series: SeriesId, reader: &mut Reader<'_>) -> Result<Self, Bad> {
        let (end, sealed_at, digest) = (reader.signed()?, reader.varint()?, reader.u32()?);
        let packed = read_packed(reader)?;
        let id = BlockId { resolution: Resolution::Raw, tier: 0, series, start: packed.base };
        Ok(Self { id, end, sealed_at, digest, packed })
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

    fn read(&mut self, flags: u8, reader: &mut Reader<'_>) -> Result<(), Bad> {
        let mut stream = Vec::new();
        if flags & RESET != 0 {
            self.sealed_to = reader.signed()?;
            self.tail = read_packed(reader)?;
        } else {
            stream.extend_from_slice(self.head.stream());
        }
        self.stored_to = self.sealed_to.wrapping_sub(reader.varint()? as i64);
        let base = reader.signed()?;
        stream.extend_from_slice(reader.bytes()?);
        self.head = Head::restore(base, stream, reader.bytes()?)?;
        self.refused = if flags & REFUSED != 0 { Some(Box::new(refused(reader)?)) } else { None };
        self.persisted = Some(self.head.stream().len() as u32);
        self.changed = false;
        Ok(())
    }

    /// Sets what is not in rows because it follows from the rest.
    fn finish_load(&mut self) -> Result<(), Bad> {
        let mut samples = self.head.samples();
        if samples.times.is_empty() {
            self.tail.unpack(&mut Vec::new(), &mut samples)?;
        }
        if let (Some(&time), Some(&value)) = (samples.times.last(), samples.values.last()) {
            (self.last, self.last_value) = (time, value);
        }
        Ok(())
    }
}

fn number(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|&bytes| u32::from_be_bytes(bytes))
}

impl SeriesStore {
    /// The store as it was when the rows were drained, which was after the entry with index `applied` and before the next.
    /// `blocks` are all that are stored. Those that were sealed later are ignored (the same ones come again as the log is
    /// applied); those that no series wants are handed out for deletion by the next drain.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Version`]: the peer takes its state from another one.
    pub fn load(
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        blocks: impl IntoIterator<Item = BlockMeta>,
        applied: u64,
    ) -> Result<Self, Error> {
        let mut store = Self::new();
        let mut dictionary = Vec::new();
        let mut heads = BTreeMap::new();
        for (key, value) in rows {
            let what = || format!("the series row {key:02x?}");
            let payload = open_row(&what(), &value)?;
            let unknown = || Error::corrupt(what(), "its key is unknown");
            match (key.first(), key.len()) {
                (Some(&INFO_PREFIX), 1) => {
                    store.load_global(payload).map_err(|bad| Error::corrupt(what(), bad.0))?;
                }
                (Some(&DICTIONARY_PREFIX), 5) => {
                    dictionary.push((number(&key[1..]).ok_or_else(unknown)?, payload.to_vec()));
                }
                (Some(&HEAD_PREFIX), 9) => {
                    let place =
                        (number(&key[1..]).ok_or_else(unknown)?, number(&key[5..]).ok_or_else(unknown)?);
                    heads.insert(place, payload.to_vec());
                }
                _ => return Err(unknown()),
            }
        }
        for (id, payload) in dictionary {
            let corrupt = |bad: Bad| Error::corrupt(format_args!("the dictionary row of series {id}"), bad.0);
            let mut reader = Reader::new(&payload);
            let born_ms = reader.signed().map_err(corrupt)?;
            let key = read_key(&mut reader).map_err(corrupt)?;
            reader.finish().map_err(corrupt)?;
            store.dictionary.restore(SeriesId(id), key, born_ms).map_err(|why| corrupt(Bad(why)))?;
        }
        store.load_heads(heads)?;
        store.load_blocks(blocks, applied);
        store.durable = applied;
        store.resume_sealing();
        store.candidates = store.dictionary.ids().collect();
        Ok(store)
    }

    fn load_heads(&mut self, rows: BTreeMap<(u32, u32), Vec<u8>>) -> Result<(), Error> {
        let groups_max = self.dictionary.next().div_ceil(GROUP as u32);
        let mut sealing = Vec::new();
        let mut previous = None;
        for ((group, row), payload) in rows {
            let corrupt = |why| Error::corrupt(format_args!("row {row} of the heads of group {group}"), why);
            if group >= groups_max {
                return Err(corrupt("its series were never made"));
            }
            if self.groups.len() <= group as usize {
                self.groups.resize_with(group as usize + 1, || None);
            }
            let place = self.groups[group as usize].get_or_insert_with(|| Box::new(Group::new()));
            if previous == Some(group) {
                if row != place.first_row + place.rows.len() as u32 {
                    return Err(corrupt("the row before it is missing"));
                }
            } else {
                (place.first_row, place.rows) = (row, VecDeque::new());
            }
            previous = Some(group);
            place.rows.push_back(payload.len() as u32);
            place.load(group, &payload, &mut sealing).map_err(|bad| corrupt(bad.0))?;
        }
        // A series without a row is new; one that is not in the dictionary is none.
        for id in self.dictionary.ids().collect::<Vec<_>>() {
            if self.series(id).is_none() {
                self.add_series(id, Series::new());
            }
        }
        let dictionary = &self.dictionary;
        for (number, group) in (0u32..).zip(&mut self.groups) {
            for (slot, place) in (0u32..).zip(group.iter_mut().flat_map(|group| &mut group.slots)) {
                let id = SeriesId(number * GROUP as u32 + slot);
                let corrupt = |why| Error::corrupt(format_args!("the head of {id}"), why);
                let Some(series) = place else { continue };
                if dictionary.entry(id).is_none() {
                    return Err(corrupt("it is not in the dictionary"));
                }
                series.finish_load().map_err(|bad| corrupt(bad.0))?;
            }
        }
        for sealed in sealing {
            let id = sealed.id.series;
            let wanted = self.series(id).is_some_and(|series| sealed.end > series.stored_to);
            if wanted {
                self.sealing.entry(id).or_default().push((Arc::new(sealed), true));
            }
        }
        Ok(())
    }

    fn load_blocks(&mut self, blocks: impl IntoIterator<Item = BlockMeta>, applied: u64) {
        for meta in blocks {
            if meta.sealed_at > applied {
                self.ahead.push((meta.sealed_at, meta.id));
                continue;
            }
            match self.series_mut(meta.id.series) {
                Some(series) => series.insert_blocks(&[meta]),
                None => self.deletions.push_back(meta.id),
            }
        }
        for id in self.dictionary.ids().collect::<Vec<_>>() {
            let Some(series) = self.series_mut(id) else { continue };
            let mut superseded = Vec::new();
            for resolution in Resolution::ALL {
                let list = &mut series.blocks[resolution.index()];
                list.sort_by_key(|block| {
                    (block.start, std::cmp::Reverse(block.end), std::cmp::Reverse(block.tier))
                });
                let mut covered = i64::MIN;
                list.retain(|block| {
                    // What was merged into the block before it, and not deleted yet.
                    let keep = block.end > covered;
                    if keep {
                        covered = block.end;
                    } else {
                        superseded.push(block.id(id, resolution));
                    }
                    keep
                });
            }
            self.deletions.extend(superseded);
        }
    }

    /// Drops the sealed heads whose blocks are stored, and asks for the blocks of the others.
    fn resume_sealing(&mut self) {
        for (id, mut sealing) in std::mem::take(&mut self.sealing) {
            sealing.retain(|(sealed, _)| {
                let blocks = self.series(id).map_or(&[][..], |series| &series.blocks[0]);
                !blocks.iter().any(|block| block.start <= sealed.id.start && sealed.end <= block.end)
            });
            sealing.sort_by_key(|(sealed, _)| sealed.id.start);
            // The newest telling of a head is the last; they are equal.
            sealing.dedup_by_key(|(sealed, _)| sealed.id.start);
            let jobs = sealing.iter().map(|(sealed, _)| Job::Seal(SealJob { sealed: sealed.clone() }));
            self.seal_jobs.extend(jobs);
            if !sealing.is_empty() {
                self.sealing.insert(id, sealing);
            }
            self.settle_stored(id);
        }
    }
}
