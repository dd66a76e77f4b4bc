//! Samples.

use serde::{Deserialize, Serialize};

/// A series' number, from a replicated counter; never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SeriesId(pub u32);

/// Samples of all series.
#[derive(Default)]
pub struct SeriesStore {}

impl SeriesStore {
    /// An empty store.
    pub fn new() -> Self {
        SeriesStore::default()
    }
}
