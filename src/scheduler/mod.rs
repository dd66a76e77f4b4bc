//! What only the leader does, for as long as its term lasts.
//!
//! Decisions are made where entries are applied; the leader only sees to it that time passes there. The loops here
//! take no input but the state and their own clock, and are started and stopped with the term
//! ([`crate::server::leadership`]).

pub mod tick;

use rscaler_raft::handle::Handle;
use rscaler_raft::model::Timestamp;

pub use tick::wall_clock;

/// What tells the wall clock's time: [`wall_clock`], or the clock of another world.
pub type WallClock = fn() -> Timestamp;

/// Runs the leader's loops for `term`. Never ends by itself: the caller drops it when the term is over.
pub async fn run(handle: Handle, term: u64, wall: WallClock) {
    tick::run(handle, term, wall).await;
}
