//! rscaler: a Raft-replicated control plane that monitors a fleet, decides, and acts.
//!
//! The map of this package, which is everything that touches the outside world:
//!
//! - [`cli`]: the command line. Speaks to peers through the public API alone.
//! - [`demo`]: three peers and simulated hosts in one terminal.
//! - [`collectors`]: counters of the nodes that are assigned to this peer.
//! - [`ssh`]: one kept connection for each node, shared by all of the above.
//!
//! What is replicated, and every decision, is in the package `rscaler-raft`; the HTTP API in `rscaler-api`; the web UI in
//! `rscaler-ui`. Arrows point one way: this package -> api -> {raft, ui}, and this package -> raft.

pub mod collectors;
pub mod demo;
pub mod ssh;
