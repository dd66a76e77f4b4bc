//! How long data is kept.

use std::time::Duration;

use super::Resolution;

const DAY: u64 = 24 * 3600;

/// How long each resolution is kept, counted from the samples' own times. A coarser one is kept at least as long as the finer
/// ones, whatever is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Raw samples; by default 15 days.
    pub raw: Duration,
    /// Rollups over 5 minutes; by default 90 days.
    pub five_minutes: Duration,
    /// Rollups over an hour; by default two years. A series without a sample for this long disappears.
    pub hour: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            raw: Duration::from_secs(15 * DAY),
            five_minutes: Duration::from_secs(90 * DAY),
            hour: Duration::from_secs(730 * DAY),
        }
    }
}

impl Retention {
    /// For each of [`Resolution::ALL`], the time before which data is gone at `now_ms`.
    pub(super) fn floors(&self, now_ms: i64) -> Floors {
        let raw = self.raw.as_millis();
        let five_minutes = self.five_minutes.as_millis().max(raw);
        let hour = self.hour.as_millis().max(five_minutes);
        let floor = |kept: u128| now_ms.saturating_sub(i64::try_from(kept).unwrap_or(i64::MAX)).max(0);
        Floors([floor(raw), floor(five_minutes), floor(hour)])
    }
}

/// Times before which data is gone, one for each resolution, each at most the one before. They never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Floors(pub(super) [i64; 3]);

impl Floors {
    pub(super) fn of(&self, resolution: Resolution) -> i64 {
        self.0[resolution.index()]
    }

    pub(super) fn raise(&mut self, to: Self) {
        for (floor, to) in self.0.iter_mut().zip(to.0) {
            *floor = (*floor).max(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarser_resolution_is_kept_at_least_as_long() {
        let retention = Retention {
            raw: Duration::from_secs(100),
            five_minutes: Duration::from_secs(10),
            hour: Duration::from_secs(50),
        };
        assert_eq!(retention.floors(1_000_000), Floors([900_000; 3]));
    }

    #[test]
    fn floors_never_go_back_and_never_overflow() {
        let mut floors = Retention::default().floors(2_000_000_000_000);
        let before = floors;
        floors.raise(Retention { raw: Duration::MAX, ..Retention::default() }.floors(i64::MIN));
        assert_eq!(floors, before);
    }
}
