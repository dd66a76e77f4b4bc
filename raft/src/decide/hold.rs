//! How long a condition has held: the state of one subject. See [`Phase`] for the diagram.

use std::time::Duration;

use super::threshold::Verdict;
use crate::model::{Phase, Timestamp};

/// A sample this many intervals old is no data any more.
pub const FRESH_INTERVALS: u32 = 3;

/// Moves `phase` on to a sample's time. Pure.
///
/// `hold` is the trigger's `for`. `gap` is the part of the time since the last sample in which there was no data
/// ([`gap`]): it does not break what is pending, and does not count as holding.
pub fn advance(phase: Phase, verdict: Verdict, at: Timestamp, gap: Duration, hold: Duration) -> Phase {
    match (phase, verdict) {
        (phase, Verdict::NoData) => phase,
        (Phase::Ok, Verdict::Holds) => holding(at, at, hold),
        (Phase::Pending { since }, Verdict::Holds) => holding(since + gap, at, hold),
        (Phase::Ok | Phase::Pending { .. }, _) | (_, Verdict::Clear) => Phase::Ok,
        (Phase::Firing { .. }, Verdict::Holds) => phase,
        (Phase::Firing { held_since, since }, Verdict::Between) => {
            Phase::Recovering { held_since, since, from: at }
        }
        (Phase::Recovering { held_since, since, .. }, Verdict::Holds) => Phase::Firing { held_since, since },
        (Phase::Recovering { .. }, Verdict::Between) => phase,
    }
}

fn holding(held_since: Timestamp, at: Timestamp, hold: Duration) -> Phase {
    if at.since(held_since) >= hold {
        Phase::Firing { held_since, since: at }
    } else {
        Phase::Pending { since: held_since }
    }
}

/// The part of the time from `last` to `at` in which there was no data: what is beyond three intervals.
pub fn gap(last: Option<Timestamp>, at: Timestamp, interval: Duration) -> Duration {
    last.map_or(Duration::ZERO, |last| at.since(last).saturating_sub(interval * FRESH_INTERVALS))
}

/// Whether a sample of `sampled` is data at `at`: exactly three intervals old is.
pub fn is_fresh(sampled: Timestamp, at: Timestamp, interval: Duration) -> bool {
    at.since(sampled) <= interval * FRESH_INTERVALS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Verdict::{Between, Clear, Holds, NoData};
    use super::*;

    const FIVE: Duration = Duration::from_millis(5);

    fn run(hold: Duration, steps: &[(i64, Verdict)]) -> Vec<&'static str> {
        let mut phase = Phase::Ok;
        steps
            .iter()
            .map(|(at, verdict)| {
                phase = advance(phase, *verdict, Timestamp(*at), Duration::ZERO, hold);
                phase.as_str()
            })
            .collect()
    }

    #[test]
    fn a_hold_ends_exactly_at_its_boundary() {
        assert_eq!(run(FIVE, &[(0, Holds), (4, Holds), (5, Holds)]), ["pending", "pending", "firing"]);
        assert_eq!(run(FIVE, &[(0, Holds), (6, Holds)]), ["pending", "firing"]);
        assert_eq!(run(Duration::ZERO, &[(0, Holds)]), ["firing"]);
    }

    #[test]
    fn each_transition_of_the_diagram() {
        type Row = (&'static str, &'static [(i64, Verdict)], &'static str);
        let table: [Row; 11] = [
            ("a break starts the hold anew", &[(0, Holds), (3, Clear), (4, Holds), (8, Holds)], "pending"),
            ("between does not hold before the firing", &[(0, Holds), (3, Between)], "ok"),
            ("between does not begin anything", &[(0, Between)], "ok"),
            ("clear stays clear", &[(0, Clear)], "ok"),
            ("firing goes on", &[(0, Holds), (5, Holds), (9, Holds)], "firing"),
            ("firing recovers at once without a band", &[(0, Holds), (5, Holds), (6, Clear)], "ok"),
            ("the band keeps it", &[(0, Holds), (5, Holds), (6, Between), (60, Between)], "recovering"),
            ("out of the band it is over", &[(0, Holds), (5, Holds), (6, Between), (7, Clear)], "ok"),
            ("back above it fires on", &[(0, Holds), (5, Holds), (6, Between), (7, Holds)], "firing"),
            ("no data changes nothing while pending", &[(0, Holds), (9, NoData)], "pending"),
            ("no data changes nothing while firing", &[(0, Holds), (5, Holds), (9, NoData)], "firing"),
        ];
        for (name, steps, expected) in table {
            assert_eq!(run(FIVE, steps).last(), Some(&expected), "{name}");
        }
    }

    #[test]
    fn a_gap_neither_breaks_nor_counts() {
        let interval = Duration::from_millis(10);
        let hold = Duration::from_millis(50);
        let mut phase = advance(Phase::Ok, Holds, Timestamp(0), Duration::ZERO, hold);
        let missing = gap(Some(Timestamp(0)), Timestamp(1000), interval);
        assert_eq!(missing, Duration::from_millis(970));
        phase = advance(phase, Holds, Timestamp(1000), missing, hold);
        assert_eq!(phase, Phase::Pending { since: Timestamp(970) });
        phase = advance(phase, Holds, Timestamp(1019), Duration::ZERO, hold);
        assert_eq!(phase.as_str(), "pending");
        phase = advance(phase, Holds, Timestamp(1020), Duration::ZERO, hold);
        assert_eq!(phase.as_str(), "firing");
    }

    #[test]
    fn three_intervals_old_is_data_and_older_is_not() {
        let interval = Duration::from_millis(10);
        assert!(is_fresh(Timestamp(0), Timestamp(30), interval));
        assert!(!is_fresh(Timestamp(0), Timestamp(31), interval));
        assert!(is_fresh(Timestamp(50), Timestamp(30), interval), "the future is fresh");
        assert_eq!(gap(Some(Timestamp(0)), Timestamp(30), interval), Duration::ZERO);
        assert_eq!(gap(None, Timestamp(30), interval), Duration::ZERO);
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Clear), Just(NoData), Just(Between), Just(Holds)]
    }

    proptest! {
        #[test]
        fn judging_the_same_moment_again_changes_nothing(
            steps in prop::collection::vec((1i64..5, verdict()), 1..30), hold in 0u64..10,
        ) {
            let hold = Duration::from_millis(hold);
            let (mut phase, mut now) = (Phase::Ok, 0);
            for (delta, verdict) in steps {
                now += delta;
                phase = advance(phase, verdict, Timestamp(now), Duration::ZERO, hold);
                prop_assert_eq!(advance(phase, verdict, Timestamp(now), Duration::ZERO, hold), phase);
            }
        }

        #[test]
        fn it_fires_only_when_every_sample_of_the_hold_held(
            steps in prop::collection::vec((1i64..5, verdict()), 1..40), hold in 1u64..10,
        ) {
            let span = Duration::from_millis(hold);
            let (mut phase, mut now, mut began) = (Phase::Ok, 0, None);
            for (delta, verdict) in steps {
                now += delta;
                let before = phase;
                phase = advance(phase, verdict, Timestamp(now), Duration::ZERO, span);
                match verdict {
                    Holds => { began.get_or_insert(now); }
                    NoData => {}
                    Clear | Between => began = None,
                }
                if phase.is_active() && !before.is_active() {
                    prop_assert!(began.is_some_and(|began| now - began >= hold as i64));
                }
            }
        }
    }
}
