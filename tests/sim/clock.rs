//! Time as the simulated peers see it. The world's time moves in steps of a millisecond; each peer's own clock follows
//! it, later where the peer was stopped, and its wall clock may be wrong.

use std::cell::Cell;
use std::time::Duration;

use rscaler::lease::Moment;
use rscaler_raft::model::Timestamp;

/// When the simulated world begins: some day, in ms since the Unix epoch.
pub(crate) const BEGIN_MS: i64 = 1_800_000_000_000;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    static WALL_ERROR_MS: Cell<i64> = const { Cell::new(0) };
    static OWN_MS: Cell<u64> = const { Cell::new(0) };
}

/// Sets the world's time, in ms since it began.
pub(crate) fn set_now(ms: u64) {
    NOW_MS.set(ms);
}

/// The world's time, in ms since it began.
pub(crate) fn now() -> u64 {
    NOW_MS.get()
}

/// Whose clocks count from now on: by how much its wall clock is wrong, and the time of its monotonic clock.
pub(crate) fn enter(wall_error_ms: i64, own_ms: u64) {
    WALL_ERROR_MS.set(wall_error_ms);
    OWN_MS.set(own_ms);
}

/// The wall clock of the peer that runs now.
pub(crate) fn wall() -> Timestamp {
    Timestamp(BEGIN_MS + i64::try_from(now()).unwrap_or(i64::MAX) + WALL_ERROR_MS.get())
}

/// The clock by which the peer that runs now judges its lease.
pub(crate) fn moment() -> Moment {
    Moment::after(Duration::from_millis(OWN_MS.get()))
}
