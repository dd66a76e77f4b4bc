//! Secrets, and who may do what. Nothing here holds a plain secret: values are sealed, passwords and tokens
//! are hashed, all by the proposer, so that log, checkpoint, snapshot and backup never see them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A secret's value, sealed with the control plane's key ([`crate::secrets`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Secret {
    /// The sealed value.
    pub sealed: Sealed,
}

/// AES-256-GCM ciphertext under a data key of its own, itself wrapped by the control plane's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key of the keyring wraps the data key.
    pub key_id: u32,
    /// Nonce (12 bytes) and ciphertext of the data key.
    pub wrapped_key: Vec<u8>,
    /// Nonce (12 bytes) and ciphertext of the value.
    pub ciphertext: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(***, key {})", self.key_id)
    }
}

/// What somebody may do. Ordered: each role may do what the ones before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Read everything but secrets.
    Viewer,
    /// Also run, cancel, scale.
    Operator,
    /// Everything.
    Admin,
}

/// A person who logs in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they may do.
    pub role: Role,
    /// Argon2id in PHC string form.
    pub password_hash: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("role", &self.role).field("password_hash", &"***").finish()
    }
}

/// A bearer token for programs and the CLI.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What its bearer may do.
    pub role: Role,
    /// SHA-256 of the token's text, which is random enough to need no salt.
    pub hash: [u8; 32],
    /// From when on it is refused; never where absent.
    pub expires: Option<Timestamp>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("role", &self.role)
            .field("hash", &"***")
            .field("expires", &self.expires)
            .finish()
    }
}
