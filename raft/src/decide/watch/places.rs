//! Several conditions on one node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Happening, Sample, Subject, Surroundings, Watch, bits, hold};
use crate::decide::threshold::{self, Measure, Verdict};
use crate::model::{Name, SeriesId};

/// A JVM and an instance, each where it matters.
type Spot = (Option<Arc<str>>, Option<Arc<str>>);
/// Places looked at on one node: JVMs times instances.
const PLACES_MAX: usize = 4096;

impl Watch {
    /// Judges a node's places; each at the time of the newest of its own samples.
    pub(super) fn judge_places(&mut self, node: &Name, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let spots = self.spots(node);
        for (jvm, instance) in places(&spots) {
            let found: Option<Vec<_>> =
                spots.iter().map(|spots| pick(spots, jvm.as_ref(), instance.as_ref())).collect();
            let Some(found) = found else { continue };
            self.judge_place(node, (jvm, instance), &found, env, out);
        }
    }

    fn judge_place(
        &mut self,
        node: &Name,
        (jvm, instance): Spot,
        found: &[(SeriesId, Sample)],
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let Some(at) = found.iter().map(|(_, sample)| sample.at).max() else { return };
        if at < self.row.from || !hold::is_fresh(at, self.row.clock, self.plan.interval_max()) {
            return;
        }
        let verdicts = found.iter().enumerate().map(|(position, (_, sample))| {
            let fresh = hold::is_fresh(sample.at, at, self.plan.intervals[position]);
            if !fresh || sample.at < self.row.from {
                return Verdict::NoData;
            }
            let condition = &self.plan.trigger.conditions[position];
            threshold::judge(condition, Some(Measure::Value(sample.value)))
        });
        let verdict = threshold::all(verdicts);
        let subject = Subject::Place { node: node.clone(), jvm, instance };
        self.step_joint(subject, verdict, at, env, out);
    }

    /// For each condition, its series on a node that have samples, by where they are.
    fn spots(&self, node: &Name) -> Vec<BTreeMap<Spot, (SeriesId, Sample)>> {
        let conditions = &self.plan.trigger.conditions;
        let mut spots = vec![BTreeMap::new(); conditions.len()];
        let Some(place) = self.nodes.get(node) else { return spots };
        for id in &place.series {
            let Some(member) = self.members.get(id) else { continue };
            let Some(sample) = member.latest else { continue };
            for position in bits(member.conditions) {
                // A condition that names its instance counts for the whole node.
                let instance = match conditions[position].instance {
                    Some(_) => None,
                    None => member.key.instance.clone(),
                };
                spots[position].insert((member.key.jvm.clone(), instance), (*id, sample));
            }
        }
        spots
    }

    /// Each condition's series at a place, with its newest sample.
    pub(super) fn conditions_at(
        &self,
        node: &Name,
        jvm: Option<&Arc<str>>,
        instance: Option<&Arc<str>>,
    ) -> Vec<Option<(SeriesId, Sample)>> {
        self.spots(node).iter().map(|spots| pick(spots, jvm, instance)).collect()
    }

    /// Every place of a node at which all conditions have a series, for people.
    pub(super) fn places_of(&self, node: &Name) -> Vec<Subject> {
        let spots = self.spots(node);
        places(&spots)
            .into_iter()
            .filter(|(jvm, i)| spots.iter().all(|spots| pick(spots, jvm.as_ref(), i.as_ref()).is_some()))
            .map(|(jvm, instance)| Subject::Place { node: node.clone(), jvm, instance })
            .collect()
    }
}

/// The places of a node: each of its JVMs with each of its instances, as far as the conditions tell them apart.
fn places(spots: &[BTreeMap<Spot, (SeriesId, Sample)>]) -> Vec<Spot> {
    let (mut jvms, mut instances) = (BTreeSet::new(), BTreeSet::new());
    for (jvm, instance) in spots.iter().flat_map(|spots| spots.keys()) {
        jvms.extend(jvm.clone());
        instances.extend(instance.clone());
    }
    let or_none = |some: BTreeSet<Arc<str>>| -> Vec<Option<Arc<str>>> {
        if some.is_empty() { vec![None] } else { some.into_iter().map(Some).collect() }
    };
    let (jvms, instances) = (or_none(jvms), or_none(instances));
    let all = jvms.iter().flat_map(|jvm| instances.iter().map(|instance| (jvm.clone(), instance.clone())));
    all.take(PLACES_MAX).collect()
}

/// The series that stands for a place: the one right there, else one that is about more than it.
fn pick(
    spots: &BTreeMap<Spot, (SeriesId, Sample)>,
    jvm: Option<&Arc<str>>,
    instance: Option<&Arc<str>>,
) -> Option<(SeriesId, Sample)> {
    let (jvm, instance) = (jvm.cloned(), instance.cloned());
    let spot = |jvm: &Option<Arc<str>>, instance: &Option<Arc<str>>| {
        spots.get(&(jvm.clone(), instance.clone())).copied()
    };
    spot(&jvm, &instance)
        .or_else(|| spot(&jvm, &None))
        .or_else(|| spot(&None, &instance))
        .or_else(|| spot(&None, &None))
}
