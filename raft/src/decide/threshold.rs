//! Whether a value meets a condition.

use crate::model::{Condition, Operator};

/// What a condition says of a value. Ordered so that the least of several is what they say together: one that
/// is clear settles it, then one that has no data, then one that is between.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// It does not hold, and `recover` does not either.
    Clear,
    /// There is no value: neither holds nor breaks.
    NoData,
    /// It does not hold, but `value op recover` does: what fires has not recovered.
    Between,
    /// It holds.
    Holds,
}

/// A value to compare.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Measure {
    /// The value itself.
    Value(f64),
    /// A mean, kept undivided: apply compares and adds, nothing else.
    Mean {
        /// The sum of the values, added in series order.
        sum: f64,
        /// How many there are; not zero.
        count: u32,
    },
}

impl Measure {
    /// Whether `self op bound`. A mean is compared as its sum with as many bounds, added up.
    pub fn meets(self, op: Operator, bound: f64) -> bool {
        match self {
            Measure::Value(value) => op.holds(value, bound),
            Measure::Mean { sum, count } => {
                let mut bounds = 0.0;
                for _ in 0..count {
                    bounds += bound;
                }
                op.holds(sum, bounds)
            }
        }
    }

    /// The value, for people. Not for apply.
    pub fn shown(self) -> f64 {
        match self {
            Measure::Value(value) => value,
            Measure::Mean { sum, count } => sum / f64::from(count),
        }
    }
}

/// What `condition` says of `measure`; [`Verdict::NoData`] where there is none.
pub fn judge(condition: &Condition, measure: Option<Measure>) -> Verdict {
    let Some(measure) = measure else { return Verdict::NoData };
    if measure.meets(condition.op, condition.threshold) {
        Verdict::Holds
    } else if condition.recover.is_some_and(|recover| measure.meets(condition.op, recover)) {
        Verdict::Between
    } else {
        Verdict::Clear
    }
}

/// What several conditions say that must all hold; [`Verdict::NoData`] of none.
pub fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts.into_iter().min().unwrap_or(Verdict::NoData)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::model::Name;

    fn condition(op: Operator, threshold: f64, recover: Option<f64>) -> Condition {
        Condition { counter: Name::new("load1").unwrap(), instance: None, op, threshold, recover }
    }

    #[test]
    fn each_operator_at_its_boundary() {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        let table = [
            (Greater, [false, false, true]),
            (GreaterOrEqual, [false, true, true]),
            (Less, [true, false, false]),
            (LessOrEqual, [true, true, false]),
            (Equal, [false, true, false]),
            (NotEqual, [true, false, true]),
        ];
        for (op, expected) in table {
            let got = [3.9, 4.0, 4.1].map(|value| Measure::Value(value).meets(op, 4.0));
            assert_eq!(got, expected, "{op:?}");
        }
    }

    #[test]
    fn recover_lies_between_holding_and_clear() {
        let busy = condition(Operator::Greater, 4.0, Some(3.0));
        let table = [
            (4.1, Verdict::Holds),
            (4.0, Verdict::Between),
            (3.1, Verdict::Between),
            (3.0, Verdict::Clear),
            (-1.0, Verdict::Clear),
        ];
        for (value, expected) in table {
            assert_eq!(judge(&busy, Some(Measure::Value(value))), expected, "{value}");
        }
        let low = condition(Operator::Less, 10.0, Some(20.0));
        assert_eq!(judge(&low, Some(Measure::Value(15.0))), Verdict::Between);
        assert_eq!(judge(&low, Some(Measure::Value(20.0))), Verdict::Clear);
        assert_eq!(judge(&low, None), Verdict::NoData);
    }

    #[test]
    fn one_that_is_clear_settles_it_whatever_lacks_data() {
        use Verdict::{Between, Clear, Holds, NoData};
        let table: [(&[Verdict], Verdict); 6] = [
            (&[Holds, Holds], Holds),
            (&[Holds, Between], Between),
            (&[Holds, NoData], NoData),
            (&[Between, NoData], NoData),
            (&[NoData, Clear, Holds], Clear),
            (&[], NoData),
        ];
        for (verdicts, expected) in table {
            assert_eq!(all(verdicts.iter().copied()), expected, "{verdicts:?}");
        }
    }

    proptest! {
        #[test]
        fn the_mean_of_equal_values_compares_as_the_value(value in -1e6f64..1e6, count in 1u32..500) {
            let mut sum = 0.0;
            for _ in 0..count {
                sum += value;
            }
            let mean = Measure::Mean { sum, count };
            prop_assert!(mean.meets(Operator::Equal, value));
            prop_assert!(!mean.meets(Operator::Greater, value));
        }
    }
}
