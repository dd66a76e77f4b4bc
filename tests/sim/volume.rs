//! Files and a database that lose in a crash what was not synced, and that fail when they are told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rscaler_raft::store::Error;
use rscaler_raft::store::volume::{Batch, Bytes, Database, Entries, File, Jobs, Mode, Tree, Volume};

use super::faults::{DiskFault, FaultPlan};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Trees = BTreeMap<String, Rows>;

/// What outlives the process.
pub(crate) struct Medium {
    inner: Mutex<Inner>,
}

struct Inner {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Contents>,
    databases: BTreeMap<PathBuf, Stored>,
    /// The process that writes; what an earlier one still writes is lost.
    process: u64,
    plan: FaultPlan,
    chance: StdRng,
}

#[derive(Clone, Default)]
struct Contents {
    durable: Vec<u8>,
    current: Vec<u8>,
}

#[derive(Default)]
struct Stored {
    durable: Trees,
    current: Trees,
    unsynced: Vec<(String, Changes)>,
    /// Bytes of all keys and values.
    written: u64,
}

type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn apply(trees: &mut Trees, tree: &str, changes: &Changes) {
    let rows = trees.entry(tree.to_string()).or_default();
    for (key, value) in changes {
        match value {
            Some(value) => drop(rows.insert(key.clone(), value.clone())),
            None => drop(rows.remove(key)),
        }
    }
}

impl Medium {
    pub(crate) fn new(seed: u64) -> Arc<Medium> {
        Arc::new(Medium {
            inner: Mutex::new(Inner {
                dirs: BTreeSet::new(),
                files: BTreeMap::new(),
                databases: BTreeMap::new(),
                process: 0,
                plan: FaultPlan::default(),
                chance: StdRng::seed_from_u64(seed),
            }),
        })
    }

    /// How it behaves from now on.
    pub(crate) fn set_plan(&self, plan: FaultPlan) {
        self.inner.lock().plan = plan;
    }

    /// The process is gone. Where the power fails, so is what was not synced: of a file everything behind some byte, of a
    /// database the last batches.
    pub(crate) fn crash(&self, is_power_loss: bool) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.process += 1;
        inner.plan = FaultPlan::default();
        for file in inner.files.values_mut() {
            if is_power_loss && file.durable != file.current {
                let kept = inner.chance.random_range(0..=file.current.len());
                file.current.truncate(kept);
                // Of what was overwritten in the middle nobody knows; of what was synced before all is there.
                if file.current.len() < file.durable.len() {
                    file.current = file.durable.clone();
                }
            }
            file.durable = file.current.clone();
        }
        for stored in inner.databases.values_mut() {
            let unsynced = std::mem::take(&mut stored.unsynced);
            let kept =
                if is_power_loss { inner.chance.random_range(0..=unsynced.len()) } else { unsynced.len() };
            for (tree, changes) in unsynced.iter().take(kept) {
                apply(&mut stored.durable, tree, changes);
            }
            stored.current = stored.durable.clone();
        }
    }

    /// Flips a bit of the database, as a disk might while the process is down. False where there is nothing to flip.
    pub(crate) fn flip_bit(&self) -> bool {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        for stored in inner.databases.values_mut() {
            for rows in stored.durable.values_mut() {
                if rows.is_empty() {
                    continue;
                }
                let at = inner.chance.random_range(0..rows.len());
                let Some(value) = rows.values_mut().nth(at).filter(|value| !value.is_empty()) else {
                    continue;
                };
                let byte = inner.chance.random_range(0..value.len());
                value[byte] ^= 1 << inner.chance.random_range(0..8);
                stored.current = stored.durable.clone();
                return true;
            }
        }
        false
    }

    /// The volume for a new process. `seed` decides how long its jobs take.
    pub(crate) fn open(self: &Arc<Self>, seed: u64) -> Arc<SimVolume> {
        let process = self.inner.lock().process;
        let lags = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        Arc::new(SimVolume { medium: Arc::clone(self), process, lags })
    }
}

/// The volume of one process.
pub(crate) struct SimVolume {
    medium: Arc<Medium>,
    process: u64,
    lags: Arc<Mutex<StdRng>>,
}

fn failure(doing: &str, path: &Path, kind: io::ErrorKind, text: &str) -> Error {
    Error::io(format!("{doing} {} (simulated)", path.display()), io::Error::new(kind, text.to_string()))
}

fn fault_error(fault: DiskFault) -> io::Error {
    match fault {
        DiskFault::Eio => io::Error::other("input/output error"),
        DiskFault::Full => io::Error::new(io::ErrorKind::StorageFull, "no space left on device"),
        DiskFault::Panic => std::panic::panic_any("the volume breaks down (simulated)"),
    }
}

impl Medium {
    fn write<T>(&self, process: u64, work: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner.lock();
        if inner.process != process {
            return Err(io::Error::other("the process is gone"));
        }
        match inner.plan.next_write() {
            Some(fault) => Err(fault_error(fault)),
            None => work(&mut inner),
        }
    }
}

impl SimVolume {
    fn change<T>(&self, doing: &str, path: &Path, work: impl FnOnce(&mut Inner) -> T) -> Result<T, Error> {
        self.medium
            .write(self.process, |inner| Ok(work(inner)))
            .map_err(|error| Error::io(format!("{doing} {}", path.display()), error))
    }
}

fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) })
}

impl Volume for SimVolume {
    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.change("creating", path, |inner| {
            inner.dirs.insert(path.to_path_buf());
        })
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.medium.inner.lock().dirs.contains(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.change("renaming", from, |inner| {
            let dirs = std::mem::take(&mut inner.dirs);
            inner.dirs = dirs.into_iter().map(|path| moved(&path, from, to).unwrap_or(path)).collect();
            let files = std::mem::take(&mut inner.files);
            let (going, mut staying): (Vec<_>, BTreeMap<_, _>) = {
                let (going, staying): (Vec<_>, Vec<_>) =
                    files.into_iter().partition(|(path, _)| path.starts_with(from));
                (going, staying.into_iter().collect())
            };
            for (path, contents) in going {
                staying.insert(moved(&path, from, to).unwrap_or(path), contents);
            }
            inner.files = staying;
            let databases = std::mem::take(&mut inner.databases);
            let place = |path: PathBuf| moved(&path, from, to).unwrap_or(path);
            inner.databases = databases.into_iter().map(|(path, stored)| (place(path), stored)).collect();
        })
    }

    fn remove_file(&self, path: &Path) -> Result<(), Error> {
        self.change("removing", path, |inner| drop(inner.files.remove(path)))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), Error> {
        self.change("removing", path, |inner| {
            inner.dirs.retain(|dir| !dir.starts_with(path));
            inner.files.retain(|file, _| !file.starts_with(path));
            inner.databases.retain(|dir, _| !dir.starts_with(path));
        })
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, Error> {
        let inner = self.medium.inner.lock();
        let places = inner.dirs.iter().chain(inner.files.keys());
        let names: BTreeSet<String> = places
            .filter(|place| place.parent() == Some(path))
            .filter_map(|place| Some(place.file_name()?.to_str()?.to_string()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.medium.inner.lock().files.get(path).map(|file| file.current.clone()))
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.change("writing", path, |inner| {
            let contents = Contents { durable: bytes.to_vec(), current: bytes.to_vec() };
            inner.files.insert(path.to_path_buf(), contents);
        })
    }

    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>, Error> {
        let exists = self.medium.inner.lock().files.contains_key(path);
        match mode {
            Mode::Read if !exists => {
                return Err(failure("opening", path, io::ErrorKind::NotFound, "no such file"));
            }
            Mode::Update if exists => {}
            Mode::Read => {}
            Mode::Create | Mode::Update => self.change("creating", path, |inner| {
                inner.files.entry(path.to_path_buf()).or_default().current.clear();
            })?,
        }
        Ok(Arc::new(SimFile {
            medium: Arc::clone(&self.medium),
            process: self.process,
            path: path.to_path_buf(),
        }))
    }

    fn database(&self, dir: &Path, _: u64) -> Result<Arc<dyn Database>, Error> {
        self.change("opening", dir, |inner| {
            inner.dirs.insert(dir.to_path_buf());
            inner.databases.entry(dir.to_path_buf()).or_default();
        })?;
        let medium = Arc::clone(&self.medium);
        Ok(Arc::new(SimDatabase { medium, process: self.process, dir: dir.to_path_buf() }))
    }

    fn free_bytes(&self, _: &Path) -> Result<u64, Error> {
        Ok(u64::MAX)
    }

    fn jobs(&self) -> Jobs {
        let lags = Arc::clone(&self.lags);
        Jobs::Here(Arc::new(move || Duration::from_millis(lags.lock().random_range(0..8))))
    }
}

struct SimFile {
    medium: Arc<Medium>,
    process: u64,
    path: PathBuf,
}

impl SimFile {
    fn look<T>(&self, look: impl FnOnce(&Contents) -> io::Result<T>) -> io::Result<T> {
        let inner = self.medium.inner.lock();
        look(inner.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.look(|contents| Ok(contents.current.len() as u64))
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        self.look(|contents| {
            let found = contents.current.get(from..from + bytes.len());
            bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        self.medium.write(self.process, |inner| {
            let contents = inner.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
            let end = from + bytes.len();
            contents.current.resize(contents.current.len().max(end), 0);
            contents.current[from..end].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.medium.write(self.process, |inner| {
            let contents = inner.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
            contents.durable = contents.current.clone();
            Ok(())
        })
    }
}

struct SimDatabase {
    medium: Arc<Medium>,
    process: u64,
    dir: PathBuf,
}

impl Database for SimDatabase {
    fn tree(&self, name: &str) -> Result<Arc<dyn Tree>, Error> {
        let (medium, dir) = (Arc::clone(&self.medium), self.dir.clone());
        Ok(Arc::new(SimTree { medium, process: self.process, dir, name: name.to_string() }))
    }

    fn sync(&self) -> Result<(), Error> {
        let synced = self.medium.write(self.process, |inner| {
            let stored = inner.databases.get_mut(&self.dir).ok_or(io::ErrorKind::NotFound)?;
            for (tree, changes) in stored.unsynced.drain(..) {
                apply(&mut stored.durable, &tree, &changes);
            }
            Ok(())
        });
        synced.map_err(|error| Error::io("syncing the state", error))
    }

    /// Everything that was ever written to it, as if nothing were reused.
    fn size_on_disk(&self) -> Result<u64, Error> {
        Ok(self.medium.inner.lock().databases.get(&self.dir).map_or(0, |stored| stored.written))
    }
}

struct SimTree {
    medium: Arc<Medium>,
    process: u64,
    dir: PathBuf,
    name: String,
}

impl SimTree {
    fn look<T: Default>(&self, look: impl FnOnce(&Rows) -> T) -> T {
        let inner = self.medium.inner.lock();
        let rows = inner.databases.get(&self.dir).and_then(|stored| stored.current.get(&self.name));
        rows.map(look).unwrap_or_default()
    }
}

impl Tree for SimTree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.look(|rows| rows.get(key).map(|value| Bytes::from(value.as_slice()))))
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> Entries {
        let entries: Vec<_> = self.look(|rows| {
            let entries =
                rows.range(from.to_vec()..).take_while(|(key, _)| to.is_none_or(|to| key.as_slice() < to));
            entries
                .map(|(key, value)| Ok((Bytes::from(key.as_slice()), Bytes::from(value.as_slice()))))
                .collect()
        });
        Box::new(entries.into_iter())
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        let changes: Changes = batch
            .changes
            .into_iter()
            .map(|(key, value)| (key.to_vec(), value.map(|value| value.to_vec())))
            .collect();
        let written = self.medium.write(self.process, |inner| {
            let stored = inner.databases.get_mut(&self.dir).ok_or(io::ErrorKind::NotFound)?;
            apply(&mut stored.current, &self.name, &changes);
            let bytes = changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
            stored.written += bytes.sum::<usize>() as u64;
            stored.unsynced.push((self.name.clone(), changes));
            Ok(())
        });
        written.map_err(|error| Error::io("writing the state", error))
    }
}
