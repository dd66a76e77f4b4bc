//! The control plane's own members, and what they hold.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Elapsed, PeerId, Timestamp};

/// A peer, as the replicated state knows it. Raft's membership follows [`Peer::role`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Chosen by who started it; unique.
    pub name: String,
    /// `host:port` where other peers reach it.
    pub peer_addr: String,
    /// URL where clients reach its API.
    pub api_url: String,
    /// What it is meant to be.
    pub role: PeerRole,
    /// Serial number of its certificate, so that it can be revoked.
    pub certificate_serial: Vec<u8>,
    /// When it was admitted.
    pub joined: Timestamp,
}

/// What a peer is meant to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PeerRole {
    /// Receives the log, does not vote.
    Learner,
    /// Votes, once it has caught up.
    Voter,
}

/// What a peer can do beyond the core.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Kinds of work it takes, by name: [`Capabilities::SSH`], [`Capabilities::JMX`].
    pub work: BTreeSet<String>,
    /// How many tasks it runs at once.
    pub tasks_max: u32,
    /// The program's version.
    pub version: String,
}

impl Capabilities {
    /// Collecting nodes' counters.
    pub const SSH: &str = "ssh";
    /// Speaking to JVMs over RMI: it has a Java runtime.
    pub const JMX: &str = "jmx";

    /// Whether it takes work of this kind.
    pub fn takes(&self, work: &str) -> bool {
        self.work.contains(work)
    }
}

/// A peer's claim to be alive. Work is given to sessions; when one ends, its work goes elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Random, made at each start of the process: a restarted peer is a new session.
    pub boot: u128,
    /// From a replicated counter; fences everything the session does.
    pub epoch: u64,
    /// Over at this moment unless renewed.
    pub expires: Elapsed,
    /// It got a full life from a new leader and has not renewed since: it gets no second one.
    pub extended: bool,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Takes no new work: it is about to stop.
    pub draining: bool,
}

/// Who collects a node's counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The collecting peer.
    pub peer: PeerId,
    /// Grows with each change for the node; samples under an older one are refused.
    pub epoch: u64,
}

/// A single-use right to join. Only the secret's hash is replicated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinToken {
    /// When it stops working, on the replicated clock.
    pub expires: Elapsed,
    /// What the joining peer will be.
    pub role: PeerRole,
}
