//! What a reading yielded, or why it did not.

use std::sync::Arc;

use rscaler_raft::model::{CheckOutput, FailureKind, Name};

use super::parse::Reading;

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Measured {
    /// The JVM that it was read of.
    pub(super) jvm: Option<Name>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) value: f64,
}

impl From<Reading> for Measured {
    fn from(reading: Reading) -> Measured {
        Measured { jvm: None, instance: reading.instance.map(Arc::from), value: reading.value }
    }
}

/// Why a reading yielded nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) reason: String,
}

/// What a reading yielded.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Vec<Measured>, Failure>,
    /// What could not be read, where a part could.
    pub(super) warning: Option<String>,
    /// What the script printed, if it ran.
    pub(super) output: Option<CheckOutput>,
}

impl Outcome {
    pub(super) fn failed(failure: Failure) -> Outcome {
        Outcome { result: Err(failure), warning: None, output: None }
    }
}

impl Failure {
    pub(super) fn new(kind: FailureKind, reason: impl Into<String>) -> Failure {
        Failure { kind, reason: reason.into() }
    }
}
