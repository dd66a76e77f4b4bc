//! The last changes, kept so that a watcher who comes back misses none.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rscaler_raft::handle::Handle;
use rscaler_raft::replica::Committed;
use rscaler_raft::state::Notice;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::types::{Change, Changes};

/// How many batches of changes are kept: some minutes of a busy control plane.
const BATCHES_MAX: usize = 8192;
/// How many changes are kept over all batches: some megabytes.
const CHANGES_MAX: usize = 32_768;

/// The last changes in log order. A batch's index is that of its last entry; other peers may cut batches elsewhere,
/// so who comes from another peer may see a change twice, and misses none.
pub(crate) struct Ring {
    kept: Mutex<Kept>,
    /// The index of the newest batch.
    newest: watch::Sender<u64>,
}

struct Kept {
    batches: VecDeque<Arc<Changes>>,
    changes: usize,
    /// Changes up to here are not kept.
    floor: u64,
}

/// What a watcher finds after an index.
pub(crate) enum Found {
    /// Batches in order; perhaps none.
    Batches(Vec<Arc<Changes>>),
    /// Some are not kept any more; all up to this index count as missed.
    Missed(u64),
}

impl Ring {
    pub(crate) fn new(floor: u64) -> Ring {
        let kept = Kept { batches: VecDeque::new(), changes: 0, floor };
        Ring { kept: Mutex::new(kept), newest: watch::Sender::new(floor) }
    }

    /// Wakes when there is more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The index of the newest batch.
    pub(crate) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// At most `max` batches after `index`.
    pub(crate) fn after(&self, index: u64, max: usize) -> Found {
        let kept = self.kept.lock();
        if index < kept.floor {
            return Found::Missed(kept.batches.back().map_or(kept.floor, |batch| batch.index));
        }
        let start = kept.batches.partition_point(|batch| batch.index <= index);
        Found::Batches(kept.batches.range(start..).take(max).cloned().collect())
    }

    fn push(&self, committed: &Committed) {
        if committed.notices.contains(&Notice::Everything) {
            return self.forget(committed.index);
        }
        let mut changes: Vec<_> = committed.notices.iter().filter_map(change).collect();
        changes.shrink_to_fit();
        let batch = Changes { index: committed.index, changes };
        let mut kept = self.kept.lock();
        kept.changes += batch.changes.len();
        kept.batches.push_back(Arc::new(batch));
        while kept.batches.len() > BATCHES_MAX || kept.changes > CHANGES_MAX {
            let Some(oldest) = kept.batches.pop_front() else { break };
            kept.changes -= oldest.changes.len();
            kept.floor = oldest.index;
        }
        drop(kept);
        self.newest.send_replace(committed.index);
    }

    /// Forgets all: everything up to `index` may have changed.
    fn forget(&self, index: u64) {
        let mut kept = self.kept.lock();
        kept.batches.clear();
        kept.changes = 0;
        kept.floor = kept.floor.max(index);
        drop(kept);
        self.newest.send_replace(index);
    }

    /// Fills the ring until `closing`.
    pub(crate) async fn run(&self, handle: &Handle, closing: &CancellationToken) {
        let mut committed = handle.subscribe();
        // What was applied between the ring's making and now is not known.
        self.forget(handle.applied());
        loop {
            let next = tokio::select! {
                biased;
                () = closing.cancelled() => return,
                next = committed.recv() => next,
            };
            match next {
                Ok(batch) => self.push(&batch),
                Err(RecvError::Lagged(batches)) => {
                    tracing::warn!(
                        batches,
                        "changes came faster than they could be kept; watchers are told to read again"
                    );
                    self.forget(handle.applied());
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

fn change(notice: &Notice) -> Option<Change> {
    let named = |kind: &str, name: &rscaler_raft::model::Name| Change {
        kind: kind.to_string(),
        name: Some(name.clone()),
        id: None,
        counter: None,
    };
    let numbered =
        |kind: &str, id: u64| Change { kind: kind.to_string(), name: None, id: Some(id), counter: None };
    Some(match notice {
        Notice::Object(kind, name) => named(kind.as_str(), name),
        Notice::Run(id) => numbered("run", id.0),
        Notice::Task(id) => numbered("task", id.0),
        Notice::Output(id) => numbered("output", id.0),
        Notice::Assignment(node) => named("assignment", node),
        Notice::HostKeys(node) => named("host-keys", node),
        Notice::Session(peer) => numbered("session", peer.0),
        Notice::Peer(peer) => numbered("peer", peer.0),
        Notice::Samples(node) => named("samples", node),
        Notice::Check(node, counter) => Change { counter: Some(counter.clone()), ..named("check", node) },
        Notice::Trigger(name) => named("trigger-state", name),
        Notice::Event(id) => numbered("event", id.0),
        Notice::Everything => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use rscaler_raft::model::RunId;

    use super::*;

    fn batch(index: u64) -> Committed {
        Committed { index, notices: Arc::new(BTreeSet::from([Notice::Run(RunId(index))])) }
    }

    fn found(ring: &Ring, after: u64) -> Result<Vec<u64>, u64> {
        match ring.after(after, 10) {
            Found::Batches(batches) => Ok(batches.iter().map(|batch| batch.index).collect()),
            Found::Missed(index) => Err(index),
        }
    }

    #[test]
    fn a_watcher_goes_on_where_it_stood() {
        let ring = Ring::new(5);
        for index in [6, 8, 9] {
            ring.push(&batch(index));
        }
        assert_eq!(found(&ring, 5), Ok(vec![6, 8, 9]));
        assert_eq!(found(&ring, 7), Ok(vec![8, 9]));
        assert_eq!(found(&ring, 9), Ok(vec![]));
        assert_eq!(found(&ring, 20), Ok(vec![]));
        assert_eq!(found(&ring, 4), Err(9));
    }

    #[test]
    fn what_is_too_old_is_missed() {
        let ring = Ring::new(0);
        for index in 1..=(BATCHES_MAX as u64 + 3) {
            ring.push(&batch(index));
        }
        assert_eq!(found(&ring, 2), Err(BATCHES_MAX as u64 + 3));
        assert_eq!(found(&ring, 3).unwrap()[0], 4);
    }

    #[test]
    fn a_snapshot_is_a_reset() {
        let ring = Ring::new(0);
        ring.push(&batch(1));
        ring.push(&Committed { index: 9, notices: Arc::new(BTreeSet::from([Notice::Everything])) });
        assert_eq!(found(&ring, 1), Err(9));
        assert_eq!(found(&ring, 9), Ok(vec![]));
    }
}
