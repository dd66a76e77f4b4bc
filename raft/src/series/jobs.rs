//! Work on blocks that is done off the apply path: encoding sealed heads, merging small blocks, rolling up.
//!
//! ```text
//! head --seal--> raw tier 0 --merge--> raw tier 1
//!                     \--roll up--> 5m tier 0 --merge--> 5m tier 1 --merge--> ...
//!                                        \--roll up--> 1h tier 0 --merge--> ...
//! ```
//! Merging and the first rolling up of the same blocks are one job; what expires before it would be merged is rolled up alone.
//! A job is a pure function of immutable inputs, and nothing readers see depends on whether it ran yet. Blocks are rolled
//! up oldest first and each once, so what is rolled up is all that is not newer than the coarser blocks.

use std::sync::Arc;

use super::block::{Block, BlockMeta, BlockSource, Codec, fold, open};
use super::codec::Bad;
use super::columns::{Samples, decode_rollups, decode_samples, encode_rollups, encode_samples, pack};
use super::record::Sealed;
use super::rollup::{Rollup, of_rollups, of_samples};
use super::{BlockId, Error, Resolution, SeriesId};

/// A sealed head whose block is to be made.
#[derive(Debug, Clone)]
pub struct SealJob {
    pub(super) sealed: Arc<Sealed>,
}

impl SealJob {
    /// The block that comes of it.
    pub fn id(&self) -> BlockId {
        self.sealed.id
    }

    /// The log index whose application sealed the head.
    pub fn sealed_at(&self) -> u64 {
        self.sealed.sealed_at
    }

    /// How many samples it holds.
    pub fn count(&self) -> u32 {
        self.sealed.packed.count
    }
}

/// Blocks of a series to be put together, rolled up, or both.
#[derive(Debug, Clone)]
pub struct MergeJob {
    pub(super) series: SeriesId,
    pub(super) resolution: Resolution,
    pub(super) inputs: Vec<BlockMeta>,
    /// The tier of the merged block; `None` if they stay as they are.
    pub(super) tier: Option<u8>,
    pub(super) rolls_up: bool,
}

/// Work for a thread that may take its time.
#[derive(Debug, Clone)]
pub enum Job {
    /// Encode a sealed head.
    Seal(SealJob),
    /// Merge or roll up blocks.
    Merge(MergeJob),
}

/// Encodes a sealed head. Takes some 30 ns a sample.
///
/// # Errors
/// [`Error::TooLarge`] never happens for what a store handed out.
pub fn encode(job: &SealJob) -> Result<Block, Error> {
    let sealed = &job.sealed;
    let mut samples = Samples::default();
    let unpacked = sealed.packed.unpack(&mut Vec::new(), &mut samples);
    unpacked.map_err(|bad| Error::corrupt(sealed.id, bad.0))?;
    let (codec, payload) = encode_samples(sealed.id.start, &samples, sealed.packed.bytes.clone());
    let meta = BlockMeta {
        id: sealed.id,
        end: sealed.end,
        count: sealed.packed.count,
        sealed_at: sealed.sealed_at,
        digest: sealed.digest,
        bytes: 0,
    };
    Block::assemble(meta, codec, &payload)
}

impl Job {
    /// Whose blocks it works on.
    pub fn series(&self) -> SeriesId {
        match self {
            Self::Seal(job) => job.sealed.id.series,
            Self::Merge(job) => job.series,
        }
    }

    /// Does the work: the blocks to be stored, all before [`super::SeriesStore::confirm`] is called, in their order.
    ///
    /// # Errors
    /// [`Error::Gone`] if an input is not stored (any more): give the job back with [`super::SeriesStore::abandon`].
    /// [`Error::Corrupt`] if an input is damaged.
    pub fn run(&self, source: &dyn BlockSource) -> Result<Vec<Block>, Error> {
        match self {
            Self::Seal(job) => encode(job).map(|block| vec![block]),
            Self::Merge(job) => job.run(source),
        }
    }
}

/// Reads blocks of raw samples, oldest first.
fn read_samples(inputs: &[BlockMeta], source: &dyn BlockSource) -> Result<Samples, Error> {
    let (mut samples, mut scratch) = (Samples::default(), Vec::new());
    for input in inputs {
        let bytes = source.get(&input.id)?.ok_or(Error::Gone(input.id))?;
        let opened = open(input.id, &bytes)?;
        let mut part = Samples::default();
        decode_samples(&opened, &mut scratch, &mut part).map_err(|bad| Error::corrupt(input.id, bad.0))?;
        check(input, &opened.meta, part.hash())?;
        samples.times.append(&mut part.times);
        samples.values.append(&mut part.values);
    }
    if samples.times.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(samples);
    }
    Err(Error::corrupt(inputs[0].id, "its samples are not in order"))
}

fn read_rollups(inputs: &[BlockMeta], source: &dyn BlockSource) -> Result<Vec<Rollup>, Error> {
    let mut rollups = Vec::new();
    for input in inputs {
        let bytes = source.get(&input.id)?.ok_or(Error::Gone(input.id))?;
        let opened = open(input.id, &bytes)?;
        let from = rollups.len();
        decode_rollups(&opened, &mut rollups).map_err(|bad| Error::corrupt(input.id, bad.0))?;
        check(input, &opened.meta, hash_of(&rollups[from..]))?;
    }
    Ok(rollups)
}

fn hash_of(rollups: &[Rollup]) -> u64 {
    rollups.iter().fold(0, |hash, rollup| hash.wrapping_add(rollup.hash()))
}

/// Whether a block is the one that the store knows, with what its digest says.
fn check(expected: &BlockMeta, found: &BlockMeta, hash: u64) -> Result<(), Error> {
    let bad = if found.digest != expected.digest || found.end != expected.end {
        Bad("it is not the block that was stored")
    } else if fold(hash) != found.digest {
        Bad("its samples do not match its digest")
    } else {
        return Ok(());
    };
    Err(Error::corrupt(expected.id, bad.0))
}

/// Whether these bytes are the block that `meta` is of, down to its last sample.
pub fn is_block(meta: &BlockMeta, bytes: &Arc<[u8]>) -> bool {
    struct One<'a>(&'a Arc<[u8]>);
    impl BlockSource for One<'_> {
        fn get(&self, _: &BlockId) -> Result<Option<Arc<[u8]>>, Error> {
            Ok(Some(Arc::clone(self.0)))
        }
    }
    let inputs = [*meta];
    match meta.id.resolution {
        Resolution::Raw => read_samples(&inputs, &One(bytes)).is_ok(),
        _ => read_rollups(&inputs, &One(bytes)).is_ok(),
    }
}

impl MergeJob {
    /// The blocks it reads.
    pub fn inputs(&self) -> impl Iterator<Item = BlockId> {
        self.inputs.iter().map(|input| input.id)
    }

    fn run(&self, source: &dyn BlockSource) -> Result<Vec<Block>, Error> {
        let (Some(first), Some(last)) = (self.inputs.first(), self.inputs.last()) else {
            return Ok(Vec::new());
        };
        let sealed_at = self.inputs.iter().map(|input| input.sealed_at).max().unwrap_or_default();
        let meta = |resolution, tier, count: usize, hash| BlockMeta {
            id: BlockId { resolution, tier, series: self.series, start: first.id.start },
            end: last.end,
            count: count as u32,
            sealed_at,
            digest: fold(hash),
            bytes: 0,
        };
        let coarser = self.resolution.coarser().filter(|_| self.rolls_up);
        let mut blocks = Vec::new();
        let mut put_rollups = |resolution: Resolution, tier, rollups: &[Rollup]| {
            let payload = encode_rollups(first.id.start, resolution.width_ms(), rollups);
            let meta = meta(resolution, tier, rollups.len(), hash_of(rollups));
            Block::assemble(meta, Codec::Rollups, &payload).map(|block| blocks.push(block))
        };
        // The coarser block goes first: should only it be stored when the peer dies, the inputs count as rolled
        // up and nothing is missing.
        if self.resolution == Resolution::Raw {
            let samples = read_samples(&self.inputs, source)?;
            if let Some(coarser) = coarser {
                put_rollups(coarser, 0, &of_samples(&samples.times, &samples.values, coarser.width_ms()))?;
            }
            if let Some(tier) = self.tier {
                let packed = pack(first.id.start, &samples);
                let (codec, payload) = encode_samples(first.id.start, &samples, packed);
                let meta = meta(Resolution::Raw, tier, samples.times.len(), samples.hash());
                blocks.push(Block::assemble(meta, codec, &payload)?);
            }
        } else {
            let rollups = read_rollups(&self.inputs, source)?;
            if let Some(coarser) = coarser {
                put_rollups(coarser, 0, &of_rollups(&rollups, coarser.width_ms()))?;
            }
            if let Some(tier) = self.tier {
                put_rollups(self.resolution, tier, &of_rollups(&rollups, self.resolution.width_ms()))?;
            }
        }
        Ok(blocks)
    }
}
