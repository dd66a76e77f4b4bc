//! A store from its rows and blocks: the inverse of [`super::persist`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::codec::{Bad, Reader, open_row};
use super::head::{Head, Packed};
use super::jobs::{Job, SealJob};
use super::persist::{DICTIONARY_PREFIX, GONE, HEAD_PREFIX, INFO_PREFIX, REFUSED, RESET, SEALED};
use super::record::{GROUP, Group, Sealed, Series};
use super::sample::{REFUSALS, Refused};
use super::store::SeriesStore;
use super::{BlockId, BlockMeta, Error, KeyRef, Resolution, SeriesId};

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

impl Group {
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
    fn read(series: SeriesId, reader: &mut Reader<'_>) -> Result<Self, Bad> {
        let (end, sealed_at, digest) = (reader.signed()?, reader.varint()?, reader.u32()?);
        let packed = read_packed(reader)?;
        let id = BlockId { resolution: Resolution::Raw, tier: 0, series, start: packed.base };
        Ok(Self { id, end, sealed_at, digest, packed })
    }
}

impl Series {
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

fn read_packed(reader: &mut Reader<'_>) -> Result<Packed, Bad> {
    let (base, count) = (reader.signed()?, reader.at_most(super::BLOCK_SAMPLES_MAX)? as u32);
    Ok(Packed { base, count, bytes: reader.bytes()?.to_vec() })
}
