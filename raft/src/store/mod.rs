//! What a peer keeps on disk: the log and the vote (`wal`), the checkpointed state (`checkpoint`), sealed blocks of
//! samples (`blocks`), snapshots (`snapshot`). `DESIGN.md` says what survives which crash.
//!
//! Nothing is acknowledged before the log has synced it. sled holds what can be made again from the log or fetched
//! from a peer, and is never waited for on the way of an acknowledgement. A failure here stops the peer: [`Fatal`].
//! Nothing here decides anything, and nothing here names openraft.

mod error;
mod fatal;
mod files;
mod membership;
pub mod wal;

pub use error::Error;
pub use fatal::Fatal;
pub use membership::{Applied, MembershipRecord, StoredMembership};
