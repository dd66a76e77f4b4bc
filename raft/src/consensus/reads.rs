//! Linearizable reads: one round with the leader answers all who asked before it began.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::engine::Consensus;
use super::wire::ReadIndex;
use crate::handle::{Engine, EngineError};
use crate::network::client::Lane;
use crate::network::frame::GROUP;

/// How many may wait for the next round.
pub(super) const QUEUE_MAX: usize = 4096;
/// How long one round may take before another is tried.
const ROUND_MAX: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// Somebody who wants to read.
pub(super) struct ReadRequest {
    deadline: Instant,
    answer: oneshot::Sender<Result<u64, EngineError>>,
}

/// Waits for a round that begins after this call.
pub(super) async fn ask(reads: &mpsc::Sender<ReadRequest>, deadline: Instant) -> Result<u64, EngineError> {
    let unavailable = |why: &str| EngineError::Unavailable(why.to_string());
    let (answer, answered) = oneshot::channel();
    let asked = tokio::time::timeout_at(deadline, reads.send(ReadRequest { deadline, answer })).await;
    asked
        .map_err(|_| unavailable("too many reads wait for the leader"))?
        .map_err(|_| unavailable("this peer is stopping"))?;
    answered.await.map_err(|_| unavailable("this peer is stopping"))?
}

/// Serves readers, until told to stop by being dropped.
pub(super) async fn run(consensus: Arc<Consensus>, mut requests: mpsc::Receiver<ReadRequest>) {
    let mut waiting = Vec::new();
    while requests.recv_many(&mut waiting, QUEUE_MAX).await > 0 {
        let deadline = waiting.iter().map(|request| request.deadline).max().unwrap_or_else(Instant::now);
        let result = confirm(&consensus, deadline, &mut waiting).await;
        for request in waiting.drain(..) {
            let _ = request.answer.send(result.clone());
        }
    }
}

/// Tries until there is an answer or nobody waits any more; those whose time is over are told.
async fn confirm(
    consensus: &Consensus,
    deadline: Instant,
    waiting: &mut Vec<ReadRequest>,
) -> Result<u64, EngineError> {
    let mut leadership = consensus.leadership();
    loop {
        let leader = leadership.borrow_and_update().leader;
        let round_ends = deadline.min(Instant::now() + ROUND_MAX);
        let index = match leader {
            Some(leader) if leader == consensus.local => {
                tokio::time::timeout_at(round_ends, consensus.read_index_here()).await.ok().flatten()
            }
            Some(leader) => match consensus.link(leader, Lane::Control) {
                Some(link) => link.call(GROUP, &ReadIndex {}, round_ends).await.ok(),
                None => None,
            },
            None => None,
        };
        if let Some(index) = index {
            return Ok(index);
        }
        let why = || EngineError::Unavailable("no leader confirms that it leads".to_string());
        let now = Instant::now();
        for late in waiting.extract_if(.., |request| request.deadline <= now) {
            let _ = late.answer.send(Err(why()));
        }
        if now >= deadline || waiting.is_empty() {
            return Err(why());
        }
        let _ = tokio::time::timeout(PAUSE, leadership.changed()).await;
    }
}
