//! Triggers: watched where samples and ticks are applied, and what follows from a firing in the same entry.
//!
//! The rules are in [`crate::decide::watch`]; here its state is kept in rows, and its happenings become events and
//! runs. Watches live in memory and are made from rows, objects and series: at start, and at the end of every
//! entry that changes what they are made of. So a peer that restarts goes on exactly where the others are. A
//! sample dirties no row unless its subject moves, or, with several series together, its second begins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::table::RowKey;
use super::{Notice, State};
use crate::decide::watch::{Happening, Plan, Sample, Surroundings, Unit, Watch};
use crate::model::{
    Actor, Cause, Counter, EventKind, Evidence, Kind, MaintenanceWindow, Name, Object, RunId, Scope,
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
struct Around<'a>(&'a State);

impl Surroundings for Around<'_> {
    fn wall(&self) -> Timestamp {
        self.0.globals.clock.wall
    }

    fn resumed(&self) -> Timestamp {
        self.0.globals.resumed
    }

    fn silenced(&self, cluster: &Name, node: Option<&Name>) -> Option<Name> {
        let now = self.wall();
        let silences = |window: &MaintenanceWindow| {
            let covers = match &window.scope {
                WindowScope::Cluster(name) => name == cluster,
                WindowScope::Node(name) => Some(name) == node,
            };
            covers && window.from <= now && now < window.to
        };
        self.0.maintenance_windows().find(|(_, window)| silences(window)).map(|(name, _)| name.clone())
    }

    fn window(&self, series: SeriesId, from: Timestamp, to: Timestamp) -> Vec<Sample> {
        let samples = self.0.series.window(series, from.0, to.0.saturating_add(1));
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
        for (id, at, value) in accepted {
            let readers = self.readers_of(&mut watching, *id);
            // As the store has it: without negative zero.
            let sample = Sample { at: Timestamp(*at), value: value + 0.0 };
            for name in readers.iter() {
                let Some(watch) = watching.watches.get_mut(name) else { continue };
                watch.sample(*id, sample, &Around(self), &mut out);
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
            self.globals_changed = true;
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
        for (name, watch) in &mut watching.watches {
            work(watch, &Around(self), &mut out);
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
        fn counter(spec: Option<&Spec>) -> Option<&Counter> {
            match spec {
                Some(Spec::Counter(counter)) => Some(counter),
                _ => None,
            }
        }
        let (before, after) = (counter(before), counter(after));
        let anew = before.map(|counter| &counter.source) != after.map(|counter| &counter.source);
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

/// Text that may hold zeros, ended so that order is kept.
fn write_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn read_text<'a>(bytes: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = bytes;
    loop {
        let zero = rest.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(&rest[..zero]);
        let after = *rest.get(zero + 1)?;
        rest = &rest[zero + 2..];
        match after {
            0 => return Some(rest),
            0xff => text.push(0),
            _ => return None,
        }
    }
}

fn write_maybe(text: Option<&str>, out: &mut Vec<u8>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        write_text(text, out);
    }
}

fn read_maybe(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
    match bytes.split_first()? {
        (0, rest) => Some((None, rest)),
        (1, rest) => {
            let mut text = Vec::new();
            let rest = read_text(rest, &mut text)?;
            Some((Some(String::from_utf8(text).ok()?), rest))
        }
        _ => None,
    }
}

impl RowKey for (Name, Subject) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        out.push(0);
        match &self.1 {
            Subject::Series { condition, series } => {
                out.extend_from_slice(&[0, *condition]);
                out.extend_from_slice(&series.0.to_be_bytes());
            }
            Subject::Place { node, jvm, instance } => {
                out.push(1);
                write_text(node.as_str(), out);
                write_maybe(jvm.as_deref(), out);
                write_maybe(instance.as_deref(), out);
            }
            Subject::Cluster { condition } => {
                out.push(2);
                out.extend(condition.map(|condition| condition.saturating_add(1)).or(Some(0)));
            }
            Subject::Silence { condition, node } => {
                out.extend_from_slice(&[3, *condition]);
                write_maybe(node.as_ref().map(Name::as_str), out);
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        let trigger = Name::read(&bytes[..zero])?;
        let (tag, rest) = bytes[zero + 1..].split_first()?;
        let subject = match tag {
            0 => {
                let (condition, series) = rest.split_first()?;
                let series = SeriesId(u32::from_be_bytes(series.try_into().ok()?));
                Subject::Series { condition: *condition, series }
            }
            1 => {
                let mut node = Vec::new();
                let rest = read_text(rest, &mut node)?;
                let (jvm, rest) = read_maybe(rest)?;
                let (instance, rest) = read_maybe(rest)?;
                let node = Name::read(&node)?;
                rest.is_empty().then_some(())?;
                Subject::Place { node, jvm: jvm.map(Arc::from), instance: instance.map(Arc::from) }
            }
            2 => match rest {
                [condition] => Subject::Cluster { condition: condition.checked_sub(1) },
                _ => return None,
            },
            3 => {
                let (condition, rest) = rest.split_first()?;
                let (node, rest) = read_maybe(rest)?;
                rest.is_empty().then_some(())?;
                let node = node.map(|node| Name::new(&node)).transpose().ok()?;
                Subject::Silence { condition: *condition, node }
            }
            _ => return None,
        };
        Some((trigger, subject))
    }
}

impl RowKey for (Name, Option<Name>) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        out.push(0);
        if let Some(node) = &self.1 {
            node.write(out);
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        let (name, node) = (&bytes[..zero], &bytes[zero + 1..]);
        let node = if node.is_empty() { None } else { Some(Name::read(node)?) };
        Some((Name::read(name)?, node))
    }
}
