//! Starts the leader's loops with each term that this peer leads, and ends them with it.

use rscaler_raft::handle::Handle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::scheduler::{self, WallClock};

/// Runs [`scheduler::run`], by the clock `wall`, while this peer leads, until `stop`.
pub async fn run(handle: Handle, wall: WallClock, stop: CancellationToken) {
    let mut leadership = handle.leadership();
    loop {
        let now = *leadership.borrow_and_update();
        if now.is_local() {
            info!(term = now.term, "this peer leads");
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // An error means that the engine is gone, and leadership with it.
                changed = leadership.wait_for(|l| !l.is_local() || l.term != now.term) => match changed {
                    Ok(next) => info!(term = next.term, leader = ?next.leader.map(|p| p.0), "another leads"),
                    Err(_) => return,
                },
                () = scheduler::run(handle.clone(), now.term, wall) => {}
            }
        } else {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }
}
