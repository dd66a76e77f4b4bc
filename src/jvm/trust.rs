//! Certificates that are trusted, out of whatever file holds them: PEM, PKCS #12 or a Java key store (JKS).

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::Pkcs12Archive;
use parking_lot::Mutex;

/// The largest trust store.
const STORE_BYTES_MAX: usize = 1 << 20;
/// Opened ones that are kept; reaching the bound starts anew.
const OPENED_MAX: usize = 64;
const JKS: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const JKS_KEY: u32 = 1;
const JKS_CERTIFICATE: u32 = 2;

/// Trust stores that were opened: a password is made hard to guess by making it slow to try, and many nodes share a profile.
#[derive(Default)]
pub struct TrustStores(Mutex<HashMap<(Vec<u8>, Option<String>), Vec<u8>>>);

impl TrustStores {
    /// The certificates of a trust store as PEM, one at least.
    ///
    /// # Errors
    /// What is wrong with it, in words that go on where `trust_store` stands.
    pub fn open(&self, store: Vec<u8>, password: Option<String>) -> Result<Vec<u8>, String> {
        let key = (store, password);
        if let Some(opened) = self.0.lock().get(&key) {
            return Ok(opened.clone());
        }
        let opened = open(&key.0, key.1.as_deref())?;
        let mut known = self.0.lock();
        if known.len() >= OPENED_MAX {
            known.clear();
        }
        known.insert(key, opened.clone());
        Ok(opened)
    }
}

fn open(store: &[u8], password: Option<&str>) -> Result<Vec<u8>, String> {
    if store.len() > STORE_BYTES_MAX {
        return Err(format!("it has more than {} MiB", STORE_BYTES_MAX >> 20));
    }
    let begin = b"-----BEGIN CERTIFICATE-----";
    if store.windows(begin.len()).any(|window| window == begin) {
        return Ok(store.to_vec());
    }
    let certificates = match store {
        _ if store.starts_with(&JKS) => {
            let found = jks(store).ok_or("it is a Java key store that is damaged")?;
            if password.is_some_and(|password| !is_sealed_by(store, password)) {
                return Err("`trust_store_password` is not its password, or it is damaged".to_string());
            }
            found
        }
        [0x30, ..] => pkcs12(store, password)?,
        _ => return Err("it is neither PEM nor PKCS #12 nor a Java key store".to_string()),
    };
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_string());
    }
    let mut pem = String::new();
    for certificate in certificates {
        let text = STANDARD.encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    Ok(pem.into_bytes())
}

fn pkcs12(store: &[u8], password: Option<&str>) -> Result<Vec<Vec<u8>>, String> {
    let opened = Pkcs12Archive::from_pkcs12(store, password.unwrap_or_default());
    let opened = opened.map_err(|error| match password {
        None => "it is PKCS #12, and wants a `trust_store_password`".to_string(),
        Some(_) => format!("`trust_store_password` does not open it, or it is damaged: {error}"),
    })?;
    Ok(opened.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect())
}

/// Whether a Java key store was written with this password, and not changed since.
fn is_sealed_by(store: &[u8], password: &str) -> bool {
    let Some((content, seal)) = store.split_last_chunk::<20>() else { return false };
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    for unit in password.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(content);
    digest.finish().as_ref() == seal
}

/// Certificates of a Java key store, and of its keys the first each. They can be read without its password, which only shows whether
/// somebody changed it. None where it is not one.
fn jks(store: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = store.get(JKS.len()..)?;
    let version = number(&mut rest)?;
    let mut found = Vec::new();
    for _ in 0..number(&mut rest)? {
        let kind = number(&mut rest)?;
        let alias = usize::from(u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?));
        take(&mut rest, alias + 8)?;
        let chain = match kind {
            JKS_KEY => {
                bytes(&mut rest)?;
                number(&mut rest)?
            }
            JKS_CERTIFICATE => 1,
            _ => return None,
        };
        for place in 0..chain {
            if version == 2 {
                let kind = usize::from(u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?));
                take(&mut rest, kind)?;
            }
            let certificate = bytes(&mut rest)?;
            if place == 0 {
                found.push(certificate.to_vec());
            }
        }
    }
    Some(found)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    take(rest, length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn certificate() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["jvm".to_string()]).unwrap().self_signed(&key).unwrap();
        made.der().to_vec()
    }

    fn key_store(certificate: &[u8]) -> Vec<u8> {
        let mut store = JKS.to_vec();
        for number in [2, 1, JKS_CERTIFICATE] {
            store.extend(number.to_be_bytes());
        }
        store.extend([0, 2, b'c', b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        store.extend(b"X.509");
        store.extend(u32::try_from(certificate.len()).unwrap().to_be_bytes());
        store.extend(certificate);
        store.extend([0; 20]);
        store
    }

    #[test]
    fn each_kind_of_store_is_opened_and_a_wrong_password_is_told() {
        let certificate = certificate();
        let mut store = p12_keystore::KeyStore::new();
        let entry = p12_keystore::Certificate::from_der(&certificate).unwrap();
        store.add_entry("ca", p12_keystore::KeyStoreEntry::Certificate(entry));
        let pkcs12 = store.writer("open").write().unwrap();
        let stores = TrustStores::default();
        let opened = stores.open(pkcs12.clone(), Some("open".to_string())).unwrap();
        assert_eq!(stores.open(key_store(&certificate), None), Ok(opened.clone()));
        assert_eq!(stores.open(opened.clone(), None), Ok(opened));
        for (password, says) in [(None, "wants a `trust_store_password`"), (Some("shut"), "does not open it")]
        {
            let error = stores.open(pkcs12.clone(), password.map(str::to_string)).unwrap_err();
            assert!(error.contains(says) && !error.contains("shut"), "{error}");
        }
        for (bytes, says) in [(&b"words"[..], "neither PEM"), (&[0xfe, 0xed, 0xfe, 0xed, 0], "damaged")] {
            assert!(stores.open(bytes.to_vec(), None).unwrap_err().contains(says));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_opened_or_refused(mut bytes: Vec<u8>, magic in 0..3) {
            match magic {
                0 => drop(bytes.splice(0..0, JKS)),
                1 => bytes.insert(0, 0x30),
                _ => {}
            }
            let _ = open(&bytes, Some("x"));
        }
    }
}
