//! What Raft says between peers: its part of [`crate::golden`].

use openraft::{EntryPayload, Membership};

use super::convert::{Entry as LogEntry, LogId, RaftVote};
use super::transfer::{Part, SnapshotOffer, SnapshotPart, SnapshotRequest};
use super::types::{LogPosition, Payload, PeerAddress, TypeConfig};
use super::wire::{
    Append, Appended, AskPeer, AskPreVote, AskProgress, AskRows, AskVote, HandOver, Progress, Propose,
    Proposed, ReadIndex, Rows, TransferLeader, Transferred, Vote,
};
use crate::command::Reply;
use crate::golden::{Entry, entries, entry, raw, variants};
use crate::model::PeerId;
use crate::network::message::Blob;

fn position(index: u64) -> LogPosition {
    LogPosition { term: 3, index }
}

fn vote(committed: bool) -> Vote {
    if committed { RaftVote::new_committed(3, 2).into() } else { RaftVote::new(3, 2).into() }
}

fn log_id(index: u64) -> Option<LogId> {
    Some(position(index).into())
}

variants!(appended: Appended {
    Appended::Matches(_) => Appended::Matches(Some(position(9))),
    Appended::Conflict(_) => Appended::Conflict(position(8)),
    Appended::HigherVote(_) => Appended::HigherVote(vote(false)),
});
variants!(transferred: Transferred {
    Transferred::Done => Transferred::Done,
    Transferred::VoteChanged { .. } => Transferred::VoteChanged { expected: vote(true), actual: vote(false) },
    Transferred::LogNotFlushed { .. } => Transferred::LogNotFlushed { expected: Some(position(9)), actual: None },
});
variants!(proposed: Proposed {
    Proposed::Applied(_) => Proposed::Applied(Ok(Reply::Done)),
    Proposed::NotLeader => Proposed::NotLeader,
    Proposed::Refused(_) => Proposed::Refused("full".to_string()),
    Proposed::Unknown(_) => Proposed::Unknown("lost".to_string()),
});
variants!(ask_rows: AskRows {
    AskRows::Hashes { .. } => AskRows::Hashes { index: 10_000, after: b"O".to_vec() },
    AskRows::Values { .. } => AskRows::Values { keys: vec![b"Ok".to_vec()] },
});
variants!(rows: Rows {
    Rows::Hashes(_) => Rows::Hashes(vec![(b"Ok".to_vec(), 1 << 99)]),
    Rows::Values { .. } => Rows::Values { applied: 8, values: vec![Some(vec![1]), None] },
});
variants!(parts: Part {
    Part::Rows { .. } => Part::Rows { offset: 1 << 20, len: 4096 },
    Part::Block(_) => Part::Block([7; 11]),
});

pub(crate) fn family() -> Vec<Entry> {
    let addresses =
        [(1, "a:1"), (2, "b:1"), (3, "c:1")].map(|(id, addr)| (id, PeerAddress { addr: addr.to_string() }));
    let voters = vec![[1, 2].into(), [2, 3].into()];
    let contents = [
        EntryPayload::Blank,
        EntryPayload::Normal(Payload(vec![0xaa, 0xbb].into())),
        EntryPayload::Membership(
            Membership::new(voters, std::collections::BTreeMap::from(addresses)).unwrap(),
        ),
    ];
    let entries_of = |(index, payload)| LogEntry { log_id: LogId::from(position(index)), payload };
    let append = openraft::raft::AppendEntriesRequest::<TypeConfig> {
        vote: RaftVote::new_committed(3, 2),
        prev_log_id: log_id(9),
        entries: (10..).zip(contents).map(entries_of).collect(),
        leader_commit: log_id(8),
    };
    let mut ask = openraft::raft::VoteRequest::<TypeConfig>::new(RaftVote::new(3, 2), log_id(9));
    ask.leadership_transfer = true;
    let ask = AskVote::from(ask);
    let voted = openraft::raft::VoteResponse::<TypeConfig>::new(RaftVote::new(3, 2), log_id(9), true);
    let transfer =
        openraft::raft::TransferLeaderRequest::<TypeConfig>::new(RaftVote::new_committed(3, 2), 1, log_id(9));
    let proposed_all = proposed();
    let mut all = vec![
        entry("append", &Append::from_raft(&append).unwrap()),
        entry("ask-vote", &ask),
        entry("ask-pre-vote", &AskPreVote(ask)),
        entry("voted", &super::wire::Voted::from(voted)),
        entry("transfer-leader", &TransferLeader::from(transfer)),
        entry("propose", &Propose { payloads: vec![Blob(vec![1, 2].into()), Blob(vec![3].into())] }),
        entry("proposed", &proposed_all),
        entry("read-index", &ReadIndex {}),
        entry("read-index-answer", &300u64),
        entry("hand-over", &HandOver { to: 2 }),
        entry("ask-progress", &AskProgress {}),
        entry(
            "progress",
            &vec![Progress { peer: PeerId(3), answers: true, last_log: Some(9), applied: None }],
        ),
        entry("snapshot-offer", &SnapshotOffer { vote: vote(true), manifest: Blob(vec![1, 2, 3].into()) }),
        entry("snapshot-request", &SnapshotRequest { index: 300 }),
        entry("vote", &vote(true)),
    ];
    all.push(entry("ask-peer", &AskPeer { question: Blob(vec![1, 2].into()) }));
    all.extend(entries("appended", appended()));
    all.extend(entries("transferred", transferred()));
    all.extend(entries("proposed", proposed_all));
    all.extend(entries("ask-rows", ask_rows()));
    all.extend(entries("rows", rows()));
    for (at, part) in parts().into_iter().enumerate() {
        all.push(entry(format!("snapshot-part-{at}"), &SnapshotPart { id: 301, part }));
    }
    // What Raft makes of it is the same, too.
    let bytes = crate::codec::encode_plain(&Append::from_raft(&append).unwrap());
    all.push(raw("append-through-raft", bytes, |bytes| {
        let read: Append = crate::codec::decode_plain(bytes).map_err(|error| error.to_string())?;
        let request = read.into_raft().map_err(|error| error.to_string())?;
        Ok(crate::codec::encode_plain(&Append::from_raft(&request).unwrap()))
    }));
    all
}
