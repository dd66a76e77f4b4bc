//! Values that stand in a document or live elsewhere.

use std::sync::Arc;

use rscaler_raft::handle::Handle;
use rscaler_raft::model::{Kind, Name, Sealed, Spec, Value};
use rscaler_raft::secrets::Keyring;
use rscaler_raft::state::State;

/// Why a value can't be had. Names what is missing, never what a secret holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// There is no such secret.
    #[error("there is no secret `{0}`")]
    NoSecret(Name),
    /// There is no such file.
    #[error("there is no file `{0}`")]
    NoFile(Name),
    /// The secret can't be opened on this peer.
    #[error("secret `{name}` can't be opened: {detail}")]
    Sealed {
        /// The secret.
        name: Name,
        /// Why.
        detail: String,
    },
    /// It has to be text and is not UTF-8.
    #[error("the {what} `{name}` is not text (UTF-8)")]
    NotText {
        /// `secret` or `file`.
        what: &'static str,
        /// Its name.
        name: Name,
    },
}

/// A value as it was found under the state's lock, to be opened outside of it.
pub(super) enum Found {
    /// The text itself.
    Inline(String),
    /// A secret and its sealed value.
    Sealed(Name, Sealed),
    /// A file and its newest content.
    File(Name, Arc<[u8]>),
}

/// Looks a value up. Short: called under the state's lock.
pub(super) fn find(state: &State, value: &Value) -> Result<Found, ValueError> {
    match value {
        Value::Inline(text) => Ok(Found::Inline(text.clone())),
        Value::Secret(name) => match state.spec(Kind::Secret, name) {
            Some(Spec::Secret(secret)) => Ok(Found::Sealed(name.clone(), secret.sealed.clone())),
            _ => Err(ValueError::NoSecret(name.clone())),
        },
        Value::File(name) => match state.spec(Kind::File, name) {
            Some(Spec::File(file)) => Ok(Found::File(name.clone(), Arc::clone(&file.content))),
            _ => Err(ValueError::NoFile(name.clone())),
        },
    }
}

impl Found {
    pub(super) fn bytes(self, keyring: &Keyring) -> Result<Vec<u8>, ValueError> {
        match self {
            Found::Inline(text) => Ok(text.into_bytes()),
            Found::File(_, content) => Ok(content.to_vec()),
            Found::Sealed(name, sealed) => match keyring.open(&format!("secret/{name}"), &sealed) {
                Ok(plain) => Ok(plain.to_vec()),
                Err(error) => Err(ValueError::Sealed { name, detail: error.to_string() }),
            },
        }
    }

    pub(super) fn text(self, keyring: &Keyring) -> Result<String, ValueError> {
        let named = match &self {
            Found::Inline(_) => None,
            Found::Sealed(name, _) => Some(("secret", name.clone())),
            Found::File(name, _) => Some(("file", name.clone())),
        };
        String::from_utf8(self.bytes(keyring)?).map_err(|_| {
            let (what, name) = named.expect("inline text is UTF-8, so only named values get here");
            ValueError::NotText { what, name }
        })
    }
}

/// The bytes of a value, as they are now.
///
/// # Errors
/// [`ValueError`].
pub fn bytes(handle: &Handle, value: &Value) -> Result<Vec<u8>, ValueError> {
    handle.read(|state| find(state, value))?.bytes(handle.keyring())
}

/// The text of a value, as it is now.
///
/// # Errors
/// [`ValueError`].
pub fn text(handle: &Handle, value: &Value) -> Result<String, ValueError> {
    handle.read(|state| find(state, value))?.text(handle.keyring())
}
