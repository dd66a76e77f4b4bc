//! Which work on blocks is due, and what becomes of it.

use std::sync::Arc;

use super::jobs::{Job, MergeJob};
use super::record::{GROUP, Sealed, Series, Stored};
use super::store::SeriesStore;
use super::{BlockId, BlockMeta, Resolution, SeriesId};

/// A merged block takes no more bytes than this, by the sizes of its inputs: recoded together they do not grow to
/// [`super::BLOCK_BYTES_MAX`].
const MERGED_BYTES_MAX: u32 = 40 * 1024;
const DAY_MS: i64 = 24 * 3_600_000;
/// Tiers end here; blocks of this tier are not merged.
const TIER_MAX: u8 = 3;

/// When to merge blocks of a resolution: after so many of one tier, or so many entries, or when more would span too long.
struct Fan {
    blocks: usize,
    entries: u32,
    span_ms: i64,
}

/// Raw: a day at a step of 10 s. Rollups: some 2,000, a week of 5 minutes. Spans bound how long expired data lies around.
fn fan(resolution: Resolution) -> Fan {
    match resolution {
        Resolution::Raw => Fan { blocks: 12, entries: 8_640, span_ms: 4 * DAY_MS },
        Resolution::FiveMinutes => Fan { blocks: 8, entries: 2_016, span_ms: 30 * DAY_MS },
        Resolution::Hour => Fan { blocks: 8, entries: 2_016, span_ms: 180 * DAY_MS },
    }
}

impl SeriesStore {
    /// Up to `max` jobs: sealed heads first, then merges and rollups. Each is handed out once, until it is
    /// confirmed or abandoned; a series has at most one merge under way.
    pub fn take_jobs(&mut self, max: usize) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.seal_jobs.drain(..max.min(self.seal_jobs.len())).collect();
        while jobs.len() < max
            && let Some(id) = self.candidates.pop_first()
        {
            if !self.merging.contains(&id)
                && let Some(job) = self.find_merge(id)
            {
                self.merging.insert(id);
                jobs.push(Job::Merge(job));
            }
        }
        jobs
    }

    /// Takes a job back that failed, to be handed out again later.
    pub fn abandon(&mut self, job: Job) {
        let id = job.series();
        match job {
            Job::Seal(seal) => {
                if self.is_sealing(&seal.sealed) {
                    self.seal_jobs.push_back(Job::Seal(seal));
                }
            }
            Job::Merge(_) => {
                self.merging.remove(&id);
                if self.series(id).is_some() {
                    self.candidates.insert(id);
                }
            }
        }
    }

    fn is_sealing(&self, sealed: &Arc<Sealed>) -> bool {
        let of_series = self.sealing.get(&sealed.id.series).into_iter().flatten();
        of_series.into_iter().any(|(other, _)| Arc::ptr_eq(other, sealed))
    }

    /// The blocks of a job are stored (though maybe not yet durable: they have to be when the next checkpoint is).
    /// From here on readers use them in place of what they were made of.
    pub fn confirm(&mut self, job: &Job, blocks: &[BlockMeta]) {
        let id = job.series();
        let known = match job {
            Job::Seal(seal) => self.is_sealing(&seal.sealed),
            Job::Merge(_) => self.merging.remove(&id) && self.series(id).is_some(),
        };
        if !known {
            // The series was removed meanwhile; or this was said before, and then the blocks are in use.
            if self.series(id).is_none() {
                self.deletions.extend(blocks.iter().map(|block| block.id));
            }
            return;
        }
        if let Job::Seal(seal) = job {
            if let Some(sealing) = self.sealing.get_mut(&id) {
                sealing.retain(|(sealed, _)| !Arc::ptr_eq(sealed, &seal.sealed));
                if sealing.is_empty() {
                    self.sealing.remove(&id);
                }
            }
            if let Some(series) = self.series_mut(id) {
                series.insert_blocks(blocks);
            }
            self.settle_stored(id);
        } else if let Job::Merge(merge) = job
            && let Some(series) = self.series_mut(id)
        {
            if merge.tier.is_some() {
                let list = &mut series.blocks[merge.resolution.index()];
                list.retain(|block| {
                    !merge.inputs.iter().any(|input| input.id == block.id(id, merge.resolution))
                });
            }
            series.insert_blocks(blocks);
            if merge.tier.is_some() {
                self.deletions.extend(merge.inputs());
            }
        }
        self.candidates.insert(id);
    }

    /// Whether a block is in use, or about to be.
    fn is_wanted(&self, id: &BlockId) -> bool {
        let stored = self.series(id.series).is_some_and(|series| {
            series.blocks[id.resolution.index()].iter().any(|block| block.id(id.series, id.resolution) == *id)
        });
        stored || self.sealing.get(&id.series).into_iter().flatten().any(|(sealed, _)| sealed.id == *id)
    }

    /// Notes up to where a series' heads are in blocks, so that its rows forget them before the blocks can be
    /// deleted. Not past a head that is in none: blocks may be stored out of order.
    pub(super) fn settle_stored(&mut self, id: SeriesId) {
        let still =
            self.sealing.get(&id).and_then(|sealing| sealing.first()).map(|(sealed, _)| sealed.id.start);
        if let Some(series) = self.series_mut(id) {
            let ends = series.blocks[Resolution::Raw.index()].iter().rev().map(|block| block.end);
            let stored = ends.into_iter().find(|&end| still.is_none_or(|start| end < start));
            series.stored_to = series.stored_to.max(stored.unwrap_or(i64::MIN));
        }
        self.touch(id);
    }

    /// A checkpoint that reaches `index` is durable. Blocks sealed up to there may now be merged: before, a crash
    /// would take the peer back to where their samples were in the head.
    pub fn checkpointed(&mut self, index: u64) {
        self.durable = self.durable.max(index);
        // A block that was ahead of the log when the peer started has been made again by now, unless its series was
        // removed first.
        for (sealed_at, id) in std::mem::take(&mut self.ahead) {
            if sealed_at > self.durable {
                self.ahead.push((sealed_at, id));
            } else if !self.is_wanted(&id) {
                self.deletions.push_back(id);
            }
        }
        // Blocks that were too new when they were looked at.
        let ids: Vec<_> = self.dictionary.ids().collect();
        self.candidates.extend(ids.into_iter().filter(|id| !self.merging.contains(id)));
        self.candidates.retain(|&id| {
            let slot = id.0 as usize;
            let group = self.groups.get(slot / GROUP).and_then(Option::as_ref);
            group.and_then(|group| group.slots[slot % GROUP].as_ref()).is_some_and(Series::may_merge)
        });
    }

    /// The next merge or rollup of a series, if one is due.
    pub(super) fn find_merge(&self, id: SeriesId) -> Option<MergeJob> {
        let series = self.series(id)?;
        let unstored =
            self.sealing.get(&id).and_then(|sealing| sealing.first()).map(|(sealed, _)| sealed.id.start);
        Resolution::ALL.into_iter().find_map(|resolution| {
            let blocks = &series.blocks[resolution.index()];
            // Nothing behind a head that is not stored yet, and nothing that a crash could take back.
            let ready = blocks.partition_point(|block| {
                block.sealed_at <= self.durable && unstored.is_none_or(|start| block.end < start)
            });
            let job = |inputs: &[Stored], tier, rolls_up| MergeJob {
                series: id,
                resolution,
                inputs: inputs.iter().map(|block| block.meta(id, resolution)).collect(),
                tier,
                rolls_up,
            };
            let blocks = &blocks[..ready];
            if let Some(coarser) = resolution.coarser() {
                let rolled = blocks.partition_point(|block| block.end <= series.rolled_to(coarser));
                let fresh = &blocks[rolled..];
                let floor = self.floors.of(resolution);
                let expired = fresh.iter().take(12).take_while(|block| block.end < floor).count();
                if expired > 0 {
                    return Some(job(&fresh[..within_entries(&fresh[..expired])], None, true));
                }
                // A block that was merged but whose rollup was lost when the peer died.
                if fresh.first().is_some_and(|block| block.tier > 0) {
                    return Some(job(&fresh[..1], None, true));
                }
                if let Some(run) = full_run(fresh, resolution) {
                    return Some(job(&fresh[..run], Some(1), true));
                }
                mergeable(&blocks[..rolled], resolution).map(|run| job(run, Some(run[0].tier + 1), false))
            } else {
                mergeable(blocks, resolution).map(|run| job(run, Some(run[0].tier + 1), false))
            }
        })
    }
}

/// How many of these blocks fit in one, at least one.
fn within_entries(blocks: &[Stored]) -> usize {
    let mut entries = 0;
    let fitting = blocks.iter().take_while(|block| {
        entries += u32::from(block.count);
        entries <= 8_640
    });
    fitting.count().max(1)
}

/// How many of the oldest `blocks` are due to be put together: those that fit, if more would not fit.
fn full_run(blocks: &[Stored], resolution: Resolution) -> Option<usize> {
    let fan = fan(resolution);
    let first = blocks.first()?;
    let (mut entries, mut bytes) = (0, 0);
    for (at, block) in blocks.iter().enumerate() {
        entries += u32::from(block.count);
        bytes += u32::from(block.bytes);
        let fits = block.tier == first.tier
            && entries <= fan.entries
            && bytes <= MERGED_BYTES_MAX
            && block.end - first.start <= fan.span_ms;
        if !fits {
            return Some(at.max(1));
        }
        if at + 1 == fan.blocks || entries == fan.entries {
            return Some(at + 1);
        }
    }
    None
}

/// The oldest run of blocks that are rolled up, if they need to be, and due to be merged further.
fn mergeable(blocks: &[Stored], resolution: Resolution) -> Option<&[Stored]> {
    // Raw samples are merged once, with their rollup: what is rolled up alone is about to expire.
    if resolution == Resolution::Raw {
        return None;
    }
    let lowest = u8::from(resolution != Resolution::Hour);
    (0..blocks.len()).find_map(|at| {
        let rest = &blocks[at..];
        if at > 0 && blocks[at - 1].tier == rest[0].tier || !(lowest..TIER_MAX).contains(&rest[0].tier) {
            return None;
        }
        let run = full_run(rest, resolution)?;
        // A run that ends because the next tier begins there is not full, and one block alone gains nothing.
        let cut = rest.get(run).is_some_and(|next| next.tier != rest[0].tier) && run < fan(resolution).blocks;
        (run > 1 && !cut).then(|| &rest[..run])
    })
}

impl Series {
    fn may_merge(&self) -> bool {
        self.blocks.iter().any(|blocks| blocks.len() > 1)
    }

    pub(super) fn insert_blocks(&mut self, blocks: &[BlockMeta]) {
        for meta in blocks {
            let list = &mut self.blocks[meta.id.resolution.index()];
            let at = list.partition_point(|block| block.start < meta.id.start);
            list.insert(at, Stored::of(meta));
        }
    }
}
