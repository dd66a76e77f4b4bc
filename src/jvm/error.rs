//! Why a JVM did not give what was asked for.

use serde::{Deserialize, Serialize};

/// What kind of failure, by what can be done about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FaultKind {
    /// Nothing answers there, or not what should.
    Unreachable,
    /// User, password or rights are refused.
    Authentication,
    /// There is no such MBean, attribute, key or operation.
    Missing,
    /// It threw an exception.
    Threw,
    /// There is a value, and it is no number.
    NotANumber,
    /// The answer is larger than what is taken.
    TooLarge,
    /// It did not answer in time.
    TimedOut,
    /// What was asked makes no sense: a profile, a name, an argument.
    Invalid,
    /// This peer has no Java runtime, or none that works.
    NoJava,
    /// The child process that speaks to JVMs failed, and will be there again soon.
    Unavailable,
}

/// Why a JVM did not give what was asked for, for a person: never with a secret in it, one line, bounded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{text}")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// In words.
    pub text: String,
}

/// The longest text of a fault, in characters.
const TEXT_CHARS_MAX: usize = 400;

impl Fault {
    /// A fault; control characters of its text are replaced.
    pub fn new(kind: FaultKind, text: impl AsRef<str>) -> Fault {
        let safe = |c: char| if c.is_control() { ' ' } else { c };
        Fault { kind, text: text.as_ref().chars().take(TEXT_CHARS_MAX).map(safe).collect() }
    }

    pub(super) fn unavailable(text: impl AsRef<str>) -> Fault {
        Fault::new(FaultKind::Unavailable, text)
    }
}
