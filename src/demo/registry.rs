//! Where a user's running demos are listed: a directory that only the user can write, with an entry and a socket
//! for each demo.
//!
//! It is `$XDG_RUNTIME_DIR/rscaler-demo`, or `/tmp/rscaler-demo-UID` where there is none. Both are looked at, for
//! a demo may have been started in a session of another kind than the one in which it is asked.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// The longest path of a socket that all systems take.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// The most entries that are looked at.
const ENTRIES_MAX: usize = 256;

/// A demo, as the registry knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The demo's directory, absolute.
    pub(super) dir: PathBuf,
    /// Whether the directory goes with the demo.
    pub(super) temporary: bool,
    /// The process.
    pub(super) pid: u32,
}

/// The places where demos are listed, the preferred one first.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    places: Vec<PathBuf>,
}

impl Registry {
    /// This user's.
    pub(super) fn of_user() -> Registry {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let user = rustix::process::geteuid().as_raw();
        Registry { places: places(runtime, user) }
    }

    /// One in a directory, for tests.
    #[cfg(test)]
    pub(super) fn at(dir: &Path) -> Registry {
        Registry { places: vec![dir.join("rscaler-demo")] }
    }

    /// Where a demo's socket is to be. The demo is on the list once it is announced, and until this is dropped.
    ///
    /// # Errors
    /// When no place can be used; above all when one in `/tmp` belongs to somebody else.
    pub(super) fn reserve(&self, pid: u32) -> anyhow::Result<Listed> {
        let mut failure = None;
        for place in &self.places {
            match reserve_at(place, pid) {
                Ok(listed) => return Ok(listed),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("there is no place to list running demos")))
    }

    /// The demos that run, with their sockets, oldest first.
    pub(super) fn running(&self) -> Vec<(Entry, PathBuf)> {
        self.entries().into_iter().filter(|(_, socket)| is_listening(socket)).collect()
    }

    /// The demos that were killed and could not tidy up. Their entries are forgotten.
    pub(super) fn take_dead(&self) -> Vec<Entry> {
        let mut dead = self.entries();
        dead.retain(|(_, socket)| !is_listening(socket));
        for (_, socket) in &dead {
            remove_pair(socket);
        }
        dead.into_iter().map(|(entry, _)| entry).collect()
    }

    fn entries(&self) -> Vec<(Entry, PathBuf)> {
        let mut found = Vec::new();
        // A place that is not safe is not believed.
        for place in self.places.iter().filter(|place| check(place).is_ok()) {
            let Ok(files) = fs::read_dir(place) else { continue };
            for file in files.flatten().take(ENTRIES_MAX) {
                let path = file.path();
                if path.extension().is_some_and(|ending| ending == "json")
                    && let Ok(text) = fs::read(&path)
                    && let Ok(entry) = serde_json::from_slice::<Entry>(&text)
                {
                    let age = file.metadata().and_then(|data| data.modified()).ok();
                    found.push((age, entry, path.with_extension("sock")));
                }
            }
        }
        found.sort_by_key(|(age, entry, _)| (*age, entry.pid));
        found.into_iter().map(|(_, entry, socket)| (entry, socket)).collect()
    }
}

/// An entry of a demo that runs. Dropping it takes the demo off the list.
#[derive(Debug)]
pub(super) struct Listed {
    socket: PathBuf,
}

impl Listed {
    /// Where the demo listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Puts the demo on the list. It must listen by now, for one that does not is taken for dead.
    ///
    /// # Errors
    /// When the entry can't be written.
    pub(super) fn announce(&self, entry: &Entry) -> anyhow::Result<()> {
        let path = self.socket.with_extension("json");
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("could not make {}", path.display()))?;
        serde_json::to_writer(&mut file, entry).with_context(|| format!("could not write {}", path.display()))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        remove_pair(&self.socket);
        if let Some(place) = self.socket.parent() {
            // Stays while others are listed there.
            let _ = fs::remove_dir(place);
        }
    }
}

fn remove_pair(socket: &Path) {
    // What is not there needs no removing, and what can't be removed is taken for dead by all who look.
    let _ = fs::remove_file(socket);
    let _ = fs::remove_file(socket.with_extension("json"));
}

fn reserve_at(place: &Path, pid: u32) -> anyhow::Result<Listed> {
    let socket = place.join(format!("{pid}.sock"));
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        bail!("{} is too long for a socket", socket.display());
    }
    match fs::DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("could not make {}", place.display()));
        }
        _ => check(place)?,
    }
    // Of a process that had our number before.
    remove_pair(&socket);
    Ok(Listed { socket })
}

/// Whoever could write there could have this user's commands go to a demo of theirs.
fn check(place: &Path) -> anyhow::Result<()> {
    let data =
        fs::symlink_metadata(place).with_context(|| format!("could not look at {}", place.display()))?;
    if !data.is_dir() || data.uid() != rustix::process::geteuid().as_raw() || data.mode() & 0o077 != 0 {
        bail!("{} is not a directory that you own and only you can use", place.display());
    }
    Ok(())
}

/// A dead demo's socket is still a file, but nobody answers.
fn is_listening(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

fn places(runtime: Option<PathBuf>, user: u32) -> Vec<PathBuf> {
    let runtime = runtime.filter(|dir| dir.is_absolute() && dir.is_dir());
    let shared = PathBuf::from(format!("/tmp/rscaler-demo-{user}"));
    runtime.map(|dir| dir.join("rscaler-demo")).into_iter().chain([shared]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn entry(pid: u32) -> Entry {
        Entry { dir: PathBuf::from(format!("/demo/{pid}")), temporary: true, pid }
    }

    #[test]
    fn a_demo_is_listed_while_it_listens() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path());
        assert!(registry.running().is_empty());
        let listed = registry.reserve(7).unwrap();
        let listener = UnixListener::bind(listed.socket()).unwrap();
        assert!(registry.running().is_empty(), "it is not announced yet");
        listed.announce(&entry(7)).unwrap();
        assert_eq!(registry.running(), [(entry(7), listed.socket().to_owned())]);
        drop((listener, listed));
        assert!(registry.running().is_empty());
        assert!(!dir.path().join("rscaler-demo").exists());
    }

    #[test]
    fn the_dead_are_taken_once_and_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path());
        let dead = registry.reserve(1).unwrap();
        drop(UnixListener::bind(dead.socket()).unwrap());
        dead.announce(&entry(1)).unwrap();
        let alive = registry.reserve(2).unwrap();
        let _listener = UnixListener::bind(alive.socket()).unwrap();
        alive.announce(&entry(2)).unwrap();
        std::mem::forget(dead);
        assert_eq!(registry.take_dead(), [entry(1)]);
        assert!(registry.take_dead().is_empty());
        drop(registry.reserve(3).unwrap());
        assert_eq!(registry.running().len(), 1);
    }

    #[test]
    fn a_place_that_others_can_write_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path());
        let place = dir.path().join("rscaler-demo");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = registry.reserve(1).unwrap_err().to_string();
        assert!(refused.contains("only you can use"), "{refused}");
        fs::write(place.join("1.json"), serde_json::to_vec(&entry(1)).unwrap()).unwrap();
        assert!(registry.entries().is_empty());
        fs::remove_dir_all(&place).unwrap();
        std::os::unix::fs::symlink(dir.path(), &place).unwrap();
        assert!(registry.reserve(1).is_err(), "a link may lead anywhere");
    }

    #[test]
    fn the_runtime_directory_comes_first_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let shared = PathBuf::from("/tmp/rscaler-demo-1000");
        assert_eq!(places(Some(dir.path().into()), 1000), [dir.path().join("rscaler-demo"), shared.clone()]);
        let alone = std::slice::from_ref(&shared);
        assert_eq!(places(Some(dir.path().join("gone")), 1000), alone);
        assert_eq!(places(Some("relative".into()), 1000), alone);
        assert_eq!(places(None, 1000), alone);
    }
}
