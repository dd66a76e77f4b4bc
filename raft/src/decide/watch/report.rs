//! How a trigger stands, for people.

use std::time::Duration;

use super::{Mode, Subject, Watch, bits, short};
use crate::model::{BellReport, Matching, Phase, SubjectReport, Timestamp, Tracked, TriggerReport};

impl Watch {
    /// How it stands at `wall`. Walks all that is watched: not for apply.
    pub fn report(&self, wall: Timestamp) -> TriggerReport {
        let mut subjects = self.subjects();
        let total = subjects.len();
        // What is not ok comes first: it is what people look for.
        subjects.sort_by_key(|subject| std::cmp::Reverse(rank(self.phase(subject))));
        subjects.truncate(TriggerReport::SUBJECTS_MAX);
        let phase = subjects.first().map_or(Phase::Ok, |subject| self.phase(subject));
        let bells = self.bells.iter().map(|(node, bell)| {
            let until = bell.fired.map(|fired| fired + self.plan.trigger.cooldown);
            let cooldown_until = until.filter(|until| *until > wall);
            BellReport { node: node.clone(), bell: bell.clone(), cooldown_until }
        });
        TriggerReport {
            enabled: true,
            phase,
            from: Some(self.row.from),
            bells: bells.collect(),
            more: total - subjects.len(),
            subjects: subjects.into_iter().map(|subject| self.subject_report(subject)).collect(),
        }
    }

    fn phase(&self, subject: &Subject) -> Phase {
        self.tracked.get(subject).map_or(Phase::Ok, |tracked| tracked.phase)
    }

    /// Everything that is judged.
    fn subjects(&self) -> Vec<Subject> {
        let mut subjects: Vec<Subject> = match self.plan.mode {
            Mode::Single => self
                .members
                .iter()
                .flat_map(|(id, member)| {
                    bits(member.conditions)
                        .map(|position| Subject::Series { condition: short(position), series: *id })
                })
                .collect(),
            Mode::Places => self.nodes.keys().flat_map(|node| self.places_of(node)).collect(),
            Mode::Cluster => {
                let count = self.plan.trigger.conditions.len();
                if self.plan.trigger.matching == Matching::All && count > 1 {
                    vec![Subject::Cluster { condition: None }]
                } else {
                    (0..count).map(|p| Subject::Cluster { condition: Some(short(p)) }).collect()
                }
            }
        };
        // Silence is worth a line only while there is some.
        let silent = self.tracked.keys().filter(|subject| matches!(subject, Subject::Silence { .. }));
        subjects.extend(silent.cloned());
        subjects
    }

    fn subject_report(&self, subject: Subject) -> SubjectReport {
        let phase = self.phase(&subject);
        let at = self.measured_at(&subject).filter(|at| *at > Timestamp(0));
        let value = match &subject {
            Subject::Series { series, .. } => {
                self.members.get(series).and_then(|member| member.latest).map(|sample| sample.value)
            }
            Subject::Cluster { condition: Some(position) } => {
                self.measures()[usize::from(*position)].map(super::Measure::shown)
            }
            _ => None,
        };
        let mut samples = self.samples_of(&subject);
        samples.truncate(SubjectReport::SAMPLES_MAX);
        let series = match &subject {
            Subject::Series { series, .. } => self.members.get(series).map(|member| (*member.key).clone()),
            _ => None,
        };
        SubjectReport {
            series,
            node: self.node_of(&subject).cloned(),
            held: self.held(&subject, at),
            subject,
            phase,
            value,
            at,
            samples,
        }
    }

    fn held(&self, subject: &Subject, at: Option<Timestamp>) -> Duration {
        let Some(Tracked { phase, .. }) = self.tracked.get(subject) else { return Duration::ZERO };
        match (phase, at) {
            (Phase::Pending { since }, Some(at)) => at.since(*since).min(self.plan.trigger.hold),
            (Phase::Firing { .. } | Phase::Recovering { .. }, _) => self.plan.trigger.hold,
            _ => Duration::ZERO,
        }
    }
}

fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Firing { .. } => 3,
        Phase::Recovering { .. } => 2,
        Phase::Pending { .. } => 1,
        Phase::Ok => 0,
    }
}
