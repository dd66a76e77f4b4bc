//! Messages between peers, for [`crate::fuzz`].
#![allow(clippy::unwrap_used)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::transfer::{SnapshotOffer, SnapshotPart, SnapshotRequest};
use super::types::Payload;
use super::wire::{
    Append, Appended, AskPeer, AskPreVote, AskProgress, AskRows, AskVote, HandOver, Progress, Propose,
    Proposed, ReadIndex, Rows, TransferLeader, Transferred, Vote, Voted,
};
use crate::fuzz::stable;
use crate::network::message::{Blob, Failure, Hello, Join, Joined, Ping, Pong, Welcome, common_protocol};
use crate::store::{Manifest, MembershipRecord};

fn append(body: &[u8]) {
    let Some(append) = stable::<Append>(body) else { return };
    let Ok(request) = append.into_raft() else { return };
    // What Raft took apart is the same again.
    let again = Append::from_raft(&request).unwrap().into_raft().unwrap();
    assert_eq!(format!("{request:?}"), format!("{again:?}"));
}

fn propose(body: &[u8]) {
    let Some(propose) = stable::<Propose>(body) else { return };
    for Blob(payload) in propose.payloads {
        let _ = Payload(payload).decode();
    }
}

fn offer(body: &[u8]) {
    let Some(offer) = stable::<SnapshotOffer>(body) else { return };
    let _ = Manifest::decode(&offer.manifest.0);
}

fn hello(body: &[u8]) {
    if let Some(hello) = stable::<Hello>(body) {
        let _ = common_protocol(hello.protocols);
    }
}

fn membership(body: &[u8]) {
    if let Some(record) = stable::<MembershipRecord>(body) {
        let _ = super::convert::membership_from(&record);
    }
}

fn votes(body: &[u8]) {
    use super::convert::RaftVote;
    if let Some(vote) = stable::<Vote>(body) {
        assert_eq!(Vote::from(RaftVote::from(vote)), vote);
    }
}

fn is_read<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let _ = stable::<T>(body);
}

/// Every kind of body, by its place: append only, for seeds begin with it.
const BODIES: &[fn(&[u8])] = &[
    hello,
    append,
    propose,
    offer,
    membership,
    votes,
    is_read::<Welcome>,
    is_read::<Failure>,
    is_read::<Ping>,
    is_read::<Pong>,
    is_read::<Join>,
    is_read::<Joined>,
    is_read::<Appended>,
    is_read::<AskVote>,
    is_read::<AskPreVote>,
    is_read::<Voted>,
    is_read::<TransferLeader>,
    is_read::<Transferred>,
    is_read::<Vec<Proposed>>,
    is_read::<ReadIndex>,
    is_read::<HandOver>,
    is_read::<AskProgress>,
    is_read::<Vec<Progress>>,
    is_read::<AskRows>,
    is_read::<Rows>,
    is_read::<AskPeer>,
    is_read::<SnapshotPart>,
    is_read::<SnapshotRequest>,
];

/// The first byte says which message the rest is.
pub(crate) fn messages(data: &[u8]) {
    let Some((&which, body)) = data.split_first() else { return };
    BODIES[usize::from(which) % BODIES.len()](body);
}

/// A message of the more intricate kinds, as [`messages`] takes them.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    use crate::codec;
    use crate::network::message;
    let bodies: [(u8, &[u8]); 12] = [
        (1, &[3, 2, 1, 1, 1, 5, 1, 3, 6, 1, 1, 0xaa, 0]),
        (1, &[3, 2, 1, 0, 2, 3, 0, 0, 3, 1, 0, 1, 3, 1]),
        (2, &[2, 1, 0xaa, 2, 1, 2]),
        (3, &[3, 2, 1, 4, 1, 2, 3, 4]),
        (4, &[1, 2, 1, 2, 2, 1, 3, b'a', b':', b'1', 2, 3, b'b', b':', b'1']),
        (13, &[3, 2, 0, 0, 1]),
        (12, &[2, 3, 2, 0]),
        (18, &[2, 2, 1, b'x', 1]),
        (22, &[1, 3, 1, 1, 9, 0]),
        (23, &[0, 7, 1, b'O']),
        (24, &[1, 8, 2, 1, 1, 1, 0]),
        (25, &[7, 0, 9, 9]),
    ];
    let mut out: Vec<Vec<u8>> = bodies.iter().map(|(which, body)| [&[*which], *body].concat()).collect();
    let hello = Hello {
        protocols: message::PROTOCOLS,
        control_plane: crate::identity::ControlPlaneId(7),
        peer: crate::model::PeerId(1),
        boot: 9,
        feature_level: message::FEATURE_LEVEL,
    };
    out.push([&[0][..], &codec::encode_plain(&hello)].concat());
    out
}
