//! The state's part of a peer's disk as a whole: opening it, checkpoints, snapshots.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use super::blocks::{self, BlockInfo, Blocks};
use super::compaction::{Garbage, recover_dir};
use super::database::{Database, Worker};
use super::snapshot::{self, Incoming, Manifest, SnapshotHandle, Snapshots};
use super::volume::{System, Volume};
use super::wal::WalState;
use super::{Applied, BlockKey, Error, Fatal};
use crate::series::Drain;

/// Damaged databases that are kept, for who wants to look at them.
const DAMAGED_KEPT_MAX: usize = 2;
/// With so much of the log since the last checkpoint much is written: see [`Garbage`].
const BUSY_BYTES: u64 = 8 << 20;
/// A job that does not move for so long has failed: the disk, or sled.
const STUCK_MAX: Duration = Duration::from_secs(60);
/// How long a new snapshot waits for one that is being given up.
const RECEIVE_PATIENCE: Duration = Duration::from_secs(10);

/// Where the state lies and how it behaves.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data directory; `state`, `blocks`, `snapshots` and `incoming` are made in it.
    pub dir: PathBuf,
    /// Memory for sled's cache of rows, in bytes. They are read at the start, and written.
    pub rows_cache_bytes: u64,
    /// Memory for sled's cache of blocks, in bytes.
    pub blocks_cache_bytes: u64,
    /// Memory for blocks that were read lately, in bytes.
    pub read_cache_bytes: u64,
    /// Garbage in a file of sled, in bytes, for which the file is never copied.
    pub garbage_bytes: u64,
}

impl StoreConfig {
    /// The usual settings.
    pub fn new(dir: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig {
            dir: dir.into(),
            rows_cache_bytes: 10 << 20,
            blocks_cache_bytes: 10 << 20,
            read_cache_bytes: 12 << 20,
            garbage_bytes: 8 << 20,
        }
    }

    pub(super) fn rows_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(super) fn blocks_dir(&self) -> PathBuf {
        self.dir.join("blocks")
    }
}

/// What came of opening.
pub enum Opened {
    /// The log leads on from what is stored.
    Ready(Store),
    /// What is stored is gone or too old for the log to lead on from it. Install another peer's snapshot before
    /// Raft starts; its position must be at least where the log was purged to.
    NeedsSnapshot {
        /// An empty store, to receive and install into.
        store: Store,
        /// Why.
        reason: String,
    },
}

/// What changed since the last checkpoint.
pub struct Changes {
    /// The rows, and the blocks that may go some time after the rows are durable.
    pub drain: Drain,
    /// How far the state has come.
    pub applied: Applied,
    /// How much of the log led there since the last checkpoint.
    pub log_bytes: u64,
}

/// The rows of a checkpoint, as [`Store::load`] reads them.
pub type RowSource<'a> = &'a mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>), Error>>;
/// What is known of the blocks that belong to it.
pub type BlockInfos<'a> = &'a mut dyn Iterator<Item = Result<BlockInfo, Error>>;

/// Checkpoint, blocks and snapshots of one peer. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    volume: Arc<dyn Volume>,
    blocks: Blocks,
    snapshots: Arc<Snapshots>,
    incoming_dir: PathBuf,
    receiving: Arc<Mutex<()>>,
    checkpointed: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Opens what is stored, or begins it. `wal` is what the log holds. Reads everything once, to find damage
    /// now and not later.
    ///
    /// # Errors
    /// [`Error::Refused`] where a newer version wrote it or another process uses it; [`Error::Io`].
    pub fn open(config: &StoreConfig, wal: &WalState, fatal: Fatal) -> Result<Opened, Error> {
        Store::open_on(Arc::new(System), config, wal, fatal)
    }

    /// As [`Store::open`], on any volume.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        volume: Arc<dyn Volume>,
        config: &StoreConfig,
        wal: &WalState,
        fatal: Fatal,
    ) -> Result<Opened, Error> {
        volume.create_dir(&config.dir)?;
        recover_dir(&*volume, &config.rows_dir())?;
        recover_dir(&*volume, &config.blocks_dir())?;
        let (mut worker, damage) = match open_checked(&volume, config) {
            Ok(worker) => (worker, None),
            Err(Error::Codec(error @ crate::codec::Error::UnknownSchema { .. })) => {
                return Err(Error::Refused(error.to_string()));
            }
            Err(error @ (Error::Corrupt { .. } | Error::Codec(_))) => {
                tracing::error!(error = error.chain(), "the stored state is damaged and is set aside");
                set_aside(&*volume, config)?;
                // Its snapshots name blocks that went with it.
                volume.remove_dir(&config.dir.join("snapshots"))?;
                (open_checked(&volume, config)?, Some(error.chain()))
            }
            Err(error) => return Err(error),
        };
        worker.compact_if_due(Garbage::Little)?;
        let next_index = worker.rows.applied().next_index();
        // A checkpoint may stand on entries that a majority had synced, and this peer not yet: a power cut takes them,
        // and the log goes on behind the checkpoint.
        let log_begins = if wal.next_index() < next_index { next_index } else { wal.first_index() };
        let snapshots_dir = config.dir.join("snapshots");
        let snapshots = Snapshots::open(&volume, snapshots_dir, log_begins..=next_index, &worker.pins)?;
        let incoming_dir = config.dir.join("incoming");
        snapshot::remove_if_older(&*volume, &incoming_dir, next_index)?;
        let database = Arc::new(Database::start(worker, fatal)?);
        let store = Store {
            blocks: Blocks::new(Arc::clone(&database)),
            database,
            volume,
            snapshots: Arc::new(snapshots),
            incoming_dir,
            receiving: Arc::default(),
            checkpointed: Arc::new(watch::Sender::new(next_index)),
        };
        if next_index >= wal.first_index() {
            return Ok(Opened::Ready(store));
        }
        let reason = damage.unwrap_or_else(|| {
            format!(
                "the state reaches to entry {next_index}, but the log begins at entry {}",
                wal.first_index()
            )
        });
        Ok(Opened::NeedsSnapshot { store, reason })
    }

    /// Reads the state of the last checkpoint.
    ///
    /// # Errors
    /// What `read` answers, and [`Error`].
    pub async fn load<T: Send + 'static>(
        &self,
        read: impl FnOnce(RowSource<'_>, BlockInfos<'_>, &Applied) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.database
            .run(move |worker| {
                let mut infos = blocks::infos(&*worker.blocks);
                read(&mut worker.rows.iter(), &mut infos, worker.rows.applied())
            })
            .await
    }

    /// The index of the first entry that is in no durable checkpoint.
    pub fn checkpointed(&self) -> watch::Receiver<u64> {
        self.checkpointed.subscribe()
    }

    /// Writes a checkpoint and waits until it is durable. `take` is called once there is room, and what it gives is
    /// written even where the caller stops waiting. Checkpoints are written in the order of their `take`s.
    ///
    /// # Errors
    /// Any is fatal and reported: what was taken is lost to later checkpoints.
    pub async fn checkpoint(&self, take: impl FnOnce() -> Changes) -> Result<(), Error> {
        let slot = self.database.reserve().await?;
        let (changes, checkpointed) = (take(), Arc::clone(&self.checkpointed));
        let written = slot.start(move |worker| {
            let is_busy = changes.log_bytes >= BUSY_BYTES;
            write_checkpoint(worker, changes, &checkpointed)?;
            // While the state is copied, no checkpoint is written.
            worker.compact_if_due(if is_busy { Garbage::Much } else { Garbage::Little })
        });
        written.await.unwrap_or(Err(Error::Closed))
    }

    /// Sealed blocks.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Writes a checkpoint as [`Store::checkpoint`] does, and makes a snapshot of just that. When this returns, what
    /// was taken is on its way; the snapshot is waited for apart.
    ///
    /// # Errors
    /// [`Error::Closed`]. Later ones are the pending snapshot's.
    pub async fn begin_snapshot(&self, take: impl FnOnce() -> Changes) -> Result<PendingSnapshot, Error> {
        let slot = self.database.reserve().await?;
        let (changes, checkpointed) = (take(), Arc::clone(&self.checkpointed));
        let snapshots = Arc::clone(&self.snapshots);
        let built = slot.start(move |worker| {
            write_checkpoint(worker, changes, &checkpointed)?;
            if let Some(current) = snapshots.current()
                && current.manifest().applied == *worker.rows.applied()
            {
                return Ok(current);
            }
            Ok(snapshots.set_current(snapshot::build(worker, &snapshots)?))
        });
        Ok(PendingSnapshot { built, blocks: self.blocks.clone() })
    }

    /// The current snapshot. What it names stays while the handle is held.
    pub fn current_snapshot(&self) -> Option<SnapshotHandle> {
        Some(SnapshotHandle::stored(self.snapshots.current()?, self.blocks.clone()))
    }

    /// A snapshot by [`Manifest::id`]: the current one, or an older one that is still held.
    pub fn snapshot(&self, id: u64) -> Option<SnapshotHandle> {
        Some(SnapshotHandle::stored(self.snapshots.by_id(id)?, self.blocks.clone()))
    }

    /// Begins to receive a snapshot, or goes on where it stopped. There is one at a time.
    ///
    /// # Errors
    /// [`Error::Refused`] where another is being received; [`Error::Io`].
    pub async fn receive(&self, manifest: Manifest) -> Result<Incoming, Error> {
        let only = tokio::time::timeout(RECEIVE_PATIENCE, Arc::clone(&self.receiving).lock_owned())
            .await
            .map_err(|_| Error::Refused("another snapshot is being received".to_string()))?;
        Incoming::begin(
            manifest,
            self.incoming_dir.clone(),
            Arc::clone(&self.volume),
            Arc::clone(&self.database),
            only,
        )
        .await
    }

    /// Puts a snapshot in the place of what is stored. `read` makes the state of it; only then, and all at once, is
    /// it what counts on disk. No checkpoint of the old state may be written after this.
    ///
    /// # Errors
    /// What `read` answers. Any is fatal and reported; what was stored before still counts where the switch was
    /// not reached.
    pub async fn install<T: Send + 'static>(
        &self,
        handle: SnapshotHandle,
        read: impl FnOnce(RowSource<'_>, BlockInfos<'_>, &Applied) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let snapshots = Arc::clone(&self.snapshots);
        let incoming_dir = self.incoming_dir.clone();
        let checkpointed = Arc::clone(&self.checkpointed);
        self.database
            .run(move |worker| {
                let generation = snapshot::write_generation(worker, &handle)?;
                let applied = &handle.manifest().applied;
                let state =
                    snapshot::load(worker, &handle, generation, |rows, infos| read(rows, infos, applied))?;
                snapshot::switch(worker, &handle, generation)?;
                checkpointed.send_replace(handle.manifest().id());
                snapshots.set_current(snapshot::adopt(worker, &handle, &snapshots)?);
                snapshot::remove_if_older(&*worker.volume, &incoming_dir, handle.manifest().id())?;
                Ok(state)
            })
            .await
    }

    /// Whether what may block is done in place, see [`super::volume::Jobs`].
    pub(crate) fn is_in_place(&self) -> bool {
        self.database.is_in_place()
    }

    /// Does what may block, away from the async runtime.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        self.database.blocking(work).await
    }

    /// Reports a job of the storage thread that has not moved for long. Called now and then by who can still run.
    pub fn check_alive(&self) {
        if let Some(stuck) = self.database.stuck_for()
            && stuck > STUCK_MAX
        {
            self.fatal().report(format!("the storage has not moved for {} s", stuck.as_secs()));
        }
    }

    #[cfg(test)]
    pub(super) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    #[cfg(test)]
    pub(super) fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// Where snapshots lie.
    pub fn snapshot_dir(&self) -> &Path {
        self.snapshots.dir()
    }

    /// Where a failure of the storage is reported.
    pub fn fatal(&self) -> &Fatal {
        self.database.fatal()
    }
}

/// A snapshot that is being made.
pub struct PendingSnapshot {
    built: tokio::sync::oneshot::Receiver<Result<Arc<snapshot::Stored>, Error>>,
    blocks: Blocks,
}

impl PendingSnapshot {
    /// Waits for it.
    ///
    /// # Errors
    /// Any is fatal and reported.
    pub async fn wait(self) -> Result<SnapshotHandle, Error> {
        let stored = self.built.await.unwrap_or(Err(Error::Closed))?;
        Ok(SnapshotHandle::stored(stored, self.blocks))
    }
}

fn write_checkpoint(
    worker: &mut Worker,
    changes: Changes,
    checkpointed: &watch::Sender<u64>,
) -> Result<(), Error> {
    let Changes { drain: Drain { rows, deletions }, applied, log_bytes: _ } = changes;
    let next_index = applied.next_index();
    let pulse = worker.pulse_handle();
    worker.rows.write(rows, applied, worker.puts, || pulse.beat())?;
    worker.sync_rows()?;
    // Only now: after a crash the rows before would still want them.
    worker.deletions.add(deletions.iter().map(BlockKey::from), &worker.pins);
    checkpointed.send_replace(next_index);
    Ok(())
}

/// Opens the databases and checks every row and the list of blocks.
fn open_checked(volume: &Arc<dyn Volume>, config: &StoreConfig) -> Result<Worker, Error> {
    // sled panics about some damage only when it comes to it.
    catch_unwind(AssertUnwindSafe(|| {
        let worker = Worker::open(volume, config)?;
        worker.rows.verify()?;
        blocks::infos(&*worker.blocks).try_for_each(|info| info.map(|_| ()))?;
        Ok(worker)
    }))
    .unwrap_or_else(|_| Err(Error::corrupt("the stored state", "sled cannot read it")))
}

/// Renames databases of which one is damaged away, the blocks below the rows, and removes older ones.
fn set_aside(volume: &dyn Volume, config: &StoreConfig) -> Result<(), Error> {
    let mut numbers: Vec<u64> = volume
        .list(&config.dir)?
        .iter()
        .filter_map(|name| name.strip_prefix("state.damaged-")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let path = |number: u64| config.dir.join(format!("state.damaged-{number}"));
    while numbers.len() >= DAMAGED_KEPT_MAX {
        volume.remove_dir(&path(numbers.remove(0)))?;
    }
    let aside = path(numbers.last().map_or(1, |last| last + 1));
    volume.rename(&config.rows_dir(), &aside)?;
    match config.blocks_dir() {
        blocks if volume.is_dir(&blocks) => volume.rename(&blocks, &aside.join("blocks")),
        _ => Ok(()),
    }
}
