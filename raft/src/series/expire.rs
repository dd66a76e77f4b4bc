//! What goes with time.

use super::record::{SEAL_SPAN_MS, Stored};
use super::sample::At;
use super::store::SeriesStore;
use super::{Resolution, Retention, SeriesId};

/// No more series are sealed or removed, and no more blocks are given up, by one [`SeriesStore::expire`].
pub const EXPIRE_MAX: usize = 5_000;

/// What [`SeriesStore::expire`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Heads sealed because their series fell silent.
    pub sealed: usize,
    /// Series removed because they had no sample for longer than anything is kept.
    pub series: usize,
    /// Blocks given up; [`SeriesStore::drain`] hands them out for deletion. Differs between peers.
    pub blocks: usize,
}

impl SeriesStore {
    /// Lets go of what is older than `retention`, and seals the heads of series that have been silent for
    /// [`super::SEAL_SPAN_MS`]. Belongs to apply: call it at ticks of the replicated clock, every ten seconds or so; it
    /// walks all series. At most [`EXPIRE_MAX`] of each, the rest goes next time.
    pub fn expire(&mut self, at: At, retention: &Retention) -> Expired {
        self.floors.raise(retention.floors(at.now_ms));
        let mut expired = Expired::default();
        let ids: Vec<SeriesId> = self.dictionary.ids().collect();
        for id in ids {
            let Some(series) = self.series(id) else { continue };
            let born = self.dictionary.entry(id).map_or(i64::MAX, |entry| entry.born_ms);
            if series.last.max(born) < self.floors.of(Resolution::Hour) {
                if expired.series < EXPIRE_MAX {
                    expired.series += 1;
                    self.remove(id);
                }
                continue;
            }
            let silent = series.last.saturating_add(SEAL_SPAN_MS) < at.now_ms;
            if silent && series.head.count() > 0 && expired.sealed < EXPIRE_MAX {
                expired.sealed += 1;
                self.seal(at.index, id);
            }
            if expired.blocks < EXPIRE_MAX {
                expired.blocks += self.expire_blocks(id);
            }
        }
        expired
    }

    fn expire_blocks(&mut self, id: SeriesId) -> usize {
        let floors = self.floors;
        if self.merging.contains(&id) {
            // The merge's inputs stay until it is confirmed.
            return 0;
        }
        let Some(series) = self.series_mut(id) else { return 0 };
        let rolled: [i64; 3] = Resolution::ALL.map(|resolution| match resolution.coarser() {
            Some(coarser) => series.rolled_to(coarser),
            None => i64::MAX,
        });
        let mut gone = Vec::new();
        let mut due = false;
        // Finest first: what is rolled up is known by the coarser blocks, so they go last.
        for resolution in Resolution::ALL {
            let at = resolution.index();
            let old = |block: &Stored| block.end < floors.of(resolution);
            let count =
                series.blocks[at].iter().take_while(|block| old(block) && block.end <= rolled[at]).count();
            gone.extend(series.blocks[at].drain(..count).map(|block| block.id(id, resolution)));
            due |= series.blocks[at].first().is_some_and(old);
        }
        if due {
            self.candidates.insert(id);
        }
        self.deletions.extend(&gone);
        gone.len()
    }
}
