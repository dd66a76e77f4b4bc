//! One trigger, watching its cluster: samples and ticks in, firings out. A pure state machine, the same for apply
//! (`state/triggers.rs`) and for replays ([`super::replay`]).
//!
//! # What is judged
//! A *subject* has a [`Phase`] of its own (`model/trigger_state.rs` has the diagram, [`super::hold`] the steps):
//! - `aggregate: each` with `match: any`, or with a single condition: every condition on every series by itself.
//!   Judged the moment a sample is applied, at that sample's time.
//! - `aggregate: each` with `match: all`: all conditions at one place. Series pair by node, by equal JVM where both
//!   have one, by equal instance where both have one. A condition that names its `instance` counts for its whole
//!   node. Where a condition has no series at a place, nothing is judged there.
//! - `aggregate: avg|min|max|sum|count`: one value over the cluster's series of a condition, in series order; with
//!   `match: any` each condition by itself, with `all` together. Only fresh samples count; `count` counts them,
//!   so it may be zero, while the others have no data then. No node fires here: `per: node` is refused with it.
//!
//! What needs several series is judged once a *second of sample time*, when the second is over: a sample of a
//! later second closes it, or a tick. So it does not matter in which order, or in how many entries, the nodes
//! report within a second, and the cost is one walk over the subjects that samples came for (over the cluster:
//! over its series) a second and trigger, however many nodes report. A sample by itself costs one lookup.
//!
//! # Time
//! Samples' own. A sample that is not newer than the last of its series is not judged; nor is one from before
//! the trigger was created, enabled or changed. Three intervals after its last sample a series has no data: that
//! neither breaks what is pending nor counts as holding (the time beyond is taken out of `for`). A subject that
//! is not ok and has had no sample for a day ([`FORGET_AFTER`]) is forgotten, as if it had recovered: instances
//! come and go, and one that is gone must not keep a trigger from firing for ever.
//!
//! Over a cluster the clock is the newest sample's time, at most [`SKEW_MAX`] ahead of the replicated clock and
//! never going back. When a whole cluster had no samples for three intervals and reports again, nothing is
//! judged for one interval: the first to report does not speak for all. `count` is judged at ticks as well
//! while no sample comes, or the silence of all would never be noticed.
//!
//! # What fires
//! A [`Bell`]: one for the trigger, or with `per: node` one a node. It rings when a subject of it fires, it is not
//! rung already, and its cooldown, counted from the sample that rang it last to the one that would ring it again,
//! is over. It stays rung until *all* of its subjects have recovered. A subject that fires within the cooldown,
//! after the bell recovered, holds it back and rings it once the cooldown is over, if it still fires then.
//! Maintenance windows are judged by the replicated wall clock at the moment of ringing. They stop no tracking: a
//! bell is held back, said once, and rings when the window ends if a subject still fires. A window on a node
//! silences that node's subjects; its values count for the cluster all the same.
//!
//! # Missing data
//! With `no_data: {fire_after}`, judged at ticks: a condition without a sample for so long, on a node (over the
//! cluster where `aggregate` is), fires by itself; `for` has no part in it. Counted from the newest sample of any
//! of the condition's series there, but not from before the trigger was created or changed, the node was
//! last changed, or the control plane itself came back from standing still. The next sample ends it.

mod bells;
mod cluster;
mod places;
mod report;
mod silence;
mod subjects;

#[cfg(test)]
mod test;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::hold;
use super::threshold::{self, Measure};
use crate::model::{
    Aggregate, Bell, Evidence, Matching, Name, Phase, SeriesId, SeriesKey, Subject, SubjectReport, Timestamp,
    Tracked, Trigger, Watched,
};

/// How long a subject without samples is remembered.
pub const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How far a sample may run ahead of the replicated clock and still tell the time of its cluster.
pub const SKEW_MAX: Duration = Duration::from_secs(5);

/// One sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured; finite.
    pub value: f64,
}

/// What a watch asks of the world around it.
pub trait Surroundings {
    /// The replicated wall clock.
    fn wall(&self) -> Timestamp;
    /// Since when the control plane runs without a pause.
    fn resumed(&self) -> Timestamp;
    /// The maintenance window, if any, that silences `cluster`, or `node` where given.
    fn silenced(&self, cluster: &Name, node: Option<&Name>) -> Option<Name>;
    /// The recent samples of a series with `from <= at <= to`, oldest first, as far as they are at hand.
    fn window(&self, series: SeriesId, from: Timestamp, to: Timestamp) -> Vec<Sample>;
}

/// What a watch found.
#[derive(Clone, PartialEq, Debug)]
pub enum Happening {
    /// It fires.
    Fired {
        /// The bell.
        unit: Unit,
        /// The node whose subject fired; absent where the cluster did.
        node: Option<Name>,
        /// The sample's time; the tick's, where missing data is the cause.
        at: Timestamp,
        /// At most 16 samples; none where there never was one.
        evidence: Vec<Evidence>,
    },
    /// It would fire, but for a maintenance window.
    Silenced {
        /// The bell.
        unit: Unit,
        /// The node whose subject would fire.
        node: Option<Name>,
        /// The window.
        window: Name,
    },
    /// It fired, and all its subjects have recovered.
    Recovered {
        /// The bell.
        unit: Unit,
        /// The time of the sample at which the last one did.
        at: Timestamp,
    },
}

/// The key of a [`Bell`]: the node, with `per: node`.
pub type Unit = Option<Name>;

/// How subjects are made of series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Single,
    Places,
    Cluster,
}

/// A trigger with what it needs to know of its counters.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    trigger: Trigger,
    /// Of each condition's counter.
    intervals: Vec<Duration>,
    mode: Mode,
}

impl Plan {
    /// A plan for `trigger`; `interval` gives the interval of a counter.
    pub fn new(trigger: &Trigger, interval: impl Fn(&Name) -> Duration) -> Plan {
        let mode = match (trigger.aggregate, trigger.matching) {
            (Aggregate::Each, Matching::All) if trigger.conditions.len() > 1 => Mode::Places,
            (Aggregate::Each, _) => Mode::Single,
            _ => Mode::Cluster,
        };
        let intervals = trigger.conditions.iter().map(|c| interval(&c.counter)).collect();
        Plan { trigger: trigger.clone(), intervals, mode }
    }

    fn interval_max(&self) -> Duration {
        self.intervals.iter().copied().max().unwrap_or_default()
    }

    /// The conditions that read a series, as bits.
    fn conditions_on(&self, key: &SeriesKey) -> u16 {
        let reads = |(position, condition): (usize, &crate::model::Condition)| {
            let hit = condition.counter.as_str() == &*key.counter
                && condition.instance.as_ref().is_none_or(|i| key.instance.as_deref() == Some(i));
            if hit { 1 << position } else { 0 }
        };
        self.trigger.conditions.iter().enumerate().map(reads).fold(0, |mask, bit| mask | bit)
    }
}

/// A series that is watched.
struct Member {
    key: Arc<SeriesKey>,
    node: Name,
    /// The conditions that read it, as bits.
    conditions: u16,
    /// Its newest sample.
    latest: Option<Sample>,
}

/// A node of the cluster.
#[derive(Default)]
struct Place {
    /// When it was last changed.
    since: Timestamp,
    /// Its watched series, in series order.
    series: BTreeSet<SeriesId>,
}

/// Which nodes samples came for since the last second was judged.
enum Touched {
    All,
    Some(BTreeSet<Name>),
}

/// One trigger, watching. Made anew from its rows whenever the trigger, one of its counters or a node of its
/// cluster changes, and when a peer starts: so a restart sees exactly what a change of configuration would.
pub struct Watch {
    plan: Plan,
    row: Watched,
    members: BTreeMap<SeriesId, Member>,
    nodes: BTreeMap<Name, Place>,
    tracked: BTreeMap<Subject, Tracked>,
    /// Subjects that have fired and not recovered, by the bell they belong to.
    active: BTreeMap<Unit, BTreeSet<Subject>>,
    bells: BTreeMap<Unit, Bell>,
    touched: Touched,
    /// The newest sample of any member.
    newest: Timestamp,
    /// No silence begins before this moment. May be too early, never too late; so with `forget_due`.
    silence_due: Timestamp,
    /// No subject is forgotten before this moment.
    forget_due: Timestamp,
    changed: Changed,
}

#[derive(Default)]
struct Changed {
    row: bool,
    subjects: BTreeSet<Subject>,
    bells: BTreeSet<Unit>,
}

/// The rows of a watch that changed; absent ones are gone.
#[derive(Default)]
pub struct Changes {
    /// The trigger's own row.
    pub row: Option<Watched>,
    /// Subjects.
    pub subjects: Vec<(Subject, Option<Tracked>)>,
    /// Bells.
    pub bells: Vec<(Unit, Option<Bell>)>,
}

impl Watch {
    /// A watch over `nodes`, given with when each was last changed. Series, subjects and bells are added to it.
    pub fn new(plan: Plan, row: Watched, nodes: impl IntoIterator<Item = (Name, Timestamp)>) -> Watch {
        let nodes =
            nodes.into_iter().map(|(n, since)| (n, Place { since, series: BTreeSet::new() })).collect();
        Watch {
            plan,
            row,
            members: BTreeMap::new(),
            nodes,
            tracked: BTreeMap::new(),
            active: BTreeMap::new(),
            bells: BTreeMap::new(),
            touched: Touched::All,
            newest: Timestamp(i64::MIN),
            silence_due: Timestamp(i64::MIN),
            forget_due: Timestamp(i64::MIN),
            changed: Changed::default(),
        }
    }

    /// Adds a series with its newest sample. False where the trigger does not read it.
    pub fn add_series(&mut self, id: SeriesId, key: &Arc<SeriesKey>, latest: Option<Sample>) -> bool {
        let conditions = self.plan.conditions_on(key);
        let Some((node, place)) = self
            .nodes
            .get_key_value(&*key.node)
            .map(|(name, _)| name.clone())
            .and_then(|name| self.nodes.get_mut(&name).map(|place| (name, place)))
        else {
            return false;
        };
        if conditions == 0 {
            return false;
        }
        place.series.insert(id);
        if let Some(sample) = latest {
            self.newest = self.newest.max(sample.at);
        }
        self.members.insert(id, Member { key: Arc::clone(key), node, conditions, latest });
        true
    }

    /// The series it reads, ascending.
    pub fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.members.keys().copied()
    }

    /// Takes a stored subject; drops it where nothing of it is left. After all series are added.
    pub fn restore(&mut self, subject: Subject, tracked: Tracked) {
        if !self.belongs(&subject) {
            self.changed.subjects.insert(subject);
            return;
        }
        if tracked.phase.is_active() {
            self.active.entry(self.unit_of(&subject)).or_default().insert(subject.clone());
        }
        self.tracked.insert(subject, tracked);
    }

    /// Takes a stored bell; drops it where its node is gone. After all subjects are restored.
    pub fn restore_bell(&mut self, unit: Unit, bell: Bell) {
        let fits = match (&unit, self.rings_by_node()) {
            (None, false) => true,
            (Some(node), true) => self.nodes.contains_key(node),
            _ => false,
        };
        if fits {
            self.bells.insert(unit, bell);
        } else {
            self.changed.bells.insert(unit);
        }
    }

    fn belongs(&self, subject: &Subject) -> bool {
        let reads = |condition: u8| usize::from(condition) < self.plan.trigger.conditions.len();
        match (subject, self.plan.mode) {
            (Subject::Series { condition, series }, Mode::Single) => {
                self.members.get(series).is_some_and(|m| m.conditions & (1 << condition) != 0)
            }
            (Subject::Place { node, .. }, Mode::Places) => self.nodes.contains_key(node),
            (Subject::Cluster { condition }, Mode::Cluster) => condition.is_none_or(reads),
            (Subject::Silence { condition, node }, mode) => {
                reads(*condition)
                    && match node {
                        Some(node) => mode != Mode::Cluster && self.nodes.contains_key(node),
                        None => mode == Mode::Cluster,
                    }
            }
            _ => false,
        }
    }

    /// Takes a sample that was accepted into the series store.
    pub fn sample(
        &mut self,
        id: SeriesId,
        sample: Sample,
        env: &impl Surroundings,
        out: &mut Vec<Happening>,
    ) {
        let Some(member) = self.members.get(&id) else { return };
        let last = member.latest.map(|sample| sample.at);
        if last.is_some_and(|last| sample.at <= last) {
            return;
        }
        let counts = sample.at >= self.row.from;
        if counts && self.plan.mode != Mode::Single {
            self.open_second(sample.at, env, out);
        }
        self.newest = self.newest.max(sample.at);
        let Some(member) = self.members.get_mut(&id) else { return };
        member.latest = Some(sample);
        let (conditions, node) = (member.conditions, member.node.clone());
        if !counts {
            return;
        }
        self.end_silence(conditions, &node, sample.at, env, out);
        match self.plan.mode {
            Mode::Single => {
                for position in bits(conditions) {
                    let verdict = threshold::judge(
                        &self.plan.trigger.conditions[position],
                        Some(Measure::Value(sample.value)),
                    );
                    let gap = hold::gap(last, sample.at, self.plan.intervals[position]);
                    let subject = Subject::Series { condition: short(position), series: id };
                    self.step(subject, verdict, sample.at, gap, env, out);
                }
            }
            Mode::Places | Mode::Cluster => {
                if let Touched::Some(nodes) = &mut self.touched {
                    nodes.insert(node);
                }
            }
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let wall = env.wall();
        if self.plan.mode == Mode::Cluster {
            self.count_silent_cluster(env);
        }
        if self.row.open && wall >= self.second_ends() && wall >= self.row.not_before {
            self.close_second(env, out);
        }
        self.begin_silences(env, out);
        self.ring_held(env, out);
        self.forget_stale(env, out);
    }

    /// The earliest moment at which a tick may do something.
    pub fn next_tick(&self) -> Timestamp {
        let mut next = self.forget_due.min(self.silence_due);
        if self.row.open {
            next = next.min(self.second_ends().max(self.row.not_before));
        }
        if let Some(due) = self.count_due() {
            next = next.min(due);
        }
        if self.bells.values().any(|bell| bell.held.is_some()) {
            next = Timestamp(i64::MIN);
        }
        next
    }

    fn second_ends(&self) -> Timestamp {
        Timestamp(second(self.row.clock).saturating_add(1).saturating_mul(1000))
    }

    /// Moves the cluster's clock on to a sample's time; judges the second that is over thereby.
    fn open_second(&mut self, at: Timestamp, env: &impl Surroundings, out: &mut Vec<Happening>) {
        let clock = at.min(env.wall() + SKEW_MAX);
        let later = second(clock) > second(self.row.clock);
        if self.row.open && later && clock >= self.row.not_before {
            self.close_second(env, out);
        }
        let silent = Duration::from_millis(clock.0.saturating_sub(self.newest.0).max(0).cast_unsigned());
        if self.plan.mode == Mode::Cluster
            && silent > self.plan.interval_max() * hold::FRESH_INTERVALS
            && clock >= self.row.not_before
        {
            self.row.not_before = clock + self.plan.interval_max();
            self.changed.row = true;
        }
        if !self.row.open || clock > self.row.clock {
            self.row.open = true;
            self.row.clock = self.row.clock.max(clock);
            self.changed.row = true;
        }
    }

    /// Judges what samples came for.
    fn close_second(&mut self, env: &impl Surroundings, out: &mut Vec<Happening>) {
        self.row.open = false;
        self.changed.row = true;
        let touched = std::mem::replace(&mut self.touched, Touched::Some(BTreeSet::new()));
        match self.plan.mode {
            Mode::Single => {}
            Mode::Places => {
                let nodes = match touched {
                    Touched::All => self.nodes.keys().cloned().collect(),
                    Touched::Some(nodes) => nodes,
                };
                for node in nodes {
                    self.judge_places(&node, env, out);
                }
            }
            Mode::Cluster => self.judge_cluster(env, out),
        }
    }

    fn rings_by_node(&self) -> bool {
        self.plan.trigger.per == crate::model::Per::Node && self.plan.mode != Mode::Cluster
    }

    fn unit_of(&self, subject: &Subject) -> Unit {
        if self.rings_by_node() { self.node_of(subject).cloned() } else { None }
    }

    fn node_of<'a>(&'a self, subject: &'a Subject) -> Option<&'a Name> {
        match subject {
            Subject::Series { series, .. } => self.members.get(series).map(|member| &member.node),
            Subject::Place { node, .. } => Some(node),
            Subject::Silence { node, .. } => node.as_ref(),
            Subject::Cluster { .. } => None,
        }
    }

    /// The rows that changed since the last call.
    pub fn drain_changes(&mut self) -> Changes {
        let Changed { row, subjects, bells } = std::mem::take(&mut self.changed);
        Changes {
            row: row.then_some(self.row),
            subjects: subjects.into_iter().map(|s| (s.clone(), self.tracked.get(&s).copied())).collect(),
            bells: bells.into_iter().map(|unit| (unit.clone(), self.bells.get(&unit).cloned())).collect(),
        }
    }

    /// Whether [`Watch::drain_changes`] has something to give.
    pub fn has_changes(&self) -> bool {
        self.changed.row || !self.changed.subjects.is_empty() || !self.changed.bells.is_empty()
    }
}

fn second(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

/// Positions of the bits that are set.
fn bits(mask: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |position| mask & (1 << position) != 0)
}

fn short(position: usize) -> u8 {
    u8::try_from(position).unwrap_or(u8::MAX)
}

/// The most samples in evidence.
const EVIDENCE_MAX: usize = SubjectReport::SAMPLES_MAX;

fn evidence(key: &SeriesKey, sample: Sample) -> Evidence {
    Evidence { series: key.clone(), at: sample.at, value: Some(sample.value) }
}
