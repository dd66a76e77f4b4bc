//! A column of integers in chunks: prediction, residuals and the width of their remainders.

use super::codec::{unzigzag, zigzag};

/// Samples in a full chunk.
pub(super) const CHUNK: usize = 32;
/// This quotient stands for a residual that is written out after the remainders.
pub(super) const ESCAPE: u64 = 16;
/// The predictor of a column that goes on with the same step, so that nothing is left to be written.
pub(super) const STEADY: u8 = 3;

const PREDICT_SAME_STEP: u8 = 2;
/// The mean step does not learn from a residual this many times over the width of the chunk before: a saw-tooth's drop.
const OUTLIER: u64 = 32;

/// What the coder remembers of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) last: i64,
    pub(super) step: i64,
    /// The mean step, in 1/256.
    pub(super) mean: i64,
    pub(super) width: u8,
}

/// A column of one chunk, ready to be written.
pub(super) struct Coded {
    pub(super) predictor: u8,
    pub(super) width: u8,
    pub(super) residuals: [u64; CHUNK],
    pub(super) next: Column,
}

#[inline]
pub(super) fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

impl Column {
    pub(super) fn code(&self, ints: &[i64]) -> Coded {
        let n = ints.len();
        let mut by_step = [0u64; CHUNK];
        let mut by_mean = [0u64; CHUNK];
        let mut by_same_step = [0u64; CHUNK];
        let mut bits = [0u32; 3];
        let (mut last, mut step, mut mean) = (self.last, self.step, self.mean);
        for (i, &int) in ints.iter().enumerate().take(CHUNK) {
            let now = int.wrapping_sub(last);
            by_step[i] = zigzag(now);
            let off = now.wrapping_sub(mean >> 8);
            by_mean[i] = zigzag(off);
            if by_mean[i] >> self.width < OUTLIER {
                mean = mean.wrapping_add(off.wrapping_shl(4));
            }
            by_same_step[i] = zigzag(now.wrapping_sub(step));
            bits[0] += bit_length(by_step[i]);
            bits[1] += bit_length(by_mean[i]);
            bits[2] += bit_length(by_same_step[i]);
            (last, step) = (int, now);
        }
        let mut next = Column { last, step, mean, width: self.width };
        if bits[2] == 0 {
            next.mean = self.mean_over(last, n);
            return Coded { predictor: STEADY, width: self.width, residuals: by_same_step, next };
        }
        let (predictor, residuals) = match bits {
            [a, b, c] if a <= b && a <= c => (0, by_step),
            [_, b, c] if b <= c => (1, by_mean),
            _ => (PREDICT_SAME_STEP, by_same_step),
        };
        if predictor != 1 {
            next.mean = self.mean_over(last, n);
        }
        next.width = best_width(&residuals[..n], (bits[usize::from(predictor)] / n as u32) as u8, self.width);
        Coded { predictor, width: next.width, residuals, next }
    }

    fn mean_over(&self, last: i64, n: usize) -> i64 {
        last.wrapping_sub(self.last).wrapping_shl(8) / (n.max(1) as i64)
    }

    /// Turns residuals into integers, and moves on; `before` is the width of the chunk before.
    #[inline]
    pub(super) fn decode(&mut self, predictor: u8, before: u8, residuals: &[u64], ints: &mut [i64]) {
        let Column { mut last, mut step, mut mean, width } = *self;
        let pairs = residuals.iter().zip(ints.iter_mut());
        match predictor {
            0 => {
                for (&residual, int) in pairs {
                    step = unzigzag(residual);
                    last = last.wrapping_add(step);
                    *int = last;
                }
            }
            1 => {
                for (&residual, int) in pairs {
                    let off = unzigzag(residual);
                    step = off.wrapping_add(mean >> 8);
                    if residual >> before < OUTLIER {
                        mean = mean.wrapping_add(off.wrapping_shl(4));
                    }
                    last = last.wrapping_add(step);
                    *int = last;
                }
            }
            _ => {
                for (&residual, int) in pairs {
                    step = step.wrapping_add(unzigzag(residual));
                    last = last.wrapping_add(step);
                    *int = last;
                }
            }
        }
        if predictor != 1 {
            mean = self.mean_over(last, residuals.len());
        }
        *self = Column { last, step, mean, width };
    }

    /// As [`Self::decode`] with `n` residuals that are all zero; the integers are left to the caller.
    #[inline]
    pub(super) fn steady_for(&mut self, n: usize) {
        let last = self.last.wrapping_add(self.step.wrapping_mul(n as i64));
        self.mean = self.mean_over(last, n);
        self.last = last;
    }
}

/// Bits that `residuals` take with remainders of `width` bits.
fn cost(residuals: &[u64], width: u8) -> u32 {
    let mut quotients = 0;
    let mut escaped = 0;
    for &residual in residuals {
        let quotient = residual >> width;
        quotients += quotient.min(ESCAPE) as u32;
        if quotient >= ESCAPE {
            escaped += 6 + bit_length(residual);
        }
    }
    residuals.len() as u32 * (u32::from(width) + 1) + quotients + escaped
}

/// The width that takes the fewest bits, searched downhill from the mean length; that of the chunk before if it is as good.
fn best_width(residuals: &[u64], mean_length: u8, before: u8) -> u8 {
    let mut best = mean_length.saturating_sub(1).min(63);
    let mut least = cost(residuals, best);
    for up in [true, false] {
        let mut width = best;
        loop {
            width = match (up, width) {
                (true, 63) | (false, 0) => break,
                (true, _) => width + 1,
                (false, _) => width - 1,
            };
            let bits = cost(residuals, width);
            if bits >= least {
                break;
            }
            (best, least) = (width, bits);
        }
    }
    if before != best && cost(residuals, before) <= least { before } else { best }
}
