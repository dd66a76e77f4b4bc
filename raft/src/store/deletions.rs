//! Blocks that nobody wants any more: they are deleted later, slowly, and not before the snapshots that name them are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Error;
use super::block_cache::BlockCache;
use super::blocks::{BlockKey, remove};
use super::volume::{Batch, Tree};

/// Blocks to be deleted, with when that was asked.
#[derive(Default)]
pub(super) struct Deletions {
    by_key: BTreeMap<BlockKey, u64>,
    by_moment: BTreeSet<(u64, BlockKey)>,
}

impl Deletions {
    pub(super) fn add(&mut self, keys: impl IntoIterator<Item = BlockKey>, pins: &Pins) {
        let moment = pins.moment();
        for key in keys {
            self.cancel(&key);
            self.by_key.insert(key, moment);
            self.by_moment.insert((moment, key));
        }
    }

    /// The block is wanted after all.
    pub(super) fn cancel(&mut self, key: &BlockKey) {
        if let Some(moment) = self.by_key.remove(key) {
            self.by_moment.remove(&(moment, *key));
        }
    }

    pub(super) fn contains(&self, key: &BlockKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn has_ready(&self, pins: &Pins) -> bool {
        self.by_moment.first().is_some_and(|(moment, _)| *moment < pins.oldest())
    }

    pub(super) fn sweep(
        &mut self,
        tree: &dyn Tree,
        cached: &BlockCache,
        pins: &Pins,
        keys_max: usize,
    ) -> Result<(), Error> {
        let oldest = pins.oldest();
        let (mut batch, mut deleted) = (Batch::default(), Vec::new());
        for _ in 0..keys_max {
            match self.by_moment.first() {
                Some((moment, key)) if *moment < oldest => {
                    let key = *key;
                    remove(tree, &key, &mut batch)?;
                    deleted.push(key);
                    self.cancel(&key);
                }
                _ => break,
            }
        }
        tree.apply(batch)?;
        deleted.iter().for_each(|key| cached.remove(key));
        Ok(())
    }
}

/// Moments from which on nothing may be deleted: those at which a snapshot that is still in use was begun. So a
/// snapshot keeps all blocks it names without listing them here.
#[derive(Default)]
pub(super) struct Pins {
    state: Mutex<PinState>,
}

#[derive(Default)]
struct PinState {
    next: u64,
    live: BTreeSet<u64>,
}

/// Keeps what is stored now until it is dropped.
pub(super) struct Pin {
    pins: Arc<Pins>,
    moment: u64,
}

impl Pins {
    fn moment(&self) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        state.next - 1
    }

    fn oldest(&self) -> u64 {
        self.state.lock().live.first().copied().unwrap_or(u64::MAX)
    }

    /// Pins what is stored now.
    pub(super) fn pin(self: &Arc<Self>) -> Pin {
        let moment = self.moment();
        self.state.lock().live.insert(moment);
        Pin { pins: Arc::clone(self), moment }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.state.lock().live.remove(&self.moment);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::blocks::part_key;
    use crate::store::volume::{System, Volume};

    fn key(n: u8) -> BlockKey {
        BlockKey([n; 11])
    }

    #[test]
    fn what_a_pin_came_before_is_not_deleted() {
        let pins = Arc::new(Pins::default());
        let mut deletions = Deletions::default();
        deletions.add([key(1)], &pins);
        let pin = pins.pin();
        deletions.add([key(2), key(3)], &pins);
        let dir = tempfile::tempdir().unwrap();
        let db = System.database(dir.path(), 1 << 20).unwrap();
        let tree = db.tree("blocks").unwrap();
        for n in 1..4 {
            tree.put(&part_key(&key(n), 0), b"");
        }
        let left = || tree.keys().iter().map(|key| key[1]).collect::<Vec<_>>();
        assert!(deletions.has_ready(&pins));
        deletions.sweep(&*tree, &BlockCache::new(0), &pins, 10).unwrap();
        assert_eq!(left(), [2, 3]);
        assert!(!deletions.has_ready(&pins));
        // Stored again: no longer to be deleted.
        deletions.cancel(&key(2));
        drop(pin);
        assert!(deletions.has_ready(&pins));
        deletions.sweep(&*tree, &BlockCache::new(0), &pins, 10).unwrap();
        assert_eq!(left(), [2]);
    }
}
