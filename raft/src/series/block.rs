//! Immutable blocks: samples or rollups of one series over a stretch of time, as they lie in storage.
//!
//! ```text
//! value = version u8 | codec u8 | crc32 u32 | count, end - start, sealed_at (varints) | digest u32 | payload
//! ```
//! The CRC covers the block's key and all that follows it, so a block under another's key is as corrupt as a flipped
//! bit. The digest is over the decoded samples, whatever the codec: equal digests are equal contents.

use std::fmt;
use std::sync::Arc;

use super::codec::{Bad, Reader, put_varint};
use super::{Error, SeriesId};

/// Version of the format of blocks.
pub const BLOCK_VERSION: u8 = 1;
/// No block is longer than this, in bytes of its value.
pub const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// No block holds more samples or rollups than this.
pub const BLOCK_SAMPLES_MAX: usize = 16_384;
/// Sample times are below this, so that they fit in the 48 bits that keys have for them.
pub(super) const TIME_MAX: i64 = 1 << 47;
const HEADER_FIXED: usize = 6;

/// How fine data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// The samples as they were taken.
    Raw,
    /// Min, max, sum and count over 5 minutes.
    FiveMinutes,
    /// Min, max, sum and count over 1 hour.
    Hour,
}

impl Resolution {
    /// All, finest first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::FiveMinutes, Self::Hour];

    /// How long one rollup is, in ms; 1 for raw samples.
    pub const fn width_ms(self) -> i64 {
        match self {
            Self::Raw => 1,
            Self::FiveMinutes => 300_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The next coarser resolution.
    pub(super) const fn coarser(self) -> Option<Self> {
        match self {
            Self::Raw => Some(Self::FiveMinutes),
            Self::FiveMinutes => Some(Self::Hour),
            Self::Hour => None,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        })
    }
}

/// The identity of a block. Two blocks of one series and resolution overlap only if one was merged into the other,
/// and then the merged one has the higher tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    /// How fine the data is.
    pub resolution: Resolution,
    /// How often it was merged: 0 for a block as it was sealed.
    pub tier: u8,
    /// Whose data it is.
    pub series: SeriesId,
    /// Time of the first sample in it or rolled up in it, in ms.
    pub start: i64,
}

impl BlockId {
    /// Length of [`Self::key`].
    pub const KEY_BYTES: usize = 11;

    /// The block's key in storage: resolution and tier, series, start; big-endian, so that keys sort as ids do.
    pub fn key(&self) -> [u8; Self::KEY_BYTES] {
        let mut key = [0; Self::KEY_BYTES];
        key[0] = (self.resolution as u8) << 4 | (self.tier & 15);
        key[1..5].copy_from_slice(&self.series.0.to_be_bytes());
        key[5..].copy_from_slice(&self.start.to_be_bytes()[2..]);
        key
    }

    /// The id of a key that [`Self::key`] made.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the key is of another length or names an unknown resolution.
    pub fn from_key(key: &[u8]) -> Result<Self, Error> {
        let corrupt = |why| Error::corrupt(format_args!("the block key {key:02x?}"), why);
        let &[kind, a, b, c, d, ref start @ ..] = key else { return Err(corrupt("it is too short")) };
        let &[s0, s1, s2, s3, s4, s5] = start else { return Err(corrupt("it has the wrong length")) };
        let resolution = match kind >> 4 {
            0 => Resolution::Raw,
            1 => Resolution::FiveMinutes,
            2 => Resolution::Hour,
            _ => return Err(corrupt("its resolution is unknown")),
        };
        Ok(Self {
            resolution,
            tier: kind & 15,
            series: SeriesId(u32::from_be_bytes([a, b, c, d])),
            start: i64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
        })
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} block {} of {} (tier {})", self.resolution, self.start, self.series, self.tier)
    }
}

/// What is known of a block without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockMeta {
    /// Which block.
    pub id: BlockId,
    /// Time of the last sample in it or rolled up in it, in ms.
    pub end: i64,
    /// How many samples or rollups, 1 to [`BLOCK_SAMPLES_MAX`].
    pub count: u32,
    /// The log index whose application sealed its newest sample.
    pub sealed_at: u64,
    /// Digest of what it decodes to.
    pub digest: u32,
    /// Length of its value.
    pub bytes: u32,
}

/// A block, ready to be stored under `meta.id.key()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub meta: BlockMeta,
    /// Its value, at most [`BLOCK_BYTES_MAX`] long.
    pub bytes: Arc<[u8]>,
}

/// How a payload is encoded; the numbers are the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// A stream of [`super::pack`].
    Packed = 0,
    /// Times and values as columns, through pco.
    Columns = 1,
    /// Rollups as columns, through pco.
    Rollups = 2,
}

fn checksum(id: &BlockId, covered: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&id.key());
    crc.update(covered);
    crc.finalize()
}

impl Block {
    /// Puts the header before `payload`. `meta.bytes` is set here.
    pub(super) fn assemble(mut meta: BlockMeta, codec: Codec, payload: &[u8]) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(payload.len() + 32);
        bytes.extend([BLOCK_VERSION, codec as u8, 0, 0, 0, 0]);
        put_varint(&mut bytes, u64::from(meta.count));
        put_varint(&mut bytes, (meta.end - meta.id.start) as u64);
        put_varint(&mut bytes, meta.sealed_at);
        bytes.extend_from_slice(&meta.digest.to_le_bytes());
        bytes.extend_from_slice(payload);
        if bytes.len() > BLOCK_BYTES_MAX {
            return Err(Error::TooLarge { what: meta.id.to_string(), bytes: bytes.len() });
        }
        let crc = checksum(&meta.id, &bytes[HEADER_FIXED..]) ^ u32::from(codec as u8);
        bytes[2..HEADER_FIXED].copy_from_slice(&crc.to_le_bytes());
        meta.bytes = bytes.len() as u32;
        Ok(Self { meta, bytes: bytes.into() })
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Block {
    /// For [`crate::fuzz`]: a value whose version and checksum fit.
    pub(super) fn fuzz_seal(id: &BlockId, codec: u8, covered: &[u8]) -> Vec<u8> {
        let crc = checksum(id, covered) ^ u32::from(codec);
        [&[BLOCK_VERSION, codec], &crc.to_le_bytes()[..], covered].concat()
    }
}

impl BlockMeta {
    /// Reads and checks the header of a stored block.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are not what was stored under this id, [`Error::Version`] if a newer
    /// release wrote them.
    pub fn parse(id: BlockId, bytes: &[u8]) -> Result<Self, Error> {
        open(id, bytes).map(|opened| opened.meta)
    }
}

pub(super) struct Opened<'a> {
    pub(super) meta: BlockMeta,
    pub(super) codec: Codec,
    pub(super) payload: &'a [u8],
}

/// Checks a block's value and takes it apart.
pub(super) fn open(id: BlockId, bytes: &[u8]) -> Result<Opened<'_>, Error> {
    let corrupt = |bad: Bad| Error::corrupt(id, bad.0);
    let mut reader = Reader::new(bytes);
    let version = reader.u8().map_err(corrupt)?;
    if version != BLOCK_VERSION {
        return Err(Error::Version { what: id.to_string(), found: version, known: BLOCK_VERSION });
    }
    if bytes.len() > BLOCK_BYTES_MAX {
        return Err(corrupt(Bad("it is too long")));
    }
    let codec = reader.u8().map_err(corrupt)?;
    let crc = reader.u32().map_err(corrupt)?;
    if checksum(&id, &bytes[HEADER_FIXED..]) ^ u32::from(codec) != crc {
        return Err(corrupt(Bad("its checksum does not match")));
    }
    let codec = match (codec, id.resolution) {
        (0, Resolution::Raw) => Codec::Packed,
        (1, Resolution::Raw) => Codec::Columns,
        (2, Resolution::FiveMinutes | Resolution::Hour) => Codec::Rollups,
        _ => return Err(corrupt(Bad("its codec is unknown or of another resolution"))),
    };
    let meta = header(id, bytes.len(), &mut reader).map_err(corrupt)?;
    Ok(Opened { meta, codec, payload: reader.take_rest() })
}

fn header(id: BlockId, bytes: usize, reader: &mut Reader<'_>) -> Result<BlockMeta, Bad> {
    let count = reader.at_most(BLOCK_SAMPLES_MAX)? as u32;
    let span = reader.at_most(TIME_MAX as usize)? as i64;
    if count == 0 || id.start + span >= TIME_MAX {
        return Err(Bad("its range is impossible"));
    }
    let sealed_at = reader.varint()?;
    let digest = reader.u32()?;
    Ok(BlockMeta { id, end: id.start + span, count, sealed_at, digest, bytes: bytes as u32 })
}

/// Where stored blocks are read from.
pub trait BlockSource: Send + Sync {
    /// The value of a block, or `None` if it is not stored (any more).
    ///
    /// # Errors
    /// [`Error::Source`] if the storage fails.
    fn get(&self, id: &BlockId) -> Result<Option<Arc<[u8]>>, Error>;
}

/// Mixes one sample into 64 bits. Digests are sums of these, so they do not depend on how samples are cut into blocks.
#[inline]
pub(super) fn sample_hash(time: i64, bits: u64) -> u64 {
    let mixed = u128::from((time as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ bits.rotate_left(29))
        * u128::from(0xD6E8_FEB8_6659_FD93u64 ^ bits.wrapping_mul(0xA24B_AED4_963E_E407) | 1);
    mixed as u64 ^ (mixed >> 64) as u64
}

/// The 32 bits of a sum of [`sample_hash`]es that blocks carry.
pub(super) fn fold(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}
