//! Agreement: openraft, bound to our log, our state machine and our transport. No other module names openraft,
//! and what is stored or sent are our own mirrors of its types, so that an upgrade of it changes no format.
//!
//! Start at [`Consensus`] for a peer from outside, at `machine` and `log` for what openraft drives, at `network` and
//! `service` for the two ends of the transport.

mod compare;
mod convert;
mod differences;
mod engine;
mod forward;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
pub(crate) mod golden;
mod leadership;
mod log;
mod machine;
#[cfg(test)]
mod machine_test;
mod membership;
mod mend;
mod network;
mod progress;
#[cfg(test)]
mod raft_test;
mod reads;
mod runtime;
mod service;
mod timers;
mod transfer;
mod types;
mod upkeep;
mod wire;

pub use compare::{Comparison, Digest};
pub use engine::{Consensus, Error, PROPOSAL_BYTES_MAX, Parts};
pub use log::LogStore;
pub(crate) use machine::read_state;
pub use machine::{Machine, SnapshotBuilder, snapshot_of};
#[cfg(test)]
pub(crate) use machine_test::blocks_worth_of_samples;
pub use membership::why_needed;
pub use runtime::{RaftRuntime, raise_priority};
pub use service::{Admission, PeerService};
pub use timers::Timers;
pub use transfer::{ReceiveError, Snapshots};
pub use types::{Answer, LogPosition, Payload, PeerAddress, TypeConfig};
pub use upkeep::{Upkeep, UpkeepConfig, raft_config};
