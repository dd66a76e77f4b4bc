//! The state's rows in the database, as of one log position.
//!
//! A checkpoint is one atomic batch: the rows that changed, the position, the membership. Values above 6 KiB lie in
//! parts, each with its own checksum: sled writes up to 17 values as one page, and a page above 128 KiB into a file
//! of its own, which it neither syncs as we do nor reliably deletes. Keys begin with a generation: a snapshot is written as a new one, beside the
//! rows in use, and one small batch makes it the one that counts.
//!
//! ```text
//! key    generation u32 | length of key u16 | key | part u16
//! value  crc32 u32 | parts u16 | bytes                          the checksum covers all but the generation
//! key    0 u32 | "checkpoint"     value  the record, in its envelope
//! key    0 u32 | "puts"           value  crc32 u32 | u64        how often blocks had been put
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::volume::{Batch, Database, Entries, Tree};
use super::{Applied, Error};
use crate::codec::{self, FormatKind};
use crate::series::RowChange;

/// The most bytes of a row's value that lie under one key.
pub(super) const PART_BYTES_MAX: usize = 6 << 10;
const SCHEMA: u16 = 1;
/// How much is copied at a time: what is on its way to the disk lies in memory.
pub(super) const COPY_BYTES: usize = 4 << 20;
const RECORD_KEY: &[u8] = b"\0\0\0\0checkpoint";
const PUTS_KEY: &[u8] = b"\0\0\0\0puts";
const FIRST_GENERATION: u32 = 1;

/// What the rows are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Record {
    generation: u32,
    /// How many parts there are: a lost one would not be missed otherwise.
    parts: u64,
    applied: Applied,
}

/// A part of a row, wherever it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part<'a> {
    pub(super) key: &'a [u8],
    pub(super) part: u16,
    pub(super) parts: u16,
    pub(super) bytes: &'a [u8],
}

/// The rows. Only the storage thread has them.
pub(super) struct Rows {
    tree: Arc<dyn Tree>,
    record: Record,
    /// How often blocks had been put when it was written.
    puts: u64,
    next_generation: u32,
    /// Generations to be deleted.
    stale: Vec<u32>,
}

fn corrupt(detail: impl Into<String>) -> Error {
    Error::corrupt("the checkpoint", detail)
}

/// How often blocks were put, with a checksum before it: as it lies with the rows and with the blocks.
pub(super) fn stored_puts(puts: u64) -> [u8; 12] {
    let mut out = [0; 12];
    out[4..].copy_from_slice(&puts.to_be_bytes());
    let crc = crc32fast::hash(&out[4..]);
    out[..4].copy_from_slice(&crc.to_be_bytes());
    out
}

pub(super) fn read_puts(value: &[u8]) -> Result<u64, Error> {
    let puts = value.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    if value == stored_puts(puts) {
        Ok(puts)
    } else {
        Err(corrupt("the number of puts does not match its checksum"))
    }
}

impl<'a> Part<'a> {
    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&(self.key.len() as u64).to_be_bytes());
        hasher.update(self.key);
        hasher.update(&self.part.to_be_bytes());
        hasher.update(&self.parts.to_be_bytes());
        hasher.update(self.bytes);
        hasher.finalize()
    }

    fn stored_key(&self, generation: u32) -> Result<Vec<u8>, Error> {
        stored_key(generation, self.key, self.part)
    }

    fn stored_value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(6 + self.bytes.len());
        value.extend_from_slice(&self.checksum().to_be_bytes());
        value.extend_from_slice(&self.parts.to_be_bytes());
        value.extend_from_slice(self.bytes);
        value
    }

    /// Takes apart and checks what [`Part::stored_key`] and [`Part::stored_value`] made.
    fn read(key: &'a [u8], value: &'a [u8]) -> Result<Part<'a>, Error> {
        let damaged = || corrupt(format!("the row {} does not match its checksum", key.escape_ascii()));
        let (_, rest) = key.split_at_checked(4).ok_or_else(damaged)?;
        let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
        let (key, part) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or_else(damaged)?;
        let part = u16::from_be_bytes(part.try_into().map_err(|_| damaged())?);
        let (crc, rest) = value.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (parts, bytes) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
        let found = Part { key, part, parts: u16::from_be_bytes(*parts), bytes };
        if u32::from_be_bytes(*crc) != found.checksum() || found.part >= found.parts {
            return Err(damaged());
        }
        Ok(found)
    }
}

fn stored_key(generation: u32, key: &[u8], part: u16) -> Result<Vec<u8>, Error> {
    let len = u16::try_from(key.len()).map_err(|_| Error::Refused("a row's key is too long".to_string()))?;
    let mut out = Vec::with_capacity(8 + key.len());
    out.extend_from_slice(&generation.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&part.to_be_bytes());
    Ok(out)
}

/// A value in parts.
fn parts<'a>(key: &'a [u8], value: &'a [u8]) -> Result<impl Iterator<Item = Part<'a>>, Error> {
    let count = value.len().div_ceil(PART_BYTES_MAX).max(1);
    let parts = u16::try_from(count)
        .map_err(|_| Error::Refused(format!("the row {} has {} bytes", key.escape_ascii(), value.len())))?;
    Ok((0..parts).map(move |part| {
        let from = usize::from(part) * PART_BYTES_MAX;
        Part { key, part, parts, bytes: &value[from..value.len().min(from + PART_BYTES_MAX)] }
    }))
}

impl Rows {
    pub(super) fn open(db: &dyn Database) -> Result<Rows, Error> {
        let tree = db.tree("rows")?;
        let record = match tree.get(RECORD_KEY)? {
            Some(bytes) => codec::decode(FormatKind::Checkpoint, SCHEMA, &bytes)?,
            None => Record { generation: FIRST_GENERATION, parts: 0, applied: Applied::default() },
        };
        let puts = tree.get(PUTS_KEY)?.map_or(Ok(0), |value| read_puts(&value))?;
        let mut rows = Rows { tree, next_generation: record.generation + 1, stale: Vec::new(), record, puts };
        let mut from = FIRST_GENERATION;
        while let Some(entry) = rows.tree.range(&from.to_be_bytes(), None).next() {
            let (key, _) = entry?;
            let first = key.first_chunk().ok_or_else(|| corrupt("a key is too short"))?;
            let generation = u32::from_be_bytes(*first);
            if generation != rows.record.generation {
                rows.stale.push(generation);
            }
            let Some(next) = generation.checked_add(1) else { break };
            rows.next_generation = rows.next_generation.max(next);
            from = next;
        }
        Ok(rows)
    }

    /// The position the rows stand for.
    pub(super) fn applied(&self) -> &Applied {
        &self.record.applied
    }

    /// How often blocks had been put, at least, when it was written.
    pub(super) fn puts(&self) -> u64 {
        self.puts
    }

    /// Writes a checkpoint; not synced yet. Of several changes of one key the last counts. `puts` says how often blocks were put;
    /// they are durable.
    pub(super) fn write(
        &mut self,
        changes: Vec<RowChange>,
        applied: Applied,
        puts: u64,
        moved: impl Fn(),
    ) -> Result<(), Error> {
        let changes: BTreeMap<_, _> = changes.into_iter().map(|change| (change.key, change.value)).collect();
        let mut batch = Batch::default();
        let mut record = Record { applied, ..self.record.clone() };
        for (key, value) in changes {
            moved();
            let first = stored_key(record.generation, &key, 0)?;
            let before = match self.tree.get(&first)? {
                Some(value) => Part::read(&first, &value)?.parts,
                None => 0,
            };
            let mut after = 0;
            if let Some(make) = value {
                for part in parts(&key, &make())? {
                    batch.insert(part.stored_key(record.generation)?, part.stored_value());
                    after = part.parts;
                }
            }
            for part in after..before {
                batch.remove(stored_key(record.generation, &key, part)?);
            }
            record.parts = record.parts - u64::from(before) + u64::from(after);
        }
        self.commit(batch, record, puts)
    }

    fn commit(&mut self, mut batch: Batch, record: Record, puts: u64) -> Result<(), Error> {
        batch.insert(RECORD_KEY, codec::encode(FormatKind::Checkpoint, SCHEMA, &record)?);
        batch.insert(PUTS_KEY, &stored_puts(puts));
        self.tree.apply(batch)?;
        (self.record, self.puts) = (record, puts);
        Ok(())
    }

    /// Checks every row.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn verify(&self) -> Result<(), Error> {
        let mut found = 0;
        for row in self.iter() {
            row?;
        }
        self.for_each_part(|_| {
            found += 1;
            Ok(())
        })?;
        if found == self.record.parts {
            Ok(())
        } else {
            Err(corrupt(format!("it has {found} parts of rows where {} were written", self.record.parts)))
        }
    }

    fn range(&self, generation: u32) -> Entries {
        let next = generation.checked_add(1).map(u32::to_be_bytes);
        self.tree.range(&generation.to_be_bytes(), next.as_ref().map(<[u8; 4]>::as_slice))
    }

    /// Calls `visit` with every part, in the order of keys.
    pub(super) fn for_each_part(
        &self,
        mut visit: impl FnMut(Part<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for entry in self.range(self.record.generation) {
            let (key, value) = entry?;
            visit(Part::read(&key, &value)?)?;
        }
        Ok(())
    }

    /// The rows whole: key and value.
    pub(super) fn iter(&self) -> RowIter {
        self.iter_generation(self.record.generation)
    }

    pub(super) fn iter_generation(&self, generation: u32) -> RowIter {
        RowIter { entries: self.range(generation), failed: false }
    }

    /// A number under which a snapshot's rows can be written beside those in use.
    pub(super) fn begin_generation(&mut self) -> u32 {
        let generation = self.next_generation;
        self.next_generation += 1;
        generation
    }

    /// Writes some of a new generation's parts.
    pub(super) fn put_parts<'a>(
        &self,
        generation: u32,
        parts: impl IntoIterator<Item = Part<'a>>,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        for part in parts {
            batch.insert(part.stored_key(generation)?, part.stored_value());
        }
        self.tree.apply(batch)
    }

    /// Makes a generation, written and synced before, the one that counts. Not synced yet.
    pub(super) fn switch(
        &mut self,
        generation: u32,
        parts: u64,
        applied: Applied,
        puts: u64,
    ) -> Result<(), Error> {
        let before = self.record.generation;
        self.commit(Batch::default(), Record { generation, parts, applied }, puts)?;
        self.stale.push(before);
        Ok(())
    }

    /// Gives up a generation that was begun.
    pub(super) fn abandon(&mut self, generation: u32) {
        self.stale.push(generation);
    }

    pub(super) fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Deletes up to `keys_max` parts of generations that do not count, and says how many.
    pub(super) fn sweep(&mut self, keys_max: usize) -> Result<usize, Error> {
        let Some(generation) = self.stale.last().copied() else { return Ok(0) };
        let mut batch = Batch::default();
        let mut count = 0;
        for entry in self.range(generation).take(keys_max) {
            batch.remove(entry?.0);
            count += 1;
        }
        self.tree.apply(batch)?;
        if count < keys_max {
            self.stale.pop();
        }
        Ok(count)
    }

    pub(super) fn live_bytes(&self, moved: impl Fn()) -> Result<u64, Error> {
        let mut bytes = 0;
        self.for_each_part(|part| {
            moved();
            bytes += (part.key.len() + part.bytes.len() + 32) as u64;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Takes over another's rows; this one must be new.
    pub(super) fn copy_from(
        &mut self,
        from: &Rows,
        moved: impl Fn(),
        sync: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let generation = from.record.generation;
        let mut batch = Batch::default();
        let mut bytes = 0;
        from.for_each_part(|part| {
            moved();
            batch.insert(part.stored_key(generation)?, part.stored_value());
            bytes += part.bytes.len() + part.key.len();
            if bytes > COPY_BYTES {
                bytes = 0;
                self.tree.apply(std::mem::take(&mut batch))?;
                sync()?;
            }
            Ok(())
        })?;
        self.commit(batch, from.record.clone(), from.puts)
    }

    /// Flips a bit in a row, as a disk might.
    #[cfg(test)]
    pub(super) fn damage_one(&self) -> Result<(), Error> {
        let (key, value) = self.range(self.record.generation).next().expect("there are rows")?;
        let mut value = value.to_vec();
        value[5] ^= 1;
        let mut batch = Batch::default();
        batch.insert(key, value);
        self.tree.apply(batch)
    }

    /// Points to another database's tree, for the moment when this one's files are replaced.
    pub(super) fn swap_tree(&mut self, db: &dyn Database) -> Result<(), Error> {
        self.tree = db.tree("rows")?;
        Ok(())
    }
}

type KeyAndValue = (Vec<u8>, Vec<u8>);

/// Rows joined from their parts; ends after the first error.
pub(super) struct RowIter {
    entries: Entries,
    failed: bool,
}

impl RowIter {
    fn row(&mut self) -> Option<Result<KeyAndValue, Error>> {
        let (key, value) = match self.entries.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let first = match Part::read(&key, &value) {
            Ok(part) if part.part == 0 => part,
            Ok(part) => {
                let row = part.key.escape_ascii();
                return Some(Err(corrupt(format!("the row {row} lacks its beginning"))));
            }
            Err(error) => return Some(Err(error)),
        };
        let (row_key, mut whole) = (first.key.to_vec(), first.bytes.to_vec());
        for expected in 1..first.parts {
            let missing = || corrupt(format!("the row {} lacks part {expected}", row_key.escape_ascii()));
            let (key, value) = match self.entries.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Some(Err(error)),
                None => return Some(Err(missing())),
            };
            match Part::read(&key, &value) {
                Ok(part) if part.key == row_key && part.part == expected && part.parts == first.parts => {
                    whole.extend_from_slice(part.bytes);
                }
                Ok(_) => return Some(Err(missing())),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok((row_key, whole)))
    }
}

impl Iterator for RowIter {
    type Item = Result<KeyAndValue, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.row();
        self.failed = matches!(row, Some(Err(_)));
        row
    }
}

/// Its part of [`crate::golden`].
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn golden(applied: &Applied) -> Vec<crate::golden::Entry> {
    let record = Record { generation: 2, parts: 300, applied: applied.clone() };
    let sealed = |record: &Record| codec::encode(FormatKind::Checkpoint, SCHEMA, record).unwrap();
    let part = Part { key: b"Ok", part: 1, parts: 2, bytes: b"value" };
    let (key, value) = (part.stored_key(2).unwrap(), part.stored_value());
    let len = key.len();
    vec![
        crate::golden::raw("checkpoint", sealed(&record), move |bytes| {
            let read =
                codec::decode(FormatKind::Checkpoint, SCHEMA, bytes).map_err(|error| error.to_string())?;
            Ok(sealed(&read))
        }),
        crate::golden::raw("checkpoint-key", RECORD_KEY.to_vec(), |bytes| Ok(bytes.to_vec())),
        crate::golden::raw("checkpoint-puts", [PUTS_KEY, &stored_puts(300)].concat(), |bytes| {
            let (key, value) = bytes.split_at(PUTS_KEY.len());
            let read = read_puts(value).map_err(|error| error.to_string())?;
            Ok([key, &stored_puts(read)].concat())
        }),
        crate::golden::raw("stored-part", [key, value].concat(), move |bytes| {
            let (key, value) = bytes.split_at(len);
            let read = Part::read(key, value).map_err(|error| error.to_string())?;
            Ok([read.stored_key(2).unwrap(), read.stored_value()].concat())
        }),
    ]
}

/// For [`crate::fuzz`]: a stored row, its key after one byte that says how long it is; as it is, and with a checksum that fits.
#[cfg(any(test, feature = "fuzz"))]
#[allow(clippy::unwrap_used)]
pub(crate) fn fuzz_rows(data: &[u8]) {
    let Some((len, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(*len).min(rest.len()));
    let read = |key: &[u8], value: &[u8]| {
        if let Ok(part) = Part::read(key, value) {
            let generation = u32::from_be_bytes(*key.first_chunk().unwrap());
            assert_eq!(
                (part.stored_key(generation).unwrap(), part.stored_value()),
                (key.to_vec(), value.to_vec())
            );
        }
    };
    read(key, value);
    if let Some((number, bytes)) = value.split_first_chunk::<4>() {
        let word = |at: usize| u16::from_be_bytes([number[at], number[at + 1]]);
        let part = Part { key, part: word(0), parts: word(2), bytes };
        let (key, value) = (part.stored_key(7).unwrap(), part.stored_value());
        assert_eq!(Part::read(&key, &value).is_ok(), part.part < part.parts);
    }
    crate::fuzz::stable::<Record>(value);
    let _ = codec::decode::<Record>(FormatKind::Checkpoint, SCHEMA, value);
    if let Ok(puts) = read_puts(value) {
        assert_eq!(stored_puts(puts), value);
    }
    let whole: Vec<u8> = parts(key, value).unwrap().flat_map(|part| part.bytes.to_vec()).collect();
    assert_eq!(whole, value);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::consensus::LogPosition;
    use crate::store::volume::{System, Volume};

    fn change(key: &[u8], value: Option<Vec<u8>>) -> RowChange {
        RowChange { key: key.to_vec(), value: value.map(|value| Box::new(move || value) as Box<_>) }
    }

    fn applied(index: u64) -> Applied {
        Applied { position: Some(LogPosition { term: 1, index }), ..Applied::default() }
    }

    fn content(rows: &Rows) -> BTreeMap<Vec<u8>, Vec<u8>> {
        rows.verify().unwrap();
        rows.iter().collect::<Result<_, _>>().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn rows_are_what_was_written_whatever_their_size(
            steps in prop::collection::vec(
                prop::collection::vec((0u8..12, prop::option::of(prop_oneof![0usize..100, 40_000usize..200_000])), 0..6),
                1..8,
            ),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut known = BTreeMap::new();
            for (index, step) in (0u64..).zip(steps) {
                let db = System.database(dir.path(), 1 << 20).unwrap();
                let mut rows = Rows::open(&*db).unwrap();
                prop_assert_eq!(&content(&rows), &known);
                prop_assert_eq!(rows.applied().next_index(), index);
                let changes = step.iter().map(|(key, len)| {
                    // Keys of which one begins another, which their parts must not confuse.
                    let key = vec![0; usize::from(*key)];
                    let value = len.map(|len| vec![len as u8; len]);
                    match value.clone() {
                        Some(value) => known.insert(key.clone(), value),
                        None => known.remove(&key),
                    };
                    change(&key, value)
                });
                let changes = changes.collect();
                rows.write(changes, applied(index), index, || {}).unwrap();
                prop_assert_eq!(rows.puts(), index);
                prop_assert_eq!(&content(&rows), &known);
                db.sync().unwrap();
            }
        }
    }

    #[test]
    fn a_generation_that_was_not_switched_to_does_not_count_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let part = |key| Part { key, part: 0, parts: 1, bytes: b"new" };
        {
            let db = System.database(dir.path(), 1 << 20).unwrap();
            let mut rows = Rows::open(&*db).unwrap();
            rows.write(vec![change(b"a", Some(b"old".to_vec()))], applied(4), 0, || {}).unwrap();
            let generation = rows.begin_generation();
            rows.put_parts(generation, [part(b"a"), part(b"b")]).unwrap();
            db.sync().unwrap();
        }
        {
            let db = System.database(dir.path(), 1 << 20).unwrap();
            let mut rows = Rows::open(&*db).unwrap();
            assert_eq!(content(&rows), BTreeMap::from([(b"a".to_vec(), b"old".to_vec())]));
            // The number of the one that was given up is not used again, so that nothing of it is mixed in.
            let generation = rows.begin_generation();
            rows.put_parts(generation, [part(b"b")]).unwrap();
            rows.switch(generation, 1, applied(9), 3).unwrap();
            db.sync().unwrap();
        }
        let db = System.database(dir.path(), 1 << 20).unwrap();
        let mut rows = Rows::open(&*db).unwrap();
        assert_eq!(content(&rows), BTreeMap::from([(b"b".to_vec(), b"new".to_vec())]));
        assert_eq!((rows.applied(), rows.puts()), (&applied(9), 3));
        let before = rows.tree.keys().len();
        while rows.has_stale() {
            rows.sweep(1).unwrap();
        }
        assert_eq!((before, rows.tree.keys().len()), (6, 3));
        assert_eq!(content(&rows).len(), 1);
    }

    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let db = System.database(dir.path(), 1 << 20).unwrap();
        let mut rows = Rows::open(&*db).unwrap();
        let long = vec![7; 2 * PART_BYTES_MAX + 1];
        rows.write(vec![change(b"a", Some(long)), change(b"b", Some(b"x".to_vec()))], applied(1), 0, || {})
            .unwrap();
        rows.verify().unwrap();
        let middle = stored_key(1, b"a", 1).unwrap();
        let whole = rows.tree.get(&middle).unwrap().unwrap();

        let mut flipped = whole.to_vec();
        flipped[1000] ^= 1;
        rows.tree.put(&middle, flipped);
        assert!(matches!(rows.verify(), Err(Error::Corrupt { .. })));

        rows.tree.delete(&middle);
        assert!(matches!(rows.verify(), Err(Error::Corrupt { .. })));

        rows.tree.put(&middle, whole);
        rows.verify().unwrap();
        rows.tree.delete(&stored_key(1, b"b", 0).unwrap());
        assert!(matches!(rows.verify(), Err(Error::Corrupt { detail, .. }) if detail.contains("3 parts")));
    }
}
