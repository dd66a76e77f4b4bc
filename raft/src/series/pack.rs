//! The code of recent samples: append-only, a few nanoseconds a sample each way, and near the entropy of what
//! monitoring measures.
//!
//! A stream is a sequence of byte-aligned chunks of up to [`CHUNK`] samples. Timestamps and values are each a column
//! of integers; a value is an integer because most are decimals with few digits (`17.25` is 1725 at two decimals), and
//! where they are not, the bits of the float are the integer. A column is predicted (by its last step, by the mean
//! step, or by the last step again) and the residuals are Rice-coded: the quotients as gaps between the ones of a
//! bitmap, then all remainders at a fixed width, so that decoding has no long chain of dependent reads. Steady
//! columns, such as timestamps on a schedule, take one bit a chunk. State is carried from chunk to chunk, so
//! a chunk is read only after those before it.
//!
//! ```text
//! chunk  = flags [count u8] [decimals u8, shift u8] [width u8] [time header u8] bits, padded to a byte
//! flags  = bit 0 time is steady | bit 1 count is 32 | bit 2 value form as before | bits 3-4 predictor | bits 5-7 width - last + 3, 7: given
//! bits   = [time column] [value column];  column = bitmap of quotients, remainders, escaped residuals
//! ```

use super::codec::{Bad, unzigzag, zigzag};

/// Samples in a full chunk.
pub(super) const CHUNK: usize = 32;
/// This quotient stands for a residual that is written out after the remainders.
const ESCAPE: u64 = 16;
/// Added to a float of magnitude below 2^51, rounds it to an integer that then sits in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const INTEGER_MAX: f64 = (1u64 << 51) as f64;
/// Zero bytes a decoder wants after a stream, so that it can load eight bytes anywhere.
pub(super) const PADDING: usize = 16;
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// In place of a number of decimals: the integers are the floats' bits.
const BITS: u8 = 15;

/// The mean step does not learn from a residual this many times over the width of the chunk before: a saw-tooth's drop.
const OUTLIER: u64 = 32;

const PREDICT_SAME_STEP: u8 = 2;
const STEADY: u8 = 3;

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

/// What the coder remembers of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Column {
    last: i64,
    step: i64,
    /// The mean step, in 1/256.
    mean: i64,
    width: u8,
}

/// A column of one chunk, ready to be written.
struct Coded {
    predictor: u8,
    width: u8,
    residuals: [u64; CHUNK],
    next: Column,
}

#[inline]
fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

impl Column {
    fn code(&self, ints: &[i64]) -> Coded {
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
    fn decode(&mut self, predictor: u8, before: u8, residuals: &[u64], ints: &mut [i64]) {
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
    fn steady_for(&mut self, n: usize) {
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

/// Appends bits to bytes, lowest first.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    count: u32,
}

impl Bits<'_> {
    /// Appends the low `bits` bits of `value`, whose others are zero.
    #[inline]
    fn put(&mut self, value: u64, bits: u32) {
        self.pending |= value << self.count;
        let total = self.count + bits;
        if total < 64 {
            self.count = total;
            return;
        }
        self.out.extend_from_slice(&self.pending.to_le_bytes());
        self.count = total - 64;
        // Both shifts are below 64: `count` was at most 63, and is 0 only if all of `value` was written.
        self.pending = if self.count == 0 { 0 } else { value >> (bits - self.count) };
    }

    fn finish(self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..bytes]);
    }

    fn column(&mut self, coded: &Coded, n: usize) {
        let width = u32::from(coded.width);
        let residuals = &coded.residuals[..n];
        let mut escapes = false;
        for &residual in residuals {
            let quotient = (residual >> width).min(ESCAPE);
            escapes |= quotient == ESCAPE;
            self.put(1 << quotient, quotient as u32 + 1);
        }
        if width > 0 {
            let mask = u64::MAX >> (64 - width);
            for &residual in residuals {
                self.put(residual & mask, width);
            }
        }
        if escapes {
            for &residual in residuals.iter().filter(|&&residual| residual >> width >= ESCAPE) {
                let length = bit_length(residual);
                self.put(u64::from(length - 1), 6);
                self.put(residual, length);
            }
        }
    }
}

/// Writes chunks; holds what the next chunk is predicted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packer {
    time: Column,
    value: Column,
    form: Form,
}

impl Packer {
    /// A packer of a stream that starts at `base` (ms); whoever reads it has to know `base`.
    pub(super) fn new(base: i64) -> Self {
        Self { time: Column { last: base, ..Column::default() }, value: Column::default(), form: Form::NONE }
    }

    /// Appends one chunk of 1 to [`CHUNK`] samples to `out`.
    pub(super) fn pack(&mut self, times: &[i64], values: &[f64], out: &mut Vec<u8>) {
        let n = values.len();
        debug_assert!(n == times.len() && (1..=CHUNK).contains(&n));
        let mut ints = [0i64; CHUNK];
        let form = Form::choose(values, self.form, &mut ints[..n]);
        let same_form = form == self.form;
        if !same_form {
            self.form = form;
            self.value = Column { width: self.value.width, ..Column::default() };
        }
        let time = self.time.code(times);
        let value = self.value.code(&ints[..n]);
        let delta = i16::from(value.width) - i16::from(self.value.width) + 3;
        let given = if (0..7).contains(&delta) { delta as u8 } else { 7 };
        let steady = time.predictor == STEADY;
        let flags = u8::from(steady) | u8::from(n == CHUNK) << 1 | u8::from(same_form) << 2;
        out.push(flags | value.predictor << 3 | given << 5);
        if n != CHUNK {
            out.push(n as u8);
        }
        if !same_form {
            out.extend([form.decimals, form.shift]);
        }
        if given == 7 {
            out.push(value.width);
        }
        if !steady {
            out.push(time.predictor | time.width << 2);
        }
        let mut bits = Bits { out, pending: 0, count: 0 };
        if !steady {
            bits.column(&time, n);
        }
        if value.predictor != STEADY {
            bits.column(&value, n);
        }
        bits.finish();
        self.time = time.next;
        self.value = value.next;
    }
}

/// When samples were taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Times<'a> {
    /// At `first`, and then every `step` ms.
    Steady { first: i64, step: i64 },
    /// Each at its own time.
    Each(&'a [i64]),
}

impl Times<'_> {
    /// Time of the first sample.
    pub(super) fn first(&self) -> Option<i64> {
        match self {
            Self::Steady { first, .. } => Some(*first),
            Self::Each(times) => times.first().copied(),
        }
    }

    /// Time of the last of `count` samples.
    pub(super) fn last(&self, count: usize) -> Option<i64> {
        match self {
            Self::Steady { first, step } => Some(first.wrapping_add(step.wrapping_mul(count as i64 - 1))),
            Self::Each(times) => times.last().copied(),
        }
    }
}

/// Takes decoded samples, a stretch at a time, in their order.
pub(super) trait Take {
    /// `values` is not empty; as many times belong to them.
    fn take(&mut self, times: Times<'_>, values: &[f64]);
}

/// Reads the chunks of a stream.
pub(super) struct Unpacker<'a> {
    /// The stream, and at least [`PADDING`] bytes after it.
    bytes: &'a [u8],
    /// Where the stream ends.
    end: usize,
    at: usize,
    state: Packer,
    // Kept from chunk to chunk, for clearing them takes as long as decoding a few samples.
    residuals: [u64; CHUNK],
    ints: [i64; CHUNK],
    times: [i64; CHUNK],
    values: [f64; CHUNK],
}

impl<'a> Unpacker<'a> {
    /// Reads the first `end` bytes of `padded`, which is longer by [`PADDING`]; `base` as given to [`Packer::new`].
    pub(super) fn new(padded: &'a [u8], end: usize, base: i64) -> Self {
        debug_assert!(padded.len() >= end + PADDING);
        Self {
            bytes: padded,
            end,
            at: 0,
            state: Packer::new(base),
            residuals: [0; CHUNK],
            ints: [0; CHUNK],
            times: [0; CHUNK],
            values: [0.0; CHUNK],
        }
    }

    /// What a packer holds after the chunks read so far.
    pub(super) fn state(&self) -> Packer {
        self.state
    }

    fn header(&mut self) -> Result<u8, Bad> {
        if self.at >= self.end {
            return Err(Bad("a chunk of samples is cut"));
        }
        self.at += 1;
        Ok(self.bytes[self.at - 1])
    }

    /// Gives the samples of the next chunk to `out`; how many, or `None` at the end of the stream.
    pub(super) fn next(&mut self, out: &mut impl Take) -> Result<Option<usize>, Bad> {
        if self.at >= self.end {
            return Ok(None);
        }
        let flags = self.header()?;
        let n = if flags & 2 != 0 { CHUNK } else { usize::from(self.header()?) };
        if !(1..=CHUNK).contains(&n) {
            return Err(Bad("the length of a chunk is out of range"));
        }
        if flags & 4 == 0 {
            self.state.form = Form { decimals: self.header()?, shift: self.header()? }.check()?;
            self.state.value = Column { width: self.state.value.width, ..Column::default() };
        }
        let given = flags >> 5;
        let width = if given == 7 {
            self.header()?
        } else {
            // Below zero wraps to more than 63.
            (self.state.value.width + given).wrapping_sub(3)
        };
        if width > 63 {
            return Err(Bad("the width of a column is out of range"));
        }
        let before = std::mem::replace(&mut self.state.value.width, width);
        let steady = flags & 1 != 0;
        let time_header = if steady { STEADY } else { self.header()? };
        let mut bit = self.at * 8;
        let first = self.state.time.last.wrapping_add(self.state.time.step);
        if steady {
            self.state.time.steady_for(n);
        } else {
            if time_header & 3 == STEADY {
                return Err(Bad("the predictor of a column is unknown"));
            }
            let before = std::mem::replace(&mut self.state.time.width, time_header >> 2);
            bit = self.column(time_header >> 2, n, bit)?;
            self.state.time.decode(time_header & 3, before, &self.residuals[..n], &mut self.times[..n]);
        }
        let predictor = flags >> 3 & 3;
        if predictor == STEADY {
            let Column { last, step, .. } = self.state.value;
            self.state.value.steady_for(n);
            let mut value = last;
            self.ints[..n].fill_with(|| {
                value = value.wrapping_add(step);
                value
            });
        } else {
            bit = self.column(width, n, bit)?;
            self.state.value.decode(predictor, before, &self.residuals[..n], &mut self.ints[..n]);
        }
        self.state.form.values(&self.ints[..n], &mut self.values[..n]);
        self.at = bit.div_ceil(8);
        if self.at > self.end {
            return Err(Bad("a chunk of samples is cut"));
        }
        let times = if steady {
            Times::Steady { first, step: self.state.time.step }
        } else {
            Times::Each(&self.times[..n])
        };
        out.take(times, &self.values[..n]);
        Ok(Some(n))
    }

    /// The bits from `bit` on, at least 57 of them.
    #[inline]
    fn load(&self, bit: usize) -> Result<u64, Bad> {
        match self.bytes.get(bit / 8..).and_then(<[u8]>::first_chunk) {
            Some(&bytes) => Ok(u64::from_le_bytes(bytes) >> (bit % 8)),
            None => Err(Bad("a chunk of samples is cut")),
        }
    }

    /// `bits` bits from `bit` on, up to 64.
    fn wide(&self, bit: usize, bits: u32) -> Result<u64, Bad> {
        if bits == 0 {
            return Ok(0);
        }
        let low = self.load(bit)? & (u64::MAX >> 32);
        let high = self.load(bit + 32)?;
        Ok((low | high << 32) & (u64::MAX >> (64 - bits)))
    }

    /// Reads `n` residuals from `bit` on; where they end.
    #[inline]
    fn column(&mut self, width: u8, n: usize, bit: usize) -> Result<usize, Bad> {
        const LOADED: usize = 57;
        let mut base = bit;
        let mut word = self.load(base)? & (u64::MAX >> (64 - LOADED));
        let mut gap_from = base;
        let mut largest = 0;
        let mut filled = 0;
        while filled < n {
            if word == 0 {
                base += LOADED;
                word = self.load(base)? & (u64::MAX >> (64 - LOADED));
                continue;
            }
            let one = base + word.trailing_zeros() as usize;
            word &= word - 1;
            let quotient = (one - gap_from) as u64;
            largest = largest.max(quotient);
            self.residuals[filled] = quotient;
            gap_from = one + 1;
            filled += 1;
        }
        if largest > ESCAPE {
            return Err(Bad("a quotient is out of range"));
        }
        let mut at = gap_from;
        let bits = u32::from(width);
        if bits > LOADED as u32 {
            for i in 0..n {
                self.residuals[i] = self.residuals[i] << bits | self.wide(at, bits)?;
                at += bits as usize;
            }
        } else if bits > LOADED as u32 / 2 {
            let mask = u64::MAX >> (64 - bits);
            for i in 0..n {
                self.residuals[i] = self.residuals[i] << bits | (self.load(at)? & mask);
                at += bits as usize;
            }
        } else if bits > 0 {
            // Two with one load; the second of an odd pair falls on what is not used.
            let mask = u64::MAX >> (64 - bits);
            for i in (0..n).step_by(2) {
                let both = self.load(at)?;
                self.residuals[i] = self.residuals[i] << bits | (both & mask);
                self.residuals[i | 1] = self.residuals[i | 1] << bits | (both >> bits & mask);
                at += 2 * bits as usize;
            }
            at -= (n % 2) * bits as usize;
        }
        if largest == ESCAPE {
            for i in 0..n {
                if self.residuals[i] >> bits == ESCAPE {
                    let length = self.wide(at, 6)? as u32 + 1;
                    self.residuals[i] = self.wide(at + 6, length)?;
                    at += 6 + length as usize;
                }
            }
        }
        Ok(at)
    }
}
