use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, FormatKind};
use crate::command::{Outcome, Proposal};

openraft::declare_raft_types!(
    /// How openraft sees us: payloads are encoded once, by the proposer, and travel as bytes.
    pub TypeConfig:
        D = Payload,
        R = Answer,
        NodeId = u64,
        Node = PeerAddress,
        // One leader a term, as Raft has it: a peer that votes is bound by its vote until the term ends.
        LeaderId = LeaderId,
);

/// An encoded [`Proposal`], in its envelope. Shared, so that log, replication and apply copy nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(pub Arc<[u8]>);

impl Payload {
    /// The newest schema of [`Proposal`] that this version reads and writes.
    pub const SCHEMA: u16 = 1;

    /// Encodes a proposal.
    ///
    /// # Errors
    /// [`codec::Error::TooLarge`].
    pub fn encode(proposal: &Proposal) -> Result<Payload, codec::Error> {
        Ok(Payload(codec::encode(FormatKind::Proposal, Self::SCHEMA, proposal)?.into()))
    }

    /// Reads the proposal.
    ///
    /// # Errors
    /// [`codec::Error`]; an unknown schema must stop the peer, for it cannot apply the entry.
    pub fn decode(&self) -> Result<Proposal, codec::Error> {
        codec::decode(FormatKind::Proposal, Self::SCHEMA, &self.0)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answered; absent for entries of Raft's own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer(pub Option<Outcome>);

/// Where a peer is reached; Raft's membership carries it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeerAddress {
    /// `host:port` of its peer port.
    pub addr: String,
}

pub(crate) type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

/// A place in the log. Ordered as openraft orders log ids: one peer leads in a term, so the term names the leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct LogPosition {
    /// The leader's term.
    pub term: u64,
    /// The index.
    pub index: u64,
}
