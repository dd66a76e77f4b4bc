//! Snapshots: the whole state at one position, to be given to a peer that lacks it.
//!
//! A snapshot is a small [`Manifest`], a file of sections (rows, then the list of blocks), and the blocks it names,
//! which stay in the store and are pinned while it is in use. Who receives one fetches the sections and only the
//! blocks it lacks, in any order, and goes on where it stopped after a restart; what it has half of never touches
//! the state. `build` makes one from the last checkpoint, `incoming` receives one, `install` puts it in the state's
//! place.

mod build;
mod export;
mod incoming;
mod install;
mod manifest;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

pub(super) use build::build;
pub use export::ExportedPart;
pub use incoming::{Incoming, Wanted};
pub(super) use incoming::{Received, remove_if_older};
pub(super) use install::{adopt, load, switch, write_generation};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use manifest::fuzz_sections;
#[cfg(test)]
pub(super) use manifest::golden;
pub use manifest::{Manifest, Section, SectionKind};

use super::blocks::Blocks;
use super::deletions::{Pin, Pins};
use super::volume::{File, Mode, Volume};
use super::{BlockKey, Error};

/// The snapshots in a directory: the current one, and older ones that somebody still reads.
pub(super) struct Snapshots {
    volume: Arc<dyn Volume>,
    dir: PathBuf,
    next_file: AtomicU64,
    state: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    current: Option<Arc<Stored>>,
    by_id: BTreeMap<u64, Weak<Stored>>,
}

/// A snapshot on disk. Deleted when it is no longer current and nobody holds it.
pub(crate) struct Stored {
    manifest: Arc<Manifest>,
    rows: PathBuf,
    file: Arc<dyn File>,
    volume: Arc<dyn Volume>,
    superseded: AtomicBool,
    _pin: Pin,
}

/// A snapshot, complete: stored here, or received and not yet installed.
#[derive(Clone)]
pub struct SnapshotHandle {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Stored { snapshot: Arc<Stored>, blocks: Blocks },
    Received(Arc<Received>),
}

impl SnapshotHandle {
    pub(super) fn stored(snapshot: Arc<Stored>, blocks: Blocks) -> SnapshotHandle {
        SnapshotHandle { source: Source::Stored { snapshot, blocks } }
    }

    fn received(received: Received) -> SnapshotHandle {
        SnapshotHandle { source: Source::Received(Arc::new(received)) }
    }

    /// What it consists of.
    pub fn manifest(&self) -> &Arc<Manifest> {
        match &self.source {
            Source::Stored { snapshot, .. } => &snapshot.manifest,
            Source::Received(received) => received.manifest(),
        }
    }

    /// Reads `len` bytes of its file, at most [`Section::BYTES_MAX`]. Reads the disk.
    ///
    /// # Errors
    /// [`Error::Refused`] for a range that is not in it, [`Error::Io`].
    pub fn read_rows(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let end = offset.checked_add(len as u64);
        if len > Section::BYTES_MAX || end.is_none_or(|end| end > self.manifest().file_bytes()) {
            return Err(Error::Refused(format!("the snapshot has no {len} bytes at {offset}")));
        }
        let mut bytes = vec![0; len];
        let file = match &self.source {
            Source::Stored { snapshot, .. } => &*snapshot.file,
            Source::Received(received) => received.file(),
        };
        file.read_exact_at(&mut bytes, offset).map_err(|error| Error::io("reading a snapshot", error))?;
        Ok(bytes)
    }

    /// Reads a block it names. Reads the disk.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn read_block(&self, key: &BlockKey) -> Result<Option<Arc<[u8]>>, Error> {
        match &self.source {
            Source::Stored { blocks, .. } => blocks.get(key),
            Source::Received(received) => received.blocks().get(key),
        }
    }

    fn section(&self, offset: u64, section: Section) -> Result<Vec<u8>, Error> {
        let bytes = self.read_rows(offset, section.len as usize)?;
        if crc32fast::hash(&bytes) != section.crc {
            return Err(Error::corrupt(
                "a snapshot",
                format!("the section at {offset} has a wrong checksum"),
            ));
        }
        Ok(bytes)
    }
}

impl std::fmt::Debug for SnapshotHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotHandle({})", self.manifest().id())
    }
}

impl Snapshots {
    /// Finds the newest whole snapshot that the log leads on from and that is not newer than the checkpoint: its id is in
    /// `usable`. Removes whatever else there is.
    pub(super) fn open(
        volume: &Arc<dyn Volume>,
        dir: PathBuf,
        usable: RangeInclusive<u64>,
        pins: &Arc<Pins>,
    ) -> Result<Snapshots, Error> {
        volume.create_dir(&dir)?;
        let names = volume.list(&dir)?;
        let mut found: Option<(String, Manifest)> = None;
        for name in names.iter().filter_map(|name| name.strip_suffix(".manifest")) {
            let bytes = volume.read(&dir.join(format!("{name}.manifest")))?.unwrap_or_default();
            let Ok(manifest) = Manifest::decode(&bytes) else { continue };
            let rows = volume.open(&dir.join(format!("{name}.rows")), Mode::Read).ok();
            let bytes = rows.and_then(|rows| rows.len().ok());
            let whole = bytes == Some(manifest.file_bytes());
            if whole
                && usable.contains(&manifest.id())
                && found.as_ref().is_none_or(|(_, best)| best.id() <= manifest.id())
            {
                found = Some((name.to_string(), manifest));
            }
        }
        let keep = found.as_ref().map(|(name, _)| name.clone());
        let mut next_file = 0;
        for name in names {
            let stem = name.split('.').next().unwrap_or_default();
            let number = stem.split('-').nth(1).and_then(|number| number.parse::<u64>().ok());
            next_file = next_file.max(number.map_or(0, |number| number + 1));
            if Some(stem) != keep.as_deref() {
                volume.remove_file(&dir.join(name))?;
            }
        }
        let volume = Arc::clone(volume);
        let next_file = AtomicU64::new(next_file);
        let snapshots = Snapshots { volume, dir, next_file, state: Mutex::default() };
        if let Some((name, manifest)) = found {
            let rows = snapshots.dir.join(format!("{name}.rows"));
            snapshots.set_current(Stored::open(&snapshots.volume, manifest, rows, pins.pin())?);
        }
        Ok(snapshots)
    }

    /// A path for the rows of a new snapshot; its manifest goes beside it.
    fn new_path(&self, id: u64) -> PathBuf {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{id:020}-{number}.rows"))
    }

    pub(super) fn current(&self) -> Option<Arc<Stored>> {
        self.state.lock().current.clone()
    }

    /// A snapshot that is current or still held.
    pub(super) fn by_id(&self, id: u64) -> Option<Arc<Stored>> {
        self.state.lock().by_id.get(&id).and_then(Weak::upgrade)
    }

    pub(super) fn set_current(&self, stored: Stored) -> Arc<Stored> {
        let stored = Arc::new(stored);
        let before = {
            let mut state = self.state.lock();
            state.by_id.retain(|_, live| live.strong_count() > 0);
            state.by_id.insert(stored.manifest.id(), Arc::downgrade(&stored));
            state.current.replace(Arc::clone(&stored))
        };
        if let Some(before) = before {
            before.superseded.store(true, Ordering::Relaxed);
        }
        stored
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Stored {
    fn open(volume: &Arc<dyn Volume>, manifest: Manifest, rows: PathBuf, pin: Pin) -> Result<Stored, Error> {
        let (file, volume) = (volume.open(&rows, Mode::Read)?, Arc::clone(volume));
        let (manifest, superseded) = (Arc::new(manifest), AtomicBool::new(false));
        Ok(Stored { manifest, rows, file, volume, superseded, _pin: pin })
    }

    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if *self.superseded.get_mut() {
            // What cannot be removed now is at the next start.
            let _ = self.volume.remove_file(&self.rows.with_extension("manifest"));
            let _ = self.volume.remove_file(&self.rows);
        }
    }
}
