//! A log whose disk the simulation owns: what was not synced is lost in a crash, from some record on.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rscaler_raft::consensus::LogPosition;
use rscaler_raft::store::wal::{Completion, Record, Vote, WalState};
use rscaler_raft::store::{Fatal, Log};

use super::faults::{DiskFault, FaultPlan};

/// What the log holds.
#[derive(Clone, Default)]
pub(crate) struct Content {
    vote: Option<Vote>,
    entries: BTreeMap<u64, (LogPosition, Record)>,
    committed: Option<LogPosition>,
    purged: Option<LogPosition>,
}

/// A record of the log.
enum Change {
    Vote(Vote),
    Append(LogPosition, Record),
    Truncate(u64),
    Commit(LogPosition),
    Purge(LogPosition),
}

impl Content {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Vote(vote) => self.vote = Some(vote),
            Change::Append(position, record) => {
                self.entries.insert(position.index, (position, record));
            }
            Change::Truncate(index) => drop(self.entries.split_off(&index)),
            Change::Commit(position) => self.committed = Some(position),
            Change::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(upto);
            }
        }
    }

    fn state(&self) -> WalState {
        WalState {
            vote: self.vote,
            last: self.entries.last_key_value().map(|(_, (position, _))| *position).or(self.purged),
            committed: self.committed,
            purged: self.purged,
        }
    }

    /// The entry at an index, where it is still there.
    pub(crate) fn entry(&self, index: u64) -> Option<&(LogPosition, Record)> {
        self.entries.get(&index)
    }
}

/// What outlives the process.
pub(crate) struct LogDisk {
    inner: Mutex<Inner>,
}

struct Inner {
    durable: Content,
    current: Content,
    /// What was written since the last sync, with who waits for it.
    unsynced: VecDeque<(Change, Option<Completion>)>,
    is_syncing: bool,
    /// The process that writes; what an earlier one still writes is lost.
    process: u64,
    plan: FaultPlan,
    chance: StdRng,
}

impl LogDisk {
    pub(crate) fn new(seed: u64) -> Arc<LogDisk> {
        Arc::new(LogDisk {
            inner: Mutex::new(Inner {
                durable: Content::default(),
                current: Content::default(),
                unsynced: VecDeque::new(),
                is_syncing: false,
                process: 0,
                plan: FaultPlan::default(),
                chance: StdRng::seed_from_u64(seed),
            }),
        })
    }

    /// How it behaves from now on.
    pub(crate) fn set_plan(&self, plan: FaultPlan) {
        self.inner.lock().plan = plan;
    }

    /// The process is gone. Where the power fails, so is some of what was not synced: the last records, from any one
    /// on. A torn record counts as lost.
    pub(crate) fn crash(&self, is_power_loss: bool) {
        let mut inner = self.inner.lock();
        inner.process += 1;
        inner.is_syncing = false;
        inner.plan = FaultPlan::default();
        let written = std::mem::take(&mut inner.unsynced);
        let kept = if is_power_loss { inner.chance.random_range(0..=written.len()) } else { written.len() };
        for (change, _) in written.into_iter().take(kept) {
            inner.durable.apply(change);
        }
        inner.current = inner.durable.clone();
    }

    /// The log for a new process.
    pub(crate) fn open(self: &Arc<Self>, fatal: Fatal) -> Arc<SimLog> {
        let process = self.inner.lock().process;
        Arc::new(SimLog { disk: Arc::clone(self), process, fatal })
    }

    /// Looks at what can be read now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Content) -> T) -> T {
        look(&self.inner.lock().current)
    }

    /// A vote that is written and not synced.
    pub(crate) fn unsynced_vote(&self) -> Option<Vote> {
        let inner = self.inner.lock();
        inner.unsynced.iter().rev().find_map(|(change, _)| match change {
            Change::Vote(vote) => Some(*vote),
            _ => None,
        })
    }

    /// What the log holds now.
    pub(crate) fn state(&self) -> WalState {
        self.inner.lock().current.state()
    }
}

/// The log of one process.
pub(crate) struct SimLog {
    disk: Arc<LogDisk>,
    process: u64,
    fatal: Fatal,
}

fn failed(fault: DiskFault) -> io::Error {
    match fault {
        DiskFault::Eio => io::Error::other("input/output error (simulated)"),
        DiskFault::Full => io::Error::new(io::ErrorKind::StorageFull, "no space left on device (simulated)"),
        DiskFault::Panic => std::panic::panic_any("the log breaks down (simulated)"),
    }
}

impl SimLog {
    fn write(&self, changes: Vec<Change>, done: Option<Completion>) -> io::Result<()> {
        let refused = {
            let mut inner = self.disk.inner.lock();
            if inner.process != self.process {
                Some(io::Error::other("the process is gone"))
            } else if let Some(reason) = self.fatal.reason() {
                Some(io::Error::other(format!("the log has stopped: {reason}")))
            } else {
                inner.plan.next_write().map(failed)
            }
        };
        if let Some(error) = refused {
            self.fatal.report(format!("writing the log: {error}"));
            if let Some(done) = done {
                done(Err(io::Error::new(error.kind(), error.to_string())));
            }
            return Err(error);
        }
        let mut inner = self.disk.inner.lock();
        let count = changes.len();
        let mut done = done;
        for (nth, change) in changes.into_iter().enumerate() {
            inner.current.apply(change.copy());
            let done = if nth + 1 == count { done.take() } else { None };
            inner.unsynced.push_back((change, done));
        }
        drop(inner);
        if let Some(done) = done {
            done(Ok(()));
        }
        self.sync_later();
        Ok(())
    }

    /// Begins a sync, where none is under way and something waits for one.
    fn sync_later(&self) {
        let lag = {
            let mut inner = self.disk.inner.lock();
            if inner.is_syncing
                || inner.process != self.process
                || !inner.unsynced.iter().any(|(_, done)| done.is_some())
            {
                return;
            }
            inner.is_syncing = true;
            inner.sync_lag()
        };
        let this = SimLog { disk: Arc::clone(&self.disk), process: self.process, fatal: self.fatal.clone() };
        tokio::spawn(async move {
            // What comes from here on belongs to the next sync.
            let count = this.disk.inner.lock().unsynced.len();
            tokio::time::sleep(lag).await;
            this.synced(count);
            this.sync_later();
        });
    }

    fn synced(&self, count: usize) {
        let mut told = Vec::new();
        let fault = {
            let mut inner = self.disk.inner.lock();
            if inner.process != self.process {
                return;
            }
            inner.is_syncing = false;
            let fault = inner.plan.next_sync();
            for _ in 0..count {
                let Some((change, done)) = inner.unsynced.pop_front() else { break };
                if fault.is_none() {
                    inner.durable.apply(change);
                }
                told.extend(done);
            }
            fault
        };
        if let Some(fault) = fault {
            self.fatal.report(format!("syncing the log: {}", failed(fault)));
        }
        for done in told {
            done(fault.map_or(Ok(()), |fault| Err(failed(fault))));
        }
    }
}

impl Inner {
    fn sync_lag(&mut self) -> Duration {
        let slow = self.plan.slow_ms;
        Duration::from_millis(self.chance.random_range(0..=2 + slow))
    }
}

impl Change {
    fn copy(&self) -> Change {
        match self {
            Change::Vote(vote) => Change::Vote(*vote),
            Change::Append(position, record) => Change::Append(*position, record.clone()),
            Change::Truncate(index) => Change::Truncate(*index),
            Change::Commit(position) => Change::Commit(*position),
            Change::Purge(upto) => Change::Purge(*upto),
        }
    }
}

impl Log for SimLog {
    fn state(&self) -> WalState {
        self.disk.state()
    }

    fn append(&self, entries: Vec<(LogPosition, Record)>, done: Completion) -> io::Result<()> {
        let changes = entries.into_iter().map(|(position, record)| Change::Append(position, record));
        self.write(changes.collect(), Some(done))
    }

    fn save_vote(&self, vote: Vote, done: Completion) -> io::Result<()> {
        let current = self.state().vote;
        if current > Some(vote) {
            return Err(io::Error::other(format!("a vote can't be reversed: {current:?}, then {vote:?}")));
        }
        self.write(vec![Change::Vote(vote)], Some(done))
    }

    fn truncate_from(&self, index: u64) -> io::Result<()> {
        if index < self.state().next_index() {
            self.write(vec![Change::Truncate(index)], None)?;
        }
        Ok(())
    }

    fn purge(&self, upto: LogPosition) -> io::Result<()> {
        self.write(vec![Change::Purge(upto)], None)
    }

    fn save_committed(&self, committed: LogPosition) -> io::Result<()> {
        let state = self.state();
        if Some(committed) > state.committed && Some(committed) <= state.last {
            self.write(vec![Change::Commit(committed)], None)?;
        }
        Ok(())
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogPosition, Record)>> {
        let state = self.state();
        self.disk.look(|content| {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            let from = from.max(state.first_index());
            let mut next = from;
            for (position, record) in content.entries.range(from..to.max(from)).map(|(_, entry)| entry) {
                if entries.is_empty() && state.purged.is_none() {
                    next = position.index;
                }
                if position.index != next {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("entry {next} is missing"),
                    ));
                }
                bytes += record.bytes() + 64;
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push((*position, record.clone()));
                next += 1;
            }
            Ok(entries)
        })
    }

    fn is_cached(&self, _: u64) -> bool {
        true
    }
}
