//! Between openraft's types and ours, which are what is stored and sent.

use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership, RaftTypeConfig};

use super::types::{LeaderId, LogPosition, Payload, PeerAddress, TypeConfig};
use crate::codec::{self, FormatKind};
use crate::store::wal::{Record, Vote};
use crate::store::{Applied, MembershipRecord, StoredMembership};

/// The schema of a membership in the log.
const MEMBERSHIP_SCHEMA: u16 = 1;

pub(crate) type Term = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type Entry = <TypeConfig as RaftTypeConfig>::Entry;
pub(crate) type LogId = openraft::LogId<Term>;
pub(crate) type RaftVote = openraft::Vote<LeaderId>;
pub(crate) type RaftMembership = openraft::StoredMembership<Term, u64, PeerAddress>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<Term, u64, PeerAddress>;

impl From<LogId> for LogPosition {
    fn from(id: LogId) -> LogPosition {
        LogPosition { term: **id.committed_leader_id(), index: id.index() }
    }
}

impl From<LogPosition> for LogId {
    fn from(position: LogPosition) -> LogId {
        LogId::new(Term::new(position.term), position.index)
    }
}

impl From<RaftVote> for Vote {
    fn from(vote: RaftVote) -> Vote {
        Vote { term: vote.leader_id.term, peer: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<Vote> for RaftVote {
    fn from(vote: Vote) -> RaftVote {
        match vote.committed {
            true => RaftVote::new_committed(vote.term, vote.peer),
            false => RaftVote::new(vote.term, vote.peer),
        }
    }
}

impl From<&Membership<u64, PeerAddress>> for MembershipRecord {
    fn from(membership: &Membership<u64, PeerAddress>) -> MembershipRecord {
        MembershipRecord {
            voters: membership.get_joint_config().clone(),
            peers: membership.nodes().map(|(id, peer)| (*id, peer.addr.clone())).collect(),
        }
    }
}

/// Back to openraft's form.
///
/// # Errors
/// [`codec::Error::Corrupt`] where a voter has no address.
pub(crate) fn membership_from(
    record: &MembershipRecord,
) -> Result<Membership<u64, PeerAddress>, codec::Error> {
    let peers: std::collections::BTreeMap<u64, PeerAddress> =
        record.peers.iter().map(|(id, addr)| (*id, PeerAddress { addr: addr.clone() })).collect();
    Membership::new(record.voters.clone(), peers)
        .map_err(|error| codec::Error::Corrupt { what: "membership".to_string(), detail: error.to_string() })
}

impl From<&RaftMembership> for StoredMembership {
    fn from(stored: &RaftMembership) -> StoredMembership {
        StoredMembership {
            position: stored.log_id().map(LogPosition::from),
            membership: stored.membership().into(),
        }
    }
}

/// Back to openraft's form.
///
/// # Errors
/// As [`membership_from`].
pub(crate) fn stored_membership_from(stored: &StoredMembership) -> Result<RaftMembership, codec::Error> {
    Ok(RaftMembership::new(stored.position.map(LogId::from), membership_from(&stored.membership)?))
}

impl From<&SnapshotMeta> for Applied {
    fn from(meta: &SnapshotMeta) -> Applied {
        Applied {
            position: meta.last_log_id.map(LogPosition::from),
            membership: (&meta.last_membership).into(),
        }
    }
}

/// What a snapshot stands for, in openraft's form.
///
/// # Errors
/// As [`membership_from`].
pub(crate) fn snapshot_meta_from(applied: &Applied) -> Result<SnapshotMeta, codec::Error> {
    Ok(SnapshotMeta {
        last_log_id: applied.position.map(LogId::from),
        last_membership: stored_membership_from(&applied.membership)?,
    })
}

/// An entry as the log keeps it.
///
/// # Errors
/// [`codec::Error::TooLarge`].
pub(crate) fn record_from(entry: &Entry) -> Result<(LogPosition, Record), codec::Error> {
    let record = match &entry.payload {
        EntryPayload::Blank => Record::Blank,
        EntryPayload::Normal(payload) => Record::Normal(payload.0.clone()),
        EntryPayload::Membership(membership) => {
            let record = MembershipRecord::from(membership);
            Record::Membership(codec::encode(FormatKind::Log, MEMBERSHIP_SCHEMA, &record)?.into())
        }
    };
    Ok((LogPosition::from(entry.log_id), record))
}

/// An entry of the log in openraft's form.
///
/// # Errors
/// [`codec::Error`] where a membership does not decode.
pub(crate) fn entry_from(position: LogPosition, record: Record) -> Result<Entry, codec::Error> {
    let payload = match record {
        Record::Blank => EntryPayload::Blank,
        Record::Normal(bytes) => EntryPayload::Normal(Payload(bytes)),
        Record::Membership(bytes) => {
            let record: MembershipRecord = codec::decode(FormatKind::Log, MEMBERSHIP_SCHEMA, &bytes)?;
            EntryPayload::Membership(membership_from(&record)?)
        }
    };
    Ok(Entry { log_id: position.into(), payload })
}
