//! The state on this peer, shared between the one who applies and those who read and wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

use crate::command::{Outcome, Proposal};
use crate::state::{Notice, State};

/// How many batches of notices a slow subscriber may fall behind before it is told to look at everything.
const NOTICES_BEHIND_MAX: usize = 4096;

/// What a batch of entries changed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The index of the last entry of the batch.
    pub index: u64,
    /// What changed.
    pub notices: Arc<BTreeSet<Notice>>,
}

/// The replicated state as this peer has applied it.
pub struct Replica {
    state: RwLock<State>,
    applied: watch::Sender<u64>,
    committed: broadcast::Sender<Committed>,
    /// Those of them that may change what peers have to do.
    work: broadcast::Sender<Committed>,
    storage_behind: AtomicBool,
}

impl Replica {
    /// Starts with `state`, which has applied the log up to `index`.
    pub fn new(state: State, index: u64) -> Arc<Replica> {
        Arc::new(Replica {
            state: RwLock::new(state),
            applied: watch::Sender::new(index),
            committed: broadcast::Sender::new(NOTICES_BEHIND_MAX),
            work: broadcast::Sender::new(NOTICES_BEHIND_MAX),
            storage_behind: AtomicBool::new(false),
        })
    }

    /// Applies entries in order, with one lock and one notice for all. Called by the consensus module alone.
    pub fn apply(&self, entries: &[(u64, Proposal)]) -> Vec<Outcome> {
        let Some((last, _)) = entries.last() else { return Vec::new() };
        let (outcomes, notices) = {
            let mut state = self.state.write();
            let outcomes = entries.iter().map(|(index, proposal)| state.apply(*index, proposal)).collect();
            (outcomes, state.take_notices())
        };
        self.publish(*last, notices);
        outcomes
    }

    /// Marks entries of Raft's own (membership, blanks) as applied.
    pub fn advance(&self, index: u64) {
        self.publish(index, BTreeSet::new());
    }

    /// Replaces the state by a snapshot's, taken at `index`.
    pub fn install(&self, state: State, index: u64) {
        *self.state.write() = state;
        self.publish(index, BTreeSet::from([Notice::Everything]));
    }

    fn publish(&self, index: u64, notices: BTreeSet<Notice>) {
        self.applied.send_if_modified(|applied| {
            let newer = index > *applied;
            *applied = index.max(*applied);
            newer
        });
        if !notices.is_empty() {
            let is_of_work = notices.iter().any(Notice::is_of_work);
            let committed = Committed { index, notices: Arc::new(notices) };
            // Nobody listening is no error.
            if is_of_work {
                let _ = self.work.send(committed.clone());
            }
            let _ = self.committed.send(committed);
        }
    }

    /// Reads the state. `look` runs under a lock that holds up apply: it copies what it needs and returns.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    /// For the storage layer: draining changed rows, confirming blocks. Never changes what apply decides on.
    pub fn with_state_mut<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.write())
    }

    /// Whether so much is applied here that no checkpoint holds yet that bulk should wait, lest everything has to.
    pub fn is_storage_behind(&self) -> bool {
        self.storage_behind.load(Ordering::Relaxed)
    }

    pub(crate) fn set_storage_behind(&self, is: bool) {
        self.storage_behind.store(is, Ordering::Relaxed);
    }

    /// The index of the last applied entry.
    pub fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Waits until `index` is applied here; false where that takes longer than `patience`.
    pub async fn wait_applied(&self, index: u64, patience: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        tokio::time::timeout(patience, applied.wait_for(|now| *now >= index)).await.is_ok_and(|r| r.is_ok())
    }

    /// What is changed from now on. A subscriber that falls behind gets `Lagged` and must look at everything.
    pub fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.committed.subscribe()
    }

    /// As [`Replica::subscribe`], without batches that change nothing that peers have to do ([`Notice::is_of_work`]):
    /// those come by the thousand, and each would wake who listens.
    pub fn subscribe_to_work(&self) -> broadcast::Receiver<Committed> {
        self.work.subscribe()
    }

    /// Whether somebody reads or changes the state now, so that applying would wait.
    pub(crate) fn is_in_use(&self) -> bool {
        self.state.is_locked()
    }
}
