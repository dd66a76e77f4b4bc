//! What only the leader does, for as long as its term lasts.
//!
//! Decisions are made where entries are applied; the leader only sees to it that time passes there. The loops here
//! take no input but the state and their own clock, and are started and stopped with the term
//! ([`crate::server::leadership`]).

pub mod tick;

use rscaler_raft::handle::Handle;

/// Runs the leader's loops for `term`. Never ends by itself: the caller drops it when the term is over.
pub async fn run(handle: Handle, term: u64) {
    tick::run(handle, term).await;
}
