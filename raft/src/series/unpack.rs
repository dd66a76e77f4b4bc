//! Reading what [`super::pack`] writes. The bytes may be damaged: every read is checked.

use super::codec::Bad;
use super::column::{CHUNK, Column, ESCAPE, STEADY};
use super::form::Form;
use super::pack::Packer;

/// Zero bytes a decoder wants after a stream, so that it can load eight bytes anywhere.
pub(super) const PADDING: usize = 16;

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
