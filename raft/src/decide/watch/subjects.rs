//! A subject moves on, and its bell with it.

use std::time::Duration;

use super::{FORGET_AFTER, Happening, Surroundings, Watch};
use crate::decide::hold;
use crate::decide::threshold::Verdict;
use crate::model::{Phase, Subject, Timestamp, Tracked};

impl Watch {
    /// Judges a subject of several series, of which the newest sample is from `at`.
    pub(super) fn step_joint(
        &mut self,
        subject: Subject,
        verdict: Verdict,
        at: Timestamp,
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let seen = self.tracked.get(&subject).and_then(|tracked| tracked.seen);
        let gap = hold::gap(seen, at, self.plan.interval_max());
        self.step(subject, verdict, at, gap, env, out);
    }

    /// Moves a subject on, and its bell with it.
    pub(super) fn step(
        &mut self,
        subject: Subject,
        verdict: Verdict,
        at: Timestamp,
        gap: Duration,
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let before = self.tracked.get(&subject).copied();
        let was = before.map_or(Phase::Ok, |tracked| tracked.phase);
        if verdict == Verdict::NoData || (was == Phase::Ok && verdict != Verdict::Holds) {
            return;
        }
        let phase = hold::advance(was, verdict, at, gap, self.plan.trigger.hold);
        let several = !matches!(subject, Subject::Series { .. });
        let seen = match (phase, verdict) {
            (Phase::Pending { .. }, Verdict::Holds) if several => Some(at),
            (Phase::Pending { .. }, _) => before.and_then(|tracked| tracked.seen),
            _ => None,
        };
        self.enter(subject, Tracked { phase, seen }, at, env, out);
    }

    /// Puts a subject into a state, and moves its bell.
    pub(super) fn enter(
        &mut self,
        subject: Subject,
        now: Tracked,
        at: Timestamp,
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let before = self.tracked.get(&subject).copied();
        let unit = self.unit_of(&subject);
        if before != Some(now) && (before.is_some() || now.phase != Phase::Ok) {
            self.changed.subjects.insert(subject.clone());
        }
        if now.phase == Phase::Ok {
            self.tracked.remove(&subject);
        } else {
            self.tracked.insert(subject.clone(), now);
            self.forget_due = self.forget_due.min(at + FORGET_AFTER);
        }
        if now.phase.is_active() {
            self.active.entry(unit.clone()).or_default().insert(subject.clone());
            if matches!(now.phase, Phase::Firing { .. }) {
                self.ring(&unit, &subject, at, env, out);
            }
        } else if before.is_some_and(|before| before.phase.is_active()) {
            if let Some(active) = self.active.get_mut(&unit) {
                active.remove(&subject);
                if active.is_empty() {
                    self.active.remove(&unit);
                }
            }
            self.recover(&unit, at, out);
        }
    }

    /// Forgets subjects whose samples stopped long ago.
    pub(super) fn forget_stale(&mut self, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let wall = env.wall();
        if wall < self.forget_due {
            return;
        }
        let mut next = Timestamp(i64::MAX);
        let mut stale = Vec::new();
        for subject in self.tracked.keys() {
            // Missing data is what these are about.
            if matches!(subject, Subject::Silence { .. }) {
                continue;
            }
            let measured = self.measured_at(subject).unwrap_or(Timestamp(i64::MIN));
            // A control plane that stood still heard nobody.
            let due = measured.max(env.resumed()) + FORGET_AFTER;
            if due <= wall { stale.push(subject.clone()) } else { next = next.min(due) }
        }
        for subject in stale {
            self.enter(subject, Tracked { phase: Phase::Ok, seen: None }, wall, env, out);
        }
        self.forget_due = next;
    }

    /// When the newest sample of a subject was measured.
    pub(super) fn measured_at(&self, subject: &Subject) -> Option<Timestamp> {
        match subject {
            Subject::Series { series, .. } => self.members.get(series)?.latest.map(|sample| sample.at),
            Subject::Place { node, jvm, instance } => {
                let found = self.conditions_at(node, jvm.as_ref(), instance.as_ref());
                found.into_iter().flatten().map(|(_, sample)| sample.at).max()
            }
            Subject::Cluster { .. } => Some(self.row.clock),
            Subject::Silence { condition, node } => self.last_heard(usize::from(*condition), node.as_ref()),
        }
    }
}
