//! What a disk may do to who writes to it.

/// An error that every write answers from some moment on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DiskFault {
    /// Input/output error.
    Eio,
    /// No space is left.
    Full,
    /// No error, but a panic: what keeps the log breaks down.
    Panic,
}

/// How a disk behaves; by default it does what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FaultPlan {
    /// After so many more writes and syncs, all fail.
    pub(crate) fails_after: Option<(u64, DiskFault)>,
    /// A sync takes up to so much longer, in ms.
    pub(crate) slow_ms: u64,
}

impl FaultPlan {
    /// What the next write comes to.
    pub(crate) fn next_write(&mut self) -> Option<DiskFault> {
        let (left, fault) = self.fails_after.as_mut()?;
        if *left == 0 {
            return Some(*fault);
        }
        *left -= 1;
        None
    }

    /// What the next sync comes to. A sync does not need space.
    pub(crate) fn next_sync(&mut self) -> Option<DiskFault> {
        self.next_write().filter(|fault| *fault == DiskFault::Eio)
    }
}
