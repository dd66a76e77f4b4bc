//! How values become bytes, in the log, on the wire and on disk. The only module that names bincode.
//!
//! An envelope stands before everything that is stored or sent as a whole:
//!
//! ```text
//! magic u16 | kind u16 | schema u16 | flags u16 | len u32 | crc32 u32 | body
//! ```
//!
//! little-endian; the checksum covers header (with itself zero) and body; the body is bincode 1.3.3 with
//! variable-length integers. Rows of the checkpoint are bodies alone ([`encode_plain`]): the block that holds
//! them has the envelope.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest body, in bytes.
pub const BYTES_MAX: usize = 16 << 20;
/// The length of an envelope's header, in bytes.
pub const HEADER_BYTES: usize = 16;
const MAGIC: u16 = 0x5c4c;

/// What an envelope holds. Numbers are the format: never reuse one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum FormatKind {
    /// [`crate::command::Proposal`]
    Proposal = 1,
    /// [`crate::command::Outcome`]
    Outcome = 2,
    /// A vote, a log id, a membership: the log's own records.
    Log = 3,
    /// Checkpoint metadata and rows.
    Checkpoint = 4,
    /// A sealed block of samples.
    Block = 5,
    /// A snapshot's manifest or section.
    Snapshot = 6,
    /// A frame between peers.
    Frame = 7,
    /// A backup.
    Backup = 8,
    /// A peer's identity on disk.
    Identity = 9,
}

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Damaged, cut short, or something else.
    #[error("{what} is damaged: {detail}")]
    Corrupt {
        /// What was read.
        what: String,
        /// How it is wrong.
        detail: String,
    },
    /// Written by a version that this one does not read.
    #[error("{what} has schema {found}, and this version reads up to {known}: upgrade this peer")]
    UnknownSchema {
        /// What was read.
        what: String,
        /// Its schema.
        found: u16,
        /// The newest this version reads.
        known: u16,
    },
    /// Too large to write.
    #[error("{what} takes {bytes} bytes; at most {BYTES_MAX} fit")]
    TooLarge {
        /// What was to be written.
        what: String,
        /// Its size.
        bytes: u64,
    },
}

impl Error {
    /// Damaged bytes of which nothing more is known.
    pub fn corrupt(what: &str) -> Error {
        Error::Corrupt { what: what.to_string(), detail: "it does not decode".to_string() }
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(BYTES_MAX as u64)
}

/// A value's body. Only for our own types, which always encode.
pub fn encode_plain<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    bincode::DefaultOptions::new()
        .serialize(value)
        .expect("replicated types have no field that fails to encode")
}

/// Reads what [`encode_plain`] wrote; trailing bytes are an error.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn decode_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    options().deserialize(bytes).map_err(|error| Error::Corrupt {
        what: std::any::type_name::<T>().to_string(),
        detail: error.to_string(),
    })
}

/// Bytes as a field: written and read at once, in the form that a sequence of numbers has. For `#[serde(with)]`.
pub mod bytes {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::Visitor;
    use serde::{Deserializer, Serializer};

    /// Writes them.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes.as_ref())
    }

    /// Reads them.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: From<Vec<u8>> + for<'a> From<&'a [u8]>,
    {
        struct Bytes<T>(PhantomData<T>);
        impl<T: From<Vec<u8>> + for<'a> From<&'a [u8]>> Visitor<'_> for Bytes<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<T, E> {
                Ok(bytes.into())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<T, E> {
                Ok(bytes.into())
            }
        }
        deserializer.deserialize_bytes(Bytes(PhantomData))
    }
}

/// A value in its envelope.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn encode<T: Serialize + ?Sized>(kind: FormatKind, schema: u16, value: &T) -> Result<Vec<u8>, Error> {
    let body = encode_plain(value);
    seal(kind, schema, &body)
}

/// An envelope around a body that is encoded already.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn seal(kind: FormatKind, schema: u16, body: &[u8]) -> Result<Vec<u8>, Error> {
    if body.len() > BYTES_MAX {
        return Err(Error::TooLarge { what: format!("{kind:?}"), bytes: body.len() as u64 });
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&(kind as u16).to_le_bytes());
    out.extend_from_slice(&schema.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = checksum(&out, body);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
    Ok(out)
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

/// The body of an envelope that must be of `kind`, at a schema up to `known`; and its schema.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::UnknownSchema`].
pub fn open(kind: FormatKind, known: u16, bytes: &[u8]) -> Result<(u16, &[u8]), Error> {
    let corrupt = |detail: &str| Error::Corrupt { what: format!("{kind:?}"), detail: detail.to_string() };
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| corrupt("it is cut short"))?;
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(0) != MAGIC {
        return Err(corrupt("it does not begin as one"));
    }
    if word(2) != kind as u16 {
        return Err(corrupt("it is of another kind"));
    }
    if long(8) as usize != body.len() {
        return Err(corrupt("its length is not what its header says"));
    }
    if long(12) != checksum(&header[..12], body) {
        return Err(corrupt("its checksum is wrong"));
    }
    let schema = word(4);
    if schema == 0 || schema > known || word(6) != 0 {
        return Err(Error::UnknownSchema { what: format!("{kind:?}"), found: schema, known });
    }
    Ok((schema, body))
}

/// Reads what [`encode`] wrote at the only schema there is.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::UnknownSchema`].
pub fn decode<T: DeserializeOwned>(kind: FormatKind, known: u16, bytes: &[u8]) -> Result<T, Error> {
    let (_, body) = open(kind, known, bytes)?;
    decode_plain(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unknown_schema_is_told_from_damage() {
        let bytes = encode(FormatKind::Proposal, 2, &7u64).unwrap();
        assert!(matches!(
            decode::<u64>(FormatKind::Proposal, 1, &bytes),
            Err(Error::UnknownSchema { found: 2, known: 1, .. })
        ));
        assert!(matches!(decode::<u64>(FormatKind::Outcome, 2, &bytes), Err(Error::Corrupt { .. })));
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes(value: (u64, String, Vec<u8>)) {
            let bytes = encode(FormatKind::Proposal, 1, &value).unwrap();
            prop_assert_eq!(decode::<(u64, String, Vec<u8>)>(FormatKind::Proposal, 1, &bytes).unwrap(), value);
        }

        #[test]
        fn a_flipped_bit_is_found(value: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = encode(FormatKind::Proposal, 1, &value).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode::<Vec<u8>>(FormatKind::Proposal, 1, &bytes).is_err());
        }

        #[test]
        fn garbage_is_an_error(bytes: Vec<u8>) {
            prop_assert!(decode::<(String, Vec<u64>)>(FormatKind::Frame, 1, &bytes).is_err());
        }
    }
}
