//! Markers on the node that make an effect happen once.

use super::super::error::Error;

/// Names an effect that must happen once, and the attempt at it.
///
/// Before an attempt's script runs, the outer shell creates a file of its own for it, atomically, and then looks at those of the other
/// attempts. It is refused if there is one of the same or a later epoch, or an earlier one that it does not know of. As everybody
/// writes first and looks then, of two attempts that come at the same time at least one sees the other.
///
/// The markers lie in `~/.rscaler`, or in `/var/tmp/rscaler-UID` where there is no home to write to: not below `/tmp` or
/// `$XDG_RUNTIME_DIR`, which a reboot or the last logout empties, so that a command that had run would look like one that had not.
/// They are kept for a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The effect: a place and a name with a slash between them, each 1 to 64 of `A-Z a-z 0-9 . _ -`, not beginning with a dot.
    /// Effects of about the same time share a place: making one takes a process, and looking for an effect reads all of it.
    pub token: String,
    /// The attempt. Grows with each.
    pub epoch: u64,
    /// The last earlier attempt whose end the caller knows and that is to be followed by this one; `None` if there is to be none.
    pub known: Option<u64>,
}

impl Fence {
    /// Where its marker lies.
    pub(super) fn place(&self) -> &str {
        self.token.split_once('/').map_or("", |(place, _)| place)
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.epoch > i64::MAX as u64 {
            return Err(Error::Invalid("the epoch is too large".into()));
        }
        validate_token(&self.token)
    }
}

pub(super) fn validate_token(token: &str) -> Result<(), Error> {
    let is_word = |word: &str| {
        (1..=64).contains(&word.len())
            && !word.starts_with('.')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let is_good = token.split_once('/').is_some_and(|(place, name)| is_word(place) && is_word(name));
    if is_good { Ok(()) } else { Err(Error::Invalid(format!("{token:?} can't be a token"))) }
}
