use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Span, Time};

/// A member of the control plane.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its number; never used again for another.
    pub id: u64,
    /// Chosen by who started it.
    pub name: String,
    /// Where clients reach its API.
    pub api: String,
    /// `host:port` where other peers reach it.
    pub peer: String,
    /// What it is now.
    pub role: PeerRole,
    /// What it is meant to be: `voter` or `learner`.
    pub wanted_role: PeerRole,
    /// Raft's term, as the answering peer knows it.
    pub term: u64,
    /// The last entry known to be in its log.
    pub last_log: Option<u64>,
    /// The last entry it has applied, where known.
    pub applied: Option<u64>,
    /// How many entries it lags behind the leader, where known.
    pub lag: Option<u64>,
    /// The program's version.
    pub version: String,
    /// How many tasks it has.
    pub tasks: u64,
    /// How many nodes it collects.
    pub nodes: u64,
    /// Whether it is heard of.
    pub alive: bool,
    /// Whether it has a Java runtime, so that it can speak to JVMs over RMI.
    #[serde(default)]
    pub jmx: bool,
    /// When it was admitted.
    pub joined: Time,
}

/// What a peer is in the Raft group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerRole {
    /// It decides the order of entries.
    Leader,
    /// It votes.
    Voter,
    /// It receives the log and does not vote.
    Learner,
}

/// Who shall lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLeader {
    /// A voter.
    pub to: u64,
}

/// Asks for a right to join.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JoinToken {
    /// What the peer will be: `voter` (where absent) or `learner`.
    pub role: Option<PeerRole>,
    /// How long the token works: at most an hour, which it is where absent.
    pub ttl: Option<Span>,
}

/// A single-use right to join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// For `rscaler server --join-token`. It is shown once.
    pub token: String,
    /// Until when it works.
    pub expires: Time,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("token", &"***").field("expires", &self.expires).finish()
    }
}
