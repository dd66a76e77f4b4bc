//! Blocks that were read lately, bounded by what they take in memory. A page that looks at one counter of many hosts reads
//! the same blocks again and again, and in sled each of them lies among the host's other counters.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::BlockKey;

/// How long most blocks are; what the cache reckons with.
const BLOCK_BYTES_USUAL: u64 = 1500;

/// The cache. Who stores or deletes a block removes it here.
pub(super) struct BlockCache(Cache<BlockKey, Arc<[u8]>, ByBytes>);

/// A block weighs what it takes in memory.
#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockKey, Arc<[u8]>> for ByBytes {
    fn weight(&self, _: &BlockKey, bytes: &Arc<[u8]>) -> u64 {
        bytes.len() as u64 + 64
    }
}

impl BlockCache {
    pub(super) fn new(bytes_max: u64) -> BlockCache {
        BlockCache(Cache::with_weighter((bytes_max / BLOCK_BYTES_USUAL) as usize, bytes_max, ByBytes))
    }

    /// A block, from here or read.
    pub(super) fn get<E>(
        &self,
        key: &BlockKey,
        read: impl FnOnce() -> Result<Option<Arc<[u8]>>, E>,
    ) -> Result<Option<Arc<[u8]>>, E> {
        if let Some(bytes) = self.0.get(key) {
            return Ok(Some(bytes));
        }
        let read = read()?;
        if let Some(bytes) = &read {
            self.0.insert(*key, Arc::clone(bytes));
        }
        Ok(read)
    }

    pub(super) fn remove(&self, key: &BlockKey) {
        self.0.remove(key);
    }
}
