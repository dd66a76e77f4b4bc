//! The series store: what apply changes, and what queries read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::block::{TIME_MAX, fold, sample_hash};
use super::columns::Samples;
use super::dictionary::Dictionary;
use super::head::Packed;
use super::jobs::{Job, SealJob};
use super::record::{GROUP, Group, SEAL_SPAN_MS, Sealed, Series};
use super::retention::Floors;
use super::sample::{AppendOutcome, At, Refusal, Refused, Sample, SeriesStatus, StoreStatus};
use super::{BlockId, Error, KeyRef, Resolution, SeriesId, SeriesKey};

/// A head is sealed when it has this many samples. Two hours at a step of 10 s: blocks of this size come near the
/// entropy of their samples, while heads of ten thousand series still fit in some ten megabytes.
pub const SEAL_SAMPLES: u32 = 720;
/// Samples further ahead of the replicated clock than this are refused.
pub const FUTURE_MS: i64 = 5 * 60_000;
/// So many of the newest sealed samples stay readable by [`SeriesStore::window`] however fast blocks are stored.
pub const TAIL_SAMPLES: usize = 60;
/// All samples of the control plane, as one peer has them.
///
/// Applied commands change it, and everything that is visible to readers is a function of them: the same on every peer,
/// whenever that peer encodes, stores, merges or deletes blocks. It does no I/O and reads no clock.
///
/// The rule for samples: of two with the same series and time the first stays. A sample may be older than the newest as
/// long as no newer one is sealed yet and it is at most [`SEAL_SPAN_MS`] older; it is put in its place. Samples more than
/// [`FUTURE_MS`] ahead of the replicated clock, older than raw samples are kept, NaN or infinite are refused.
/// Negative zero becomes zero. What is refused is counted, for each series and in all.
#[derive(Debug, Default)]
pub struct SeriesStore {
    pub(super) dictionary: Dictionary,
    pub(super) groups: Vec<Option<Box<Group>>>,
    pub(super) floors: Floors,
    /// Sealed heads by series, oldest first, and whether they are in persisted rows.
    pub(super) sealing: BTreeMap<SeriesId, Vec<(Arc<Sealed>, bool)>>,
    /// Seal jobs that nobody has taken yet.
    pub(super) seal_jobs: VecDeque<Job>,
    /// Series that may have blocks to merge or roll up.
    pub(super) candidates: BTreeSet<SeriesId>,
    /// Series with a merge in flight.
    pub(super) merging: BTreeSet<SeriesId>,
    /// Blocks to delete from storage.
    pub(super) deletions: VecDeque<BlockId>,
    /// Blocks found at the start that were sealed later than what was loaded, and when they were.
    pub(super) ahead: Vec<(u64, BlockId)>,
    /// Index up to which the last durable checkpoint reaches.
    pub(super) durable: u64,
    /// Sum of the hashes of all samples ever sealed.
    pub(super) sealed_hash: u64,
    pub(super) accepted: u64,
    pub(super) refused: Refused,
    /// Series made and removed since the last drain.
    pub(super) made: BTreeSet<SeriesId>,
    pub(super) removed: BTreeSet<SeriesId>,
    /// The global row as it was last persisted.
    pub(super) persisted_global: Vec<u8>,
}

impl SeriesStore {
    /// A store without series.
    pub fn new() -> Self {
        Self::default()
    }

    #[inline]
    pub(super) fn series(&self, id: SeriesId) -> Option<&Series> {
        self.groups.get(id.0 as usize / GROUP)?.as_ref()?.slots[id.0 as usize % GROUP].as_ref()
    }

    pub(super) fn series_mut(&mut self, id: SeriesId) -> Option<&mut Series> {
        self.groups.get_mut(id.0 as usize / GROUP)?.as_mut()?.slots[id.0 as usize % GROUP].as_mut()
    }

    /// Marks a series as different from its persisted rows.
    pub(super) fn touch(&mut self, id: SeriesId) {
        if let Some(Some(group)) = self.groups.get_mut(id.0 as usize / GROUP)
            && let Some(series) = &mut group.slots[id.0 as usize % GROUP]
        {
            series.changed = true;
            group.changed = true;
        }
    }

    pub(super) fn add_series(&mut self, id: SeriesId, series: Series) {
        let at = id.0 as usize / GROUP;
        if self.groups.len() <= at {
            self.groups.resize_with(at + 1, || None);
        }
        let group = self.groups[at].get_or_insert_with(|| Box::new(Group::new()));
        group.changed = true;
        group.slots[id.0 as usize % GROUP] = Some(series);
    }

    /// The id of the series with this key, which is made if it is new.
    ///
    /// # Errors
    /// [`Error::Limit`] if there are [`super::SERIES_MAX`] series; nothing has changed then.
    pub fn intern(&mut self, at: At, key: KeyRef<'_>) -> Result<SeriesId, Error> {
        if let Some(id) = self.dictionary.id(key) {
            return Ok(id);
        }
        let id = self.dictionary.add(key, at.now_ms)?;
        self.add_series(id, Series::new());
        self.made.insert(id);
        Ok(id)
    }

    /// The id of the series with this key, if there is one.
    pub fn id(&self, key: KeyRef<'_>) -> Option<SeriesId> {
        self.dictionary.id(key)
    }

    /// The key of a series.
    pub fn key(&self, id: SeriesId) -> Option<&Arc<SeriesKey>> {
        self.dictionary.entry(id).map(|entry| &entry.key)
    }

    /// The ids of a node's series, ascending.
    pub fn of_node(&self, node: &str) -> Vec<SeriesId> {
        self.dictionary.of_node(node).collect()
    }

    /// The first `max` ids of a node's series, ascending.
    pub fn some_of_node(&self, node: &str, max: usize) -> Vec<SeriesId> {
        self.dictionary.of_node(node).take(max).collect()
    }

    /// The ids of a counter's series, ordered by node, then ascending.
    pub fn of_counter(&self, counter: &str) -> Vec<SeriesId> {
        self.dictionary.of_counter(counter).collect()
    }

    /// The ids of a counter's series on a node, ascending.
    pub fn of_counter_on(&self, counter: &str, node: &str) -> Vec<SeriesId> {
        self.dictionary.of_counter_on(counter, node).collect()
    }

    /// Takes a batch of samples, in their order.
    pub fn append(&mut self, at: At, batch: impl IntoIterator<Item = Sample>) -> AppendOutcome {
        let mut outcome = AppendOutcome::default();
        for Sample { series, t_ms, value } in batch {
            match self.push(at, series, t_ms, value) {
                Ok(()) => outcome.accepted += 1,
                Err(refusal) => outcome.refused.add(refusal),
            }
        }
        outcome
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// Why it was not taken; it has been counted.
    #[inline]
    pub fn push(&mut self, at: At, id: SeriesId, t_ms: i64, value: f64) -> Result<(), Refusal> {
        let Self { groups, floors, .. } = self;
        let group = groups.get_mut(id.0 as usize / GROUP).and_then(Option::as_mut);
        let Some((group, Some(series))) = group.map(|group| {
            let Group { slots, changed, .. } = &mut **group;
            (changed, slots[id.0 as usize % GROUP].as_mut())
        }) else {
            self.refused.add(Refusal::UnknownSeries);
            return Err(Refusal::UnknownSeries);
        };
        *group = true;
        series.changed = true;
        let refusal = if !value.is_finite() {
            if value.is_nan() { Refusal::NotANumber } else { Refusal::Infinite }
        } else if t_ms > at.now_ms.saturating_add(FUTURE_MS) || t_ms >= TIME_MAX {
            Refusal::Future
        } else if t_ms < floors.of(Resolution::Raw) || t_ms < 0 {
            Refusal::Expired
        } else {
            // Negative zero has no integer, and nobody means it.
            let value = value + 0.0;
            if t_ms > series.last {
                if series.head.count() > 0 && t_ms - series.head.first() >= SEAL_SPAN_MS {
                    self.seal(at.index, id);
                    return self.push(at, id, t_ms, value);
                }
                series.head.push(t_ms, value);
                (series.last, series.last_value) = (t_ms, value);
                self.accepted += 1;
                if series.head.count() >= SEAL_SAMPLES {
                    self.seal(at.index, id);
                }
                return Ok(());
            }
            match series.take_late(t_ms, value) {
                Ok(()) => {
                    self.accepted += 1;
                    if series.head.count() >= SEAL_SAMPLES {
                        self.seal(at.index, id);
                    }
                    return Ok(());
                }
                Err(refusal) => refusal,
            }
        };
        series.refused.get_or_insert_default().add(refusal);
        self.refused.add(refusal);
        Err(refusal)
    }

    /// Closes a head, which is not empty, and asks for its block.
    pub(super) fn seal(&mut self, index: u64, id: SeriesId) {
        let Some(series) = self.series_mut(id) else { return };
        let samples = series.head.samples();
        let from = samples.times.len().saturating_sub(TAIL_SAMPLES);
        series.tail = Packed::of(&Samples {
            times: samples.times[from..].to_vec(),
            values: samples.values[from..].to_vec(),
        });
        let hash = series.head.hash();
        let packed = series.head.take();
        let sealed = Arc::new(Sealed {
            id: BlockId { resolution: Resolution::Raw, tier: 0, series: id, start: packed.base },
            end: series.last,
            sealed_at: index,
            digest: fold(hash),
            packed,
        });
        series.sealed_to = series.last;
        series.persisted = None;
        self.sealed_hash = self.sealed_hash.wrapping_add(sample_hash(i64::from(id.0), hash));
        self.sealing.entry(id).or_default().push((sealed.clone(), false));
        self.seal_jobs.push_back(Job::Seal(SealJob { sealed }));
        self.touch(id);
    }

    /// The newest sample of a series.
    pub fn latest(&self, id: SeriesId) -> Option<(i64, f64)> {
        let series = self.series(id)?;
        (series.last > i64::MIN).then_some((series.last, series.last_value))
    }

    /// The recent samples of a series with `from <= time < to`, oldest first: those of the open head and, before them,
    /// the last [`TAIL_SAMPLES`] sealed ones. The same on every peer at the same log index, so apply may use it.
    pub fn window(&self, id: SeriesId, from: i64, to: i64) -> Vec<(i64, f64)> {
        let Some(series) = self.series(id) else { return Vec::new() };
        let mut samples = Samples::default();
        if series.tail.count > 0 && from <= series.sealed_to {
            // What this process packed itself is whole.
            let _ = series.tail.unpack(&mut Vec::new(), &mut samples);
        }
        if series.head.count() > 0 && to > series.head.first() {
            let head = series.head.samples();
            samples.times.extend(head.times);
            samples.values.extend(head.values);
        }
        let pairs = samples.times.into_iter().zip(samples.values);
        pairs.filter(|&(time, _)| (from..to).contains(&time)).collect()
    }

    /// Removes a series and all its data. Whether there was one.
    pub fn remove(&mut self, id: SeriesId) -> bool {
        if !self.dictionary.remove(id) {
            return false;
        }
        if let Some(Some(group)) = self.groups.get_mut(id.0 as usize / GROUP) {
            let slot = id.0 as usize % GROUP;
            if let Some(series) = group.slots[slot].take() {
                for resolution in Resolution::ALL {
                    let blocks = &series.blocks[resolution.index()];
                    self.deletions.extend(blocks.iter().map(|block| block.id(id, resolution)));
                }
            }
            group.gone.push(slot as u8);
            group.changed = true;
        }
        self.sealing.remove(&id);
        self.seal_jobs.retain(|job| job.series() != id);
        self.candidates.remove(&id);
        if !self.made.remove(&id) {
            self.removed.insert(id);
        }
        true
    }

    /// Removes all series of a node. How many there were.
    pub fn remove_node(&mut self, node: &str) -> usize {
        self.of_node(node).into_iter().filter(|&id| self.remove(id)).count()
    }

    /// Removes all series of a counter. How many there were.
    pub fn remove_counter(&mut self, counter: &str) -> usize {
        self.of_counter(counter).into_iter().filter(|&id| self.remove(id)).count()
    }

    /// Digest of the logical state: the dictionary, every sample ever taken, the open heads as they are in memory, the
    /// counts of what was refused. Peers at the same log index have the same. Costs some 20 ns a series.
    pub fn digest(&self) -> u64 {
        self.digest_each(|_, _| {})
    }

    /// As [`SeriesStore::digest`], and shows a hash of each series by itself.
    pub fn digest_each(&self, mut show: impl FnMut(SeriesId, u64)) -> u64 {
        let mut digest = sample_hash(self.accepted as i64, self.sealed_hash);
        let mut mix = |a: i64, b: u64| digest = sample_hash(a ^ digest as i64, b);
        mix(i64::from(self.dictionary.next()), self.dictionary.digest());
        self.floors.0.iter().for_each(|&floor| mix(floor, 0));
        self.refused.0.iter().for_each(|&count| mix(1, count));
        for id in self.dictionary.ids() {
            let Some(series) = self.series(id) else { continue };
            let mut hash = sample_hash(i64::from(series.head.count()), series.head.hash());
            hash = sample_hash(series.last ^ hash as i64, series.last_value.to_bits());
            let refused = series.refused.as_ref().map_or(0, |refused| refused.total());
            hash = sample_hash(series.sealed_to ^ hash as i64, refused);
            show(id, hash);
            mix(i64::from(id.0), hash);
        }
        digest
    }

    /// What one series is doing.
    pub fn series_status(&self, id: SeriesId) -> Option<SeriesStatus> {
        let series = self.series(id)?;
        Some(SeriesStatus {
            latest: self.latest(id),
            open: series.head.count(),
            blocks: series.blocks.iter().map(Vec::len).sum(),
            refused: series.refused.as_deref().copied().unwrap_or_default(),
        })
    }

    /// Figures of the whole store. Walks all series.
    pub fn status(&self) -> StoreStatus {
        let mut status = StoreStatus {
            series: self.dictionary.len(),
            sealing: self.sealing.values().map(Vec::len).sum(),
            deletions: self.deletions.len(),
            accepted: self.accepted,
            refused: self.refused,
            ..StoreStatus::default()
        };
        for group in self.groups.iter().flatten() {
            status.head_bytes += GROUP * size_of::<Option<Series>>();
            for series in group.slots.iter().flatten() {
                status.open_samples += u64::from(series.head.count());
                status.head_bytes += series.head.heap_bytes() + series.tail.bytes.capacity();
                for block in series.blocks.iter().flatten() {
                    status.blocks += 1;
                    status.block_bytes += u64::from(block.bytes);
                }
            }
        }
        let sealing = self.sealing.values().flatten();
        status.head_bytes += sealing.map(|(sealed, _)| sealed.packed.bytes.capacity()).sum::<usize>();
        status
    }
}
