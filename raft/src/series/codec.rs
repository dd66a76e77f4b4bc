//! Bytes of what the series store keeps: variable-length integers, strings, and the envelope of a row.
//!
//! Everything read here may be damaged, so each read is bounded by what is left and says what is wrong in one
//! short phrase; the caller adds which row or block it was.

/// Version of the rows of [`super::persist`].
pub(super) const ROW_VERSION: u8 = 1;

/// A read that failed, with the check that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad(pub(super) &'static str);

/// Appends `value` in LEB128, 1 to 10 bytes.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed `value`, small ones of either sign in few bytes.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends the length of `bytes` and then `bytes`.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Maps 0, -1, 1, -2, ... to 0, 1, 2, 3, ...
#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A cursor over untrusted bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Bad> {
        let (&first, rest) = self.rest.split_first().ok_or(Bad("it ends early"))?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Bad> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Bad> {
        let low = u64::from(self.u32()?);
        Ok(low | u64::from(self.u32()?) << 32)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Bad> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(Bad("a number is too large"));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Bad("a number is too long"))
    }

    /// A number that is at most `max`.
    pub(super) fn at_most(&mut self, max: usize) -> Result<usize, Bad> {
        let value = self.varint()?;
        if value > max as u64 { Err(Bad("a count is out of range")) } else { Ok(value as usize) }
    }

    pub(super) fn signed(&mut self) -> Result<i64, Bad> {
        Ok(unzigzag(self.varint()?))
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Bad> {
        if len > self.rest.len() {
            return Err(Bad("it ends early"));
        }
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Bad> {
        let len = self.at_most(self.rest.len())?;
        self.take(len)
    }

    pub(super) fn str(&mut self) -> Result<&'a str, Bad> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Bad("a name is not UTF-8"))
    }

    /// All that is left.
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn finish(self) -> Result<(), Bad> {
        if self.rest.is_empty() { Ok(()) } else { Err(Bad("bytes are left over")) }
    }
}

/// Puts `payload` in the envelope of a row: version, CRC-32 of the payload, payload.
pub(super) fn seal_row(payload: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(payload.len() + 5);
    row.push(ROW_VERSION);
    row.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    row.extend_from_slice(payload);
    row
}

/// Opens what [`seal_row`] made; `what` names the row in the error.
pub(super) fn open_row<'a>(what: &str, row: &'a [u8]) -> Result<&'a [u8], super::Error> {
    let corrupt = |why| super::Error::corrupt(what, why);
    let (&version, rest) = row.split_first().ok_or_else(|| corrupt("it is empty"))?;
    if version != ROW_VERSION {
        return Err(super::Error::Version { what: what.to_owned(), found: version, known: ROW_VERSION });
    }
    let mut reader = Reader::new(rest);
    let crc = reader.u32().map_err(|bad| corrupt(bad.0))?;
    if crc32fast::hash(reader.rest) != crc {
        return Err(corrupt("its checksum does not match"));
    }
    Ok(reader.rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(values in prop::collection::vec(any::<i64>(), 0..20)) {
            let mut out = Vec::new();
            for &value in &values {
                put_signed(&mut out, value);
            }
            let mut reader = Reader::new(&out);
            for &value in &values {
                prop_assert_eq!(reader.signed().unwrap(), value);
            }
            reader.finish().unwrap();
        }

        #[test]
        fn any_flipped_bit_of_a_row_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..50), at in any::<usize>()) {
            let mut row = seal_row(&payload);
            let bit = at % (row.len() * 8);
            row[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open_row("row", &row).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_ok() {}
            let _ = Reader::new(&bytes).bytes();
            let _ = open_row("row", &bytes);
        }
    }
}
