//! Messages between peers; those of Raft itself are in `consensus::golden`.

use super::{Entry, entries, entry, raw, variants};
use crate::identity::ControlPlaneId;
use crate::model::PeerId;
use crate::network::frame::{self, Frame, Kind};
use crate::network::message::{Failure, FailureCode, Hello, Join, Joined, Ping, Pong, Welcome};
use crate::secrets::SecretBytes;

variants!(failure_codes: FailureCode {
    FailureCode::Unavailable => FailureCode::Unavailable,
    FailureCode::Busy => FailureCode::Busy,
    FailureCode::Unknown => FailureCode::Unknown,
    FailureCode::Refused => FailureCode::Refused,
    FailureCode::NotUnderstood => FailureCode::NotUnderstood,
    FailureCode::Version => FailureCode::Version,
    FailureCode::Removed => FailureCode::Removed,
});
variants!(frame_kinds: Kind {
    Kind::Hello => Kind::Hello,
    Kind::Failure => Kind::Failure,
    Kind::Ping => Kind::Ping,
    Kind::Append => Kind::Append,
    Kind::Vote => Kind::Vote,
    Kind::PreVote => Kind::PreVote,
    Kind::TransferLeader => Kind::TransferLeader,
    Kind::SnapshotOffer => Kind::SnapshotOffer,
    Kind::SnapshotPart => Kind::SnapshotPart,
    Kind::SnapshotRequest => Kind::SnapshotRequest,
    Kind::Propose => Kind::Propose,
    Kind::ReadIndex => Kind::ReadIndex,
    Kind::HandOver => Kind::HandOver,
    Kind::Progress => Kind::Progress,
    Kind::Rows => Kind::Rows,
    Kind::Ask => Kind::Ask,
    Kind::Join => Kind::Join,
});

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn written(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    block_on(frame::write(&mut bytes, frame)).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let second = std::time::Duration::from_secs(1);
    let bounds = frame::Bounds { bytes_max: 1000, idle_max: second, stall_max: second };
    let mut rest = bytes;
    match block_on(frame::read(&mut rest, bounds)) {
        Ok(Some(frame)) if frame.kind.is_ok() => Ok(written(&frame)),
        other => Err(format!("{other:?}")),
    }
}

pub(super) fn family() -> Vec<Entry> {
    let hello = Hello {
        protocols: (1, 1),
        control_plane: ControlPlaneId(1 << 77),
        peer: PeerId(3),
        boot: 1 << 99,
        feature_level: 1,
    };
    let joined = Joined {
        peer: PeerId(3),
        control_plane: ControlPlaneId(1 << 77),
        certificate: vec![1, 2],
        authority: vec![3, 4],
        keyring: SecretBytes::new(vec![5, 6]),
        members: vec![(PeerId(1), "p1:7701".to_string())],
    };
    let join = Join {
        protocols: (1, 1),
        feature_level: 1,
        secret: SecretBytes::new(vec![7; 32]),
        request: vec![8, 9],
        name: "p3".to_string(),
        peer_addr: "p3:7701".to_string(),
        api_url: "https://p3:7700".to_string(),
    };
    let pong = Pong {
        term: 3,
        leader: Some(PeerId(1)),
        last_log: 300,
        applied: 299,
        refuses: Some("full".to_string()),
    };
    let mut all = vec![
        entry("hello", &hello),
        entry("welcome", &Welcome { protocol: 1, peer: PeerId(1), boot: 2, feature_level: 1 }),
        entry("ping", &Ping {}),
        entry("pong", &pong),
        entry("join", &join),
        entry("joined", &joined),
        entry("failure", &Failure { code: FailureCode::Busy, message: "later".to_string() }),
    ];
    all.extend(entries("failure-code", failure_codes()));
    for kind in frame_kinds() {
        let name = format!("frame-{kind:?}");
        all.push(raw(name, written(&Frame::answer(0x0102_0304_0506_0708, kind, 9, vec![0xaa, 0xbb])), read));
    }
    all.extend(crate::consensus::golden::family());
    all
}
