//! Proposals on their way to the leader, in batches: what comes while earlier batches are under way goes together.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::engine::Consensus;
use super::types::Payload;
use super::wire::{Propose, Proposed};
use crate::model::PeerId;
use crate::network::client::{CallError, Lane};
use crate::network::frame::GROUP;
use crate::network::message::Blob;

/// How many proposals may wait to be batched.
pub(super) const QUEUE_MAX: usize = 4096;
const BATCH_MAX: usize = 256;
/// A batch takes no more once it has this many bytes.
const BATCH_BYTES: usize = 512 << 10;
const BATCHES_UNDER_WAY_MAX: usize = 16;
/// Larger batches take the way where heartbeats don't pass.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// One proposal for another peer to commit.
pub(super) struct Forward {
    /// Who leads.
    pub(super) leader: PeerId,
    pub(super) payload: Payload,
    /// When whoever waits gives up.
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Proposed, CallError>>,
}

/// Sends what is queued, until told to stop by being dropped.
pub(super) async fn run(consensus: Arc<Consensus>, mut queued: mpsc::Receiver<Forward>) {
    let under_way = Arc::new(Semaphore::new(BATCHES_UNDER_WAY_MAX));
    while let Some(first) = queued.recv().await {
        // Whatever comes while this waits joins the batch.
        let Ok(permit) = Arc::clone(&under_way).acquire_owned().await else { return };
        let mut bytes = first.payload.0.len();
        let mut batches: BTreeMap<PeerId, Vec<Forward>> = BTreeMap::new();
        batches.entry(first.leader).or_default().push(first);
        for _ in 1..BATCH_MAX {
            if bytes >= BATCH_BYTES {
                break;
            }
            let Ok(next) = queued.try_recv() else { break };
            bytes += next.payload.0.len();
            batches.entry(next.leader).or_default().push(next);
        }
        let consensus = Arc::clone(&consensus);
        tokio::spawn(async move {
            let sent = batches.into_iter().map(|(leader, batch)| send(&consensus, leader, batch));
            futures::future::join_all(sent).await;
            drop(permit);
        });
    }
}

async fn send(consensus: &Consensus, leader: PeerId, mut batch: Vec<Forward>) {
    // Nobody waits for these any more.
    batch.retain(|forward| !forward.answer.is_closed());
    let Some(deadline) = batch.iter().map(|forward| forward.deadline).max() else { return };
    let bytes: usize = batch.iter().map(|forward| forward.payload.0.len()).sum();
    let lane = if bytes <= SMALL_BYTES_MAX { Lane::Control } else { Lane::Bulk };
    let payloads = batch.iter().map(|forward| Blob(Arc::clone(&forward.payload.0))).collect();
    let result = match consensus.link(leader, lane) {
        Some(link) => link.call(GROUP, &Propose { payloads }, deadline).await,
        None => Err(CallError::Unreachable("its address is not known yet".into())),
    };
    match result {
        Ok(proposed) => {
            let mut proposed = proposed.into_iter();
            for forward in batch {
                let missing = || Proposed::Unknown("the leader gave too few answers".to_string());
                let _ = forward.answer.send(Ok(proposed.next().unwrap_or_else(missing)));
            }
        }
        Err(error) => {
            for forward in batch {
                let _ = forward.answer.send(Err(error.clone()));
            }
        }
    }
}
