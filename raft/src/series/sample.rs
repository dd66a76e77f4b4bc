//! Samples on their way in, and what is told of them.

use super::SeriesId;

/// Where in the log, and when by the replicated clock, something is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Index of the entry.
    pub index: u64,
    /// The replicated clock, in ms since the Unix epoch.
    pub now_ms: i64,
}

/// One sample of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Whose.
    pub series: SeriesId,
    /// Its time, in ms since the Unix epoch.
    pub t_ms: i64,
    /// Its value.
    pub value: f64,
}

/// Why a sample was not taken. The numbers are the order in which they are counted and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No series has this id (any more).
    UnknownSeries = 0,
    /// The series has a sample of this time; the first one stays.
    Duplicate = 1,
    /// It is older than a sealed sample of the series, or more than [`super::SEAL_SPAN_MS`] older than the newest.
    Late = 2,
    /// It is more than [`super::FUTURE_MS`] ahead of the replicated clock.
    Future = 3,
    /// It is older than raw samples are kept.
    Expired = 4,
    /// Its value is no number.
    NotANumber = 5,
    /// Its value is infinite.
    Infinite = 6,
}

/// How many kinds of [`Refusal`] there are.
pub const REFUSALS: usize = 7;

/// Counts of refused samples, indexed by [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused(pub [u64; REFUSALS]);

impl Refused {
    /// How many were refused for this reason.
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// How many were refused.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, refusal: Refusal) {
        self.0[refusal as usize] += 1;
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendOutcome {
    /// Samples taken.
    pub accepted: u64,
    /// Samples refused, by reason.
    pub refused: Refused,
}

/// What a series is doing, for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesStatus {
    /// Its newest sample.
    pub latest: Option<(i64, f64)>,
    /// Samples that are in no block yet.
    pub open: u32,
    /// Blocks that hold its data.
    pub blocks: usize,
    /// Samples refused since it exists.
    pub refused: Refused,
}

/// Figures of the whole store, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStatus {
    /// Series.
    pub series: usize,
    /// Samples that are in no block yet.
    pub open_samples: u64,
    /// Sealed heads whose block is not confirmed yet.
    pub sealing: usize,
    /// Confirmed blocks.
    pub blocks: usize,
    /// Bytes of the confirmed blocks' values.
    pub block_bytes: u64,
    /// Blocks that wait to be deleted from storage.
    pub deletions: usize,
    /// Samples taken since the beginning.
    pub accepted: u64,
    /// Samples refused since the beginning.
    pub refused: Refused,
    /// About how much memory heads take, in bytes.
    pub head_bytes: usize,
}
