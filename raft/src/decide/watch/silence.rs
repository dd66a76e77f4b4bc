//! Missing data that is a firing: `no_data: {fire_after}`.

use std::sync::Arc;

use super::{Happening, Mode, Phase, SeriesKey, Subject, Surroundings, Tracked, Watch, bits, short};
use crate::model::{Name, NoData, Timestamp};

impl Watch {
    /// The newest sample of a condition on a node; over the cluster where no node is given.
    pub(super) fn last_heard(&self, condition: usize, node: Option<&Name>) -> Option<Timestamp> {
        let reads = |conditions: u16| conditions & (1 << condition) != 0;
        let heard = |member: &super::Member| {
            if reads(member.conditions) { member.latest.map(|sample| sample.at) } else { None }
        };
        match node {
            None => self.members.values().filter_map(heard).max(),
            Some(node) => {
                let series = self.nodes.get(node)?.series.iter();
                series.filter_map(|id| self.members.get(id)).filter_map(heard).max()
            }
        }
    }

    /// Since when a condition is silent: its newest sample, or when it could have had one.
    fn silent_since(&self, condition: usize, node: Option<&Name>, resumed: Timestamp) -> Timestamp {
        let known = node.and_then(|node| self.nodes.get(node)).map(|place| place.since);
        let heard = self.last_heard(condition, node);
        [heard, known, Some(self.row.from), Some(resumed)].into_iter().flatten().max().unwrap_or_default()
    }

    pub(super) fn begin_silences(&mut self, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let NoData::FireAfter(after) = self.plan.trigger.no_data else {
            self.silence_due = Timestamp(i64::MAX);
            return;
        };
        let wall = env.wall();
        if wall < self.silence_due {
            return;
        }
        let mut next = Timestamp(i64::MAX);
        let mut silent = Vec::new();
        for subject in self.silences() {
            let Subject::Silence { condition, node } = &subject else { continue };
            if self.tracked.contains_key(&subject) {
                continue;
            }
            let since = self.silent_since(usize::from(*condition), node.as_ref(), env.resumed());
            if since + after <= wall { silent.push((subject, since)) } else { next = next.min(since + after) }
        }
        for (subject, since) in silent {
            let phase = Phase::Firing { held_since: since, since: wall };
            self.enter(subject, Tracked { phase, seen: None }, wall, env, out);
        }
        self.silence_due = next;
    }

    /// What could be silent, in subject order.
    pub(super) fn silences(&self) -> Vec<Subject> {
        if self.plan.trigger.no_data == NoData::Ignore {
            return Vec::new();
        }
        let positions = 0..self.plan.trigger.conditions.len();
        match self.plan.mode {
            Mode::Cluster => {
                positions.map(|p| Subject::Silence { condition: short(p), node: None }).collect()
            }
            _ => positions
                .flat_map(|p| {
                    let silence =
                        move |node: &Name| Subject::Silence { condition: short(p), node: Some(node.clone()) };
                    self.nodes.keys().map(silence)
                })
                .collect(),
        }
    }

    /// A sample ends the silence of what it is about, unless it is that old itself.
    pub(super) fn end_silence(
        &mut self,
        conditions: u16,
        node: &Name,
        at: Timestamp,
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let NoData::FireAfter(after) = self.plan.trigger.no_data else { return };
        if at + after <= env.wall() {
            return;
        }
        let node = (self.plan.mode != Mode::Cluster).then(|| node.clone());
        for position in bits(conditions) {
            let subject = Subject::Silence { condition: short(position), node: node.clone() };
            if self.tracked.contains_key(&subject) {
                self.silence_due = self.silence_due.min(at + after);
                self.enter(subject, Tracked { phase: Phase::Ok, seen: None }, at, env, out);
            }
        }
    }

    /// What to call the series that is missing.
    pub(super) fn silent_series(&self, condition: usize, node: Option<&Name>) -> SeriesKey {
        let condition = &self.plan.trigger.conditions[condition];
        SeriesKey {
            counter: Arc::clone(condition.counter.as_arc()),
            node: node.map_or_else(|| Arc::from(""), |node| Arc::clone(node.as_arc())),
            jvm: None,
            instance: condition.instance.as_deref().map(Arc::from),
        }
    }
}
