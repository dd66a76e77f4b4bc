use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of wall time: milliseconds since the Unix epoch. For samples, display and calendars; no lease is
/// ever judged by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// A moment on the replicated clock: milliseconds of leaders' monotonic time since the control plane began.
/// Never goes back; stands still while there is no leader. Leases, cooldowns and back-off live on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Elapsed(pub u64);

/// The replicated clock, moved only by [`crate::command::Command::Tick`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Clock {
    /// Monotonic part; see [`Elapsed`].
    pub elapsed: Elapsed,
    /// The wall clock as leaders saw it, made non-decreasing.
    pub wall: Timestamp,
}

impl Timestamp {
    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Elapsed {
    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Elapsed) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(millis(duration)).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(millis(duration)).unwrap_or(i64::MAX)))
    }
}

impl Add<Duration> for Elapsed {
    type Output = Elapsed;
    fn add(self, duration: Duration) -> Elapsed {
        Elapsed(self.0.saturating_add(millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
