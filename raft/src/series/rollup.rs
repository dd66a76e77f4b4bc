//! Rollups: min, max, sum and count of a series over a fixed stretch of time.
//!
//! They are made from sealed samples, in time order, off the apply path: what a rollup holds is a pure function
//! of the samples, so it does not matter when a peer makes it. One stretch may be split over two blocks, where the samples
//! were; readers put the parts together. Sums of decimals are exact: they are taken over integers.

use super::block::sample_hash;
use super::form::Form;

/// One rollup, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollup {
    /// Begin of the stretch, a multiple of its length, in ms.
    pub start: i64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// The sum of the values.
    pub sum: f64,
    /// How many samples, at least 1.
    pub count: u32,
}

impl Rollup {
    pub(super) fn hash(&self) -> u64 {
        sample_hash(self.start, self.min.to_bits())
            .wrapping_add(sample_hash(self.start ^ 1, self.max.to_bits()))
            .wrapping_add(sample_hash(self.start ^ 2, self.sum.to_bits()))
            .wrapping_add(sample_hash(self.start ^ 3, u64::from(self.count)))
    }
}

/// Rolls up samples, ordered by time, into stretches of `width` ms.
pub(super) fn of_samples(times: &[i64], values: &[f64], width: i64) -> Vec<Rollup> {
    let ones = times.iter().zip(values);
    let parts =
        ones.map(|(&time, &value)| Rollup { start: time, min: value, max: value, sum: value, count: 1 });
    of_parts(parts, values, width)
}

/// Rolls up finer rollups, ordered by time, into stretches of `width` ms.
pub(super) fn of_rollups(rollups: &[Rollup], width: i64) -> Vec<Rollup> {
    let sums: Vec<f64> = rollups.iter().map(|rollup| rollup.sum).collect();
    of_parts(rollups.iter().copied(), &sums, width)
}

fn of_parts(parts: impl Iterator<Item = Rollup>, sums: &[f64], width: i64) -> Vec<Rollup> {
    let mut integers = vec![0; sums.len()];
    let form = Form::choose(sums, Form::NONE, &mut integers);
    let mut out: Vec<Rollup> = Vec::new();
    let mut exact = 0i128;
    for (part, integer) in parts.zip(integers) {
        let start = part.start.div_euclid(width) * width;
        match out.last_mut() {
            Some(last) if last.start == start => {
                exact += i128::from(integer);
                last.min = last.min.min(part.min);
                last.max = last.max.max(part.max);
                last.sum = form.exact(exact).unwrap_or(last.sum + part.sum);
                last.count = last.count.saturating_add(part.count);
            }
            _ => {
                exact = i128::from(integer);
                out.push(Rollup { start, ..part });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stretches_begin_at_multiples_of_their_length() {
        let times = [299_999, 300_000, 599_999, 600_000, 1_500_000];
        let values = [1.0, 2.0, 4.0, 8.0, -1.0];
        let rollups = of_samples(&times, &values, 300_000);
        let told: Vec<_> = rollups.iter().map(|r| (r.start, r.min, r.max, r.sum, r.count)).collect();
        assert_eq!(
            told,
            [
                (0, 1.0, 1.0, 1.0, 1),
                (300_000, 2.0, 4.0, 6.0, 2),
                (600_000, 8.0, 8.0, 8.0, 1),
                (1_500_000, -1.0, -1.0, -1.0, 1)
            ]
        );
    }

    #[test]
    fn sums_of_decimals_are_exact() {
        let times: Vec<i64> = (0..30).map(|i| i * 10_000).collect();
        let values = [0.1; 30];
        assert_ne!(values.iter().sum::<f64>(), 3.0, "plain addition drifts");
        assert_eq!(of_samples(&times, &values, 300_000)[0].sum, 3.0);
    }

    #[test]
    fn rollups_of_rollups_are_rollups_of_the_samples() {
        let times: Vec<i64> = (0..2000).map(|i| i * 10_007).collect();
        let values: Vec<f64> = (0..2000).map(|i| f64::from(i * 7919 % 10_007) / 100.0).collect();
        let fine = of_samples(&times, &values, 300_000);
        assert_eq!(of_rollups(&fine, 3_600_000), of_samples(&times, &values, 3_600_000));
    }

    #[test]
    fn huge_and_fractional_values_are_summed_in_order() {
        let values = [1e300, 0.1 + 0.2, -1e300];
        let sum = of_samples(&[0, 1, 2], &values, 300_000)[0].sum;
        assert_eq!(sum, 1e300 + (0.1 + 0.2) + -1e300);
    }
}
