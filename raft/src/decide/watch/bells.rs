//! What fires: see the module's "What fires".

use super::{EVIDENCE_MAX, Happening, Subject, Surroundings, Unit, Watch, evidence};
use crate::model::{Aggregate, Evidence, Held, Name, Operator, Phase, RunId, Timestamp};

impl Watch {
    /// Rings a bell for `subject`, which fires, unless it is rung or something holds it back.
    pub(super) fn ring(
        &mut self,
        unit: &Unit,
        subject: &Subject,
        at: Timestamp,
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let bell = self.bells.get(unit);
        if bell.is_some_and(|bell| bell.rung) {
            return;
        }
        let node = self.node_of(subject).cloned();
        let held = match env.silenced(&self.plan.trigger.cluster, node.as_ref()) {
            Some(window) => Some(Held::Maintenance(window)),
            None => {
                let fired = bell.and_then(|bell| bell.fired);
                let cooling = fired.is_some_and(|fired| at < fired + self.plan.trigger.cooldown);
                cooling.then_some(Held::Cooldown)
            }
        };
        match held {
            None => self.fire(unit, node, std::slice::from_ref(subject), at, env, out),
            // The first reason stands until a tick looks at all subjects.
            Some(held) if bell.is_none_or(|bell| bell.held.is_none()) => {
                self.hold_back(unit, node, held, out)
            }
            Some(_) => {}
        }
    }

    fn hold_back(&mut self, unit: &Unit, node: Option<Name>, held: Held, out: &mut Vec<Happening>) {
        if let Held::Maintenance(window) = &held {
            out.push(Happening::Silenced { unit: unit.clone(), node, window: window.clone() });
        }
        self.bells.entry(unit.clone()).or_default().held = Some(held);
        self.changed.bells.insert(unit.clone());
    }

    fn fire(
        &mut self,
        unit: &Unit,
        node: Option<Name>,
        subjects: &[Subject],
        at: Timestamp,
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let bell = self.bells.entry(unit.clone()).or_default();
        bell.rung = true;
        bell.held = None;
        bell.fired = Some(at);
        bell.run = None;
        bell.refused = None;
        self.changed.bells.insert(unit.clone());
        let evidence = self.evidence_of(subjects, env);
        out.push(Happening::Fired { unit: unit.clone(), node, at, evidence });
    }

    /// Marks a bell recovered where none of its subjects is active any more.
    pub(super) fn recover(&mut self, unit: &Unit, at: Timestamp, out: &mut Vec<Happening>) {
        if self.active.contains_key(unit) {
            return;
        }
        let Some(bell) = self.bells.get_mut(unit) else { return };
        if bell.rung {
            out.push(Happening::Recovered { unit: unit.clone(), at });
        }
        if bell.rung || bell.held.is_some() {
            bell.rung = false;
            bell.held = None;
            self.changed.bells.insert(unit.clone());
        }
        if bell.fired.is_none() {
            self.bells.remove(unit);
        }
    }

    /// Brings bells in line with the subjects that are left, after a change of configuration.
    pub fn settle(&mut self, at: Timestamp, out: &mut Vec<Happening>) {
        for unit in self.bells.keys().cloned().collect::<Vec<_>>() {
            self.recover(&unit, at, out);
        }
    }

    /// Rings bells that were held back and are not any more; also for when maintenance windows change.
    pub fn ring_held(&mut self, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let held: Vec<Unit> =
            self.bells.iter().filter(|(_, bell)| bell.held.is_some()).map(|(unit, _)| unit.clone()).collect();
        for unit in held {
            self.look_again(&unit, env, out);
        }
    }

    fn look_again(&mut self, unit: &Unit, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let Some(active) = self.active.get(unit) else { return };
        let Some(bell) = self.bells.get(unit) else { return };
        let ready = bell.fired.map(|fired| fired + self.plan.trigger.cooldown);
        let (mut ring, mut at) = (Vec::new(), Timestamp(i64::MIN));
        let mut reason = None;
        for subject in active {
            let firing = self.tracked.get(subject).is_some_and(|t| matches!(t.phase, Phase::Firing { .. }));
            if !firing {
                continue;
            }
            let node = self.node_of(subject);
            if let Some(window) = env.silenced(&self.plan.trigger.cluster, node) {
                reason.get_or_insert((node.cloned(), Held::Maintenance(window)));
                continue;
            }
            let measured = match subject {
                Subject::Silence { .. } => Some(env.wall()),
                // A cooldown is over when a sample says so: the tick does not know whether it still holds.
                _ if bell.held == Some(Held::Cooldown) => None,
                _ => self.measured_at(subject),
            };
            if let Some(measured) = measured
                && ready.is_none_or(|ready| measured >= ready)
            {
                at = at.max(measured);
                ring.push(subject.clone());
            } else {
                reason = Some((None, Held::Cooldown));
            }
        }
        if let Some(first) = ring.first() {
            let node = self.node_of(first).cloned();
            self.fire(unit, node, &ring, at, env, out);
        } else if let Some((node, held)) = reason {
            let kind = |held: &Held| matches!(held, Held::Maintenance(_));
            let before = bell.held.as_ref().map(kind);
            if before != Some(kind(&held)) {
                self.hold_back(unit, node, held, out);
            }
        }
    }

    /// Notes the run that followed a firing, or why none did.
    pub fn record_run(&mut self, unit: &Unit, run: Result<RunId, String>) {
        let Some(bell) = self.bells.get_mut(unit) else { return };
        match run {
            Ok(run) => bell.run = Some(run),
            Err(why) => bell.refused = Some(why),
        }
        self.changed.bells.insert(unit.clone());
    }

    /// The samples that speak for a firing: of the first subject all that made it, of others the last.
    fn evidence_of(&self, subjects: &[Subject], env: &impl Surroundings) -> Vec<Evidence> {
        let mut found = Vec::new();
        for (position, subject) in subjects.iter().enumerate() {
            if found.len() >= EVIDENCE_MAX {
                break;
            }
            match subject {
                Subject::Series { series, .. } if position == 0 => {
                    found.extend(self.history(subject, *series, env));
                }
                _ => found.extend(self.samples_of(subject)),
            }
        }
        found.truncate(EVIDENCE_MAX);
        found
    }

    /// The samples of a series since it holds: the first, and the newest ones.
    fn history(
        &self,
        subject: &Subject,
        series: crate::model::SeriesId,
        env: &impl Surroundings,
    ) -> Vec<Evidence> {
        let Some(member) = self.members.get(&series) else { return Vec::new() };
        let Some(latest) = member.latest else { return Vec::new() };
        let since = match self.tracked.get(subject).map(|tracked| tracked.phase) {
            Some(Phase::Firing { held_since, .. } | Phase::Recovering { held_since, .. }) => held_since,
            _ => latest.at,
        };
        let mut samples = env.window(series, since, latest.at);
        if samples.last() != Some(&latest) {
            samples.push(latest);
        }
        if samples.len() > EVIDENCE_MAX {
            samples.drain(1..=samples.len() - EVIDENCE_MAX);
        }
        samples.into_iter().map(|sample| evidence(&member.key, sample)).collect()
    }

    /// The newest samples that a subject is made of.
    pub(super) fn samples_of(&self, subject: &Subject) -> Vec<Evidence> {
        match subject {
            Subject::Series { series, .. } => {
                let member = self.members.get(series);
                let sample = member.and_then(|member| Some(evidence(&member.key, member.latest?)));
                sample.into_iter().collect()
            }
            Subject::Place { node, jvm, instance } => {
                let found = self.conditions_at(node, jvm.as_ref(), instance.as_ref());
                let members = found.into_iter().flatten();
                members.filter_map(|(id, s)| Some(evidence(&self.members.get(&id)?.key, s))).collect()
            }
            Subject::Cluster { condition } => {
                let positions: Vec<usize> = match condition {
                    Some(position) => vec![usize::from(*position)],
                    None => (0..self.plan.trigger.conditions.len()).collect(),
                };
                let share = (EVIDENCE_MAX / positions.len().max(1)).max(1);
                positions.into_iter().flat_map(|position| self.telling(position, share)).collect()
            }
            Subject::Silence { condition, node } => {
                let condition = usize::from(*condition);
                let at = self.last_heard(condition, node.as_ref()).unwrap_or(self.row.from);
                vec![Evidence { series: self.silent_series(condition, node.as_ref()), at, value: None }]
            }
        }
    }

    /// The fresh samples of a condition that say most for it, at most `count`.
    fn telling(&self, position: usize, count: usize) -> Vec<Evidence> {
        let condition = &self.plan.trigger.conditions[position];
        let mut samples: Vec<_> = self.fresh(position).collect();
        if samples.is_empty() {
            // It went silent after it began to fire, or that is what `count` is about.
            samples = self.last_of(position).collect();
        }
        let rises = matches!(condition.op, Operator::Less | Operator::LessOrEqual);
        if self.plan.trigger.aggregate != Aggregate::Count {
            samples.sort_by(|(_, a), (_, b)| {
                let order = a.value.total_cmp(&b.value);
                if rises { order } else { order.reverse() }
            });
        }
        samples.into_iter().take(count).map(|(member, sample)| evidence(&member.key, sample)).collect()
    }
}
