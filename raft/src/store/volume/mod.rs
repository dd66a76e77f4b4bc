//! What a peer's state lies on: files, and a database of ordered keys. [`System`] is the real one, the system's files
//! and sled; another one can lose what was not synced, or fail when it is told to.

mod system;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use system::System;

use super::Error;

/// A key or a value as the database keeps it.
pub type Bytes = sled::IVec;
/// A key with its value.
pub type Entry = (Bytes, Bytes);
/// Entries in the order of their keys.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, Error>> + Send>;

/// Files and databases. What a method here changes is durable when it returns, but for what is written to a [`File`]
/// or a [`Database`], which have a sync of their own.
pub trait Volume: Send + Sync + 'static {
    /// Makes a directory with its parents; no error where it exists.
    fn create_dir(&self, path: &Path) -> Result<(), Error>;
    /// Whether there is such a directory.
    fn is_dir(&self, path: &Path) -> bool;
    /// Renames a file or a directory.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error>;
    /// Removes a file; no error where there is none.
    fn remove_file(&self, path: &Path) -> Result<(), Error>;
    /// Removes a directory with its content; no error where there is none.
    fn remove_dir(&self, path: &Path) -> Result<(), Error>;
    /// Names in a directory, in order; none where there is no such directory.
    fn list(&self, path: &Path) -> Result<Vec<String>, Error>;
    /// A file's content; absent where there is none.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error>;
    /// Replaces a file's content: whole or not at all.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), Error>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>, Error>;
    /// Opens the database in a directory, or begins it there.
    fn database(&self, dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Database>, Error>;
    /// Bytes that can still be written below a directory.
    fn free_bytes(&self, dir: &Path) -> Result<u64, Error>;
    /// Where what takes time is done.
    fn jobs(&self) -> Jobs;
}

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// To be read; it must exist.
    Read,
    /// To be written from its beginning.
    Create,
    /// To be read and written; made where it does not exist.
    Update,
}

/// Where jobs on a volume are done.
#[derive(Clone)]
pub enum Jobs {
    /// On threads of their own.
    Threads,
    /// Where they are asked for, each after as long as this says: for a volume whose time is not the system's.
    Here(Arc<dyn Fn() -> Duration + Send + Sync>),
}

/// An open file.
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `bytes` from `offset` on.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes durable what was written.
    fn sync(&self) -> io::Result<()>;
}

/// An open database: some trees.
pub trait Database: Send + Sync {
    /// The tree of this name.
    fn tree(&self, name: &str) -> Result<Arc<dyn Tree>, Error>;
    /// Makes durable what was written to all trees.
    fn sync(&self) -> Result<(), Error>;
    /// What it takes on disk, in bytes.
    fn size_on_disk(&self) -> Result<u64, Error>;
}

/// An ordered map. Not durable before [`Database::sync`].
pub trait Tree: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;
    /// The entries from `from` up to but not including `to`.
    fn range(&self, from: &[u8], to: Option<&[u8]>) -> Entries;
    /// Makes all changes of a batch, or, where the process ends, none.
    fn apply(&self, batch: Batch) -> Result<(), Error>;
}

impl dyn Tree + '_ {
    /// The entries whose keys begin with `prefix`.
    pub(crate) fn scan_prefix(&self, prefix: &[u8]) -> Entries {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return self.range(prefix, Some(&end));
            }
        }
        self.range(prefix, None)
    }
}

#[cfg(test)]
impl dyn Tree + '_ {
    pub(crate) fn put(&self, key: &[u8], value: impl Into<Bytes>) {
        let changes = vec![(key.into(), Some(value.into()))];
        self.apply(Batch { changes }).expect("the tree can be written");
    }

    pub(crate) fn delete(&self, key: &[u8]) {
        self.apply(Batch { changes: vec![(key.into(), None)] }).expect("the tree can be written");
    }

    pub(crate) fn keys(&self) -> Vec<Bytes> {
        self.range(&[], None).map(|entry| entry.expect("the tree can be read").0).collect()
    }
}

/// Changes that are made together. Of several changes of one key the last counts.
#[derive(Default)]
pub struct Batch {
    /// Keys with their new values; without one the key is removed.
    pub changes: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Sets a key.
    pub fn insert(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: impl Into<Bytes>) {
        self.changes.push((key.into(), None));
    }
}
