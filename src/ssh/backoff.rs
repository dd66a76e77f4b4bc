//! How long to wait before the next dial.

use std::time::Duration;

/// The wait after `failures` failed dials in a row (at least 1): doubling from `min` to `max`, spread by a quarter to either
/// side so that nodes that failed together don't come back together. `spread` is a random number in `0.0..1.0`.
pub(super) fn delay(failures: u32, min: Duration, max: Duration, spread: f64) -> Duration {
    let doubled =
        min.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(20)).unwrap_or(u32::MAX));
    doubled.min(max).mul_f64(0.75 + spread.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_up_to_the_maximum() {
        let (min, max) = (Duration::from_millis(500), Duration::from_secs(30));
        let middle = |failures| delay(failures, min, max, 0.5);
        assert_eq!(middle(1), Duration::from_millis(500));
        assert_eq!(middle(2), Duration::from_secs(1));
        assert_eq!(middle(6), Duration::from_secs(16));
        assert_eq!(middle(7), max);
        assert_eq!(middle(u32::MAX), max);
    }

    proptest! {
        #[test]
        fn stays_within_bounds(failures in 0_u32..100, spread in 0.0_f64..1.0) {
            let (min, max) = (Duration::from_millis(500), Duration::from_secs(30));
            let got = delay(failures, min, max, spread);
            prop_assert!(got >= min.mul_f64(0.75) && got <= max.mul_f64(1.25));
        }
    }
}
