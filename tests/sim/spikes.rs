//! Samples that are pushed, with spikes at known times: each must make the trigger fire once, at that sample.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use rscaler_raft::command::{Command, Reply, RowSeries, SampleBatch, SampleRow, SampleSource};
use rscaler_raft::model::{Cause, SeriesKey};
use rscaler_raft::series::KeyRef;
use rscaler_raft::state::State;

use super::asking::Asking;
use super::objects::{NODES, THRESHOLD, node};
use super::world::World;
use super::{chance, clock};

/// Between two batches of a node, in ms.
const EVERY_MS: u64 = 250;
/// Samples in a batch, and between two of them, in ms.
const BATCH: i64 = 8;
const STEP_MS: i64 = 30;

/// What is pushed for one node, one sample after the other.
#[derive(Default)]
struct Source {
    under_way: Option<(Asking, Vec<(i64, f64)>)>,
    next: u64,
    /// Samples that were taken.
    taken: BTreeMap<i64, f64>,
}

/// See the module.
pub(crate) struct Spikes {
    chance: StdRng,
    sources: Vec<Source>,
    problem: Option<String>,
}

impl Spikes {
    pub(crate) fn new(seed: u64) -> Spikes {
        // What was measured before the trigger was made does not concern it.
        let begin = clock::now() + 500;
        let sources = (0..NODES).map(|nth| Source { next: begin + nth * 37, ..Source::default() }).collect();
        Spikes { chance: chance::source(seed, "spikes"), sources, problem: None }
    }

    /// Pushes what is due; takes answers.
    pub(crate) fn step(&mut self, world: &World) {
        self.collect(world);
        let now = clock::now();
        for (nth, source) in self.sources.iter_mut().enumerate() {
            if source.under_way.is_some() || now < source.next {
                continue;
            }
            source.next = now + EVERY_MS;
            let now = clock::BEGIN_MS + i64::try_from(now).unwrap_or(i64::MAX);
            let samples: Vec<(i64, f64)> = (0..BATCH)
                .map(|nth| {
                    let is_spike = self.chance.random_ratio(1, 25);
                    (now - (BATCH - 1 - nth) * STEP_MS, if is_spike { 20.0 } else { 1.0 })
                })
                .collect();
            let key = SeriesKey {
                counter: "load".into(),
                node: node(nth as u64).as_str().into(),
                jvm: None,
                instance: None,
            };
            let batch = SampleBatch {
                source: SampleSource::Push,
                keys: vec![key],
                rows: samples
                    .iter()
                    .map(|(at, value)| SampleRow { series: RowSeries::New(0), at: *at, value: *value })
                    .collect(),
            };
            source.under_way = Some((Asking::new(Command::Samples(batch), &mut self.chance), samples));
        }
    }

    /// Takes answers.
    pub(crate) fn collect(&mut self, world: &World) {
        for source in &mut self.sources {
            let Some((mut asking, samples)) = source.under_way.take() else { continue };
            match asking.step(world, &mut self.chance) {
                None => source.under_way = Some((asking, samples)),
                Some(Ok(Reply::Samples { dropped: 0, .. })) => source.taken.extend(samples),
                // A leader whose clock is late takes them for some of the future: those that come last.
                Some(Ok(Reply::Samples { accepted, .. })) => {
                    source.taken.extend(samples.into_iter().take(accepted as usize));
                }
                Some(other) => self.problem = Some(format!("samples were answered with {other:?}")),
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.sources.iter().all(|source| source.under_way.is_none())
    }

    /// How many samples were taken.
    pub(crate) fn taken(&self) -> usize {
        self.sources.iter().map(|source| source.taken.len()).sum()
    }

    /// What is wrong, given what a peer has in the end.
    pub(crate) fn verdict(&self, state: &State) -> Result<usize, String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let mut fired: BTreeMap<(String, i64), usize> = BTreeMap::new();
        for run in state.runs_before(None) {
            if let Cause::Trigger { evidence, .. } = &run.cause {
                for sample in evidence {
                    *fired.entry((sample.series.node.to_string(), sample.at.0)).or_default() += 1;
                }
            }
        }
        let mut expected: BTreeMap<(String, i64), usize> = BTreeMap::new();
        for (nth, source) in self.sources.iter().enumerate() {
            let node = node(nth as u64);
            let mut was_over = false;
            for (at, value) in &source.taken {
                let is_over = *value > THRESHOLD;
                if is_over && !was_over {
                    expected.insert((node.clone(), *at), 1);
                }
                was_over = is_over;
            }
            let kept: BTreeMap<i64, f64> = {
                let key = KeyRef { counter: "load", node: &node, jvm: None, instance: None };
                let id = state.series().id(key);
                id.map_or_else(BTreeMap::new, |id| {
                    state.series().window(id, 0, i64::MAX).into_iter().collect()
                })
            };
            // Older ones are in blocks by now.
            let first = kept.keys().next().copied().unwrap_or(0);
            let recent = source.taken.range(first..);
            if let Some((at, _)) = recent.into_iter().find(|(at, value)| kept.get(at) != Some(value)) {
                return Err(format!("the sample of {node} at {at} was taken, and is not there"));
            }
            if let Some(at) = kept.keys().find(|at| !source.taken.contains_key(at)) {
                return Err(format!("the sample of {node} at {at} was not acknowledged, and is there"));
            }
        }
        if let Some((missed, _)) = expected.iter().find(|(spike, _)| !fired.contains_key(spike)) {
            return Err(format!("the trigger did not fire at {missed:?}"));
        }
        match fired.iter().find(|(spike, count)| expected.get(spike) != Some(count)) {
            Some((spike, count)) => Err(format!("the trigger fired {count} times at {spike:?}")),
            None => Ok(fired.len()),
        }
    }
}
