//! The log's records as bytes. Fixed sizes, a checksum in each fixed part, and a guarded length: the crate below
//! takes a record that ends early for a torn tail and cuts it off, so a flipped bit must never look like one.

use std::io::{self, Read, Write};
use std::sync::Arc;

use codeq::{Decode, Encode};

use crate::codec::{BYTES_MAX, HEADER_BYTES};
use crate::consensus::LogPosition;

/// A vote as the log keeps it; ordered as Raft orders votes: in one term, the leader that a majority granted counts for
/// more than whoever this peer voted for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// Whether a majority granted it.
    pub committed: bool,
    /// Who is voted for.
    pub peer: u64,
}

/// What an entry of the log holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A proposal in its envelope.
    Normal(Arc<[u8]>),
    /// A [`crate::store::MembershipRecord`] in its envelope.
    Membership(Arc<[u8]>),
}

impl Record {
    /// The format of records that this version writes, and the only one it reads.
    pub const FORMAT: u8 = 1;
    /// The most bytes a record's content may have.
    pub const BYTES_MAX: usize = BYTES_MAX + HEADER_BYTES;

    /// The content's length.
    pub fn bytes(&self) -> usize {
        match self {
            Record::Blank => 0,
            Record::Normal(bytes) | Record::Membership(bytes) => bytes.len(),
        }
    }

    /// The length of a proposal; zero where it is something else.
    pub fn proposed_bytes(&self) -> usize {
        match self {
            Record::Normal(bytes) => bytes.len(),
            Record::Blank | Record::Membership(_) => 0,
        }
    }

    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Record::Blank => (0, &[]),
            Record::Normal(bytes) => (1, bytes),
            Record::Membership(bytes) => (2, bytes),
        }
    }
}

// What stands before the checksum of a fixed part, so that a vote is never read as a position.
const POSITION_SALT: u32 = 0x706f_7300;
const VOTE_SALT: u32 = 0x766f_7400;
const LENGTH_SALT: u32 = 0x6c65_6e00;

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn invalid(detail: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail.into())
}

/// What the largest fixed part takes: three words and a checksum.
const FIXED_BYTES_MAX: usize = 28;

fn write_words<const N: usize>(mut out: impl Write, salt: u32, words: [u64; N]) -> io::Result<usize> {
    let mut room = [0; FIXED_BYTES_MAX];
    let bytes = &mut room[..N * 8 + 4];
    let (content, crc) = bytes.split_at_mut(N * 8);
    for (eight, word) in content.as_chunks_mut().0.iter_mut().zip(words) {
        *eight = word.to_be_bytes();
    }
    crc.copy_from_slice(&checksum(salt, content).to_be_bytes());
    out.write_all(bytes)?;
    Ok(bytes.len())
}

fn read_words<const N: usize>(mut from: impl Read, salt: u32, what: &str) -> io::Result<[u64; N]> {
    let mut room = [0; FIXED_BYTES_MAX];
    let bytes = &mut room[..N * 8 + 4];
    from.read_exact(bytes)?;
    let (words, crc) = bytes.split_at(N * 8);
    if crc != checksum(salt, words).to_be_bytes() {
        return Err(invalid(format!("the checksum of {what} is wrong")));
    }
    let mut read = [0; N];
    for (word, eight) in read.iter_mut().zip(words.as_chunks().0) {
        *word = u64::from_be_bytes(*eight);
    }
    Ok(read)
}

impl Encode for LogPosition {
    fn encode<W: Write>(&self, out: W) -> io::Result<usize> {
        write_words(out, POSITION_SALT, [self.term, self.index])
    }
}

impl Decode for LogPosition {
    fn decode<R: Read>(from: R) -> io::Result<Self> {
        let [term, index] = read_words(from, POSITION_SALT, "a log position")?;
        Ok(LogPosition { term, index })
    }
}

impl Encode for Vote {
    fn encode<W: Write>(&self, out: W) -> io::Result<usize> {
        write_words(out, VOTE_SALT, [self.term, self.peer, u64::from(self.committed)])
    }
}

impl Decode for Vote {
    fn decode<R: Read>(from: R) -> io::Result<Self> {
        let [term, peer, committed] = read_words(from, VOTE_SALT, "a vote")?;
        match committed {
            0 | 1 => Ok(Vote { term, peer, committed: committed == 1 }),
            other => Err(invalid(format!("a vote has the unknown flag {other}"))),
        }
    }
}

/// `len u32 | crc32(len) u32 | format u8 | kind u8 | content`, big-endian; `len` counts what follows the first
/// checksum.
impl Encode for Record {
    fn encode<W: Write>(&self, mut out: W) -> io::Result<usize> {
        let (kind, content) = self.parts();
        if content.len() > Record::BYTES_MAX {
            return Err(invalid(format!("an entry of {} bytes is too large", content.len())));
        }
        let len = u32::try_from(content.len() + 2).map_err(|_| invalid("an entry is too large"))?;
        out.write_all(&len.to_be_bytes())?;
        out.write_all(&checksum(LENGTH_SALT, &len.to_be_bytes()).to_be_bytes())?;
        out.write_all(&[Record::FORMAT, kind])?;
        out.write_all(content)?;
        Ok(10 + content.len())
    }
}

impl Decode for Record {
    fn decode<R: Read>(mut from: R) -> io::Result<Self> {
        let mut head = [0; 8];
        from.read_exact(&mut head)?;
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let crc = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if crc != checksum(LENGTH_SALT, &len.to_be_bytes()) {
            return Err(invalid("the checksum of an entry's length is wrong"));
        }
        let len = len as usize;
        if !(2..=Record::BYTES_MAX + 2).contains(&len) {
            return Err(invalid(format!("an entry claims {len} bytes")));
        }
        let mut bytes = vec![0; len];
        from.read_exact(&mut bytes)?;
        if bytes[0] != Record::FORMAT {
            return Err(invalid(format!(
                "an entry has format {}, and this version reads {}: upgrade this peer",
                bytes[0],
                Record::FORMAT
            )));
        }
        match (bytes[1], &bytes[2..]) {
            (0, []) => Ok(Record::Blank),
            (1, content) => Ok(Record::Normal(content.into())),
            (2, content) => Ok(Record::Membership(content.into())),
            (kind, _) => Err(invalid(format!("an entry has the unknown kind {kind}: upgrade this peer"))),
        }
    }
}

/// For [`crate::fuzz`]: bytes as they are, and with checksums that fit, so that what stands behind them is reached.
#[cfg(any(test, feature = "fuzz"))]
#[allow(clippy::unwrap_used)]
pub(crate) fn fuzz_records(data: &[u8]) {
    fn read<T: Encode + Decode>(bytes: &[u8]) {
        let mut rest = bytes;
        if let Ok(value) = T::decode(&mut rest) {
            let mut again = Vec::new();
            value.encode(&mut again).unwrap();
            assert_eq!(again, bytes[..bytes.len() - rest.len()]);
        }
    }
    let with_checksum = |salt: u32, fixed: usize| {
        let (fixed, rest) = data.split_at(fixed.min(data.len()));
        [fixed, &checksum(salt, fixed).to_be_bytes()[..], rest].concat()
    };
    read::<LogPosition>(data);
    read::<Vote>(data);
    read::<Record>(data);
    read::<LogPosition>(&with_checksum(POSITION_SALT, 16));
    read::<Vote>(&with_checksum(VOTE_SALT, 24));
    read::<Record>(&with_checksum(LENGTH_SALT, 4));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn encoded<T: Encode>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        let n = value.encode(&mut bytes).unwrap();
        assert_eq!(n, bytes.len());
        bytes
    }

    #[test]
    fn formats_are_what_they_were() {
        let position = LogPosition { term: 1, index: 3 };
        let vote = Vote { term: 1, peer: 2, committed: true };
        let entry = Record::Normal(Arc::from(&b"ab"[..]));
        assert_eq!(encoded(&position), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 69, 152, 192, 148]);
        assert_eq!(
            encoded(&vote),
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 222, 208, 232, 67]
        );
        assert_eq!(encoded(&entry), [0, 0, 0, 4, 14, 123, 163, 236, 1, 1, b'a', b'b']);
    }

    #[test]
    fn votes_are_ordered_as_raft_orders_them() {
        let vote = |term, peer, committed| Vote { term, peer, committed };
        assert!(vote(2, 1, false) > vote(1, 9, true));
        assert!(vote(1, 1, true) > vote(1, 1, false));
        assert!(vote(1, 1, true) > vote(1, 2, false), "a candidate hears of the leader of its term");
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes(term: u64, peer: u64, index: u64, committed: bool, content: Vec<u8>, kind in 0..3) {
            let position = LogPosition { term, index };
            prop_assert_eq!(LogPosition::decode(&encoded(&position)[..]).unwrap(), position);
            let vote = Vote { term, peer, committed };
            prop_assert_eq!(Vote::decode(&encoded(&vote)[..]).unwrap(), vote);
            let record = match kind {
                0 => Record::Blank,
                1 => Record::Normal(content.into()),
                _ => Record::Membership(content.into()),
            };
            prop_assert_eq!(Record::decode(&encoded(&record)[..]).unwrap(), record);
        }

        // At the end of the log a record that seems to end early is cut off as torn. A flipped bit of a whole
        // record must therefore never read as `UnexpectedEof`.
        #[test]
        fn a_flipped_bit_never_looks_like_a_torn_tail(content: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            for mut bytes in [
                encoded(&LogPosition { term: 3, index: 99 }),
                encoded(&Vote { term: 3, peer: 1, committed: true }),
                encoded(&Record::Normal(content.clone().into())),
            ] {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                for error in [
                    LogPosition::decode(&bytes[..]).err().filter(|_| bytes.len() >= 20),
                    Vote::decode(&bytes[..]).err().filter(|_| bytes.len() >= 28),
                    Record::decode(&bytes[..]).err(),
                ].into_iter().flatten() {
                    prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                }
            }
        }

        #[test]
        fn a_vote_is_never_read_as_a_position(term: u64, peer: u64, index: u64, committed: bool) {
            let vote = encoded(&Vote { term, peer, committed });
            prop_assert!(LogPosition::decode(&vote[..]).is_err());
            let position = encoded(&LogPosition { term, index });
            prop_assert!(Vote::decode(&position[..]).is_err());
        }
    }
}
