//! What a peer keeps on disk: the log and the vote (`wal`), the checkpointed state (`checkpoint`), sealed blocks of
//! samples (`blocks`), snapshots (`snapshot`). `DESIGN.md` says what survives which crash.
//!
//! Nothing is acknowledged before the log has synced it. sled holds what can be made again from the log or fetched
//! from a peer, and is never waited for on the way of an acknowledgement. A failure here stops the peer: [`Fatal`].
//! Nothing here decides anything, and nothing here names openraft. Start reading at [`Store`] and [`wal::Wal`].

mod block_cache;
mod blocks;
mod checkpoint;
mod compaction;
mod database;
mod deletions;
mod disk;
#[cfg(test)]
mod disk_test;
mod error;
mod fatal;
mod files;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
pub(crate) mod golden;
mod log;
mod membership;
mod snapshot;
mod space;
pub mod volume;
pub mod wal;

pub use blocks::{BlockInfo, BlockKey, Blocks, NewBlock};
pub use disk::{BlockInfos, Changes, Opened, PendingSnapshot, RowSource, Store, StoreConfig};
pub use error::Error;
pub use fatal::Fatal;
pub use log::Log;
pub use membership::{Applied, MembershipRecord, StoredMembership};
pub use snapshot::{ExportedPart, Incoming, Manifest, Section, SectionKind, SnapshotHandle, Wanted};
pub use space::{Space, SpaceWatch};
