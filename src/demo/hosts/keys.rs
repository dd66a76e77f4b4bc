//! The hosts' own keys: made once, kept in a file, so that a host is known again after a restart.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;

use super::Error;

/// The ed25519 key in the file, which is made, readable by its owner only, when it is not there.
pub(super) fn load_or_make(path: &Path) -> Result<PrivateKey, Error> {
    match russh::keys::load_secret_key(path, None) {
        Ok(key) => return Ok(key),
        Err(russh::keys::Error::IO(e)) if e.kind() == io::ErrorKind::NotFound => (),
        Err(source) => return Err(Error::HostKey { path: path.to_owned(), source }),
    }
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()));
    write(path, &key).map_err(|source| Error::HostKey { path: path.to_owned(), source })?;
    Ok(key)
}

fn write(path: &Path, key: &PrivateKey) -> Result<(), russh::keys::Error> {
    let text = key.to_openssh(LineEnding::LF)?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // Not in place: a half-written key would refuse every later start. A name of a host has no upper-case
    // letter, so this file is no other host's.
    let new = path.with_added_extension("NEW");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/web01");
        let made = load_or_make(&path).unwrap();
        let loaded = load_or_make(&path).unwrap();
        assert_eq!(made.public_key().key_data(), loaded.public_key().key_data());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = load_or_make(&dir.path().join("keys/web02")).unwrap();
        assert_ne!(made.public_key().key_data(), other.public_key().key_data());
    }

    #[test]
    fn a_broken_key_is_an_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web01");
        fs::write(&path, "no key").unwrap();
        assert!(matches!(load_or_make(&path), Err(Error::HostKey { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"no key");
    }
}
