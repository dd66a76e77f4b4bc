//! Bugs that are put in on purpose, so that it can be shown that the tests find them. In a program that is built for
//! release, or without the feature `planted-bugs`, there are none and no way to put them in.

/// A bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bug {
    /// An append is acknowledged before it is on disk.
    AcknowledgedBeforeSync = 1,
    /// A vote is given before it is on disk.
    VoteNotSynced = 2,
    /// A report of any attempt is taken for the current one's.
    AnyAttemptReports = 3,
    /// A request that comes again is done again.
    NotDeduplicated = 4,
    /// The log is purged behind what is applied, and not behind what is stored.
    PurgedPastCheckpoint = 5,
}

#[cfg(all(feature = "planted-bugs", debug_assertions))]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Puts a bug in, for as long as the process lives.
    pub fn plant(bug: Bug) {
        PLANTED.store(bug as u8, Ordering::Relaxed);
    }

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(all(feature = "planted-bugs", debug_assertions))]
pub(crate) use switch::is_planted;
#[cfg(all(feature = "planted-bugs", debug_assertions))]
pub use switch::plant;

/// Whether it was put in: never, here.
#[cfg(not(all(feature = "planted-bugs", debug_assertions)))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
