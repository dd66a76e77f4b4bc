//! Agreement: openraft, bound to our log, our state machine and our transport. No other module names openraft,
//! and what is stored or sent are our own mirrors of its types, so that an upgrade of it changes no format.

mod convert;
mod log;
mod machine;
#[cfg(test)]
mod machine_test;
#[cfg(test)]
mod raft_test;
mod types;
mod upkeep;

pub use log::LogStore;
pub use machine::{Digest, Machine, SnapshotBuilder, snapshot_of};
pub use types::{Answer, LogPosition, Payload, PeerAddress, TypeConfig};
pub use upkeep::{Upkeep, UpkeepConfig, raft_config};
