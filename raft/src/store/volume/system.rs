use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Batch, Bytes, Database, Entries, File, Jobs, Mode, Tree, Volume};
use crate::store::{Error, files};

/// How long a database that was just closed may still be locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The system's files, and sled.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Volume for System {
    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        files::create_dir(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        files::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<(), Error> {
        files::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), Error> {
        files::remove_dir(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, Error> {
        files::list(path)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        files::read(path)
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        files::write_atomic(path, bytes)
    }

    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>, Error> {
        let mut options = OpenOptions::new();
        match mode {
            Mode::Read => options.read(true),
            Mode::Create => options.read(true).write(true).create(true).truncate(true),
            Mode::Update => options.read(true).write(true).create(true).truncate(false),
        };
        let file = options.open(path);
        Ok(Arc::new(file.map_err(|error| Error::io(format!("opening {}", path.display()), error))?))
    }

    fn database(&self, dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Database>, Error> {
        Ok(Arc::new(Sled { db: open_sled(dir, cache_bytes)?, dir: dir.to_path_buf() }))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, Error> {
        files::free_bytes(dir)
    }

    fn jobs(&self) -> Jobs {
        Jobs::Threads
    }
}

impl File for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

struct Sled {
    db: sled::Db,
    dir: PathBuf,
}

impl Database for Sled {
    fn tree(&self, name: &str) -> Result<Arc<dyn Tree>, Error> {
        let tree = self.db.open_tree(name).map_err(|error| sled_error("opening the state", error))?;
        Ok(Arc::new(tree))
    }

    // sled's own flush does not reach the disk on every system.
    fn sync(&self) -> Result<(), Error> {
        self.db.flush().map_err(|error| sled_error("flushing the state", error))?;
        let file = self.dir.join("db");
        fs::File::open(&file)
            .and_then(|file| file.sync_data())
            .map_err(|error| Error::io(format!("syncing {}", file.display()), error))?;
        files::sync_dir(&self.dir)
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.db.size_on_disk().map_err(|error| sled_error("measuring the state", error))
    }
}

impl Tree for sled::Tree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        sled::Tree::get(self, key).map_err(|error| sled_error("reading the state", error))
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> Entries {
        let to = to.map_or(Bound::Unbounded, |to| Bound::Excluded(to.to_vec()));
        let entries = sled::Tree::range(self, (Bound::Included(from.to_vec()), to));
        Box::new(entries.map(|entry| entry.map_err(|error| sled_error("reading the state", error))))
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch.changes {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        self.apply_batch(changes).map_err(|error| sled_error("writing the state", error))
    }
}

fn sled_error(doing: &str, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => Error::io(doing, error),
        sled::Error::Corruption { .. } => Error::corrupt("the state's database", format!("{doing}: {error}")),
        other => Error::io(doing, io::Error::other(other.to_string())),
    }
}

/// Opens sled; what it says or panics about damage becomes [`Error::Corrupt`].
fn open_sled(dir: &Path, cache_bytes: u64) -> Result<sled::Db, Error> {
    files::create_dir(dir)?;
    // Left by a crash in the middle of opening; with it sled may refuse to open.
    for name in files::list(dir)? {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            files::remove_file(&dir.join(name))?;
        }
    }
    let begun = Instant::now();
    loop {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace);
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sled::Error::Io(error))) if error.to_string().contains("lock") => {
                // Dropped handles of sled let go of the file a little later.
                if begun.elapsed() > LOCK_PATIENCE {
                    return Err(Error::Refused(format!("{} is in use by another process", dir.display())));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(Err(sled::Error::Io(error)))
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::StorageFull) =>
            {
                return Err(Error::io(format!("opening {}", dir.display()), error));
            }
            Ok(Err(error)) => return Err(Error::corrupt(dir.display().to_string(), error.to_string())),
            Err(_) => return Err(Error::corrupt(dir.display().to_string(), "sled cannot read it")),
        }
    }
}
