//! The control plane's secret keys, and what is sealed with them.
//!
//! Every peer holds the same [`Keyring`] in `DIR/keyring`; it never enters the Raft log. A value is encrypted
//! with a key of its own, and that key with the keyring's: log, checkpoint, snapshot and backup hold only
//! [`Sealed`] values. Proposers seal before they propose, and what needs a plain value opens it at the moment
//! of use.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::codec::{self, FormatKind};
use crate::model::Sealed;

/// The newest format of the keyring file that this version reads and writes.
const KEYRING_SCHEMA: u16 = 1;
const KEY_BYTES: usize = 32;

/// Why sealing or opening failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value was sealed for another place, with another key, or is damaged; which of them can't be told.
    #[error("`{path}` does not open: it was sealed for another place or with another key, or is damaged")]
    DoesNotOpen {
        /// Where the value should have belonged.
        path: String,
    },
    /// The keyring lacks the key; this peer's keyring is older than the value.
    #[error("`{path}` was sealed with key {key_id}, which is not in this peer's keyring")]
    UnknownKey {
        /// Where the value belongs.
        path: String,
        /// The missing key.
        key_id: u32,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes")]
    NoRandom,
}

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Hides `bytes` from `Debug`.
    pub fn new(bytes: Vec<u8>) -> SecretBytes {
        SecretBytes(bytes)
    }
}

impl Deref for SecretBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The keys that every peer of a control plane holds, and nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    /// The key that seals; the others only open.
    current: u32,
    /// Keys of [`KEY_BYTES`] by number, oldest first.
    keys: BTreeMap<u32, SecretBytes>,
    /// Signs peers' certificates: PKCS #8. Any peer may sign, so that a join needs no particular one.
    authority_key: SecretBytes,
}

impl Keyring {
    /// A new keyring with one random key, that holds the certificate authority's `authority_key` too.
    ///
    /// # Errors
    /// [`Error::NoRandom`].
    pub fn generate(authority_key: SecretBytes) -> Result<Keyring, Error> {
        let key = SecretBytes(random::<KEY_BYTES>()?.to_vec());
        Ok(Keyring { current: 1, keys: BTreeMap::from([(1, key)]), authority_key })
    }

    /// For golden bytes: a key that is not random.
    #[cfg(test)]
    pub(crate) fn fix_keys(&mut self, key: &[u8; KEY_BYTES]) {
        self.keys.values_mut().for_each(|known| *known = SecretBytes(key.to_vec()));
    }

    /// The same keys for another control plane, with its certificate authority's key.
    pub fn with_authority(&self, authority_key: SecretBytes) -> Keyring {
        Keyring { authority_key, ..self.clone() }
    }

    /// The certificate authority's private key, PKCS #8.
    pub fn authority_key(&self) -> &SecretBytes {
        &self.authority_key
    }

    /// The keyring as its file, and a join's answer, hold it.
    ///
    /// # Errors
    /// [`codec::Error::TooLarge`], which its size excludes.
    pub fn encode(&self) -> Result<SecretBytes, codec::Error> {
        codec::encode(FormatKind::Identity, KEYRING_SCHEMA, self).map(SecretBytes)
    }

    /// Reads what [`Keyring::encode`] wrote.
    ///
    /// # Errors
    /// [`codec::Error`]; also where the keys are not a keyring.
    pub fn decode(bytes: &[u8]) -> Result<Keyring, codec::Error> {
        let keyring: Keyring = codec::decode(FormatKind::Identity, KEYRING_SCHEMA, bytes)?;
        let whole = keyring.keys.contains_key(&keyring.current)
            && keyring.keys.values().all(|key| key.len() == KEY_BYTES);
        if whole { Ok(keyring) } else { Err(codec::Error::corrupt("the keyring")) }
    }

    /// Seals `plain` for the place named by `path` (`secret/NAME`): it opens nowhere else.
    ///
    /// # Errors
    /// [`Error::NoRandom`].
    pub fn seal(&self, path: &str, plain: &[u8]) -> Result<Sealed, Error> {
        let data_key = random::<KEY_BYTES>()?;
        let key = self.key(self.current, path)?;
        Ok(Sealed {
            key_id: self.current,
            wrapped_key: encrypt(key, &wrap_context(self.current, path), &data_key)?,
            ciphertext: encrypt(&data_key, &value_context(path), plain)?,
        })
    }

    /// Opens what [`Keyring::seal`] made for the same `path`.
    ///
    /// # Errors
    /// [`Error::DoesNotOpen`], [`Error::UnknownKey`].
    pub fn open(&self, path: &str, sealed: &Sealed) -> Result<SecretBytes, Error> {
        let key = self.key(sealed.key_id, path)?;
        let refused = || Error::DoesNotOpen { path: path.to_string() };
        let data_key =
            decrypt(key, &wrap_context(sealed.key_id, path), &sealed.wrapped_key).ok_or_else(refused)?;
        decrypt(&data_key, &value_context(path), &sealed.ciphertext).map(SecretBytes).ok_or_else(refused)
    }

    fn key(&self, key_id: u32, path: &str) -> Result<&[u8], Error> {
        let key = self.keys.get(&key_id);
        key.map(|key| &**key).ok_or_else(|| Error::UnknownKey { path: path.to_string(), key_id })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring(***, {} keys)", self.keys.len())
    }
}

/// The number and the place are authenticated, so that neither a wrapped key nor a value can be moved.
fn wrap_context(key_id: u32, path: &str) -> String {
    format!("rscaler key {key_id} {path}")
}

fn value_context(path: &str) -> String {
    format!("rscaler value {path}")
}

fn encrypt(key: &[u8], context: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let nonce = random::<NONCE_LEN>()?;
    let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    out.extend_from_slice(&nonce);
    let mut body = plain.to_vec();
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::NoRandom)?;
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context.as_bytes()),
            &mut body,
        )
        .map_err(|_| Error::NoRandom)?;
    out.append(&mut body);
    Ok(out)
}

fn decrypt(key: &[u8], context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut body = body.to_vec();
    let plain_bytes = key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut body).ok()?.len();
    body.truncate(plain_bytes);
    Some(body)
}

/// Random bytes from the operating system.
///
/// # Errors
/// [`Error::NoRandom`].
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::NoRandom)?;
    Ok(bytes)
}

/// A new bearer token: `rsc_` and 32 random bytes in URL-safe base64.
///
/// # Errors
/// [`Error::NoRandom`].
pub fn random_token() -> Result<String, Error> {
    Ok(format!("rsc_{}", URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

/// What is stored of a token: SHA-256 of its text. Tokens are random enough to need no salt.
pub fn hash_token(text: &str) -> [u8; 32] {
    sha256(&[text.as_bytes()])
}

/// SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn keyring() -> Keyring {
        Keyring::generate(SecretBytes::new(b"not a real key".to_vec())).unwrap()
    }

    #[test]
    fn nothing_secret_is_printed() {
        let keyring = keyring();
        assert_eq!(format!("{keyring:?}"), "Keyring(***, 1 keys)");
        assert_eq!(format!("{:?}", SecretBytes::new(b"hush".to_vec())), "***");
        assert_eq!(format!("{:?}", keyring.seal("secret/a", b"x").unwrap()), "Sealed(***, key 1)");
    }

    #[test]
    fn a_value_opens_only_at_its_place_and_with_its_keyring() {
        let keyring = keyring();
        let sealed = keyring.seal("secret/a", b"hush").unwrap();
        assert_eq!(&*keyring.open("secret/a", &sealed).unwrap(), b"hush");
        assert!(matches!(keyring.open("secret/b", &sealed), Err(Error::DoesNotOpen { .. })));
        let other = Keyring::generate(SecretBytes::new(Vec::new())).unwrap();
        assert!(matches!(other.open("secret/a", &sealed), Err(Error::DoesNotOpen { .. })));
        let moved = Sealed { key_id: 2, ..sealed };
        assert!(matches!(keyring.open("secret/a", &moved), Err(Error::UnknownKey { key_id: 2, .. })));
    }

    #[test]
    fn a_wrapped_key_does_not_move_between_values() {
        let keyring = keyring();
        let one = keyring.seal("secret/a", b"one").unwrap();
        let two = keyring.seal("secret/a", b"two").unwrap();
        let mixed = Sealed { wrapped_key: one.wrapped_key, ..two };
        assert!(keyring.open("secret/a", &mixed).is_err());
    }

    #[test]
    fn the_file_reads_back_and_damage_is_an_error() {
        let keyring = keyring();
        let bytes = keyring.encode().unwrap();
        assert!(Keyring::decode(&bytes).unwrap() == keyring);
        assert!(Keyring::decode(&bytes[1..]).is_err());
        assert!(Keyring::decode(b"").is_err());
    }

    #[test]
    fn tokens_are_new_each_time_and_known_by_their_hash() {
        let (one, two) = (random_token().unwrap(), random_token().unwrap());
        assert!(one.starts_with("rsc_") && one.len() == 47, "{}", one.len());
        assert_ne!(one, two);
        assert_eq!(hash_token(&one), hash_token(&one));
        assert_ne!(hash_token(&one), hash_token(&two));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_does_not_open(plain: Vec<u8>, at: prop::sample::Index, bit in 0u8..8, which: bool) {
            let keyring = keyring();
            let mut sealed = keyring.seal("secret/a", &plain).unwrap();
            let bytes = if which { &mut sealed.wrapped_key } else { &mut sealed.ciphertext };
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(keyring.open("secret/a", &sealed).is_err());
        }

        #[test]
        fn garbage_does_not_open(wrapped_key: Vec<u8>, ciphertext: Vec<u8>) {
            let sealed = Sealed { key_id: 1, wrapped_key, ciphertext };
            prop_assert!(keyring().open("secret/a", &sealed).is_err());
        }
    }
}
