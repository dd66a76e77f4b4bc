//! Values over a cluster.

use std::time::Duration;

use super::{Happening, Member, Mode, Sample, Subject, Surroundings, Watch, bits, hold, short};
use crate::decide::threshold::{self, Measure, Verdict};
use crate::model::{Aggregate, Matching, Timestamp};

/// Collects one condition's value over the cluster.
#[derive(Clone, Copy)]
struct Fold {
    count: u32,
    sum: f64,
    least: f64,
    most: f64,
}

impl Fold {
    const EMPTY: Fold = Fold { count: 0, sum: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY };

    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    fn measure(self, aggregate: Aggregate) -> Option<Measure> {
        match aggregate {
            Aggregate::Count => Some(Measure::Value(f64::from(self.count))),
            _ if self.count == 0 => None,
            Aggregate::Avg => Some(Measure::Mean { sum: self.sum, count: self.count }),
            Aggregate::Sum => Some(Measure::Value(self.sum)),
            Aggregate::Min => Some(Measure::Value(self.least)),
            Aggregate::Max => Some(Measure::Value(self.most)),
            Aggregate::Each => None,
        }
    }
}

impl Watch {
    pub(super) fn judge_cluster(&mut self, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let measures = self.measures();
        let trigger = &self.plan.trigger;
        let at = self.row.clock;
        let verdicts: Vec<Verdict> = trigger
            .conditions
            .iter()
            .zip(measures)
            .map(|(condition, measure)| threshold::judge(condition, measure))
            .collect();
        if trigger.matching == Matching::All && verdicts.len() > 1 {
            let subject = Subject::Cluster { condition: None };
            self.step_joint(subject, threshold::all(verdicts), at, env, out);
        } else {
            for (position, verdict) in verdicts.into_iter().enumerate() {
                let subject = Subject::Cluster { condition: Some(short(position)) };
                self.step_joint(subject, verdict, at, env, out);
            }
        }
    }

    /// Each condition's value at the cluster's clock, in one walk over the series, in their order.
    pub(super) fn measures(&self) -> Vec<Option<Measure>> {
        let mut folds = vec![Fold::EMPTY; self.plan.trigger.conditions.len()];
        for member in self.members.values() {
            let Some(sample) = member.latest else { continue };
            for position in bits(member.conditions) {
                if hold::is_fresh(sample.at, self.row.clock, self.plan.intervals[position]) {
                    folds[position].add(sample.value);
                }
            }
        }
        folds.into_iter().map(|fold| fold.measure(self.plan.trigger.aggregate)).collect()
    }

    /// A condition's series with their newest sample, in series order.
    pub(super) fn last_of(&self, position: usize) -> impl Iterator<Item = (&Member, Sample)> {
        let reading = self.members.values().filter(move |member| member.conditions & (1 << position) != 0);
        reading.filter_map(|member| Some((member, member.latest?)))
    }

    /// A condition's series with a fresh sample, in series order.
    pub(super) fn fresh(&self, position: usize) -> impl Iterator<Item = (&Member, Sample)> {
        let (clock, interval) = (self.row.clock, self.plan.intervals[position]);
        self.last_of(position).filter(move |(_, sample)| hold::is_fresh(sample.at, clock, interval))
    }

    /// When `count` is judged without a sample, if none comes before.
    pub(super) fn count_due(&self) -> Option<Timestamp> {
        if self.plan.trigger.aggregate != Aggregate::Count || self.plan.mode != Mode::Cluster {
            return None;
        }
        // Every interval, but not within three of the trigger's beginning: nobody had a chance before.
        let pause = self.plan.intervals.iter().copied().min().unwrap_or(Duration::from_secs(1));
        let quiet = self.plan.interval_max() * hold::FRESH_INTERVALS;
        Some((self.row.clock + pause).max(self.row.from + quiet))
    }

    /// Moves a cluster's clock on while no sample does, so that `count` sees the silence.
    pub(super) fn count_silent_cluster(&mut self, env: &impl Surroundings) {
        let Some(due) = self.count_due() else { return };
        let wall = env.wall();
        let quiet = self.plan.interval_max() * hold::FRESH_INTERVALS;
        if !self.row.open && wall > due && wall >= env.resumed() + quiet {
            // Judged by this very tick: the second before is over.
            self.row.clock = Timestamp(super::second(wall).saturating_mul(1000) - 1);
            self.row.open = true;
            self.changed.row = true;
        }
    }
}
