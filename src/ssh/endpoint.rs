//! Where and how to connect.

use std::fmt;
use std::sync::Arc;

use ring::digest;

use super::secret::Secret;

/// An SSH server and how to log in there. Immutable; a changed profile is a new value with another [`Identity`].
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, as the peer (or the jump host) resolves it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// How to prove who we are.
    pub auth: Auth,
    /// Which host keys are accepted.
    pub host_key: HostKeyPolicy,
    /// The host to go through, which may have one before itself. Host keys are checked on each.
    pub jump: Option<Arc<Endpoint>>,
}

/// Credentials; at least one is needed. A key is tried first, then the password (also for keyboard-interactive).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// A private key in OpenSSH or PEM form: ed25519, ECDSA or RSA.
    pub key_pem: Option<Secret>,
    /// Opens `key_pem` where it is encrypted.
    pub passphrase: Option<Secret>,
    /// The login password.
    pub password: Option<Secret>,
}

/// Which host keys are accepted. A key that differs from a recorded one is refused under every policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Only keys that are recorded already.
    Strict,
    /// The first key seen is recorded; from then on as `Strict`.
    AcceptNew,
    /// Only these: OpenSSH public keys (`ssh-ed25519 AAAA...`) or fingerprints (`SHA256:...`). The record is not used.
    Pinned(Vec<String>),
}

/// Equal exactly if two endpoints are the same in every field, credentials included. Derived with SHA-256 and never printed,
/// since a weak password could be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity([u8; 32]);

impl Endpoint {
    /// `host:port`, as errors name it.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// See [`Identity`].
    pub fn identity(&self) -> Identity {
        let mut hash = Hash::new();
        hash.text(&self.host);
        hash.text(&self.port.to_string());
        hash.text(&self.user);
        for secret in [&self.auth.key_pem, &self.auth.passphrase, &self.auth.password] {
            match secret {
                Some(secret) => hash.text(secret.expose()),
                None => hash.absent(),
            }
        }
        match &self.host_key {
            HostKeyPolicy::Strict => hash.text("strict"),
            HostKeyPolicy::AcceptNew => hash.text("accept-new"),
            HostKeyPolicy::Pinned(keys) => {
                hash.text("pinned");
                for key in keys {
                    hash.text(key);
                }
            }
        }
        match &self.jump {
            Some(jump) => hash.bytes(&jump.identity().0),
            None => hash.absent(),
        }
        hash.finish()
    }
}

/// Feeds fields with their lengths, so that no two sequences of fields look alike.
struct Hash(digest::Context);

impl Hash {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn absent(&mut self) {
        self.0.update(&u64::MAX.to_be_bytes());
    }

    fn finish(self) -> Identity {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        Identity(out)
    }
}

/// The identity of a key file with its passphrase, for the cache of opened keys.
pub(super) fn key_identity(key: &Secret, passphrase: Option<&Secret>) -> Identity {
    let mut hash = Hash::new();
    hash.text(key.expose());
    match passphrase {
        Some(passphrase) => hash.text(passphrase.expose()),
        None => hash.absent(),
    }
    hash.finish()
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address())
            .field("user", &self.user)
            .field("auth", &self.auth)
            .field("host_key", &self.host_key)
            .field("jump", &self.jump)
            .finish()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("key_pem", &self.key_pem)
            .field("passphrase", &self.passphrase)
            .field("password", &self.password)
            .finish()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(***)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            host: "10.0.0.1".into(),
            port: 22,
            user: "ops".into(),
            auth: Auth {
                key_pem: Some("very-private-key".into()),
                passphrase: Some("open-sesame".into()),
                password: Some("hunter2".into()),
            },
            host_key: HostKeyPolicy::AcceptNew,
            jump: None,
        }
    }

    #[test]
    fn secrets_never_show_in_debug_output() {
        let mut outer = endpoint();
        outer.jump = Some(Arc::new(endpoint()));

        let shown = format!("{outer:?} {outer:#?} {:?}", outer.identity());

        for secret in ["very-private-key", "open-sesame", "hunter2"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("***"));
    }

    #[test]
    fn identity_changes_with_every_field() {
        let base = endpoint();
        let changed: Vec<(&str, Endpoint)> = vec![
            ("host", Endpoint { host: "10.0.0.2".into(), ..base.clone() }),
            ("port", Endpoint { port: 23, ..base.clone() }),
            ("user", Endpoint { user: "root".into(), ..base.clone() }),
            ("key", Endpoint { auth: Auth { key_pem: None, ..base.auth.clone() }, ..base.clone() }),
            ("passphrase", Endpoint { auth: Auth { passphrase: None, ..base.auth.clone() }, ..base.clone() }),
            ("password", Endpoint { auth: Auth { password: None, ..base.auth.clone() }, ..base.clone() }),
            ("policy", Endpoint { host_key: HostKeyPolicy::Strict, ..base.clone() }),
            ("pinned", Endpoint { host_key: HostKeyPolicy::Pinned(vec!["a".into()]), ..base.clone() }),
            ("jump", Endpoint { jump: Some(Arc::new(base.clone())), ..base.clone() }),
        ];

        let mut seen = vec![("base", base.identity())];
        for (name, endpoint) in changed {
            let identity = endpoint.identity();
            for (other, taken) in &seen {
                assert!(*taken != identity, "{name} equals {other}");
            }
            seen.push((name, identity));
        }
        assert!(base.identity() == endpoint().identity());
    }
}
