//! Copying a database to a smaller file: sled's files hardly shrink, and what is written again leaves behind what was
//! written before. The copy takes the old directory's place by renaming; [`recover_dir`] undoes what a crash leaves half done.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::volume::{Database, Volume};

/// Memory for a database that is only written to, once.
const COPY_CACHE_BYTES: u64 = 4 << 20;

/// How much garbage a database's file may hold before it is copied. Meanwhile no checkpoint is written, and what is applied waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Garbage {
    /// Half of what lives: each byte of garbage costs two that are copied.
    Little,
    /// Three times what lives, while much is written.
    Much,
}

impl Garbage {
    fn bytes_max(self, live: u64) -> u64 {
        match self {
            Garbage::Little => live / 2,
            Garbage::Much => live * 3,
        }
    }
}

/// A database that is copied to a smaller file where it holds much garbage.
pub(super) struct Compacted {
    pub(super) db: Arc<dyn Database>,
    volume: Arc<dyn Volume>,
    dir: PathBuf,
    cache_bytes: u64,
    /// Garbage for which it is never copied, in bytes.
    garbage_bytes: u64,
    /// How much lived when it was last looked at.
    live_bytes: u64,
    /// The file's size up to which it is not copied, as there was no room for that.
    no_room_until: u64,
}

impl Compacted {
    /// Opens the database in a directory, or begins it there.
    pub(super) fn open(
        volume: &Arc<dyn Volume>,
        dir: PathBuf,
        cache_bytes: u64,
        garbage_bytes: u64,
    ) -> Result<Compacted, Error> {
        let db = volume.database(&dir, cache_bytes)?;
        let volume = Arc::clone(volume);
        Ok(Compacted { db, volume, dir, cache_bytes, garbage_bytes, live_bytes: 0, no_room_until: 0 })
    }

    /// Whether it is to be copied. `find_live` takes a look at everything, and says how many bytes live.
    pub(super) fn is_due(
        &mut self,
        garbage: Garbage,
        find_live: impl FnOnce() -> Result<u64, Error>,
    ) -> Result<bool, Error> {
        let size = self.db.size_on_disk()?;
        let spare = self.garbage_bytes;
        let wanted = |live| live + garbage.bytes_max(live) + spare;
        if size <= wanted(self.live_bytes).max(self.no_room_until) {
            return Ok(false);
        }
        let live = find_live()?;
        self.live_bytes = live;
        if size <= wanted(live) {
            return Ok(false);
        }
        if self.volume.free_bytes(&self.dir)? < live.saturating_mul(2) {
            tracing::warn!(size, live, "the disk has no room to copy the state to a smaller file");
            self.no_room_until = size + self.garbage_bytes;
            return Ok(false);
        }
        let what = self.dir.file_name().unwrap_or_default().to_string_lossy();
        tracing::info!(what = &*what, size, live, "copying to a smaller file");
        Ok(true)
    }

    /// A new database beside this one. Once it is filled, synced and closed, [`Compacted::replace`] makes it this one.
    pub(super) fn begin_copy(&self) -> Result<Arc<dyn Database>, Error> {
        begin_fresh(&*self.volume, &self.dir)
    }

    /// Puts the copy in this one's place. `let_go` takes the trees of an empty database in place of this one's, so that
    /// nobody holds its files.
    ///
    /// # Errors
    /// [`Error`]; the database is then closed, and the peer must stop.
    pub(super) fn replace(
        &mut self,
        let_go: impl FnOnce(&dyn Database) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let [old, closed] = ["old", "closed"].map(|word| self.beside(word));
        self.db.sync()?;
        self.volume.remove_dir(&closed)?;
        let empty = self.volume.database(&closed, 1 << 20)?;
        let_go(&*empty)?;
        self.db = empty;
        self.volume.rename(&self.dir, &old)?;
        self.volume.rename(&fresh_dir(&self.dir), &self.dir)?;
        self.db = self.volume.database(&self.dir, self.cache_bytes)?;
        Ok(())
    }

    /// Removes what [`Compacted::replace`] left, once nobody holds the empty database's trees.
    pub(super) fn clean_up(&self) -> Result<(), Error> {
        self.volume.remove_dir(&self.beside("closed"))?;
        self.volume.remove_dir(&self.beside("old"))
    }

    fn beside(&self, word: &str) -> PathBuf {
        self.dir.with_extension(word)
    }
}

/// Where what is to be a directory's content is written first.
pub(super) fn fresh_dir(dir: &Path) -> PathBuf {
    dir.with_extension("fresh")
}

/// A new database, to be filled, synced, closed and renamed to `dir`.
pub(super) fn begin_fresh(volume: &dyn Volume, dir: &Path) -> Result<Arc<dyn Database>, Error> {
    let fresh = fresh_dir(dir);
    volume.remove_dir(&fresh)?;
    volume.database(&fresh, COPY_CACHE_BYTES)
}

/// Puts right what a crash during [`Compacted::replace`] left: before the second rename the old directory counts, after
/// it the new one.
pub(super) fn recover_dir(volume: &dyn Volume, dir: &Path) -> Result<(), Error> {
    let old = dir.with_extension("old");
    if volume.is_dir(&old) && !volume.is_dir(dir) {
        volume.rename(&old, dir)?;
    }
    for word in ["old", "fresh", "closed"] {
        volume.remove_dir(&dir.with_extension(word))?;
    }
    Ok(())
}
