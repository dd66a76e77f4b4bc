//! What frames say: requests, their answers, and the handshake. Each is a body of [`super::frame`] in an
//! envelope; requests of Raft itself are in [`crate::consensus`].

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::Kind;
use crate::codec::{self, FormatKind};
use crate::identity::ControlPlaneId;
use crate::model::PeerId;
use crate::secrets::SecretBytes;

/// The versions of the protocol that this program speaks, oldest and newest.
pub const PROTOCOLS: (u16, u16) = (1, 1);
/// What this program can do, for features that all peers must have before one may use them.
pub const FEATURE_LEVEL: u16 = 1;

/// A request, with what answers it.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// Its number on the wire.
    const KIND: Kind;
    /// The newest schema of request and answer that this version reads and writes.
    const SCHEMA: u16 = 1;
    /// What answers it.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// A body in its envelope.
///
/// # Errors
/// [`codec::Error::TooLarge`].
pub fn encode<T: Serialize>(schema: u16, value: &T) -> Result<Vec<u8>, codec::Error> {
    codec::encode(FormatKind::Frame, schema, value)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`codec::Error`].
pub fn decode<T: DeserializeOwned>(schema: u16, bytes: &[u8]) -> Result<T, codec::Error> {
    codec::decode(FormatKind::Frame, schema, bytes)
}

/// The first frame of a connection, from the side that dialled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest and newest version of the protocol.
    pub protocols: (u16, u16),
    /// Of which control plane.
    pub control_plane: ControlPlaneId,
    /// Who speaks; must be whom the certificate says.
    pub peer: PeerId,
    /// Random, new at each start of the process.
    pub boot: u128,
    /// [`FEATURE_LEVEL`].
    pub feature_level: u16,
}

/// The answer to [`Hello`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the protocol that both will speak.
    pub protocol: u16,
    /// Who answers.
    pub peer: PeerId,
    /// Random, new at each start of the process.
    pub boot: u128,
    /// Its feature level.
    pub feature_level: u16,
}

impl Request for Hello {
    const KIND: Kind = Kind::Hello;
    type Answer = Welcome;
}

/// Why a request was not served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of reason.
    pub code: FailureCode,
    /// In words.
    pub message: String,
}

/// Kinds of reasons, by what the asking side can do. The order is the format: append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FailureCode {
    /// This peer is not the leader, or can't do it now: ask again, or another.
    Unavailable,
    /// Too much is under way: ask again later.
    Busy,
    /// It may have happened, or may happen yet.
    Unknown,
    /// It can't be done as asked.
    Refused,
    /// The request can't be read, or is not known to this version.
    NotUnderstood,
    /// No version of the protocol is common.
    Version,
    /// The asking peer was removed from the control plane.
    Removed,
}

impl Failure {
    /// A failure with a reason in words.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}

/// How a peer is doing; asked by each of the others about twice a second.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ping {}

/// The answer to [`Ping`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pong {
    /// The newest term it knows.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<PeerId>,
    /// Index of its last entry.
    pub last_log: u64,
    /// Index of the last entry it applied.
    pub applied: u64,
    /// Why it would take no writes if it led: its disk is nearly full.
    pub refuses: Option<String>,
}

impl Request for Ping {
    const KIND: Kind = Kind::Ping;
    type Answer = Pong;
}

/// Asks to become a peer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Oldest and newest version of the protocol.
    pub protocols: (u16, u16),
    /// [`FEATURE_LEVEL`].
    pub feature_level: u16,
    /// The token's secret.
    pub secret: SecretBytes,
    /// PKCS #10: the public key, and the proof that the asker holds the private one.
    pub request: Vec<u8>,
    /// The name it wants.
    pub name: String,
    /// `host:port` where other peers will reach it.
    pub peer_addr: String,
    /// Where clients will reach its API.
    pub api_url: String,
}

/// What a new peer is given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its number.
    pub peer: PeerId,
    /// Of which control plane.
    pub control_plane: ControlPlaneId,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The authority's certificate, DER.
    pub authority: Vec<u8>,
    /// The control plane's secret keys: an encoded [`crate::secrets::Keyring`].
    pub keyring: SecretBytes,
    /// The other peers and where they are.
    pub members: Vec<(PeerId, String)>,
}

impl Request for Join {
    const KIND: Kind = Kind::Join;
    type Answer = Joined;
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("name", &self.name)
            .field("peer_addr", &self.peer_addr)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Shared bytes that are encoded at once, not one by one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob(#[serde(with = "codec::bytes")] pub Arc<[u8]>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

/// The newest version of the protocol that both sides speak.
pub fn common_protocol(theirs: (u16, u16)) -> Result<u16, Failure> {
    let newest = PROTOCOLS.1.min(theirs.1);
    if newest >= PROTOCOLS.0 && newest >= theirs.0 {
        return Ok(newest);
    }
    Err(Failure::new(
        FailureCode::Version,
        format!(
            "the peers have no version of their protocol in common: one speaks {} to {}, the other {} to {}; upgrade the older one",
            theirs.0, theirs.1, PROTOCOLS.0, PROTOCOLS.1
        ),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        for (theirs, common) in [((1, 1), Some(1)), ((1, 9), Some(1)), ((2, 9), None), ((0, 0), None)] {
            assert_eq!(common_protocol(theirs).ok(), common, "{theirs:?}");
        }
    }

    #[test]
    fn blobs_read_back() {
        let blob = Blob(vec![1, 2, 3].into());
        let bytes = encode(1, &(blob.clone(), 5u8)).unwrap();
        assert_eq!(decode::<(Blob, u8)>(1, &bytes).unwrap(), (blob, 5));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let join = Join {
            protocols: PROTOCOLS,
            feature_level: 1,
            secret: SecretBytes::new(b"hush".to_vec()),
            request: Vec::new(),
            name: "p".to_string(),
            peer_addr: String::new(),
            api_url: String::new(),
        };
        assert!(!format!("{join:?}").contains("104"));
    }
}
