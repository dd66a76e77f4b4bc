//! rscaler: a Raft-replicated control plane that monitors a fleet, decides, and acts.
//!
//! The map of this package, which is everything that touches the outside world:
//!
//! - [`cli`]: the command line. Speaks to peers through the public API alone.
//! - [`server`]: one peer as a process, and its session.
//! - [`scheduler`]: what only the leader does.
//! - [`collectors`]: counters of the nodes that are assigned to this peer.
//! - [`executors`]: tasks that are assigned to this peer.
//! - [`inventory`]: how nodes are reached, as the replicated state says it; for the two above.
//! - [`ssh`]: one kept connection for each node, shared by all of the above.
//! - [`jvm`]: JMX, and the child process that embeds a JVM for it.
//! - [`demo`]: three peers and simulated hosts in one terminal.
//! - [`lease`]: whether this peer may act; [`metrics`]: what it counts; [`config`] and [`telemetry`]: how it is told.
//!
//! What is replicated, and every decision, is in the package `rscaler-raft`; the HTTP API in `rscaler-api`; the web UI in
//! `rscaler-ui`. Arrows point one way: this package -> api -> {raft, ui}, and this package -> raft.
//!
//! What holds everywhere: an effect outside is made only under a valid [`lease`], and for a task only after its beginning was
//! committed; a node, whatever it does, costs only what was asked of it; nothing polls what a commit tells.

pub mod cli;
pub mod collectors;
pub mod config;
pub mod demo;
pub mod executors;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod inventory;
pub mod jvm;
pub mod lease;
pub mod metrics;
pub mod scheduler;
pub mod server;
pub mod ssh;
pub mod telemetry;

#[cfg(test)]
mod testing;
