//! Samples.

mod key;

use std::sync::Arc;

pub use key::{KeyRef, SeriesId, SeriesKey};

/// Names a block.
pub struct BlockId;

/// What can go wrong.
pub struct Error;

/// Where sealed blocks are read from.
pub trait BlockSource: Send + Sync {
    /// A block's bytes.
    fn get(&self, id: &BlockId) -> Result<Option<Arc<[u8]>>, Error>;
}

/// Samples of all series.
#[derive(Default)]
pub struct SeriesStore {}

impl SeriesStore {
    /// An empty store.
    pub fn new() -> Self {
        SeriesStore::default()
    }
}
