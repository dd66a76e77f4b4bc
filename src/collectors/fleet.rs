//! What is read when: all nodes of this peer, on one agenda.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rscaler_raft::handle::Handle;
use rscaler_raft::model::{FailureKind, Kind, Name, Timestamp};
use rscaler_raft::replica::Committed;
use rscaler_raft::state::Notice;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Options;
use super::jmx::Rates;
use super::outbox::{Backlog, Parcel, Row};
use super::outcome::{Measured, Outcome};
use super::plan::{Job, NodePlan, Planner};
use super::schedule::{Agenda, Cadence, Due};
use super::ssh::{Reader, read_bounded};
use super::status::{CheckLog, Urgency};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::scheduler::tick::wall_clock;

/// The longest sleep, so that a wall clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// A wall clock that moved so far against our own was set.
const CLOCK_SET: Duration = Duration::from_secs(2);
/// A reading that could begin only so late is left out: the next one is near.
const LATE_MAX: Duration = Duration::from_secs(2);
/// How often what merely goes on is looked through for reports.
const REVIEW_EVERY: Duration = Duration::from_secs(2);
/// How often two reviews of one node are apart at least.
const NODE_REVIEW_EVERY: Duration = Duration::from_secs(10);

/// The nodes of this peer and what goes on with them.
pub(super) struct Fleet {
    handle: Handle,
    lease: Lease,
    reader: Arc<Reader>,
    options: Options,
    metrics: Arc<Metrics>,
    parcels: mpsc::Sender<Parcel>,
    backlog: Backlog,
    planner: Planner,
    nodes: BTreeMap<Name, Node>,
    agenda: Agenda<Slot>,
    readings: JoinSet<Reading>,
    next_id: u64,
    began: Instant,
    reviewed: Instant,
    anchor: (Instant, Timestamp),
}

/// A node whose counters are read here.
struct Node {
    epoch: u64,
    counters: BTreeMap<Name, Watched>,
    turns: Arc<Semaphore>,
    /// Ends its readings.
    left: CancellationToken,
    reviewed: Option<Instant>,
}

/// A counter that is read on a node.
struct Watched {
    /// Tells it from an earlier one of the same name on the agenda.
    id: u64,
    job: Arc<Job>,
    cadence: Cadence,
    /// The reading that was begun last.
    last: Option<Due>,
    is_going_on: bool,
    log: CheckLog,
    rates: Arc<Rates>,
}

/// A place on the agenda.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Slot {
    node: Name,
    counter: Name,
    id: u64,
}

/// A reading that has ended.
struct Reading {
    slot: Slot,
    tick: Timestamp,
    /// Absent where it was broken off.
    outcome: Option<Outcome>,
    duration: Duration,
}

/// What is to be planned anew.
#[derive(Default)]
struct Dirty {
    all: bool,
    nodes: BTreeSet<Name>,
    /// Nodes whose recorded host keys changed.
    host_keys: BTreeSet<Name>,
}

impl Fleet {
    pub(super) fn new(
        handle: Handle,
        lease: Lease,
        reader: Arc<Reader>,
        options: Options,
        metrics: Arc<Metrics>,
        parcels: mpsc::Sender<Parcel>,
        backlog: Backlog,
    ) -> Fleet {
        let now = Instant::now();
        Fleet {
            handle,
            lease,
            reader,
            options,
            metrics,
            parcels,
            backlog,
            planner: Planner::default(),
            nodes: BTreeMap::new(),
            agenda: Agenda::new(),
            readings: JoinSet::new(),
            next_id: 0,
            began: now,
            reviewed: now,
            anchor: (now, wall_clock()),
        }
    }

    /// Reads until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut notices = self.handle.subscribe_to_work();
        let mut session = None;
        loop {
            // At each turn, whatever woke us: a stream of notices must not keep readings waiting.
            self.watch_clock();
            if session.is_some_and(|session| self.lease.holds(session)) {
                self.begin_due();
            }
            self.review();
            let now = wall_clock();
            let until_next =
                self.agenda.next_at().map_or(SLEEP_MAX, |at| Timestamp(at).since(now)).min(SLEEP_MAX);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = self.lease.changed_from(session) => {
                    // Readings of the session before end here, whatever it is now.
                    session = changed;
                    self.leave_all();
                    self.replan(session, Dirty { all: true, ..Dirty::default() });
                }
                notice = notices.recv() => {
                    let dirty = gather(notice, &mut notices);
                    match dirty {
                        Some(dirty) => self.replan(session, dirty),
                        None => break,
                    }
                }
                Some(ended) = self.readings.join_next(), if !self.readings.is_empty() => match ended {
                    Ok(reading) => self.ended(reading),
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => error!(%error, "a reading broke down"),
                },
                () = sleep(until_next) => {}
            }
        }
        self.leave_all();
    }

    /// Brings what is read here in line with the state.
    fn replan(&mut self, session: Option<u64>, dirty: Dirty) {
        for name in &dirty.host_keys {
            self.forget_refusal(name);
        }
        if session.is_none() || (!dirty.all && dirty.nodes.is_empty()) {
            return;
        }
        let local = self.handle.local();
        let planner = &mut self.planner;
        if dirty.all {
            let mut plans = self.handle.read(|state| planner.all(state, local));
            let gone: Vec<Name> =
                self.nodes.keys().filter(|name| !plans.contains_key(*name)).cloned().collect();
            for name in gone {
                self.leave(&name);
            }
            while let Some((name, plan)) = plans.pop_first() {
                self.adopt(&name, plan);
            }
        } else {
            for name in dirty.nodes {
                match self.handle.read(|state| self.planner.one(state, local, &name)) {
                    Some(plan) => self.adopt(&name, plan),
                    None => self.leave(&name),
                }
            }
        }
        self.metrics.nodes_collected.set(self.nodes.len() as u64);
    }

    /// Begins to collect a node, or goes on as the plan now says. Counters that have not changed keep their place.
    fn adopt(&mut self, name: &Name, plan: NodePlan) {
        if self.nodes.get(name).is_some_and(|node| node.epoch != plan.epoch) {
            self.leave(name);
        }
        let turns = self.options.readings_per_node;
        let node = self.nodes.entry(name.clone()).or_insert_with(|| {
            debug!(node = %name, epoch = plan.epoch, "node is collected here");
            Node {
                epoch: plan.epoch,
                counters: BTreeMap::new(),
                turns: Arc::new(Semaphore::new(turns)),
                left: CancellationToken::new(),
                reviewed: None,
            }
        });
        node.counters
            .retain(|counter, watched| plan.jobs.get(counter).is_some_and(|job| job.is_same(&watched.job)));
        let now = wall_clock().as_millis();
        for (counter, job) in plan.jobs {
            if node.counters.contains_key(&counter) {
                continue;
            }
            self.next_id += 1;
            let cadence = Cadence::new(job.interval, name.as_str(), job.rhythm());
            let slot = Slot { node: name.clone(), counter: counter.clone(), id: self.next_id };
            self.agenda.add(cadence.next_due(now).at_ms, slot);
            let watched = Watched {
                id: self.next_id,
                job,
                cadence,
                last: None,
                is_going_on: false,
                log: CheckLog::default(),
                rates: Arc::default(),
            };
            node.counters.insert(counter, watched);
        }
    }

    /// Stops collecting a node. Its connection stays: commands may use it, and it ends when nobody does.
    fn leave(&mut self, name: &Name) {
        if let Some(node) = self.nodes.remove(name) {
            debug!(node = %name, "node is not collected here any more");
            node.left.cancel();
            self.send(Parcel::Forget(name.clone()));
        }
    }

    fn leave_all(&mut self) {
        for node in std::mem::take(&mut self.nodes).into_values() {
            node.left.cancel();
        }
        self.agenda.clear();
        self.metrics.nodes_collected.set(0);
    }

    /// The recorded keys of a node changed: where it was refused for its key, it is tried at once and not after the
    /// pause that follows a failed dial. A connection that stands is left alone.
    fn forget_refusal(&self, name: &Name) {
        let is_refused = self.nodes.get(name).is_some_and(|node| {
            node.counters.values().any(|watched| watched.log.failing() == Some(FailureKind::HostKey))
        });
        if is_refused {
            self.reader.pool.close(name.as_str());
        }
    }

    /// Notices when the wall clock was set, and plans all readings anew by the clock as it is now.
    fn watch_clock(&mut self) {
        let (instant, wall) = (Instant::now(), wall_clock());
        let expected = self.anchor.1 + instant.saturating_duration_since(self.anchor.0);
        let moved = wall.since(expected).max(expected.since(wall));
        self.anchor = (instant, wall);
        if moved < CLOCK_SET {
            return;
        }
        warn!(?moved, "the wall clock was set: all readings are planned anew");
        self.agenda.clear();
        for (name, node) in &mut self.nodes {
            for (counter, watched) in &mut node.counters {
                watched.last = None;
                let at = watched.cadence.next_due(wall.as_millis()).at_ms;
                self.agenda.add(at, Slot { node: name.clone(), counter: counter.clone(), id: watched.id });
            }
        }
    }

    fn begin_due(&mut self) {
        let now = wall_clock().as_millis();
        while let Some(slot) = self.agenda.pop_due(now) {
            let Some(node) = self.nodes.get_mut(&slot.node) else { continue };
            let Some(watched) = node.counters.get_mut(&slot.counter).filter(|w| w.id == slot.id) else {
                continue;
            };
            self.agenda.add(watched.cadence.next_due(now).at_ms, slot.clone());
            // Readings that were missed are not made up for: only the last of them may still be in time.
            let due = watched.cadence.last_due(now);
            if let Some(last) = watched.last {
                let missed = watched.cadence.between(last, due).saturating_sub(1);
                self.metrics.checks_overrun.add(missed);
            }
            watched.last = Some(due);
            let late = Timestamp(now).since(Timestamp(due.at_ms));
            if watched.is_going_on || late > LATE_MAX.max(watched.job.interval / 2) {
                self.metrics.checks_overrun.add_one();
                continue;
            }
            if self.backlog.is_high() {
                self.metrics.checks_shed.add_one();
                continue;
            }
            self.metrics.lag_ms.add(u64::try_from(late.as_millis()).unwrap_or(0));
            watched.is_going_on = true;
            let (reader, job) = (Arc::clone(&self.reader), Arc::clone(&watched.job));
            let (turns, left) = (Arc::clone(&node.turns), node.left.clone());
            let (metrics, rates) = (Arc::clone(&self.metrics), Arc::clone(&watched.rates));
            self.readings.spawn(async move {
                let _level = metrics.checks_in_flight.enter();
                let tick = Timestamp(due.tick_ms);
                let (outcome, duration) = tokio::select! {
                    biased;
                    () = left.cancelled() => (None, Duration::ZERO),
                    read = read_bounded(&reader, &slot.node, &job, tick, &turns, &rates) => read,
                };
                Reading { slot, tick, outcome, duration }
            });
        }
    }

    fn ended(&mut self, reading: Reading) {
        let Reading { slot, tick, outcome, duration } = reading;
        let Some(node) = self.nodes.get_mut(&slot.node) else { return };
        let Some(watched) = node.counters.get_mut(&slot.counter).filter(|w| w.id == slot.id) else { return };
        watched.is_going_on = false;
        let Some(outcome) = outcome else { return };
        self.metrics.checks.add_one();
        self.metrics.check_ms.add(u64::try_from(duration.as_millis()).unwrap_or(0));
        let now = self.began.elapsed();
        watched.log.observe(tick, &outcome);
        let report = match watched.log.urgency(now) {
            Urgency::Now => watched.log.take(&slot.counter, now),
            _ => None,
        };
        let epoch = node.epoch;
        match outcome.result {
            Ok(readings) => {
                let row = |measured: Measured| Row {
                    counter: slot.counter.clone(),
                    jvm: measured.jvm,
                    instance: measured.instance,
                    at: tick.as_millis(),
                    value: measured.value,
                };
                let rows: Vec<Row> = readings.into_iter().map(row).collect();
                self.send(Parcel::Samples { node: slot.node.clone(), epoch, rows });
            }
            Err(failure) => {
                self.metrics.checks_failed.add_one();
                debug!(node = %slot.node, counter = %slot.counter, ?failure, "reading failed");
            }
        }
        if let Some(report) = report {
            self.send(Parcel::Checks { node: slot.node, epoch, reports: vec![report] });
        }
    }

    /// Tells what merely goes on, node by node.
    fn review(&mut self) {
        let instant = Instant::now();
        if instant.saturating_duration_since(self.reviewed) < REVIEW_EVERY {
            return;
        }
        self.reviewed = instant;
        let now = self.began.elapsed();
        let mut parcels = Vec::new();
        for (name, node) in &mut self.nodes {
            let recently = node.reviewed.is_some_and(|at| instant.duration_since(at) < NODE_REVIEW_EVERY);
            if recently || node.counters.values().all(|watched| watched.log.urgency(now) == Urgency::None) {
                continue;
            }
            node.reviewed = Some(instant);
            let due =
                node.counters.iter_mut().filter(|(_, watched)| watched.log.urgency(now) > Urgency::None);
            let reports = due.filter_map(|(counter, watched)| watched.log.take(counter, now)).collect();
            parcels.push(Parcel::Checks { node: name.clone(), epoch: node.epoch, reports });
        }
        for parcel in parcels {
            self.send(parcel);
        }
    }

    fn send(&self, parcel: Parcel) {
        match self.parcels.try_send(parcel) {
            Ok(()) => {}
            Err(TrySendError::Full(Parcel::Samples { rows, .. })) => {
                self.metrics.samples_dropped.add(rows.len() as u64);
            }
            Err(TrySendError::Full(_)) => info!("a report on readings was dropped: too many wait"),
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

/// What a notice and those that wait behind it mean for the plan. None where there will be no more.
fn gather(first: Result<Committed, RecvError>, notices: &mut Receiver<Committed>) -> Option<Dirty> {
    let mut dirty = Dirty::default();
    match first {
        Ok(committed) => dirty.add(&committed),
        Err(RecvError::Lagged(_)) => dirty.all = true,
        Err(RecvError::Closed) => return None,
    }
    loop {
        match notices.try_recv() {
            Ok(committed) => dirty.add(&committed),
            Err(TryRecvError::Lagged(_)) => dirty.all = true,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(dirty),
        }
    }
}

impl Dirty {
    fn add(&mut self, committed: &Committed) {
        for notice in &*committed.notices {
            match notice {
                Notice::Everything | Notice::Object(Kind::Counter, _) => self.all = true,
                Notice::Assignment(node) | Notice::Object(Kind::Node, node) => {
                    self.nodes.insert(node.clone());
                }
                Notice::HostKeys(node) => {
                    self.host_keys.insert(node.clone());
                }
                _ => {}
            }
        }
    }
}
