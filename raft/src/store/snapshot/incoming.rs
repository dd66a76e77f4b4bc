use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::SnapshotHandle;
use super::manifest::{Manifest, Section, SectionKind, read_infos};
use crate::store::blocks::{self, BlockInfo, Blocks, NewBlock};
use crate::store::database::Database;
use crate::store::deletions::Pin;
use crate::store::volume::{File, Mode, Volume};
use crate::store::{BlockKey, Error};

/// Blocks gathered before they are written.
const BUFFERED_BYTES_MAX: usize = 1 << 20;
/// Blocks looked up at a time.
const LOOKED_UP_MAX: usize = 4096;

/// What is lacking of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// A section of its file.
    Rows {
        /// Where it begins.
        offset: u64,
        /// How long it is, at most [`Section::BYTES_MAX`].
        len: u32,
    },
    /// A block.
    Block(BlockKey),
}

/// A snapshot on its way here. It knows no transport: ask what is [`Incoming::wanted`], fetch it, hand it in,
/// until nothing is wanted; then [`Incoming::finish`]. Dropped half way, it goes on from there when the same
/// manifest is received again, also after a restart.
pub struct Incoming {
    manifest: Arc<Manifest>,
    inner: Arc<Mutex<Inner>>,
    database: Arc<Database>,
}

struct Inner {
    manifest: Arc<Manifest>,
    offsets: Vec<(u64, Section)>,
    have: Vec<bool>,
    /// Section and place in it, of the first listed block that may be lacking.
    next_block: (usize, usize),
    /// What was asked for and has not come.
    asked: HashMap<BlockKey, BlockInfo>,
    buffered: Vec<NewBlock>,
    buffered_bytes: usize,
    path: PathBuf,
    file: Arc<dyn File>,
    database: Arc<Database>,
    pin: Option<(Pin, OwnedMutexGuard<()>)>,
}

/// A snapshot that is here whole, but not installed.
pub(in crate::store) struct Received {
    manifest: Arc<Manifest>,
    path: PathBuf,
    file: Arc<dyn File>,
    blocks: Blocks,
    _pin: (Pin, OwnedMutexGuard<()>),
}

impl Received {
    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
    pub(super) fn file(&self) -> &dyn File {
        &*self.file
    }
    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }
}

/// Removes what was received of a snapshot that the state has passed.
pub(in crate::store) fn remove_if_older(
    volume: &dyn Volume,
    dir: &Path,
    next_index: u64,
) -> Result<(), Error> {
    let manifest = volume.read(&dir.join("manifest"))?.map(|bytes| Manifest::decode(&bytes));
    match manifest {
        Some(Ok(manifest)) if manifest.id() > next_index => Ok(()),
        _ => volume.remove_dir(dir),
    }
}

impl Incoming {
    /// Begins, or goes on with, a snapshot. `only` is held until it is installed or given up: there is one at a time.
    pub(in crate::store) async fn begin(
        manifest: Manifest,
        dir: PathBuf,
        volume: Arc<dyn Volume>,
        database: Arc<Database>,
        only: OwnedMutexGuard<()>,
    ) -> Result<Incoming, Error> {
        let manifest = Arc::new(manifest);
        let inner = {
            let (manifest, database) = (Arc::clone(&manifest), Arc::clone(&database));
            blocking(&Arc::clone(&database), move || Inner::begin(manifest, &dir, &*volume, database, only))
                .await?
        };
        Ok(Incoming { manifest, inner: Arc::new(Mutex::new(inner)), database })
    }

    /// What is being received.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Up to `max` things that are lacking; none when all is here. What was asked for and not handed in is named
    /// again.
    ///
    /// # Errors
    /// [`Error`]; the transfer has failed.
    pub async fn wanted(&self, max: usize) -> Result<Vec<Wanted>, Error> {
        self.with(move |inner| inner.wanted(max)).await
    }

    /// Takes a section.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not what the manifest says: fetch it again. [`Error::Io`].
    pub async fn accept_rows(&self, offset: u64, bytes: Vec<u8>) -> Result<(), Error> {
        self.with(move |inner| inner.accept_rows(offset, &bytes)).await
    }

    /// Takes a block that was wanted.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not what the list says or was not asked for. Others are fatal.
    pub async fn accept_block(&self, key: BlockKey, bytes: Arc<[u8]>) -> Result<(), Error> {
        self.with(move |inner| inner.accept_block(key, bytes)).await
    }

    /// How many bytes of the file are here.
    pub fn rows_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        let had = inner.offsets.iter().zip(&inner.have).filter(|(_, have)| **have);
        had.map(|((_, section), _)| u64::from(section.len)).sum()
    }

    /// Makes durable what was received, and gives the snapshot to be installed.
    ///
    /// # Errors
    /// [`Error::Refused`] where something is lacking. Others are fatal.
    pub async fn finish(self) -> Result<SnapshotHandle, Error> {
        self.with(Inner::finish).await.map(SnapshotHandle::received)
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        blocking(&self.database, move || work(&mut inner.lock())).await
    }
}

async fn blocking<T: Send + 'static>(
    database: &Database,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match database.blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::io("receiving a snapshot", std::io::Error::other(error))),
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("receiving a snapshot", error)
}

impl Inner {
    fn begin(
        manifest: Arc<Manifest>,
        dir: &Path,
        volume: &dyn Volume,
        database: Arc<Database>,
        only: OwnedMutexGuard<()>,
    ) -> Result<Inner, Error> {
        // Before anything is looked up: what is here now stays.
        let pin = database.pins().pin();
        let encoded = manifest.encode()?;
        let path = dir.join("rows.part");
        if volume.read(&dir.join("manifest"))?.as_deref() != Some(&encoded) {
            volume.remove_dir(dir)?;
            volume.create_dir(dir)?;
            volume.write_atomic(&dir.join("manifest"), &encoded)?;
        }
        let file = volume.open(&path, Mode::Update)?;
        let offsets: Vec<_> = manifest.offsets().collect();
        let have = offsets.iter().map(|(offset, section)| is_whole(&*file, *offset, *section)).collect();
        Ok(Inner {
            manifest,
            offsets,
            have,
            next_block: (0, 0),
            asked: HashMap::new(),
            buffered: Vec::new(),
            buffered_bytes: 0,
            path,
            file,
            database,
            pin: Some((pin, only)),
        })
    }

    fn wanted(&mut self, max: usize) -> Result<Vec<Wanted>, Error> {
        let lacking = self.offsets.iter().zip(&self.have).filter(|(_, have)| !**have);
        let rows: Vec<_> = lacking
            .take(max)
            .map(|((offset, section), _)| Wanted::Rows { offset: *offset, len: section.len })
            .collect();
        if !rows.is_empty() {
            return Ok(rows);
        }
        self.write_buffered()?;
        self.asked.clear();
        let (mut section, mut place) = self.next_block;
        while let Some((offset, found)) = self.offsets.get(section).copied() {
            if found.kind == SectionKind::Rows {
                (section, place) = (section + 1, 0);
                continue;
            }
            let mut bytes = vec![0; found.len as usize];
            self.file.read_exact_at(&mut bytes, offset).map_err(failed)?;
            let infos = read_infos(&bytes)?;
            while place < infos.len() && self.asked.len() < max {
                let some = infos[place..infos.len().min(place + LOOKED_UP_MAX)].to_vec();
                let stored = self.look_up(&some)?;
                for (info, stored) in some.into_iter().zip(stored) {
                    if self.asked.len() >= max {
                        break;
                    }
                    if !stored {
                        self.asked.insert(info.key, info);
                    } else if self.asked.is_empty() {
                        self.next_block = (section, place + 1);
                    }
                    place += 1;
                }
            }
            if self.asked.len() >= max {
                break;
            }
            (section, place) = (section + 1, 0);
            if self.asked.is_empty() {
                self.next_block = (section, 0);
            }
        }
        Ok(self.asked.keys().copied().map(Wanted::Block).collect())
    }

    /// Which of these blocks are stored here. On the storage thread, so that none is being deleted.
    fn look_up(&self, infos: &[BlockInfo]) -> Result<Vec<bool>, Error> {
        let infos = infos.to_vec();
        self.database.run_blocking(move |worker| {
            let mut stored = Vec::with_capacity(infos.len());
            for info in infos {
                let known = blocks::info(&*worker.blocks, &info.key)?;
                let same = known.is_some_and(|known| known.digest == info.digest);
                if same {
                    worker.deletions.cancel(&info.key);
                }
                stored.push(same);
            }
            Ok(stored)
        })
    }

    fn accept_rows(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Refused(format!("the snapshot's section at {offset} {why}")));
        let Ok(at) = self.offsets.binary_search_by_key(&offset, |(offset, _)| *offset) else {
            return refuse("does not exist");
        };
        let (_, section) = self.offsets[at];
        if bytes.len() != section.len as usize || crc32fast::hash(bytes) != section.crc {
            return refuse("came damaged");
        }
        self.file.write_all_at(bytes, offset).map_err(failed)?;
        self.have[at] = true;
        Ok(())
    }

    fn accept_block(&mut self, key: BlockKey, bytes: Arc<[u8]>) -> Result<(), Error> {
        let Some(info) = self.asked.get(&key).copied() else {
            return Err(Error::Refused(format!("block {key:?} was not asked for")));
        };
        if bytes.len() != info.bytes as usize
            || bytes.len() > NewBlock::BYTES_MAX
            || crc32fast::hash(&bytes) != info.crc
        {
            return Err(Error::Refused(format!("block {key:?} came damaged")));
        }
        self.asked.remove(&key);
        self.buffered_bytes += bytes.len();
        self.buffered.push(NewBlock { info, bytes });
        if self.buffered_bytes > BUFFERED_BYTES_MAX { self.write_buffered() } else { Ok(()) }
    }

    fn write_buffered(&mut self) -> Result<(), Error> {
        let buffered = std::mem::take(&mut self.buffered);
        self.buffered_bytes = 0;
        if buffered.is_empty() {
            return Ok(());
        }
        // Synced once at the end: after a crash what is not there is asked for again.
        self.database.run_blocking(move |worker| blocks::put_unsynced(worker, &buffered))
    }

    fn finish(&mut self) -> Result<Received, Error> {
        if !self.wanted(1)?.is_empty() {
            return Err(Error::Refused("the snapshot is not complete".to_string()));
        }
        self.file.sync().map_err(failed)?;
        self.database.run_blocking(|worker| worker.sync_blocks())?;
        let pin =
            self.pin.take().ok_or_else(|| Error::Refused("the snapshot was finished before".to_string()))?;
        Ok(Received {
            manifest: Arc::clone(&self.manifest),
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            blocks: Blocks::new(Arc::clone(&self.database)),
            _pin: pin,
        })
    }
}

impl Drop for Inner {
    // What came is kept for the next time. Nobody can wait for it here.
    fn drop(&mut self) {
        let buffered = std::mem::take(&mut self.buffered);
        if !buffered.is_empty() {
            self.database.spawn(move |worker| blocks::put_unsynced(worker, &buffered));
        }
    }
}

fn is_whole(file: &dyn File, offset: u64, section: Section) -> bool {
    let mut bytes = vec![0; section.len as usize];
    file.read_exact_at(&mut bytes, offset).is_ok() && crc32fast::hash(&bytes) == section.crc
}
