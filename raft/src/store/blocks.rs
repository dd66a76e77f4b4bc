//! Sealed blocks of samples, by id. Immutable: what has the same id and digest is the same.
//!
//! In one tree, so that one batch writes both: `m` + id holds what is known of a block; `b` + id + part u8 its bytes,
//! in parts as small as those of rows, the first with `parts u8 | crc32 u32` before it; `puts` holds how often some were put.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Error;
use super::checkpoint::{COPY_BYTES, PART_BYTES_MAX, read_puts, stored_puts};
use super::compaction;
use super::database::Database;
use super::volume::{self, Batch, Tree, Volume};
use crate::series::{self, BLOCK_BYTES_MAX, Block, BlockId, BlockMeta, BlockSource};

/// Neither a block's nor that of what is known of one.
const PUTS_KEY: &[u8] = b"puts";

/// A block's id as bytes, ordered as ids are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey(pub [u8; BlockKey::BYTES]);

impl BlockKey {
    /// Its length.
    pub const BYTES: usize = BlockId::KEY_BYTES;
}

impl From<&BlockId> for BlockKey {
    fn from(id: &BlockId) -> BlockKey {
        BlockKey(id.key())
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// What is known of a block without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockInfo {
    /// Its id.
    pub key: BlockKey,
    /// Time of its last sample, in ms since the Unix epoch.
    pub end: i64,
    /// How many samples it holds.
    pub count: u32,
    /// The log index whose entry sealed its newest sample.
    pub sealed_at: u64,
    /// Of the decoded samples: equal digests are equal content, however encoded.
    pub digest: u32,
    /// Length of its bytes.
    pub bytes: u32,
    /// Of its bytes.
    pub crc: u32,
}

impl BlockInfo {
    /// The same as the series store knows it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the key is no block's.
    pub fn meta(&self) -> Result<BlockMeta, Error> {
        let id = BlockId::from_key(&self.key.0)
            .map_err(|error| Error::corrupt(format!("block {:?}", self.key), error.to_string()))?;
        Ok(BlockMeta {
            id,
            end: self.end,
            count: self.count,
            sealed_at: self.sealed_at,
            digest: self.digest,
            bytes: self.bytes,
        })
    }

    /// Length of its encoding.
    pub(super) const ENCODED_BYTES: usize = BlockKey::BYTES + 32;

    pub(super) fn encode(&self) -> [u8; BlockInfo::ENCODED_BYTES] {
        let mut out = [0; BlockInfo::ENCODED_BYTES];
        out[..11].copy_from_slice(&self.key.0);
        out[11..19].copy_from_slice(&self.end.to_be_bytes());
        out[19..23].copy_from_slice(&self.count.to_be_bytes());
        out[23..31].copy_from_slice(&self.sealed_at.to_be_bytes());
        out[31..35].copy_from_slice(&self.digest.to_be_bytes());
        out[35..39].copy_from_slice(&self.bytes.to_be_bytes());
        out[39..43].copy_from_slice(&self.crc.to_be_bytes());
        out
    }

    pub(super) fn decode(from: &[u8; BlockInfo::ENCODED_BYTES]) -> BlockInfo {
        fn take<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
            let mut out = [0; N];
            out.copy_from_slice(&from[at..at + N]);
            out
        }
        BlockInfo {
            key: BlockKey(take(from, 0)),
            end: i64::from_be_bytes(take(from, 11)),
            count: u32::from_be_bytes(take(from, 19)),
            sealed_at: u64::from_be_bytes(take(from, 23)),
            digest: u32::from_be_bytes(take(from, 31)),
            bytes: u32::from_be_bytes(take(from, 35)),
            crc: u32::from_be_bytes(take(from, 39)),
        }
    }
}

/// A block to be stored.
#[derive(Clone, Debug)]
pub struct NewBlock {
    /// What it is; `bytes` and `crc` are set from the bytes.
    pub info: BlockInfo,
    /// Its content, at most [`NewBlock::BYTES_MAX`].
    pub bytes: Arc<[u8]>,
}

impl NewBlock {
    /// The longest block.
    pub const BYTES_MAX: usize = BLOCK_BYTES_MAX;
}

impl From<Block> for NewBlock {
    fn from(block: Block) -> NewBlock {
        let Block { meta, bytes } = block;
        let info = BlockInfo {
            key: BlockKey::from(&meta.id),
            end: meta.end,
            count: meta.count,
            sealed_at: meta.sealed_at,
            digest: meta.digest,
            bytes: meta.bytes,
            crc: 0,
        };
        NewBlock { info, bytes }
    }
}

/// The blocks of this peer. Cheap to clone.
#[derive(Clone)]
pub struct Blocks {
    database: Arc<Database>,
    damaged: Arc<Damaged>,
}

/// How many damaged blocks are remembered, to be fetched again. What is forgotten is noticed when it is read again.
const DAMAGED_MAX: usize = 1024;

/// Blocks that were found damaged.
#[derive(Default)]
struct Damaged {
    keys: Mutex<BTreeSet<BlockKey>>,
    found: Notify,
}

impl Blocks {
    pub(super) fn new(database: Arc<Database>) -> Blocks {
        Blocks { database, damaged: Arc::default() }
    }

    /// Stores blocks, durably. What was to be deleted under the same id stays.
    ///
    /// # Errors
    /// [`Error::Refused`] where one is too long; any other is fatal.
    pub async fn put(&self, blocks: Vec<NewBlock>) -> Result<(), Error> {
        check_sizes(&blocks)?;
        self.database.run(move |worker| put(worker, &blocks)).await
    }

    /// As [`Blocks::put`], for threads that may block.
    ///
    /// # Errors
    /// As there.
    pub fn put_blocking(&self, blocks: Vec<NewBlock>) -> Result<(), Error> {
        check_sizes(&blocks)?;
        self.database.run_blocking(move |worker| put(worker, &blocks))
    }

    /// A block's content. Reads the disk: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is damaged, [`Error::Io`], [`Error::Closed`].
    pub fn get(&self, key: &BlockKey) -> Result<Option<Arc<[u8]>>, Error> {
        let cached = self.database.cached();
        let read = cached.get(key, || self.database.read_blocks(|tree| get(tree, key)));
        if let Err(Error::Corrupt { .. }) = &read {
            let mut damaged = self.damaged.keys.lock();
            if damaged.len() < DAMAGED_MAX && damaged.insert(*key) {
                self.damaged.found.notify_one();
            }
        }
        read
    }

    /// Waits for a block that is found damaged. Each is told once, and again when it is read again.
    pub async fn damaged(&self) -> BlockKey {
        loop {
            if let Some(key) = self.damaged.keys.lock().pop_first() {
                return key;
            }
            self.damaged.found.notified().await;
        }
    }

    /// Puts a block that came from another peer in the place of a damaged one; false where it is not the same, or the
    /// block is not wanted any more.
    ///
    /// # Errors
    /// As [`Blocks::put`].
    pub async fn mend(&self, key: BlockKey, bytes: Arc<[u8]>) -> Result<bool, Error> {
        let blocks = self.clone();
        let checked = self.database.blocking(move || {
            let Some(info) = blocks.info(&key)? else { return Ok(None) };
            let is_same = info.meta().is_ok_and(|meta| series::is_block(&meta, &bytes));
            Ok(is_same.then_some(NewBlock { info, bytes }))
        });
        let checked =
            checked.await.unwrap_or_else(|error| Err(Error::io("checking a block", io::Error::other(error))));
        match checked? {
            Some(block) => self.put(vec![block]).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Damages a block.
    #[cfg(test)]
    pub(crate) fn damage(&self, key: &BlockKey) {
        let changed = self.database.read_blocks(|tree| {
            let mut value = tree.get(&part_key(key, 0))?.expect("it is stored").to_vec();
            *value.last_mut().expect("it has a head") ^= 1;
            let mut batch = Batch::default();
            batch.insert(&part_key(key, 0), value);
            tree.apply(batch)
        });
        changed.expect("it can be written");
        self.database.cached().remove(key);
    }

    /// What is known of a block. Reads the disk.
    ///
    /// # Errors
    /// As [`Blocks::get`].
    pub fn info(&self, key: &BlockKey) -> Result<Option<BlockInfo>, Error> {
        self.database.read_blocks(|tree| info(tree, key))
    }

    /// Has blocks deleted, at most 5,000 a second, and none that a snapshot names which was begun before.
    /// Call it once the rows that no longer name them are durable.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn delete(&self, keys: Vec<BlockKey>) -> Result<(), Error> {
        self.database
            .run(move |worker| {
                worker.deletions.add(keys, &worker.pins);
                Ok(())
            })
            .await
    }
}

impl BlockSource for Blocks {
    fn get(&self, id: &BlockId) -> Result<Option<Arc<[u8]>>, series::Error> {
        Blocks::get(self, &BlockKey::from(id))
            .map_err(|error| series::Error::Source { what: id.to_string(), source: Box::new(error) })
    }
}

fn meta_key(key: &BlockKey) -> [u8; 1 + BlockKey::BYTES] {
    let mut out = [b'm'; 1 + BlockKey::BYTES];
    out[1..].copy_from_slice(&key.0);
    out
}

pub(super) fn part_key(key: &BlockKey, part: u8) -> [u8; 2 + BlockKey::BYTES] {
    let mut out = [b'b'; 2 + BlockKey::BYTES];
    out[1..1 + BlockKey::BYTES].copy_from_slice(&key.0);
    out[1 + BlockKey::BYTES] = part;
    out
}

fn get(tree: &dyn Tree, key: &BlockKey) -> Result<Option<Arc<[u8]>>, Error> {
    let damaged = || Error::corrupt(format!("block {key:?}"), "its checksum is wrong");
    let Some(first) = tree.get(&part_key(key, 0))? else { return Ok(None) };
    let (&[parts, c0, c1, c2, c3], beginning) = first.split_first_chunk::<5>().ok_or_else(damaged)?;
    let mut bytes = beginning.to_vec();
    for part in 1..parts {
        match tree.get(&part_key(key, part))? {
            Some(more) => bytes.extend_from_slice(&more),
            // Deleted since its first part was read.
            None if tree.get(&meta_key(key))?.is_none() => return Ok(None),
            None => return Err(damaged()),
        }
    }
    if u32::from_be_bytes([c0, c1, c2, c3]) != crc32fast::hash(&bytes) {
        return Err(damaged());
    }
    Ok(Some(bytes.into()))
}

/// Has a block's parts removed with the batch.
pub(super) fn remove(tree: &dyn Tree, key: &BlockKey, batch: &mut Batch) -> Result<(), Error> {
    batch.remove(&meta_key(key));
    let mut prefix = [b'b'; 1 + BlockKey::BYTES];
    prefix[1..].copy_from_slice(&key.0);
    for entry in tree.scan_prefix(&prefix) {
        batch.remove(entry?.0);
    }
    Ok(())
}

fn check_sizes(blocks: &[NewBlock]) -> Result<(), Error> {
    match blocks.iter().find(|block| block.bytes.len() > NewBlock::BYTES_MAX) {
        Some(block) => {
            Err(Error::Refused(format!("block {:?} has {} bytes", block.info.key, block.bytes.len())))
        }
        None => Ok(()),
    }
}

/// Stores blocks and syncs.
fn put(worker: &mut super::database::Worker, blocks: &[NewBlock]) -> Result<(), Error> {
    put_unsynced(worker, blocks)?;
    worker.sync_blocks()
}

pub(super) fn put_unsynced(worker: &mut super::database::Worker, blocks: &[NewBlock]) -> Result<(), Error> {
    let mut batch = Batch::default();
    for block in blocks {
        let info = BlockInfo {
            bytes: u32::try_from(block.bytes.len()).unwrap_or(u32::MAX),
            crc: crc32fast::hash(&block.bytes),
            ..block.info
        };
        // An older one may have had more parts.
        remove(&*worker.blocks, &info.key, &mut batch)?;
        let parts = block.bytes.len().div_ceil(PART_BYTES_MAX).max(1);
        for part in 0..parts {
            let end = block.bytes.len().min((part + 1) * PART_BYTES_MAX);
            let mut value = Vec::with_capacity(5 + PART_BYTES_MAX);
            if part == 0 {
                value.push(u8::try_from(parts).unwrap_or(u8::MAX));
                value.extend_from_slice(&info.crc.to_be_bytes());
            }
            value.extend_from_slice(&block.bytes[part * PART_BYTES_MAX..end]);
            batch.insert(&part_key(&info.key, u8::try_from(part).unwrap_or(u8::MAX)), value);
        }
        let mut meta = info.encode().to_vec();
        meta.extend_from_slice(&crc32fast::hash(&meta).to_be_bytes());
        batch.insert(&meta_key(&info.key), meta);
        worker.deletions.cancel(&info.key);
    }
    batch.insert(PUTS_KEY, &stored_puts(worker.puts + 1));
    worker.apply_blocks(batch)?;
    worker.puts += 1;
    blocks.iter().for_each(|block| worker.cached.remove(&block.info.key));
    Ok(())
}

fn read_info(value: &[u8]) -> Result<BlockInfo, Error> {
    let damaged = || Error::corrupt("the list of blocks", "a checksum is wrong");
    let (meta, crc) = value.split_first_chunk::<{ BlockInfo::ENCODED_BYTES }>().ok_or_else(damaged)?;
    let crc: [u8; 4] = crc.try_into().map_err(|_| damaged())?;
    if u32::from_be_bytes(crc) != crc32fast::hash(meta) {
        return Err(damaged());
    }
    Ok(BlockInfo::decode(meta))
}

pub(super) fn info(tree: &dyn Tree, key: &BlockKey) -> Result<Option<BlockInfo>, Error> {
    tree.get(&meta_key(key))?.map(|value| read_info(&value)).transpose()
}

/// What is known of all blocks, in the order of ids.
pub(super) fn infos(tree: &dyn Tree) -> impl Iterator<Item = Result<BlockInfo, Error>> + use<> {
    tree.scan_prefix(b"m").map(|entry| {
        let (_, value) = entry?;
        read_info(&value)
    })
}

/// Roughly what a fresh database of them would take.
pub(super) fn live_bytes(tree: &dyn Tree, moved: impl Fn()) -> Result<u64, Error> {
    infos(tree).try_fold(0, |sum, info| {
        moved();
        Ok(sum + u64::from(info?.bytes) + 128)
    })
}

/// How often blocks were put. The number is stored with each put, so a database that has lost its end is known by it.
pub(super) fn puts(tree: &dyn Tree) -> Result<u64, Error> {
    tree.get(PUTS_KEY)?.map_or(Ok(0), |value| read_puts(&value))
}

/// Copies all of them to a database, and syncs it.
pub(super) fn copy(from: &dyn Tree, to: &dyn volume::Database, moved: impl Fn()) -> Result<(), Error> {
    let tree = to.tree("blocks")?;
    let (mut batch, mut bytes) = (Batch::default(), 0);
    for entry in from.range(&[], None) {
        let (key, value) = entry?;
        moved();
        bytes += key.len() + value.len();
        batch.insert(key, value);
        if bytes > COPY_BYTES {
            tree.apply(std::mem::take(&mut batch))?;
            to.sync()?;
            bytes = 0;
        }
    }
    tree.apply(batch)?;
    to.sync()
}

/// Begins the database of blocks with those that an older version has put beside the rows. What it leaves there is garbage of
/// the rows' file.
pub(super) fn move_out(rows: &dyn volume::Database, volume: &dyn Volume, dir: &Path) -> Result<(), Error> {
    copy(&*rows.tree("blocks")?, &*compaction::begin_fresh(volume, dir)?, || {})?;
    volume.rename(&compaction::fresh_dir(dir), dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(n: u8) -> BlockKey {
        BlockKey([n; 11])
    }

    #[test]
    fn infos_are_encoded_as_they_were() {
        let info = BlockInfo { key: key(1), end: 2, count: 3, sealed_at: 4, digest: 5, bytes: 6, crc: 7 };
        let encoded = info.encode();
        assert_eq!(BlockInfo::decode(&encoded), info);
        assert_eq!(encoded[..12], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!(
            encoded[18..],
            [2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7]
        );
    }
}
