//! Triggers: watched where samples and ticks are applied, and what follows from a firing in the same entry.
//!
//! The rules are in [`crate::decide::watch`]; here its state is kept in rows, and its happenings become events and
//! runs. Watches live in memory and are made from rows, objects and series: at start, and at the end of every
//! entry that changes what they are made of. So a peer that restarts goes on exactly where the others are. A
//! sample dirties no row unless its subject moves, or, with several series together, its second begins.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Notice, State};
use crate::decide::watch::{Happening, Plan, Sample, Surroundings, Unit, Watch};
use crate::model::{
    Actor, Cause, CounterSource, EventKind, Evidence, Kind, MaintenanceWindow, Name, Object, RunId, Scope,
    SeriesId, Spec, Subject, Timestamp, Trigger, TriggerReport, Watched, WindowScope,
};

/// A wall clock that goes on by more than this between two ticks tells that the control plane stood still.
const PAUSE: Duration = Duration::from_secs(5);
/// The interval of a counter that is not known. Never used: a trigger's counters exist.
const INTERVAL_UNKNOWN: Duration = Duration::from_secs(10);

/// The watches, derived from rows and objects.
#[derive(Default)]
pub(super) struct Watching {
    watches: BTreeMap<Name, Watch>,
    /// Who reads a series, as far as somebody asked.
    readers: BTreeMap<SeriesId, Arc<[Name]>>,
    /// Watches to be made anew at the end of the entry.
    stale: BTreeSet<Name>,
    windows_changed: bool,
}

/// The state as a watch sees it.
struct Around<'a> {
    state: &'a State,
    /// The maintenance windows that are open, once somebody asked.
    open: OnceCell<Vec<(&'a Name, &'a MaintenanceWindow)>>,
}

impl<'a> Around<'a> {
    fn new(state: &'a State) -> Around<'a> {
        Around { state, open: OnceCell::new() }
    }

    fn open_windows(&self) -> &[(&'a Name, &'a MaintenanceWindow)] {
        let now = self.wall();
        let is_open = |window: &MaintenanceWindow| window.from <= now && now < window.to;
        self.open
            .get_or_init(|| self.state.maintenance_windows().filter(|(_, window)| is_open(window)).collect())
    }
}

impl Surroundings for Around<'_> {
    fn wall(&self) -> Timestamp {
        self.state.globals.clock.wall
    }

    fn resumed(&self) -> Timestamp {
        self.state.globals.resumed
    }

    fn silenced(&self, cluster: &Name, node: Option<&Name>) -> Option<Name> {
        let silences = |window: &MaintenanceWindow| match &window.scope {
            WindowScope::Cluster(name) => name == cluster,
            WindowScope::Node(name) => Some(name) == node,
        };
        let found = self.open_windows().iter().find(|(_, window)| silences(window));
        found.map(|(name, _)| (*name).clone())
    }

    fn window(&self, series: SeriesId, from: Timestamp, to: Timestamp) -> Vec<Sample> {
        let samples = self.state.series.window(series, from.0, to.0.saturating_add(1));
        samples.into_iter().map(|(at, value)| Sample { at: Timestamp(at), value }).collect()
    }
}

impl State {
    /// Judges samples that were taken just now, in the order they came.
    pub(super) fn observe(&mut self, accepted: &[(SeriesId, i64, f64)]) {
        if self.watching.watches.is_empty() {
            return;
        }
        let mut watching = std::mem::take(&mut self.watching);
        let mut found = Vec::new();
        let mut changed = BTreeSet::new();
        let mut out = Vec::new();
        let around = Around::new(self);
        for (id, at, value) in accepted {
            let readers = self.readers_of(&mut watching, *id);
            // As the store has it: without negative zero.
            let sample = Sample { at: Timestamp(*at), value: value + 0.0 };
            for name in readers.iter() {
                let Some(watch) = watching.watches.get_mut(name) else { continue };
                watch.sample(*id, sample, &around, &mut out);
                if watch.has_changes() {
                    changed.insert(name.clone());
                }
                found.extend(out.drain(..).map(|happening| (name.clone(), happening)));
            }
        }
        self.watching = watching;
        let acted = !found.is_empty();
        self.carry_out(found);
        self.store_changes(changed);
        if acted {
            self.dispatch();
        }
    }

    /// The triggers that read a series. One that nobody has asked for is new, and is made known to them.
    fn readers_of(&self, watching: &mut Watching, id: SeriesId) -> Arc<[Name]> {
        if let Some(readers) = watching.readers.get(&id) {
            return Arc::clone(readers);
        }
        let mut readers = Vec::new();
        if let Some(key) = self.series.key(id)
            && let Some(names) = self.indexes.triggers.get(&*key.counter)
        {
            for name in names {
                if let Some(watch) = watching.watches.get_mut(name)
                    && watch.add_series(id, key, None)
                {
                    readers.push(name.clone());
                }
            }
        }
        let readers: Arc<[Name]> = readers.into();
        watching.readers.insert(id, Arc::clone(&readers));
        readers
    }

    /// Lets time pass; `before` is the wall clock of the tick before.
    pub(super) fn tick_triggers(&mut self, before: Timestamp) {
        let wall = self.globals.clock.wall;
        if wall.since(before) > PAUSE {
            self.globals.resumed = wall;
            self.globals_changed.set();
        }
        self.settle_triggers();
        self.with_watches(|watch, around, out| {
            if watch.next_tick() <= around.wall() {
                watch.tick(around, out);
            }
        });
    }

    fn with_watches(&mut self, work: impl Fn(&mut Watch, &Around<'_>, &mut Vec<Happening>)) {
        let mut watching = std::mem::take(&mut self.watching);
        let mut found = Vec::new();
        let mut changed = BTreeSet::new();
        let mut out = Vec::new();
        let around = Around::new(self);
        for (name, watch) in &mut watching.watches {
            work(watch, &around, &mut out);
            if watch.has_changes() {
                changed.insert(name.clone());
            }
            found.extend(out.drain(..).map(|happening| (name.clone(), happening)));
        }
        self.watching = watching;
        self.carry_out(found);
        self.store_changes(changed);
    }

    /// Notes what a changed object means for triggers; [`State::settle_triggers`] follows in the same entry.
    pub(super) fn object_changed(
        &mut self,
        key: &(Kind, Name),
        before: Option<&Arc<Object>>,
        after: Option<&Arc<Object>>,
    ) {
        let (before, after) = (before.map(|object| &object.spec), after.map(|object| &object.spec));
        match key.0 {
            Kind::Trigger => {
                let watched = |spec: Option<&Spec>| match spec {
                    Some(Spec::Trigger(trigger)) if trigger.enabled => Some((**trigger).clone()),
                    _ => None,
                };
                self.trigger_changed(&key.1, watched(before), watched(after));
            }
            Kind::Counter => self.counter_changed(&key.1, before, after),
            Kind::Node => {
                let clusters: Vec<Name> = [before, after]
                    .into_iter()
                    .filter_map(|spec| match spec {
                        Some(Spec::Node(node)) => Some(node.cluster.clone()),
                        _ => None,
                    })
                    .collect();
                let stale: Vec<Name> = self
                    .watched
                    .iter()
                    .map(|(name, _)| name)
                    .filter(|name| self.trigger(name).is_some_and(|t| clusters.contains(&t.cluster)))
                    .cloned()
                    .collect();
                self.watching.stale.extend(stale);
            }
            Kind::MaintenanceWindow => self.watching.windows_changed = true,
            _ => {}
        }
    }

    /// A trigger that watches something else than before begins anew; the cooldown of its last firing goes on.
    fn trigger_changed(&mut self, name: &Name, before: Option<Trigger>, after: Option<Trigger>) {
        self.watching.stale.insert(name.clone());
        if let (Some(before), Some(after)) = (&before, &after)
            && watches_the_same(before, after)
        {
            return;
        }
        self.forget_tracked(name, |_| true);
        for unit in self.units_of(name) {
            let key = (name.clone(), unit);
            let fired = self.bells.get(&key).is_some_and(|bell| bell.fired.is_some());
            if before.is_some() && after.is_some() && fired {
                if let Some(bell) = self.bells.get_mut(&key) {
                    bell.rung = false;
                    bell.held = None;
                }
            } else {
                self.bells.remove(&key);
            }
        }
        if after.is_some() {
            let from = self.globals.clock.wall;
            self.watched.insert(name.clone(), Watched { from, ..Watched::default() });
        } else {
            self.watched.remove(name);
        }
        self.notify(Notice::Trigger(name.clone()));
    }

    /// A counter that measures something else says nothing about what was measured before.
    fn counter_changed(&mut self, name: &Name, before: Option<&Spec>, after: Option<&Spec>) {
        let anew = source(before) != source(after);
        let readers: Vec<Name> = self.triggers_on(name).cloned().collect();
        for trigger in readers {
            if anew && let Some(Trigger { conditions, .. }) = self.trigger(&trigger) {
                let reads: Vec<bool> = conditions.iter().map(|c| c.counter == *name).collect();
                let reads = |condition: &u8| reads.get(usize::from(*condition)).copied().unwrap_or(true);
                self.forget_tracked(&trigger, |subject| match subject {
                    Subject::Series { condition, .. } | Subject::Silence { condition, .. } => {
                        reads(condition)
                    }
                    Subject::Cluster { condition } => condition.as_ref().is_none_or(&reads),
                    Subject::Place { .. } => true,
                });
            }
            self.watching.stale.insert(trigger);
        }
    }

    fn forget_tracked(&mut self, trigger: &Name, gone: impl Fn(&Subject) -> bool) {
        let gone: Vec<Subject> = self
            .tracked_of(trigger)
            .map(|(subject, _)| subject)
            .filter(|subject| gone(subject))
            .cloned()
            .collect();
        for subject in gone {
            self.tracked.remove(&(trigger.clone(), subject));
        }
    }

    fn tracked_of(
        &self,
        trigger: &Name,
    ) -> impl Iterator<Item = (&Subject, &Arc<crate::model::Tracked>)> + use<'_> {
        let first = (trigger.clone(), Subject::Series { condition: 0, series: SeriesId(0) });
        let trigger = trigger.clone();
        self.tracked
            .range(first..)
            .take_while(move |((name, _), _)| *name == trigger)
            .map(|((_, subject), tracked)| (subject, tracked))
    }

    fn units_of(&self, trigger: &Name) -> Vec<Unit> {
        self.bells
            .range((trigger.clone(), None)..)
            .take_while(|((name, _), _)| name == trigger)
            .map(|((_, unit), _)| unit.clone())
            .collect()
    }

    /// Notes that series are gone which nobody deleted.
    pub(super) fn series_forgotten(&mut self) {
        self.watching.stale.extend(self.watched.iter().map(|(name, _)| name.clone()));
    }

    /// Makes the watches anew that what was changed concerns.
    pub(super) fn settle_triggers(&mut self) {
        let stale = std::mem::take(&mut self.watching.stale);
        let windows_changed = std::mem::take(&mut self.watching.windows_changed);
        if !stale.is_empty() {
            let mut found = Vec::new();
            for name in &stale {
                self.watching.watches.remove(name);
                let Some(mut watch) = self.make_watch(name) else { continue };
                let mut out = Vec::new();
                watch.settle(self.globals.clock.wall, &mut out);
                found.extend(out.into_iter().map(|happening| (name.clone(), happening)));
                self.watching.watches.insert(name.clone(), watch);
            }
            self.index_readers();
            self.carry_out(found);
            self.store_changes(stale);
        }
        if windows_changed {
            self.with_watches(|watch, around, out| watch.ring_held(around, out));
        }
    }

    /// Makes all watches from what was loaded.
    pub(super) fn rebuild_watches(&mut self) {
        self.watching = Watching::default();
        let names: Vec<Name> = self.watched.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some(watch) = self.make_watch(&name) {
                self.watching.watches.insert(name, watch);
            }
        }
        self.index_readers();
    }

    fn make_watch(&self, name: &Name) -> Option<Watch> {
        let trigger = self.trigger(name)?;
        let row = **self.watched.get(name)?;
        let interval = |c: &Name| self.counter(c).map_or(INTERVAL_UNKNOWN, |counter| counter.interval);
        let nodes = self.nodes_of(&trigger.cluster).map(|node| {
            let updated = self.object(Kind::Node, node).map_or(row.from, |object| object.meta.updated);
            (node.clone(), updated)
        });
        let mut watch = Watch::new(Plan::new(trigger, interval), row, nodes);
        let counters: BTreeSet<&Name> = trigger.conditions.iter().map(|c| &c.counter).collect();
        for counter in counters {
            for id in self.series.of_counter(counter.as_str()) {
                let Some(key) = self.series.key(id) else { continue };
                let latest = self.series.latest(id);
                let latest = latest.map(|(at, value)| Sample { at: Timestamp(at), value });
                watch.add_series(id, key, latest);
            }
        }
        for (subject, tracked) in self.tracked_of(name) {
            watch.restore(subject.clone(), **tracked);
        }
        for unit in self.units_of(name) {
            if let Some(bell) = self.bells.get(&(name.clone(), unit.clone())) {
                watch.restore_bell(unit, (**bell).clone());
            }
        }
        Some(watch)
    }

    fn index_readers(&mut self) {
        let mut readers: BTreeMap<SeriesId, Vec<Name>> = BTreeMap::new();
        for (name, watch) in &self.watching.watches {
            for id in watch.series() {
                readers.entry(id).or_default().push(name.clone());
            }
        }
        self.watching.readers = readers.into_iter().map(|(id, names)| (id, names.into())).collect();
    }

    /// Brings rows in line with watches.
    fn store_changes(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            let Some(watch) = self.watching.watches.get_mut(&name) else { continue };
            let changes = watch.drain_changes();
            if !changes.subjects.is_empty() || !changes.bells.is_empty() {
                self.notify(Notice::Trigger(name.clone()));
            }
            if let Some(row) = changes.row {
                self.watched.insert(name.clone(), row);
            }
            for (subject, tracked) in changes.subjects {
                let key = (name.clone(), subject);
                match tracked {
                    Some(tracked) => drop(self.tracked.insert(key, tracked)),
                    None => drop(self.tracked.remove(&key)),
                }
            }
            for (unit, bell) in changes.bells {
                let key = (name.clone(), unit);
                match bell {
                    Some(bell) => drop(self.bells.insert(key, bell)),
                    None => drop(self.bells.remove(&key)),
                }
            }
        }
    }

    /// Makes events and runs of what watches found. The caller stores the watches' changes, and dispatches.
    fn carry_out(&mut self, found: Vec<(Name, Happening)>) {
        for (name, happening) in found {
            match happening {
                Happening::Fired { unit, node, at: _, evidence } => self.fire(&name, &unit, node, evidence),
                Happening::Silenced { unit: _, node, window } => {
                    let on = node.map_or_else(String::new, |node| format!(" on node `{node}`"));
                    let message = format!("trigger `{name}` would fire{on}, but for maintenance `{window}`");
                    self.record(Actor::System, EventKind::TriggerSilenced(name), message);
                }
                Happening::Recovered { unit, at: _ } => {
                    let on = unit.map_or_else(String::new, |node| format!(" on node `{node}`"));
                    let message = format!("trigger `{name}` recovered{on}");
                    self.record(Actor::System, EventKind::TriggerRecovered(name), message);
                }
            }
        }
    }

    fn fire(&mut self, name: &Name, unit: &Unit, node: Option<Name>, evidence: Vec<Evidence>) {
        let Some(trigger) = self.trigger(name) else { return };
        let scope = Scope { cluster: Some(trigger.cluster.clone()), node: node.clone() };
        let steps = trigger.steps.clone();
        let cause = Cause::Trigger { trigger: name.clone(), evidence: evidence.clone() };
        let run = self
            .plan_steps(&steps)
            .and_then(|steps| self.create_run(cause, scope, steps, None))
            .map_err(|rejection| rejection.message);
        let message = firing_message(name, node.as_ref(), &evidence, run.as_ref());
        let fired =
            EventKind::TriggerFired { trigger: name.clone(), run: run.as_ref().ok().copied(), evidence };
        self.record(Actor::System, fired, message);
        self.notify(Notice::Trigger(name.clone()));
        if let Some(watch) = self.watching.watches.get_mut(name) {
            watch.record_run(unit, run);
        }
    }

    /// How a trigger stands. Walks all that it watches.
    pub fn trigger_state(&self, name: &Name) -> Option<TriggerReport> {
        let trigger = self.trigger(name)?;
        Some(match self.watching.watches.get(name) {
            Some(watch) => watch.report(self.globals.clock.wall),
            None => TriggerReport::unwatched(trigger.enabled),
        })
    }
}

fn source(counter: Option<&Spec>) -> Option<&CounterSource> {
    match counter {
        Some(Spec::Counter(counter)) => Some(&counter.source),
        _ => None,
    }
}

/// Whether what was tracked of one still means something to the other.
fn watches_the_same(one: &Trigger, other: &Trigger) -> bool {
    one.cluster == other.cluster
        && one.conditions == other.conditions
        && one.matching == other.matching
        && one.hold == other.hold
        && one.aggregate == other.aggregate
        && one.per == other.per
        && one.no_data == other.no_data
}

fn firing_message(
    name: &Name,
    node: Option<&Name>,
    evidence: &[Evidence],
    run: Result<&RunId, &String>,
) -> String {
    let on = node.map_or_else(String::new, |node| format!(" on node `{node}`"));
    // The newest sample of a single series stands last, that of several first.
    let several = evidence.iter().any(|one| one.series != evidence[0].series);
    let telling = if several { evidence.first() } else { evidence.last() };
    let why = telling.map_or_else(String::new, |one| {
        let place = match (&one.series.instance, node) {
            (Some(instance), _) => format!(" `{instance}`"),
            (None, None) if !one.series.node.is_empty() => format!(" of `{}`", one.series.node),
            _ => String::new(),
        };
        match one.value {
            Some(value) => format!(": {}{place} is {value}", one.series.counter),
            None => format!(": {}{place} has no data", one.series.counter),
        }
    });
    match run {
        Ok(run) => format!("trigger `{name}` fired{on}{why}; run {run}"),
        Err(refused) => format!("trigger `{name}` fired{on}{why}; no run was started: {refused}"),
    }
}
