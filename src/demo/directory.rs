//! The demo's directory: that only one demo uses it, and what the next start in it must know.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::registry::Entry;

/// How temporary directories of demos are called.
const PREFIX: &str = "rscaler-demo-";
const RECORD: &str = "demo.json";
const LOCK: &str = "demo.lock";
/// The form of [`Record`].
const VERSION: u32 = 1;

/// What the next start in the same directory must know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// Whether the control plane was ever complete. One that was not is begun anew.
    pub(super) complete: bool,
    /// The peers; they keep their addresses, for the others know them by these.
    pub(super) peers: Vec<PeerRecord>,
    /// The hosts that have a node.
    pub(super) hosts: Vec<String>,
}

/// Where a peer is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct PeerRecord {
    /// Its name.
    pub(super) name: String,
    /// Where clients reach it.
    pub(super) api: SocketAddr,
    /// Where other peers reach it.
    pub(super) peer: SocketAddr,
}

/// A directory that this demo has for itself. A temporary one goes when this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    temporary: Option<TempDir>,
    // Held, not used: the lock goes with it.
    _lock: File,
}

impl Directory {
    /// Takes the user's directory, or a new temporary one. With it comes what an earlier demo recorded there.
    ///
    /// # Errors
    /// When another demo uses it, or there is something else in it.
    pub(super) fn open(wanted: Option<&Path>) -> anyhow::Result<(Directory, Record)> {
        let temporary = match wanted {
            Some(_) => None,
            None => {
                let made = tempfile::Builder::new()
                    .prefix(PREFIX)
                    .permissions(fs::Permissions::from_mode(0o700))
                    .tempdir();
                Some(made.context("could not make a temporary directory")?)
            }
        };
        let path = match (wanted, &temporary) {
            (Some(wanted), _) => {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(wanted);
                made.with_context(|| format!("could not make {}", wanted.display()))?;
                wanted
            }
            (None, Some(made)) => made.path(),
            (None, None) => bail!("there is no directory for the demo"),
        };
        let path = fs::canonicalize(path).with_context(|| format!("could not find {}", path.display()))?;
        refuse_strange(&path)?;
        let lock = lock(&path)?;
        let record = read_record(&path)?;
        Ok((Directory { path, temporary, _lock: lock }, record))
    }

    /// Its absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes with the demo.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Where the admin token is.
    pub(super) fn token_file(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    /// Where peers are.
    pub(super) fn peers(&self) -> PathBuf {
        self.path.join("peers")
    }

    /// Forgets peers whose control plane was never complete, and keys that go with them.
    pub(super) fn begin_anew(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(self.peers()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("could not remove {}", self.peers().display()));
            }
            _ => (),
        }
        let made = fs::DirBuilder::new().mode(0o700).create(self.peers());
        made.with_context(|| format!("could not make {}", self.peers().display()))
    }

    /// Keeps what the next start must know.
    pub(super) fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        let record = Record { version: VERSION, ..record.clone() };
        let text = serde_json::to_vec_pretty(&record).context("could not write down the demo")?;
        self.write(RECORD, &text)
    }

    /// The key that opens the simulated hosts: made once.
    pub(super) fn key(&self) -> anyhow::Result<PrivateKey> {
        let path = self.path.join("key");
        match russh::keys::load_secret_key(&path, None) {
            Ok(key) => return Ok(key),
            Err(russh::keys::Error::IO(error)) if error.kind() == ErrorKind::NotFound => (),
            Err(error) => return Err(error).with_context(|| format!("could not use {}", path.display())),
        }
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()));
        let text = key.to_openssh(LineEnding::LF).context("could not write down a key")?;
        self.write("key", text.as_bytes())?;
        Ok(key)
    }

    /// Replaces a file as a whole, readable by its owner only.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let new = path.with_added_extension("new");
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("could not write {}", path.display()))
    }
}

/// Removes the temporary directory that a killed demo left, if nothing uses it any more.
pub(super) fn remove_left(entry: &Entry) {
    let is_ours = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    if entry.temporary && entry.dir.file_name().is_some_and(is_ours) && entry.dir.join(LOCK).is_file() {
        // Another demo can't have begun to use it: nobody else knows its name.
        if let Ok(_lock) = lock(&entry.dir) {
            let _ = fs::remove_dir_all(&entry.dir);
        }
    }
}

/// A directory with files in it that are not a demo's may be anything, such as a home directory.
fn refuse_strange(dir: &Path) -> anyhow::Result<()> {
    let mut files = fs::read_dir(dir).with_context(|| format!("could not read {}", dir.display()))?;
    if !dir.join(LOCK).exists() && files.next().is_some() {
        bail!("{} is not empty and not a demo's: give a directory that is empty or not there", dir.display());
    }
    Ok(())
}

fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("could not use {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("a demo runs in {} already: end it, or give another directory", dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

fn read_record(dir: &Path) -> anyhow::Result<Record> {
    let path = dir.join(RECORD);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Record::default()),
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    let record: Record =
        serde_json::from_slice(&text).with_context(|| format!("{} is not a demo's", path.display()))?;
    if record.version != VERSION {
        bail!("{} was written by another version of rscaler: give another directory", path.display());
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_is_one_demos_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo");
        let (first, record) = Directory::open(Some(&path)).unwrap();
        assert_eq!(record, Record::default());
        let refused = Directory::open(Some(&path)).unwrap_err().to_string();
        assert!(refused.contains("a demo runs in") && refused.contains("already"), "{refused}");
        drop(first);
        assert!(Directory::open(Some(&path)).is_ok());
        assert!(path.exists(), "the user's directory stays");
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record {
            version: VERSION,
            complete: true,
            peers: vec![PeerRecord {
                name: "p1".into(),
                api: "127.0.0.1:7401".parse().unwrap(),
                peer: "127.0.0.1:7402".parse().unwrap(),
            }],
            hosts: vec!["web01".into()],
        };
        let (first, _) = Directory::open(Some(dir.path())).unwrap();
        first.write_record(&record).unwrap();
        let key = first.key().unwrap();
        drop(first);
        let (second, read) = Directory::open(Some(dir.path())).unwrap();
        assert_eq!(read, record);
        assert_eq!(second.key().unwrap().public_key().key_data(), key.public_key().key_data());
        assert_eq!(fs::metadata(dir.path().join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_with_other_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        let refused = Directory::open(Some(dir.path())).unwrap_err().to_string();
        assert!(refused.contains("not empty"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
    }

    #[test]
    fn a_record_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(Some(dir.path())).unwrap());
        fs::write(dir.path().join(RECORD), r#"{"version":2,"complete":true,"peers":[],"hosts":[]}"#).unwrap();
        let refused = Directory::open(Some(dir.path())).unwrap_err().to_string();
        assert!(refused.contains("another version"), "{refused}");
    }

    #[test]
    fn a_temporary_directory_goes_with_the_demo_or_with_the_next() {
        let (demo, _) = Directory::open(None).unwrap();
        let path = demo.path().to_owned();
        assert!(demo.is_temporary() && path.is_dir());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let entry = Entry { dir: path.clone(), temporary: true, pid: 1 };
        remove_left(&entry);
        assert!(path.is_dir(), "it is still used");
        drop(demo);
        assert!(!path.exists());

        let (mut killed, _) = Directory::open(None).unwrap();
        let path = killed.temporary.take().unwrap().keep();
        remove_left(&Entry { dir: path.clone(), temporary: true, pid: 1 });
        assert!(path.is_dir(), "it is still locked");
        drop(killed);
        remove_left(&Entry { dir: path.clone(), temporary: false, pid: 1 });
        assert!(path.is_dir(), "the user's own stays");
        remove_left(&Entry { dir: path.clone(), temporary: true, pid: 1 });
        assert!(!path.exists());
    }

    #[test]
    fn an_incomplete_control_plane_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (demo, _) = Directory::open(Some(dir.path())).unwrap();
        demo.begin_anew().unwrap();
        fs::write(demo.peers().join("p1.log"), "x").unwrap();
        demo.begin_anew().unwrap();
        assert_eq!(fs::read_dir(demo.peers()).unwrap().count(), 0);
    }
}
