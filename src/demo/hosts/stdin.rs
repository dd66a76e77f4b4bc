//! What a client has sent to a process that has not read it yet.
//!
//! The SSH library opens a channel's window again as soon as data has arrived, not when it has been used, and
//! its only other brake stops the whole connection, window updates and signals for other sessions included:
//! with a process that echoes, a deadlock. So input is queued, within a budget that a host's sessions share.
//! The fuller the budget, the longer the connection pauses after each piece, by milliseconds: enough for a
//! process that reads to keep up, and never a standstill. A session that overdraws the budget all the same has
//! a process that does not read, and is ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How many bytes of unread input one host keeps, over all its sessions.
pub(super) const BUDGET_BYTES: usize = 16 << 20;

/// The pause after a piece of input while the budget is all but used up; a piece has at most 32 KiB.
const PAUSE_MAX: Duration = Duration::from_millis(8);

/// What a piece of input costs beyond its bytes, so that many small pieces count as what they take.
const PIECE_BYTES: usize = 128;

/// The budget of one host.
pub(super) fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(BUDGET_BYTES))
}

/// The budget does not hold what was to be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overdrawn;

struct Piece {
    data: Bytes,
    /// Returns the piece to the budget when it has been written or thrown away.
    _permit: OwnedSemaphorePermit,
}

/// The end that the connection fills. Dropping it is the end of the input.
pub(super) struct Queue {
    budget: Arc<Semaphore>,
    pieces: mpsc::UnboundedSender<Piece>,
}

/// The end that feeds the process.
pub(super) struct Feed {
    pieces: mpsc::UnboundedReceiver<Piece>,
}

/// A queue on a host's budget.
pub(super) fn queue(budget: Arc<Semaphore>) -> (Queue, Feed) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue { budget, pieces: sender }, Feed { pieces: receiver })
}

impl Queue {
    /// Queues a piece of input, and says how long to pause before the next. What a process no longer reads is
    /// thrown away.
    pub(super) fn push(&self, data: &[u8]) -> Result<Duration, Overdrawn> {
        if self.pieces.is_closed() {
            return Ok(Duration::ZERO);
        }
        let cost = u32::try_from(data.len() + PIECE_BYTES).map_err(|_| Overdrawn)?;
        let permit = Arc::clone(&self.budget).try_acquire_many_owned(cost).map_err(|_| Overdrawn)?;
        // That the process stopped reading just now is no error either.
        let _ = self.pieces.send(Piece { data: Bytes::copy_from_slice(data), _permit: permit });
        Ok(pause(self.budget.available_permits()))
    }
}

/// None in the first quarter of the budget, then growing evenly to [`PAUSE_MAX`].
fn pause(left_bytes: usize) -> Duration {
    const FREE_BYTES: usize = BUDGET_BYTES / 4;
    let used_bytes = BUDGET_BYTES.saturating_sub(left_bytes);
    let over = used_bytes.saturating_sub(FREE_BYTES) as f64 / (BUDGET_BYTES - FREE_BYTES) as f64;
    PAUSE_MAX.mul_f64(over)
}

impl Feed {
    /// Writes the input as it comes, until its end or until `pipe` is closed by its reader; then closes `pipe`.
    pub(super) async fn run(mut self, mut pipe: impl AsyncWrite + Unpin) {
        while let Some(piece) = self.pieces.recv().await {
            if pipe.write_all(&piece.data).await.is_err() {
                // The process closed its input, which it may.
                return;
            }
        }
        let _ = pipe.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn input_arrives_whole_and_returns_its_budget() {
        let budget = budget();
        let (queue, feed) = queue(Arc::clone(&budget));
        for _ in 0..100 {
            queue.push(b"0123456789").unwrap();
        }
        assert_eq!(budget.available_permits(), BUDGET_BYTES - 100 * (10 + PIECE_BYTES));
        drop(queue);
        let mut written = Vec::new();
        feed.run(&mut written).await;
        assert_eq!(written, b"0123456789".repeat(100));
        assert_eq!(budget.available_permits(), BUDGET_BYTES);
    }

    #[test]
    fn the_pause_grows_with_what_is_unread() {
        assert_eq!(pause(BUDGET_BYTES), Duration::ZERO);
        assert_eq!(pause(BUDGET_BYTES * 3 / 4), Duration::ZERO);
        assert_eq!(pause(BUDGET_BYTES * 3 / 8), PAUSE_MAX / 2);
        assert_eq!(pause(0), PAUSE_MAX);
    }

    #[test]
    fn the_budget_is_shared_and_can_be_overdrawn() {
        let budget = budget();
        let (one, feed_one) = queue(Arc::clone(&budget));
        let (two, _feed_two) = queue(Arc::clone(&budget));
        let half = vec![0; BUDGET_BYTES / 2];
        one.push(&half).unwrap();
        assert_eq!(two.push(&half), Err(Overdrawn));
        drop(feed_one);
        assert_eq!(one.push(&half), Ok(Duration::ZERO), "what nobody reads costs nothing");
        two.push(&half[..half.len() - PIECE_BYTES]).unwrap();
    }
}
