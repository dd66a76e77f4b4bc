use std::net::SocketAddr;

use crate::model::PeerId;
use crate::network::{certificate, join, tls};
use crate::{backup, consensus, identity, secrets, store};

/// Why a peer can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory can't be used.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// It is somebody already.
    #[error("{dir} belongs to peer {peer} (`{name}`) already: start it without --bootstrap and --join")]
    AlreadyPeer {
        /// The data directory.
        dir: String,
        /// Who it is.
        peer: PeerId,
        /// Its name.
        name: String,
    },
    /// It is nobody yet.
    #[error(
        "{dir} belongs to no peer yet: start with --bootstrap to begin a control plane, or with --join and --join-token to join one"
    )]
    NoPeer {
        /// The data directory.
        dir: String,
    },
    /// The peer port can't be opened.
    #[error("could not listen for peers on {addr}")]
    Listen {
        /// Where.
        addr: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Others could not reach it.
    #[error("peers can't be told to connect to {0}: say where they reach this one")]
    NoAddress(SocketAddr),
    /// The operating system gave no threads.
    #[error("could not start threads")]
    Threads(#[source] std::io::Error),
    /// No random bytes, or secrets that don't open.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    /// Certificates.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// It was not admitted.
    #[error("could not join the control plane")]
    Join(#[from] join::Error),
    /// What was stored can't be opened.
    #[error("could not open what is stored in the data directory")]
    Store(#[from] store::Error),
    /// Its state is lost, and no other peer gave one.
    #[error(
        "this peer can't start from what it has stored ({reason}), and no other peer gave it a snapshot: {last}"
    )]
    NoSnapshot {
        /// Why it needs one.
        reason: String,
        /// How the last attempt ended.
        last: String,
    },
    /// Agreement could not begin.
    #[error(transparent)]
    Consensus(#[from] consensus::Error),
    /// A backup that is not one.
    #[error("could not restore from the backup")]
    Backup(#[from] backup::Error),
    /// The control plane was not founded.
    #[error("the control plane could not be founded: {0}")]
    Founding(String),
}

/// Why a peer has stopped by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// It was removed from the control plane: it must not start again.
    Removed(String),
    /// Its disk or its state failed; what was acknowledged is safe.
    Failed(String),
}
