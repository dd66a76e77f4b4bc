//! Which host keys are accepted, and where they are recorded.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use russh::keys::{HashAlg, PublicKey};

use super::endpoint::HostKeyPolicy;
use super::error::HostKeyError;

/// Where host keys are recorded. Keys are in OpenSSH's form (`ssh-ed25519 AAAA...`), without comment.
#[async_trait]
pub trait HostKeys: Send + Sync + 'static {
    /// The keys recorded for `host` and `port`; none if it was never seen.
    async fn recorded(&self, host: &str, port: u16) -> Result<Vec<String>, HostKeysUnavailable>;

    /// Records `key` **if nothing is recorded yet** (compare-and-set) and answers what is recorded now. When two peers see a
    /// host first at the same time, the loser is answered the winner's key and has to compare.
    async fn record_first(
        &self,
        host: &str,
        port: u16,
        key: &str,
    ) -> Result<Vec<String>, HostKeysUnavailable>;
}

/// The record can't be reached just now, for this reason.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct HostKeysUnavailable(pub String);

/// A record in memory, for what lives no longer than its process.
#[derive(Debug, Default)]
pub struct MemoryHostKeys {
    keys: Mutex<HashMap<(String, u16), Vec<String>>>,
}

impl MemoryHostKeys {
    /// What is recorded for a host.
    pub fn all(&self, host: &str, port: u16) -> Vec<String> {
        self.keys.lock().get(&(host.to_owned(), port)).cloned().unwrap_or_default()
    }

    /// Replaces what is recorded for a host; an empty list forgets it.
    pub fn set(&self, host: &str, port: u16, keys: Vec<String>) {
        self.keys.lock().insert((host.to_owned(), port), keys);
    }
}

#[async_trait]
impl HostKeys for MemoryHostKeys {
    async fn recorded(&self, host: &str, port: u16) -> Result<Vec<String>, HostKeysUnavailable> {
        Ok(self.all(host, port))
    }

    async fn record_first(
        &self,
        host: &str,
        port: u16,
        key: &str,
    ) -> Result<Vec<String>, HostKeysUnavailable> {
        let mut all = self.keys.lock();
        let keys = all.entry((host.to_owned(), port)).or_default();
        if keys.is_empty() {
            keys.push(key.to_owned());
        }
        Ok(keys.clone())
    }
}

/// What to do with an offered key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    RecordFirst,
    Refuse(HostKeyError),
}

/// Judges an offered key. Pure.
///
/// Any record at all that does not hold the offered key means *changed*, whatever the algorithms: treating a host that is
/// known by its ed25519 key as unknown when it offers RSA would let an attacker in who has only to offer another algorithm.
pub(super) fn judge(host: &str, policy: &HostKeyPolicy, recorded: &[String], offered: &PublicKey) -> Verdict {
    let host = host.to_owned();
    let shown = describe(offered);
    match policy {
        HostKeyPolicy::Pinned(pinned) if pinned.iter().any(|pin| is_same(pin, offered)) => Verdict::Accept,
        HostKeyPolicy::Pinned(pinned) => Verdict::Refuse(HostKeyError::NotPinned {
            host,
            pinned: pinned.iter().map(|pin| describe_text(pin)).collect(),
            offered: shown,
        }),
        _ if recorded.iter().any(|key| is_same(key, offered)) => Verdict::Accept,
        _ if !recorded.is_empty() => Verdict::Refuse(HostKeyError::Changed {
            host,
            recorded: recorded.iter().map(|key| describe_text(key)).collect(),
            offered: shown,
        }),
        HostKeyPolicy::Strict => Verdict::Refuse(HostKeyError::Unknown { host, offered: shown }),
        HostKeyPolicy::AcceptNew => Verdict::RecordFirst,
    }
}

/// The keys to prefer in negotiation: a server with several keys is asked for one that we know.
pub(super) fn known_keys(policy: &HostKeyPolicy, recorded: &[String]) -> Vec<PublicKey> {
    let texts = match policy {
        HostKeyPolicy::Pinned(pinned) => pinned,
        _ => recorded,
    };
    texts.iter().filter_map(|text| PublicKey::from_openssh(text).ok()).collect()
}

/// A key in the form in which it is recorded.
pub(super) fn record_form(key: &PublicKey) -> Option<String> {
    PublicKey::new(key.key_data().clone(), "").to_openssh().ok()
}

fn is_same(text: &str, offered: &PublicKey) -> bool {
    let text = text.trim();
    if text.starts_with("SHA256:") {
        return text == offered.fingerprint(HashAlg::Sha256).to_string();
    }
    PublicKey::from_openssh(text).is_ok_and(|key| key.key_data() == offered.key_data())
}

fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm().as_str(), key.fingerprint(HashAlg::Sha256))
}

fn describe_text(text: &str) -> String {
    match PublicKey::from_openssh(text.trim()) {
        Ok(key) => describe(&key),
        Err(_) => text.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};

    fn key(algorithm: Algorithm) -> PublicKey {
        PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).unwrap().public_key().clone()
    }

    #[test]
    fn offered_keys_are_judged_by_policy_and_record() {
        let known = key(Algorithm::Ed25519);
        let other = key(Algorithm::Ed25519);
        let other_kind = key(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
        let record = vec![record_form(&known).unwrap()];
        let record_of_other = vec![record_form(&other).unwrap()];
        let pinned = HostKeyPolicy::Pinned(record.clone());
        let by_print = HostKeyPolicy::Pinned(vec![known.fingerprint(HashAlg::Sha256).to_string()]);

        let table: Vec<(&str, &HostKeyPolicy, &[String], &PublicKey, &str)> = vec![
            ("strict, recorded", &HostKeyPolicy::Strict, &record, &known, "accept"),
            ("strict, unknown", &HostKeyPolicy::Strict, &[], &known, "unknown"),
            ("strict, changed", &HostKeyPolicy::Strict, &record, &other, "changed"),
            ("accept-new, first", &HostKeyPolicy::AcceptNew, &[], &known, "record"),
            ("accept-new, same", &HostKeyPolicy::AcceptNew, &record, &known, "accept"),
            ("accept-new, changed", &HostKeyPolicy::AcceptNew, &record, &other, "changed"),
            ("accept-new, other algorithm", &HostKeyPolicy::AcceptNew, &record, &other_kind, "changed"),
            ("pinned", &pinned, &[], &known, "accept"),
            ("pinned by fingerprint", &by_print, &[], &known, "accept"),
            ("not pinned", &pinned, &[], &other, "not-pinned"),
            ("not pinned although recorded", &pinned, &record_of_other, &other, "not-pinned"),
        ];
        for (name, policy, recorded, offered, expected) in table {
            let got = match judge("h:22", policy, recorded, offered) {
                Verdict::Accept => "accept",
                Verdict::RecordFirst => "record",
                Verdict::Refuse(HostKeyError::Changed { .. }) => "changed",
                Verdict::Refuse(HostKeyError::Unknown { .. }) => "unknown",
                Verdict::Refuse(HostKeyError::NotPinned { .. }) => "not-pinned",
                Verdict::Refuse(HostKeyError::RecordUnavailable { .. }) => "unavailable",
            };
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn unreadable_record_counts_as_changed() {
        let offered = key(Algorithm::Ed25519);
        let verdict = judge("h:22", &HostKeyPolicy::AcceptNew, &["garbage".into()], &offered);
        assert!(matches!(verdict, Verdict::Refuse(HostKeyError::Changed { .. })), "{verdict:?}");
    }

    #[test]
    fn changed_key_error_names_host_both_fingerprints_and_the_way_out() {
        let (old, new) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519));
        let verdict = judge("db1:22", &HostKeyPolicy::Strict, &[record_form(&old).unwrap()], &new);
        let Verdict::Refuse(error) = verdict else { panic!("{verdict:?}") };
        let text = error.to_string();
        for part in [
            "db1:22".to_owned(),
            old.fingerprint(HashAlg::Sha256).to_string(),
            new.fingerprint(HashAlg::Sha256).to_string(),
            "remove its recorded key".to_owned(),
        ] {
            assert!(text.contains(&part), "{part} is missing in {text}");
        }
    }

    #[tokio::test]
    async fn first_record_wins() {
        let keys = MemoryHostKeys::default();
        assert_eq!(keys.record_first("h", 22, "a").await.unwrap(), ["a"]);
        assert_eq!(keys.record_first("h", 22, "b").await.unwrap(), ["a"]);
        assert_eq!(keys.recorded("h", 22).await.unwrap(), ["a"]);
        assert!(keys.recorded("h", 23).await.unwrap().is_empty());
    }
}
