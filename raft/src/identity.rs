//! What a data directory is, and whose.
//!
//! ```text
//! DIR/lock          held while a process uses the directory
//! DIR/identity      which peer of which control plane; written last, so what has one is complete
//! DIR/keyring       the control plane's secret keys, mode 0600
//! DIR/neighbours    where the other peers were last, for a start without state
//! DIR/tls/peer.key  this peer's private key, mode 0600
//! DIR/tls/peer.crt  its certificate, renewed while it runs
//! DIR/tls/ca.crt    the control plane's certificate authority
//! ```
//!
//! Logs, checkpoints and blocks lie beside them and belong to [`crate::store`].

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::{self, FormatKind};
use crate::model::PeerId;
use crate::secrets::{self, Keyring, SecretBytes};

/// The newest format of the identity file that this version reads and writes.
const IDENTITY_SCHEMA: u16 = 1;
const NEIGHBOURS_SCHEMA: u16 = 1;

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process uses it.
    #[error("the data directory {path} is in use by another process")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file can't be read or written.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file is damaged or of a newer version.
    #[error("{path} can't be read")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: codec::Error,
    },
    /// A file that must be there is not.
    #[error(
        "{path} is missing, and without it the data directory is of no use: restore it, or remove this peer and join with an empty directory"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

/// Names a control plane for ever: 128 random bits, made at its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ControlPlaneId(pub u128);

impl ControlPlaneId {
    /// A new one.
    ///
    /// # Errors
    /// [`secrets::Error::NoRandom`].
    pub fn generate() -> Result<ControlPlaneId, secrets::Error> {
        Ok(ControlPlaneId(u128::from_le_bytes(secrets::random()?)))
    }
}

impl fmt::Display for ControlPlaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ControlPlaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ControlPlaneId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(ControlPlaneId)
    }
}

/// Which peer a data directory is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Of which control plane.
    pub control_plane: ControlPlaneId,
    /// Its number; never another's.
    pub peer: PeerId,
    /// The name it was admitted under.
    pub name: String,
    /// How it came to be.
    pub origin: Origin,
}

/// How a peer came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// It began the control plane.
    Bootstrap,
    /// It joined.
    Join,
    /// It began the control plane from a backup of another.
    Restore,
}

/// This peer's certificate and what vouches for it, in DER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The private key, PKCS #8.
    pub key: SecretBytes,
    /// The certificate.
    pub certificate: Vec<u8>,
    /// The authority's certificate.
    pub authority: Vec<u8>,
}

/// A data directory, held for this process alone until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory (mode 0700) where it is absent, and holds it.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<DataDir, Error> {
        let path = path.into();
        create_dir(&path)?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path }),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock_path)(error)),
        }
        create_dir(&path.join("tls"))?;
        Ok(DataDir { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which peer it is; absent while it is none yet.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`].
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        let path = self.path.join("identity");
        let Some(bytes) = read(&path)? else { return Ok(None) };
        codec::decode(FormatKind::Identity, IDENTITY_SCHEMA, &bytes)
            .map(Some)
            .map_err(|source| Error::Format { path, source })
    }

    /// Makes it that peer. Write the keyring and the TLS files before: an identity says that all is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_identity(&self, identity: &Identity) -> Result<(), Error> {
        let path = self.path.join("identity");
        let bytes = codec::encode(FormatKind::Identity, IDENTITY_SCHEMA, identity)
            .map_err(|source| Error::Format { path: path.clone(), source })?;
        write_durably(&path, &bytes)
    }

    /// The control plane's secret keys.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`], [`Error::Format`].
    pub fn keyring(&self) -> Result<Keyring, Error> {
        let path = self.path.join("keyring");
        let bytes = read(&path)?.ok_or_else(|| Error::Missing { path: path.clone() })?;
        Keyring::decode(&bytes).map_err(|source| Error::Format { path, source })
    }

    /// Stores the control plane's secret keys.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_keyring(&self, keyring: &Keyring) -> Result<(), Error> {
        let path = self.path.join("keyring");
        let bytes = keyring.encode().map_err(|source| Error::Format { path: path.clone(), source })?;
        write_durably(&path, &bytes)
    }

    /// Where the other peers were, as last written down; none where that was never done or can't be read.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn neighbours(&self) -> Result<Vec<(PeerId, String)>, Error> {
        let bytes = read(&self.path.join("neighbours"))?.unwrap_or_default();
        Ok(codec::decode(FormatKind::Identity, NEIGHBOURS_SCHEMA, &bytes).unwrap_or_default())
    }

    /// Writes down where the other peers are.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_neighbours(&self, neighbours: &[(PeerId, String)]) -> Result<(), Error> {
        let path = self.path.join("neighbours");
        let bytes = codec::encode(FormatKind::Identity, NEIGHBOURS_SCHEMA, neighbours)
            .map_err(|source| Error::Format { path: path.clone(), source })?;
        write_durably(&path, &bytes)
    }

    /// This peer's key and certificates.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`], [`Error::Format`].
    pub fn tls(&self) -> Result<TlsFiles, Error> {
        Ok(TlsFiles {
            key: SecretBytes::new(self.read_pem("peer.key", PRIVATE_KEY)?),
            certificate: self.read_pem("peer.crt", CERTIFICATE)?,
            authority: self.read_pem("ca.crt", CERTIFICATE)?,
        })
    }

    /// The private key that a join began with, so that a repeated join asks with the same one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`].
    pub fn private_key(&self) -> Result<Option<SecretBytes>, Error> {
        match self.read_pem("peer.key", PRIVATE_KEY) {
            Ok(key) => Ok(Some(SecretBytes::new(key))),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores this peer's private key, PKCS #8.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_private_key(&self, key: &[u8]) -> Result<(), Error> {
        write_durably(&self.path.join("tls/peer.key"), pem::encode(PRIVATE_KEY, key).as_bytes())
    }

    /// Stores this peer's certificate.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_certificate(&self, certificate: &[u8]) -> Result<(), Error> {
        write_durably(&self.path.join("tls/peer.crt"), pem::encode(CERTIFICATE, certificate).as_bytes())
    }

    /// Stores the authority's certificate.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_authority(&self, certificate: &[u8]) -> Result<(), Error> {
        write_durably(&self.path.join("tls/ca.crt"), pem::encode(CERTIFICATE, certificate).as_bytes())
    }

    fn read_pem(&self, file: &str, label: &str) -> Result<Vec<u8>, Error> {
        let path = self.path.join("tls").join(file);
        let text = read(&path)?.ok_or_else(|| Error::Missing { path: path.clone() })?;
        pem::decode(label, &text).ok_or_else(|| Error::Format {
            path,
            source: codec::Error::Corrupt {
                what: "the file".to_string(),
                detail: format!("it is not a {label} in PEM"),
            },
        })
    }
}

const PRIVATE_KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";

/// The text form that openssl and people read.
mod pem {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    pub(super) fn encode(label: &str, der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        let mut out = format!("-----BEGIN {label}-----\n");
        for line in body.as_bytes().chunks(64) {
            out.extend(line.iter().map(|byte| char::from(*byte)));
            out.push('\n');
        }
        out.push_str(&format!("-----END {label}-----\n"));
        out
    }

    pub(super) fn decode(label: &str, text: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(text).ok()?;
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
    }
}

/// For [`crate::fuzz`]: text that may be PEM.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_pem(data: &[u8]) {
    if let Some(der) = pem::decode(CERTIFICATE, data) {
        assert_eq!(pem::decode(CERTIFICATE, pem::encode(CERTIFICATE, &der).as_bytes()), Some(der));
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_path_buf(), source }
}

fn create_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Replaces a file at once, with mode 0600: after a crash it is the old one or the new one, whole.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&partial)
        .map_err(io_error("create", &partial))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &partial))?;
    fs::rename(&partial, path).map_err(io_error("replace", path))?;
    let directory = path.parent().unwrap_or(path);
    File::open(directory).and_then(|d| d.sync_all()).map_err(io_error("sync", directory))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity() -> Identity {
        Identity {
            control_plane: ControlPlaneId(7),
            peer: PeerId(3),
            name: "p3".to_string(),
            origin: Origin::Join,
        }
    }

    #[test]
    fn two_processes_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(Error::InUse { .. })));
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn what_was_saved_is_read_and_only_by_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().join("new")).unwrap();
        assert_eq!(data.identity().unwrap(), None);
        assert!(matches!(data.keyring(), Err(Error::Missing { .. })));
        assert_eq!(data.private_key().unwrap(), None);

        let keyring = Keyring::generate(SecretBytes::new(vec![1; 3])).unwrap();
        data.save_keyring(&keyring).unwrap();
        data.save_private_key(b"key").unwrap();
        data.save_certificate(&[2; 100]).unwrap();
        data.save_authority(b"authority").unwrap();
        data.save_identity(&identity()).unwrap();
        assert_eq!(data.neighbours().unwrap(), []);
        let neighbours = [(PeerId(1), "10.0.0.1:7401".to_string())];
        data.save_neighbours(&neighbours).unwrap();
        assert_eq!(data.neighbours().unwrap(), neighbours);

        assert_eq!(data.identity().unwrap(), Some(identity()));
        assert!(data.keyring().unwrap() == keyring);
        let tls = data.tls().unwrap();
        assert_eq!(
            (&*tls.key, &tls.certificate[..], &tls.authority[..]),
            (&b"key"[..], &[2; 100][..], &b"authority"[..])
        );
        for file in ["keyring", "tls/peer.key", "identity"] {
            let mode = fs::metadata(data.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(fs::metadata(data.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_newer_schema_and_damage_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let newer = codec::encode(FormatKind::Identity, IDENTITY_SCHEMA + 1, &identity()).unwrap();
        fs::write(dir.path().join("identity"), &newer).unwrap();
        assert!(matches!(
            data.identity(),
            Err(Error::Format { source: codec::Error::UnknownSchema { found: 2, known: 1, .. }, .. })
        ));
        fs::write(dir.path().join("identity"), &newer[..20]).unwrap();
        assert!(matches!(data.identity(), Err(Error::Format { source: codec::Error::Corrupt { .. }, .. })));
        fs::write(dir.path().join("tls/peer.key"), "hello").unwrap();
        assert!(matches!(data.tls(), Err(Error::Format { .. })));
    }

    #[test]
    fn a_control_plane_id_reads_back_from_its_text() {
        let id = ControlPlaneId::generate().unwrap();
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse::<ControlPlaneId>().unwrap(), id);
    }
}
