//! What can go wrong with samples.

use super::BlockId;

/// Why a request on the series store was not met.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Stored bytes are not what was written: a bad checksum, an impossible length, a broken code. The caller
    /// treats the store as damaged and fetches the data from another peer.
    #[error("{what} is corrupt: {why}")]
    Corrupt {
        /// The row or block, as people may look it up.
        what: String,
        /// Which check failed.
        why: &'static str,
    },
    /// Stored bytes come from a newer release than this one.
    #[error("{what} has version {found}, this release reads up to {known}")]
    Version {
        /// The row or block.
        what: String,
        /// The version that was found.
        found: u8,
        /// The newest version that is understood.
        known: u8,
    },
    /// A block that a plan names is no longer stored: it was merged or expired since. The caller plans again.
    #[error("{0} is no longer stored; plan the query again")]
    Gone(BlockId),
    /// A query or a new series is over a limit. The caller shows it to whoever asked.
    #[error("{limit} is limited to {max}, and this asks for {asked}; {hint}")]
    Limit {
        /// The name of the limit.
        limit: &'static str,
        /// Its value.
        max: u64,
        /// What was asked for; at least this much when counting stopped early.
        asked: u64,
        /// What the user can do.
        hint: &'static str,
    },
    /// A query that makes no sense, such as one that ends before it begins.
    #[error("{0}")]
    Invalid(&'static str),
    /// Samples that do not fit in a block. Cannot happen for what the store hands out.
    #[error("{what} takes {bytes} bytes encoded, more than a block may")]
    TooLarge {
        /// The block.
        what: String,
        /// Its size.
        bytes: usize,
    },
    /// The block source failed.
    #[error("reading {what}")]
    Source {
        /// The block.
        what: String,
        /// The source's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(super) fn corrupt(what: impl ToString, why: &'static str) -> Self {
        Self::Corrupt { what: what.to_string(), why }
    }
}
