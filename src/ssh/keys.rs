//! Private keys, opened once.
//!
//! Opening an encrypted key takes up to a second of CPU (bcrypt), so it happens on a blocking thread and the opened key is
//! kept in memory, found by the hash of file and passphrase.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use russh::keys::{self, PrivateKey};
use tokio::sync::OnceCell;

use super::endpoint::{Identity, key_identity};
use super::error::Error;
use super::secret::Secret;

/// Opened keys kept; a fleet has a handful, so that reaching the bound just starts anew.
const KEYS_MAX: usize = 256;

type Opened = Arc<OnceCell<Result<Arc<PrivateKey>, Error>>>;

#[derive(Default)]
pub(super) struct KeyCache {
    opened: Mutex<HashMap<Identity, Opened>>,
}

impl KeyCache {
    /// Opens `key`, or finds it opened. Many callers at once cost one opening; a failure is remembered as well, since the
    /// same text can't succeed later. Cancel safe.
    pub(super) async fn open(
        &self,
        key: &Secret,
        passphrase: Option<&Secret>,
    ) -> Result<Arc<PrivateKey>, Error> {
        let cell = {
            let mut opened = self.opened.lock();
            if opened.len() >= KEYS_MAX {
                opened.clear();
            }
            opened.entry(key_identity(key, passphrase)).or_default().clone()
        };
        cell.get_or_init(|| async {
            let (key, passphrase) = (key.clone(), passphrase.cloned());
            match tokio::task::spawn_blocking(move || decode(&key, passphrase.as_ref())).await {
                Ok(result) => result.map(Arc::new),
                Err(_) => Err(Error::Invalid("the private key can't be read".into())),
            }
        })
        .await
        .clone()
    }
}

/// For `crate::fuzz`: a private key as somebody may have put it into a secret, and a host's public one.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = decode(&Secret::new(text.to_owned()), None);
    let _ = keys::PublicKey::from_openssh(text);
}

fn decode(key: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, Error> {
    // The key's own errors are not passed on word for word: they could quote its text.
    keys::decode_secret_key(key.expose(), passphrase.map(Secret::expose)).map_err(|error| {
        Error::Invalid(match error {
            keys::Error::KeyIsEncrypted => "the private key is encrypted and no passphrase is given".into(),
            keys::Error::SshKey(russh::keys::ssh_key::Error::Crypto) if passphrase.is_some() => {
                "the passphrase does not open the private key".into()
            }
            keys::Error::UnsupportedKeyType { .. } | keys::Error::UnknownAlgorithm(_) => {
                "the private key is of a kind that is not supported; use ed25519, ECDSA or RSA".into()
            }
            _ if passphrase.is_some() => "the private key can't be read, or the passphrase is wrong".into(),
            _ => "the private key can't be read; it must be in OpenSSH or PEM form".into(),
        })
    })
}
