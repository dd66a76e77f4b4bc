//! When a trigger would have fired, had it watched samples that are stored.
//!
//! Runs the same [`Watch`] that apply runs, over samples in the order of their time, with a tick at every full
//! second. It differs from what happened in what is not stored: maintenance windows, pauses of the control
//! plane, samples that came late, nodes and cooldowns of before. No steps are run.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::watch::{Happening, Plan, Sample, Surroundings, Watch};
use crate::model::{Evidence, Name, SeriesId, SeriesKey, Timestamp, Trigger, Watched};

/// Samples of one series that are kept for evidence.
const HISTORY_MAX: usize = 512;
/// Firings in one answer.
pub const FIRINGS_MAX: usize = 1000;

/// A firing that would have been.
#[derive(Clone, PartialEq, Debug)]
pub struct WouldHaveFired {
    /// When, in samples' time.
    pub at: Timestamp,
    /// The node whose series fired; absent where the cluster did.
    pub node: Option<Name>,
    /// What it saw: at most 16 samples.
    pub evidence: Vec<Evidence>,
    /// When it had recovered; absent where it had not by the end.
    pub recovered_at: Option<Timestamp>,
}

/// A stored series: its key, its counter's interval, its samples in the order of their time.
pub type Stored<S> = (SeriesKey, Duration, S);

/// Replays `series` through `trigger`. Samples outside `from..=to` are left out, and so are series that are not of
/// the cluster's nodes: the caller gives those that are. Samples that are out of order are not judged, as
/// in apply. At most [`FIRINGS_MAX`] firings, the first ones.
///
/// Memory: one sample a series, and the last `HISTORY_MAX` of each.
pub fn replay<S>(
    trigger: &Trigger,
    series: impl IntoIterator<Item = Stored<S>>,
    from: Timestamp,
    to: Timestamp,
) -> Vec<WouldHaveFired>
where
    S: IntoIterator<Item = Sample>,
{
    let mut sources = Vec::new();
    let mut intervals: BTreeMap<Arc<str>, Duration> = BTreeMap::new();
    let mut nodes = BTreeSet::new();
    for (key, interval, samples) in series {
        let Ok(node) = Name::new(&key.node) else { continue };
        nodes.insert(node);
        intervals.insert(Arc::clone(&key.counter), interval);
        sources.push((Arc::new(key), samples.into_iter().filter(move |s| s.at >= from && s.at <= to)));
    }
    // As ids are given out by apply: in a fixed order.
    sources.sort_by(|(left, _), (right, _)| left.cmp(right));
    let interval =
        |counter: &Name| intervals.get(counter.as_str()).copied().unwrap_or(Duration::from_secs(10));
    let row = Watched { from, ..Watched::default() };
    let mut watch = Watch::new(Plan::new(trigger, interval), row, nodes.into_iter().map(|n| (n, from)));
    let mut past = Past { from, wall: from, history: RefCell::default() };
    let mut heap = BinaryHeap::new();
    for (position, (key, samples)) in sources.iter_mut().enumerate() {
        let id = SeriesId(u32::try_from(position).unwrap_or(u32::MAX));
        watch.add_series(id, key, None);
        if let Some(first) = samples.next() {
            heap.push(Reverse((first.at, id, Bits(first.value))));
        }
    }
    let mut verdict = Verdicts::default();
    let mut out = Vec::new();
    while let Some(Reverse((at, id, Bits(value)))) = heap.pop() {
        past.tick_until(&mut watch, at, &mut out);
        past.remember(id, Sample { at, value });
        watch.sample(id, Sample { at, value }, &past, &mut out);
        verdict.take(&mut out);
        if let Some((_, samples)) = sources.get_mut(id.0 as usize)
            && let Some(next) = samples.next()
        {
            heap.push(Reverse((next.at, id, Bits(next.value))));
        }
        // Rows are not stored.
        watch.drain_changes();
        if verdict.firings.len() >= FIRINGS_MAX && verdict.open.is_empty() {
            break;
        }
    }
    past.tick_until(&mut watch, to, &mut out);
    verdict.take(&mut out);
    verdict.firings
}

/// A value that a heap can hold; its order means nothing.
#[derive(Clone, Copy)]
struct Bits(f64);

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Bits {}
impl PartialOrd for Bits {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Bits {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The firings so far, and which of them have not recovered.
#[derive(Default)]
struct Verdicts {
    firings: Vec<WouldHaveFired>,
    open: BTreeMap<Option<Name>, usize>,
}

impl Verdicts {
    fn take(&mut self, out: &mut Vec<Happening>) {
        for happening in out.drain(..) {
            match happening {
                Happening::Fired { unit, node, at, evidence } if self.firings.len() < FIRINGS_MAX => {
                    self.open.insert(unit, self.firings.len());
                    self.firings.push(WouldHaveFired { at, node, evidence, recovered_at: None });
                }
                Happening::Recovered { unit, at } => {
                    if let Some(position) = self.open.remove(&unit) {
                        self.firings[position].recovered_at = Some(at);
                    }
                }
                Happening::Fired { .. } | Happening::Silenced { .. } => {}
            }
        }
    }
}

/// The world as the stored samples tell it.
struct Past {
    from: Timestamp,
    wall: Timestamp,
    history: RefCell<BTreeMap<SeriesId, VecDeque<Sample>>>,
}

impl Past {
    fn remember(&self, id: SeriesId, sample: Sample) {
        let mut history = self.history.borrow_mut();
        let samples = history.entry(id).or_default();
        if samples.len() >= HISTORY_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Ticks at the full seconds up to `until` at which something may happen.
    fn tick_until(&mut self, watch: &mut Watch, until: Timestamp, out: &mut Vec<Happening>) {
        loop {
            let due = watch.next_tick().0.max(self.wall.0.saturating_add(1));
            let Some(tick) = due.checked_add(999).map(|due| due.div_euclid(1000) * 1000) else { break };
            if tick > until.0 {
                break;
            }
            self.wall = Timestamp(tick);
            watch.tick(self, out);
        }
        self.wall = self.wall.max(until);
    }
}

impl Surroundings for Past {
    fn wall(&self) -> Timestamp {
        self.wall
    }
    fn resumed(&self) -> Timestamp {
        self.from
    }
    fn silenced(&self, _: &Name, _: Option<&Name>) -> Option<Name> {
        None
    }
    fn window(&self, series: SeriesId, from: Timestamp, to: Timestamp) -> Vec<Sample> {
        let history = self.history.borrow();
        let samples = history.get(&series).into_iter().flatten();
        samples.filter(|sample| sample.at >= from && sample.at <= to).copied().collect()
    }
}
