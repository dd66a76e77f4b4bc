use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::consensus::LogPosition;

/// Our own form of Raft's membership, as log, checkpoint and snapshot hold it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// One set of voters; two while a change is under way.
    pub voters: Vec<BTreeSet<u64>>,
    /// Every peer, voters and learners, with its `host:port`.
    pub peers: BTreeMap<u64, String>,
}

/// A membership with the entry that brought it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoredMembership {
    /// Absent before the first.
    pub position: Option<LogPosition>,
    /// The membership.
    pub membership: MembershipRecord,
}

/// How far the state has come: what a checkpoint and a snapshot stand for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// The last applied entry; absent before the first.
    pub position: Option<LogPosition>,
    /// The last applied membership.
    pub membership: StoredMembership,
}

impl Applied {
    /// The index of the entry to apply next.
    pub fn next_index(&self) -> u64 {
        // A manifest of another peer may claim the last index there is.
        self.position.map_or(0, |position| position.index.saturating_add(1))
    }
}
