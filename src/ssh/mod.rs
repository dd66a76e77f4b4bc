//! One kept SSH connection per node, shared by everything that works on the node.
//!
//! Start reading at [`Pool`]: it hands out [`Connection`]s, dialled when first asked for and kept. On a connection run
//! *checks* ([`Connection::run_check`], many, short, in a shell that is kept open; see [`shell`]) and *commands*
//! ([`Connection::exec`], few, with arguments, stdin, sudo and streamed output; see [`exec`]). Both take text written by
//! a user as data: it is quoted, never spliced.
//!
//! What this module knows nothing of: Raft, the replicated model, the API. Endpoints and keys are plain values; where
//! host keys are recorded is the caller's ([`HostKeys`]).
//!
//! A node can do no harm: every wait has a deadline, every buffer a bound, and a node that stops answering costs only
//! whoever asked for it. Output is always read at once, since the protocol library would otherwise hold up all channels of
//! the connection for one slow reader; what a slow reader can't take is cut and the cut is reported.

mod backoff;
mod channel;
mod connection;
mod dial;
mod endpoint;
mod error;
mod host_keys;
mod keys;
mod kill_switch;
mod orphans;
mod pool;
mod quote;
mod secret;

pub mod exec;
pub mod shell;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use {keys::fuzz_keys, shell::fuzz_shell};

#[cfg(test)]
pub mod testing;

pub use connection::Connection;
pub use endpoint::{Auth, Endpoint, HostKeyPolicy, Identity};
pub use error::{Error, HostKeyError};
pub use exec::probe::Probe;
pub use host_keys::{HostKeys, HostKeysUnavailable, MemoryHostKeys};
pub use orphans::Marked;
pub use pool::{Options, Pool, Urgency};
pub use secret::Secret;
pub use shell::{CheckEnd, CheckLimits, CheckOutput};
