//! What clients do while peers suffer, and what is judged when it is over.

pub(crate) mod beats;
pub(crate) mod firings;
pub(crate) mod fleet;
pub(crate) mod registers;
pub(crate) mod sets;
pub(crate) mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks loads to end.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a load comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    /// Operations that were checked.
    pub(crate) operations: u64,
    /// Those of them whose end is unknown.
    pub(crate) unknown: u64,
    /// What was promised and not kept.
    pub(crate) violations: Vec<String>,
}

impl Judged {
    pub(crate) fn add(&mut self, other: Judged) {
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.violations.extend(other.violations);
    }
}
