//! What lies in a data directory and in a backup, but for rows of the state.

use std::collections::BTreeMap;

use super::{Entry, entries, entry, raw, variants};
use crate::backup::Piece;
use crate::codec::{self, FormatKind};
use crate::consensus::LogPosition;
use crate::identity::{ControlPlaneId, Identity, Origin};
use crate::model::PeerId;
use crate::secrets::{Keyring, SecretBytes};
use crate::store::{Applied, Manifest, MembershipRecord, Section, SectionKind, StoredMembership};

variants!(origins: Origin {
    Origin::Bootstrap => Origin::Bootstrap,
    Origin::Join => Origin::Join,
    Origin::Restore => Origin::Restore,
});
variants!(section_kinds: SectionKind {
    SectionKind::Rows => SectionKind::Rows,
    SectionKind::Blocks => SectionKind::Blocks,
});
variants!(format_kinds: FormatKind {
    FormatKind::Proposal => FormatKind::Proposal,
    FormatKind::Outcome => FormatKind::Outcome,
    FormatKind::Log => FormatKind::Log,
    FormatKind::Checkpoint => FormatKind::Checkpoint,
    FormatKind::Block => FormatKind::Block,
    FormatKind::Snapshot => FormatKind::Snapshot,
    FormatKind::Frame => FormatKind::Frame,
    FormatKind::Backup => FormatKind::Backup,
    FormatKind::Identity => FormatKind::Identity,
});
variants!(pieces: Piece {
    Piece::Header { .. } => Piece::Header { control_plane: ControlPlaneId(1 << 77), manifest: vec![1, 2, 3] },
    Piece::Section { .. } => Piece::Section { offset: 300, bytes: b"section".to_vec() },
    Piece::Block { .. } => Piece::Block { key: [7; 11], bytes: b"block".to_vec() },
    Piece::End { .. } => Piece::End { pieces: 3 },
});

pub(crate) fn membership() -> MembershipRecord {
    let peers = [(1, "a:1"), (2, "b:1"), (3, "c:1")].map(|(id, addr)| (id, addr.to_string()));
    MembershipRecord { voters: vec![[1, 2].into(), [2, 3].into()], peers: BTreeMap::from(peers) }
}

pub(crate) fn applied() -> Applied {
    let membership =
        StoredMembership { position: Some(LogPosition { term: 1, index: 7 }), membership: membership() };
    Applied { position: Some(LogPosition { term: 3, index: 300 }), membership }
}

fn manifest() -> Manifest {
    Manifest {
        applied: applied(),
        feature_level: 1,
        parts: 400,
        blocks: 2,
        sections: (1..).zip(section_kinds()).map(|(crc, kind)| Section { kind, len: 4096, crc }).collect(),
    }
}

/// A body in the envelope of its kind.
fn sealed<T: serde::Serialize + serde::de::DeserializeOwned>(
    name: &str,
    kind: FormatKind,
    value: &T,
) -> Entry {
    raw(name, codec::encode(kind, 1, value).unwrap(), move |bytes| {
        let read: T = codec::decode(kind, 1, bytes).map_err(|error| error.to_string())?;
        Ok(codec::encode(kind, 1, &read).unwrap())
    })
}

pub(super) fn family() -> Vec<Entry> {
    let identity = |origin| Identity {
        control_plane: ControlPlaneId(1 << 77),
        peer: PeerId(3),
        name: "p3".to_string(),
        origin,
    };
    let mut all: Vec<Entry> = format_kinds()
        .into_iter()
        .map(|kind| {
            raw(format!("envelope-{kind:?}"), codec::seal(kind, 1, &[0xaa]).unwrap(), move |bytes| {
                let (schema, body) = codec::open(kind, 1, bytes).map_err(|error| error.to_string())?;
                Ok(codec::seal(kind, schema, body).unwrap())
            })
        })
        .collect();
    all.push(sealed("membership-in-the-log", FormatKind::Log, &membership()));
    all.push(raw("manifest", manifest().encode().unwrap(), |bytes| {
        let read = Manifest::decode(bytes).map_err(|error| error.to_string())?;
        Ok(read.encode().unwrap())
    }));
    all.extend(entries("piece", pieces()));
    all.push(sealed("identity", FormatKind::Identity, &identity(Origin::Join)));
    all.extend(entries("origin", origins()));
    all.push(entry("neighbours", &vec![(PeerId(1), "p1:7701".to_string())]));
    let mut keyring = Keyring::generate(SecretBytes::new(vec![1, 2, 3])).unwrap();
    keyring.fix_keys(&[7; 32]);
    all.push(raw("keyring", keyring.encode().unwrap().to_vec(), |bytes| {
        let read = Keyring::decode(bytes).map_err(|error| error.to_string())?;
        Ok(read.encode().unwrap().to_vec())
    }));
    all.extend(crate::store::golden::family(&applied()));
    all.extend(crate::series::golden::family());
    all
}
