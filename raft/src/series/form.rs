//! Values as integers.

use super::codec::Bad;

/// Added to a float of magnitude below 2^51, rounds it to an integer that then sits in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const INTEGER_MAX: f64 = (1u64 << 51) as f64;
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// In place of a number of decimals: the integers are the floats' bits.
const BITS: u8 = 15;

/// How values are integers: `value = (integer << shift) / 10^decimals`, or the float's bits if `decimals` is [`BITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) decimals: u8,
    pub(super) shift: u8,
}

impl Form {
    /// Integers as they are.
    pub(super) const NONE: Self = Self { decimals: 0, shift: 0 };

    pub(super) fn check(self) -> Result<Self, Bad> {
        let known = self.decimals < POWERS.len() as u8 || self.decimals == BITS;
        if known && self.shift < 64 { Ok(self) } else { Err(Bad("the form of its values is unknown")) }
    }

    /// Whether the values are decimals rather than bits.
    pub(super) fn is_decimal(self) -> bool {
        self.decimals != BITS
    }

    /// The value of a sum of integers, if it too is an integer of this form that comes back exactly.
    pub(super) fn exact(self, sum: i128) -> Option<f64> {
        let shifted = sum.checked_shl(u32::from(self.shift))?;
        let fits =
            self.is_decimal() && shifted >> self.shift == sum && shifted.unsigned_abs() < INTEGER_MAX as u128;
        fits.then(|| shifted as f64 / POWERS[usize::from(self.decimals)])
    }

    /// Fills `values` with those of `ints`; they are of one length.
    #[inline]
    pub(super) fn values(self, ints: &[i64], values: &mut [f64]) {
        let shift = u32::from(self.shift & 63);
        let pairs = values.iter_mut().zip(ints);
        if self.decimals == BITS {
            pairs.for_each(|(value, &int)| *value = f64::from_bits((int << shift) as u64));
        } else if self.decimals == 0 {
            pairs.for_each(|(value, &int)| *value = (int << shift) as f64);
        } else {
            let power = POWERS[usize::from(self.decimals).min(POWERS.len() - 1)];
            pairs.for_each(|(value, &int)| *value = (int << shift) as f64 / power);
        }
    }

    /// The smallest form that holds all `values` exactly, `current` if that does nearly as well; `ints` gets the integers.
    pub(super) fn choose(values: &[f64], current: Self, ints: &mut [i64]) -> Self {
        debug_assert_eq!(values.len(), ints.len());
        let decimals = if current.is_decimal() && integers(values, current.decimals, ints) {
            current.decimals
        } else {
            let found = (0..POWERS.len() as u8).find(|&decimals| integers(values, decimals, ints));
            found.unwrap_or_else(|| {
                for (int, value) in ints.iter_mut().zip(values) {
                    *int = value.to_bits() as i64;
                }
                BITS
            })
        };
        let same = decimals == current.decimals;
        let zeros = ints.iter().fold(0, |all, &int| all | int).trailing_zeros();
        // A shift is worth a new form only if it saves two bits or more; one that does not fit has to change.
        let shift = match zeros {
            64 if same => current.shift,
            64 => 0,
            zeros if same && (u32::from(current.shift)..u32::from(current.shift) + 2).contains(&zeros) => {
                current.shift
            }
            zeros => zeros as u8,
        };
        if shift > 0 {
            ints.iter_mut().for_each(|int| *int >>= shift);
        }
        Self { decimals, shift }
    }
}

/// Fills `ints` with `values * 10^decimals` and says whether every value comes back exactly from its integer.
#[inline]
fn integers(values: &[f64], decimals: u8, ints: &mut [i64]) -> bool {
    let power = POWERS[usize::from(decimals)];
    // In blocks, so that the common case has no branch a value and a hopeless one ends soon.
    values.chunks(8).zip(ints.chunks_mut(8)).all(|(values, ints)| {
        let mut exact = true;
        for (value, int) in values.iter().zip(ints) {
            let scaled = value * power;
            let magic = scaled + MAGIC;
            *int = (magic.to_bits() as i64).wrapping_sub(MAGIC.to_bits() as i64);
            exact &= scaled.abs() < INTEGER_MAX && ((magic - MAGIC) / power).to_bits() == value.to_bits();
        }
        exact
    })
}
