//! Lets time pass in the replicated state.
//!
//! The replicated clock moves in steps, so that at any moment it lags behind by up to one step. A renewal that is
//! applied just before a step gets its life from the lagging clock: its owner has to expect that it ends one step
//! early. That step is therefore never larger than [`STEP_MAX`], whatever happened: it is part of the margin by which
//! owners stop before their session ends ([`crate::lease::MARGIN_PERCENT`]). Time that a late leader could not tell of
//! is lost, which is always safe, for it only lets leases live longer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rscaler_raft::command::Command;
use rscaler_raft::handle::{EngineError, Handle, SubmitError};
use rscaler_raft::model::{Actor, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::WallClock;

/// How often the clock moves where no deadline wants it sooner.
const EVERY: Duration = Duration::from_millis(200);
/// The largest step. With a session's life of 2 s and a margin of 400 ms, 50 ms are left for clocks that differ.
const STEP_MAX: Duration = Duration::from_millis(350);
/// The smallest pause between two ticks.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// How long one tick is tried. A leader that can't commit for longer will hardly be one much longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause after a tick that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Proposes ticks for `term`, one at a time. Never ends; cancel safe.
pub async fn run(handle: Handle, term: u64, wall: WallClock) {
    let mut steps = Steps::default();
    loop {
        let now = Instant::now();
        let (first, step) = steps.next(now);
        let delta_ms = u32::try_from(step.as_millis()).unwrap_or(u32::MAX);
        let tick = Command::Tick { term, first, delta_ms, wall: wall() };
        match handle.submit_within(PATIENCE, None, Actor::System, tick).await {
            Ok(_) => steps.told(now),
            Err(SubmitError::Rejected(rejection)) => {
                // Another leads; the watch that ends this loop has not heard of it yet.
                debug!(term, %rejection, "tick refused");
                sleep(RETRY_PAUSE).await;
                continue;
            }
            Err(SubmitError::Engine(error)) => {
                if let EngineError::Unknown(_) = error {
                    steps.told(now);
                }
                warn!(term, %error, "a tick could not be committed");
                sleep(RETRY_PAUSE).await;
                continue;
            }
        }
        let until_deadline = handle.read(|state| {
            let elapsed = state.clock().elapsed;
            state.next_deadline().map(|at| at.since(elapsed))
        });
        sleep_until(now + pause(until_deadline)).await;
    }
}

/// How long after a tick the next one comes. Pure.
fn pause(until_deadline: Option<Duration>) -> Duration {
    until_deadline.unwrap_or(EVERY).clamp(PAUSE_MIN, EVERY)
}

/// Measures the leader's own time between ticks.
#[derive(Default)]
struct Steps {
    /// When the last tick that was or may have been committed was proposed.
    last: Option<Instant>,
}

impl Steps {
    /// Whether the tick proposed at `now` is the first, and by how much it moves the clock.
    fn next(&self, now: Instant) -> (bool, Duration) {
        match self.last {
            None => (true, Duration::ZERO),
            Some(last) => (false, now.saturating_duration_since(last).min(STEP_MAX)),
        }
    }

    /// The tick proposed at `at` was committed, or may have been: its time must not be told again.
    fn told(&mut self, at: Instant) {
        self.last = Some(at);
    }
}

/// This machine's wall clock.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rscaler_raft::state::SESSION_TTL;

    use super::*;
    use crate::lease;

    #[test]
    fn the_largest_step_fits_into_the_leases_margin() {
        assert!(STEP_MAX < SESSION_TTL - lease::usable(SESSION_TTL));
        assert!(EVERY < STEP_MAX);
    }

    #[test]
    fn a_deadline_is_met_and_nothing_spins() {
        assert_eq!(pause(None), EVERY);
        assert_eq!(pause(Some(Duration::from_millis(70))), Duration::from_millis(70));
        assert_eq!(pause(Some(Duration::ZERO)), PAUSE_MIN);
        assert_eq!(pause(Some(Duration::from_secs(9))), EVERY);
    }

    proptest! {
        /// Each tick is proposed at `pauses` after the one before and may fail; the sum of the committed steps never
        /// exceeds the time that has passed since the first, and no step exceeds the bound.
        #[test]
        fn the_clock_never_runs_faster_than_time(
            pauses in prop::collection::vec((0u64..5_000, any::<bool>()), 1..60),
        ) {
            let start = Instant::now();
            let (mut now, mut steps, mut told) = (start, Steps::default(), Duration::ZERO);
            let mut begun = None;
            for (pause_ms, is_committed) in pauses {
                now += Duration::from_millis(pause_ms);
                let (first, step) = steps.next(now);
                prop_assert!(step <= STEP_MAX);
                prop_assert_eq!(first, begun.is_none());
                if is_committed {
                    steps.told(now);
                    told += step;
                    begun.get_or_insert(now);
                }
                prop_assert!(told <= now.duration_since(begun.unwrap_or(start)));
            }
        }
    }

    #[tokio::test]
    async fn time_passes_while_it_runs_and_ticks_of_earlier_terms_are_refused() {
        let handle = rscaler_raft::solo::Solo::start().await;
        let before = handle.read(|state| state.clock());
        let ticking = tokio::spawn(run(handle.clone(), 5, wall_clock));
        tokio::time::timeout(Duration::from_secs(20), async {
            while handle.read(|state| state.clock().elapsed.since(before.elapsed))
                < Duration::from_millis(500)
            {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        ticking.abort();
        assert!(handle.read(|state| state.clock().wall) > before.wall);
        let stale = Command::Tick { term: 4, first: false, delta_ms: 100, wall: wall_clock() };
        assert!(matches!(handle.submit(Actor::System, stale).await, Err(SubmitError::Rejected(_))));
    }
}
