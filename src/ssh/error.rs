//! What can go wrong, by what the caller can do about it.

use std::time::Duration;

/// Why work over SSH did not get done. Cheap to clone: several callers may wait for one dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No connection could be made, or it was lost before anything was started. Nothing happened on the node; try later.
    #[error("{host}: unreachable: {detail}")]
    Unreachable {
        /// `host:port` of who could not be reached: the node, or the jump host before it.
        host: String,
        /// The cause, in words.
        detail: String,
    },
    /// The node answered and refused our user, key or password. Trying again does not help; the profile has to change.
    #[error("{host}: {user} was not let in: {detail}")]
    AuthFailed {
        /// `host:port`.
        host: String,
        /// The user name that was tried.
        user: String,
        /// What was tried, and what the server would take.
        detail: String,
    },
    /// The host key is not the one we know, or there is none we know. A person has to look.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// It took too long. What was started has been told to end, unless `what` says that nothing was started.
    #[error("{host}: {what} took longer than {after:?}")]
    Timeout {
        /// `host:port`.
        host: String,
        /// What was being waited for.
        what: String,
        /// How long we waited.
        after: Duration,
    },
    /// The connection broke while work was under way: it may have been done, in part or in whole. **Unknown**; find out by
    /// reading (see [`crate::ssh::Connection::probe`]).
    #[error("{host}: connection lost, so the outcome is unknown: {detail}")]
    ConnectionLost {
        /// `host:port`.
        host: String,
        /// The cause, in words.
        detail: String,
    },
    /// The node works and said no: no free session, no such shell, sudo not allowed. Nothing was started.
    #[error("{host}: refused: {detail}")]
    Refused {
        /// `host:port`.
        host: String,
        /// The node's reason.
        detail: String,
    },
    /// A marker on the node says that another attempt was made ([`crate::ssh::exec::Fence`]). Nothing was started.
    #[error("{host}: attempt {epoch} of {token} is fenced off: attempt {other} is {state}")]
    Fenced {
        /// `host:port`.
        host: String,
        /// The effect that is to happen once.
        token: String,
        /// The attempt that was refused.
        epoch: u64,
        /// The attempt whose marker stands in the way.
        other: u64,
        /// That marker's state: claimed, started, finished.
        state: String,
    },
    /// The node sent what we do not understand. The connection has been given up.
    #[error("{host}: protocol error: {detail}")]
    Protocol {
        /// `host:port`.
        host: String,
        /// What was wrong.
        detail: String,
    },
    /// The request itself can't be carried out on any node: a NUL byte in a script, a bad key file, ...
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The pool is shutting down.
    #[error("the ssh pool is shut down")]
    ShutDown,
}

impl Error {
    /// Whether work may have been done although we don't know it.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. })
    }
}

/// Why a host key was not accepted. `host` is `host:port`; fingerprints are `SHA256:...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// Another key is recorded for this host. Either it was reinstalled, or somebody stands in between.
    #[error(
        "{host}: the host key has changed: recorded {}, offered {offered}. If the host was reinstalled, remove its \
         recorded key or pin the new one; if not, somebody may be intercepting the connection",
        .recorded.join(", ")
    )]
    Changed {
        /// `host:port`.
        host: String,
        /// What is recorded, with algorithm; at least one.
        recorded: Vec<String>,
        /// What the server offered, with algorithm.
        offered: String,
    },
    /// The policy is strict and no key is recorded.
    #[error(
        "{host}: no host key is recorded and the policy is strict; it offered {offered}. Compare this with the host's \
         own and pin it, or let the policy accept new hosts"
    )]
    Unknown {
        /// `host:port`.
        host: String,
        /// What the server offered.
        offered: String,
    },
    /// The policy pins keys and the offered one is not among them.
    #[error("{host}: the offered host key {offered} is not among the pinned {}", .pinned.join(", "))]
    NotPinned {
        /// `host:port`.
        host: String,
        /// What is pinned.
        pinned: Vec<String>,
        /// What the server offered.
        offered: String,
    },
    /// The record of host keys could not be read or written just now; try again.
    #[error("{host}: the record of host keys is not available: {detail}")]
    RecordUnavailable {
        /// `host:port`.
        host: String,
        /// The cause, in words.
        detail: String,
    },
}
