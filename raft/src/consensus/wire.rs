//! What Raft says between peers, in our own form.

use serde::{Deserialize, Serialize};

use super::convert::{self, Entry, LogId, RaftVote};
use super::types::{LogPosition, TypeConfig};
use crate::codec;
use crate::command::Outcome;
use crate::model::PeerId;
use crate::network::frame::Kind;
use crate::network::message::{Blob, Request};
use crate::store::wal::{self, Record};

type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
type AppendError = openraft::raft::StreamAppendError<TypeConfig>;
type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
type TransferResult = openraft::raft::TransferLeaderResponse<TypeConfig>;
type TransferError = openraft::raft::TransferLeaderError<TypeConfig>;

/// A vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Vote {
    term: u64,
    peer: u64,
    committed: bool,
}

impl From<RaftVote> for Vote {
    fn from(vote: RaftVote) -> Vote {
        let wal::Vote { term, peer, committed } = vote.into();
        Vote { term, peer, committed }
    }
}

impl From<Vote> for RaftVote {
    fn from(vote: Vote) -> RaftVote {
        wal::Vote { term: vote.term, peer: vote.peer, committed: vote.committed }.into()
    }
}

fn positions(id: Option<LogId>) -> Option<LogPosition> {
    id.map(LogPosition::from)
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct WireEntry {
    position: LogPosition,
    content: Content,
}

/// What an entry holds, in the envelopes that the log keeps. The order is the format: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Content {
    Blank,
    Normal(Blob),
    Membership(Blob),
}

impl WireEntry {
    fn from_entry(entry: &Entry) -> Result<WireEntry, codec::Error> {
        let (position, record) = convert::record_from(entry)?;
        let content = match record {
            Record::Blank => Content::Blank,
            Record::Normal(bytes) => Content::Normal(Blob(bytes)),
            Record::Membership(bytes) => Content::Membership(Blob(bytes)),
        };
        Ok(WireEntry { position, content })
    }

    fn into_entry(self) -> Result<Entry, codec::Error> {
        let record = match self.content {
            Content::Blank => Record::Blank,
            Content::Normal(bytes) => Record::Normal(bytes.0),
            Content::Membership(bytes) => Record::Membership(bytes.0),
        };
        convert::entry_from(self.position, record)
    }
}

/// Entries that follow `prev`; none of them in a heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Append {
    vote: Vote,
    prev: Option<LogPosition>,
    entries: Vec<WireEntry>,
    committed: Option<LogPosition>,
}

impl Append {
    pub(crate) fn from_raft(request: &AppendRequest) -> Result<Append, codec::Error> {
        Ok(Append {
            vote: request.vote.into(),
            prev: positions(request.prev_log_id),
            entries: request.entries.iter().map(WireEntry::from_entry).collect::<Result<_, _>>()?,
            committed: positions(request.leader_commit),
        })
    }

    pub(crate) fn into_raft(self) -> Result<AppendRequest, codec::Error> {
        // openraft relies on entries that follow one another.
        let corrupt =
            |detail: String| codec::Error::Corrupt { what: "entries of the log".to_string(), detail };
        let ends = || corrupt("nothing can follow the last index there is".to_string());
        let first = self.prev.map_or(Some(0), |prev| prev.index.checked_add(1)).ok_or_else(ends)?;
        for (next, entry) in (first..u64::MAX).zip(&self.entries) {
            if entry.position.index != next {
                return Err(corrupt(format!("{} comes where {next} should", entry.position.index)));
            }
        }
        if u64::MAX - first < self.entries.len() as u64 {
            return Err(ends());
        }
        Ok(AppendRequest {
            vote: self.vote.into(),
            prev_log_id: self.prev.map(LogId::from),
            entries: self.entries.into_iter().map(WireEntry::into_entry).collect::<Result<_, _>>()?,
            leader_commit: self.committed.map(LogId::from),
        })
    }
}

/// What became of [`Append`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Appended {
    /// The log now matches the leader's up to here.
    Matches(Option<LogPosition>),
    /// The log has another entry, or none, there.
    Conflict(LogPosition),
    /// Somebody else has been voted for.
    HigherVote(Vote),
}

impl From<AppendResult> for Appended {
    fn from(result: AppendResult) -> Appended {
        match result {
            Ok(matching) => Appended::Matches(positions(matching)),
            Err(AppendError::Conflict(at)) => Appended::Conflict(at.into()),
            Err(AppendError::HigherVote(vote)) => Appended::HigherVote(vote.into()),
        }
    }
}

impl From<Appended> for AppendResult {
    fn from(appended: Appended) -> AppendResult {
        match appended {
            Appended::Matches(matching) => Ok(matching.map(LogId::from)),
            Appended::Conflict(at) => Err(AppendError::Conflict(at.into())),
            Appended::HigherVote(vote) => Err(AppendError::HigherVote(vote.into())),
        }
    }
}

impl Request for Append {
    const KIND: Kind = Kind::Append;
    type Answer = Appended;
}

/// Asks for a vote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AskVote {
    vote: Vote,
    last: Option<LogPosition>,
    transfer: bool,
}

/// Asks whether a vote would be granted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AskPreVote(pub(crate) AskVote);

/// The answer to [`AskVote`] and [`AskPreVote`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Voted {
    vote: Vote,
    granted: bool,
    last: Option<LogPosition>,
}

impl From<VoteRequest> for AskVote {
    fn from(request: VoteRequest) -> AskVote {
        AskVote {
            vote: request.vote.into(),
            last: positions(request.last_log_id),
            transfer: request.leadership_transfer,
        }
    }
}

impl From<AskVote> for VoteRequest {
    fn from(ask: AskVote) -> VoteRequest {
        let mut request = VoteRequest::new(ask.vote.into(), ask.last.map(LogId::from));
        request.leadership_transfer = ask.transfer;
        request
    }
}

impl From<VoteResponse> for Voted {
    fn from(response: VoteResponse) -> Voted {
        Voted {
            vote: response.vote.into(),
            granted: response.vote_granted,
            last: positions(response.last_log_id),
        }
    }
}

impl From<Voted> for VoteResponse {
    fn from(voted: Voted) -> VoteResponse {
        VoteResponse::new(RaftVote::from(voted.vote), voted.last.map(LogId::from), voted.granted)
    }
}

impl Request for AskVote {
    const KIND: Kind = Kind::Vote;
    type Answer = Voted;
}

impl Request for AskPreVote {
    const KIND: Kind = Kind::PreVote;
    type Answer = Voted;
}

/// The leader wants `to` to lead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TransferLeader {
    from: Vote,
    to: u64,
    last: Option<LogPosition>,
}

/// The answer to [`TransferLeader`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Transferred {
    /// It will be done.
    Done,
    /// Another leader is known here.
    VoteChanged {
        /// Whose word it was.
        expected: Vote,
        /// Who is voted for.
        actual: Vote,
    },
    /// The log is not that far.
    LogNotFlushed {
        /// How far it should be.
        expected: Option<LogPosition>,
        /// How far it is.
        actual: Option<LogPosition>,
    },
}

impl From<TransferRequest> for TransferLeader {
    fn from(request: TransferRequest) -> TransferLeader {
        TransferLeader {
            from: (*request.from_leader()).into(),
            to: *request.to_node_id(),
            last: positions(request.last_log_id().copied()),
        }
    }
}

impl From<TransferLeader> for TransferRequest {
    fn from(transfer: TransferLeader) -> TransferRequest {
        TransferRequest::new(transfer.from.into(), transfer.to, transfer.last.map(LogId::from))
    }
}

impl From<TransferResult> for Transferred {
    fn from(result: TransferResult) -> Transferred {
        match result {
            Ok(()) => Transferred::Done,
            Err(TransferError::VoteChanged { expected, actual }) => {
                Transferred::VoteChanged { expected: expected.into(), actual: actual.into() }
            }
            Err(TransferError::LogNotFlushed { expected, actual }) => {
                Transferred::LogNotFlushed { expected: positions(expected), actual: positions(actual) }
            }
        }
    }
}

impl From<Transferred> for TransferResult {
    fn from(transferred: Transferred) -> TransferResult {
        match transferred {
            Transferred::Done => Ok(()),
            Transferred::VoteChanged { expected, actual } => {
                Err(TransferError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            Transferred::LogNotFlushed { expected, actual } => Err(TransferError::LogNotFlushed {
                expected: expected.map(LogId::from),
                actual: actual.map(LogId::from),
            }),
        }
    }
}

impl Request for TransferLeader {
    const KIND: Kind = Kind::TransferLeader;
    type Answer = Transferred;
}

/// Payloads for the leader to commit, in this order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Propose {
    pub(crate) payloads: Vec<Blob>,
}

/// What became of one payload of [`Propose`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Proposed {
    /// It was committed and applied.
    Applied(Outcome),
    /// It was not: this peer does not lead, or not yet.
    NotLeader,
    /// It was not: this peer leads, but takes nothing now.
    Refused(String),
    /// It may have been, or not.
    Unknown(String),
}

impl Request for Propose {
    const KIND: Kind = Kind::Propose;
    type Answer = Vec<Proposed>;
}

/// Asks the leader how far a state must be applied for a read to be linearizable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ReadIndex {}

impl Request for ReadIndex {
    const KIND: Kind = Kind::ReadIndex;
    type Answer = u64;
}

/// Asks the leader to let another voter lead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct HandOver {
    pub(crate) to: u64,
}

impl Request for HandOver {
    const KIND: Kind = Kind::HandOver;
    type Answer = ();
}

/// Asks the leader how far the members have come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AskProgress {}

/// How far a member has come, as the leader knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) peer: PeerId,
    pub(crate) answers: bool,
    pub(crate) last_log: Option<u64>,
    pub(crate) applied: Option<u64>,
}

impl Request for AskProgress {
    const KIND: Kind = Kind::Progress;
    type Answer = Vec<Progress>;
}

/// Asks for rows of the state, to find out what differs. The order is the format: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum AskRows {
    /// Keys and hashes behind `after`, as they were after the entry at `index`.
    Hashes { index: u64, after: Vec<u8> },
    /// The values of rows as they are now.
    Values { keys: Vec<Vec<u8>> },
}

/// The answer to [`AskRows`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Rows {
    Hashes(Vec<(Vec<u8>, u128)>),
    Values { applied: u64, values: Vec<Option<Vec<u8>>> },
}

impl Request for AskRows {
    const KIND: Kind = Kind::Rows;
    type Answer = Rows;
}

/// A question of one peer to another, as whoever answers there understands it: bytes that carry their own version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AskPeer {
    pub(crate) question: Blob,
}

impl Request for AskPeer {
    const KIND: Kind = Kind::Ask;
    type Answer = Blob;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::{EntryPayload, Membership};
    use proptest::prelude::*;

    use super::*;
    use crate::consensus::{Payload, PeerAddress};
    use crate::network::message;

    fn position() -> impl Strategy<Value = LogPosition> {
        (0u64..9, 0u64..1000).prop_map(|(term, index)| LogPosition { term, index })
    }

    fn content() -> impl Strategy<Value = EntryPayload<Payload, u64, PeerAddress>> {
        let membership = |voters: BTreeSet<u64>, learners: BTreeSet<u64>| {
            let all = voters.union(&learners);
            let nodes: BTreeMap<u64, PeerAddress> =
                all.map(|id| (*id, PeerAddress { addr: format!("h{id}:1") })).collect();
            EntryPayload::Membership(Membership::new(vec![voters], nodes).unwrap())
        };
        let ids = || prop::collection::btree_set(0u64..9, 1..5);
        prop_oneof![
            Just(EntryPayload::Blank),
            any::<Vec<u8>>().prop_map(|bytes| EntryPayload::Normal(Payload(bytes.into()))),
            (ids(), ids()).prop_map(move |(voters, learners)| membership(voters, learners)),
        ]
    }

    proptest! {
        #[test]
        fn entries_arrive_as_they_were_sent(
            prev in proptest::option::of(position()),
            contents in prop::collection::vec(content(), 0..5),
            committed in proptest::option::of(position()),
        ) {
            let first = prev.map_or(0, |prev| prev.index + 1);
            let entries: Vec<Entry> = contents.into_iter().zip(first..).map(|(payload, index)| Entry {
                log_id: LogPosition { term: 9, index }.into(),
                payload,
            }).collect();
            let request = AppendRequest {
                vote: RaftVote::new_committed(9, 1),
                prev_log_id: prev.map(LogId::from),
                entries,
                leader_commit: committed.map(LogId::from),
            };
            let bytes = message::encode(1, &Append::from_raft(&request).unwrap()).unwrap();
            let read = message::decode::<Append>(1, &bytes).unwrap().into_raft().unwrap();
            prop_assert_eq!(format!("{request:?}"), format!("{read:?}"));
        }
    }

    #[test]
    fn entries_with_a_gap_are_refused() {
        let entry = |index| WireEntry { position: LogPosition { term: 1, index }, content: Content::Blank };
        let append = |entries| Append {
            vote: Vote { term: 1, peer: 1, committed: true },
            prev: None,
            entries,
            committed: None,
        };
        assert!(append(vec![entry(0), entry(1)]).into_raft().is_ok());
        assert!(append(vec![entry(0), entry(2)]).into_raft().is_err());
        assert!(append(vec![entry(1)]).into_raft().is_err());
    }

    #[test]
    fn nothing_follows_the_last_index() {
        let append = |index, entries| Append {
            vote: Vote { term: 1, peer: 1, committed: true },
            prev: Some(LogPosition { term: 1, index }),
            entries,
            committed: None,
        };
        let entry = |index| WireEntry { position: LogPosition { term: 1, index }, content: Content::Blank };
        assert!(append(u64::MAX, Vec::new()).into_raft().is_err());
        assert!(append(u64::MAX - 1, vec![entry(u64::MAX)]).into_raft().is_err());
        assert!(append(u64::MAX - 2, vec![entry(u64::MAX - 1)]).into_raft().is_ok());
    }

    #[test]
    fn golden_bytes() {
        let append = Append {
            vote: Vote { term: 3, peer: 2, committed: true },
            prev: Some(LogPosition { term: 1, index: 5 }),
            entries: vec![WireEntry {
                position: LogPosition { term: 3, index: 6 },
                content: Content::Normal(Blob(vec![0xaa].into())),
            }],
            committed: None,
        };
        assert_eq!(
            codec::encode_plain(&append),
            [3, 2, 1, 1, 1, 5, 1, 3, 6, 1, 1, 0xaa, 0],
            "the form of Append is the format: a change needs a new schema"
        );
        let ask = AskVote { vote: Vote { term: 3, peer: 2, committed: false }, last: None, transfer: true };
        assert_eq!(codec::encode_plain(&ask), [3, 2, 0, 0, 1]);
        assert_eq!(codec::encode_plain(&Appended::HigherVote(ask.vote)), [2, 3, 2, 0]);
        assert_eq!(codec::encode_plain(&Proposed::Refused("x".to_string())), [2, 1, b'x']);
        let progress = Progress { peer: PeerId(3), answers: true, last_log: Some(9), applied: None };
        assert_eq!(codec::encode_plain(&progress), [3, 1, 1, 9, 0]);
        let ask = AskRows::Hashes { index: 7, after: b"O".to_vec() };
        assert_eq!(codec::encode_plain(&ask), [0, 7, 1, b'O']);
        let rows = Rows::Values { applied: 8, values: vec![Some(vec![1]), None] };
        assert_eq!(codec::encode_plain(&rows), [1, 8, 2, 1, 1, 1, 0]);
    }
}
