//! What the store keeps of each series, and of the groups they are persisted in.

use std::collections::VecDeque;

use super::head::{Head, Inserted, Packed};
use super::sample::{Refusal, Refused};
use super::{BlockId, BlockMeta, Resolution, SeriesId};

/// A head is sealed when a sample comes that is this much newer than its first, so that slow series are sealed too.
pub const SEAL_SPAN_MS: i64 = 6 * 3_600_000;
/// Series that are kept, stored and sealed together: the unit of head persistence.
pub(super) const GROUP: usize = 64;

/// A sealed head whose block is not confirmed yet.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) id: BlockId,
    pub(super) end: i64,
    pub(super) sealed_at: u64,
    pub(super) digest: u32,
    pub(super) packed: Packed,
}

/// A confirmed block, as its series remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) sealed_at: u64,
    pub(super) digest: u32,
    pub(super) count: u16,
    pub(super) bytes: u16,
    pub(super) tier: u8,
}

impl Stored {
    pub(super) fn of(meta: &BlockMeta) -> Self {
        Self {
            start: meta.id.start,
            end: meta.end,
            sealed_at: meta.sealed_at,
            digest: meta.digest,
            count: meta.count.min(u32::from(u16::MAX)) as u16,
            bytes: meta.bytes.min(u32::from(u16::MAX)) as u16,
            tier: meta.id.tier,
        }
    }

    pub(super) fn id(&self, series: SeriesId, resolution: Resolution) -> BlockId {
        BlockId { resolution, tier: self.tier, series, start: self.start }
    }

    pub(super) fn meta(&self, series: SeriesId, resolution: Resolution) -> BlockMeta {
        BlockMeta {
            id: self.id(series, resolution),
            end: self.end,
            count: u32::from(self.count),
            sealed_at: self.sealed_at,
            digest: self.digest,
            bytes: u32::from(self.bytes),
        }
    }
}

/// All of one series but its name.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) head: Head,
    /// Time and value of the newest sample; `i64::MIN` if there never was one.
    pub(super) last: i64,
    pub(super) last_value: f64,
    /// Time of the newest sealed sample, or `i64::MIN`.
    pub(super) sealed_to: i64,
    /// Time of the newest sample whose block is confirmed, or `i64::MIN`. Differs between peers.
    pub(super) stored_to: i64,
    /// The newest sealed samples, at most [`super::TAIL_SAMPLES`].
    pub(super) tail: Packed,
    /// Confirmed blocks by resolution, ordered by time, not overlapping.
    pub(super) blocks: [Vec<Stored>; 3],
    pub(super) refused: Option<Box<Refused>>,
    /// How much of the head's stream is in persisted rows; `None` if what is there has to be replaced.
    pub(super) persisted: Option<u32>,
    pub(super) changed: bool,
}

impl Series {
    pub(super) fn new() -> Self {
        Self {
            head: Head::new(),
            last: i64::MIN,
            last_value: 0.0,
            sealed_to: i64::MIN,
            stored_to: i64::MIN,
            tail: Packed::default(),
            blocks: Default::default(),
            refused: None,
            persisted: None,
            changed: true,
        }
    }

    /// Time of the newest sample that is rolled up into `resolution`; `i64::MIN` if none is.
    pub(super) fn rolled_to(&self, resolution: Resolution) -> i64 {
        self.blocks[resolution.index()].last().map_or(i64::MIN, |block| block.end)
    }
}

/// Series whose ids differ only in the low bits.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) slots: Box<[Option<Series>]>,
    pub(super) changed: bool,
    /// Sizes of the rows that hold the group, oldest first; the first has number `first_row`.
    pub(super) rows: VecDeque<u32>,
    pub(super) first_row: u32,
    /// Slots of series that were removed since the last drain.
    pub(super) gone: Vec<u8>,
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..GROUP).map(|_| None).collect(),
            changed: false,
            rows: VecDeque::new(),
            first_row: 0,
            gone: Vec::new(),
        }
    }
}

impl Series {
    /// Takes a sample that is not newer than the newest.
    pub(super) fn take_late(&mut self, t_ms: i64, value: f64) -> Result<(), Refusal> {
        if t_ms == self.last {
            return Err(Refusal::Duplicate);
        }
        if t_ms <= self.sealed_to || self.last - t_ms >= SEAL_SPAN_MS {
            return Err(Refusal::Late);
        }
        match self.head.insert(t_ms, value) {
            Inserted::Duplicate => Err(Refusal::Duplicate),
            Inserted::Waiting => Ok(()),
            Inserted::Repacked => {
                self.persisted = None;
                Ok(())
            }
        }
    }
}
