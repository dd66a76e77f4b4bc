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

use super::column::{CHUNK, Coded, Column, ESCAPE, STEADY, bit_length};
use super::form::Form;

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
    pub(super) time: Column,
    pub(super) value: Column,
    pub(super) form: Form,
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
