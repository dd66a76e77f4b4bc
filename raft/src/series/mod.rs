//! Samples: the series store and its blocks.
//!
//! Apply feeds samples to a [`SeriesStore`], which keeps the open ones in memory, compressed, and hands out [`Job`]s that make
//! immutable [`Block`]s of the sealed ones: of the samples first, later of larger stretches and of rollups. Queries are
//! planned over the store and executed over blocks. Checkpoints take what changed as rows.
//!
//! Nothing in here does I/O, reads a clock or starts a thread. What readers see depends only on what was applied; when a
//! peer encodes, merges or deletes blocks does not show. Start reading at [`SeriesStore`].

mod error;

mod block;
mod codec;
mod columns;
mod dictionary;
mod execute;
mod expire;
mod head;
mod jobs;
mod key;
mod pack;
mod persist;
mod plan;
mod query;
mod retention;
mod rollup;
mod store;

#[cfg(test)]
mod codes_test;
#[cfg(test)]
mod peer_test;
#[cfg(test)]
mod rules_test;

pub use block::{
    BLOCK_BYTES_MAX, BLOCK_SAMPLES_MAX, BLOCK_VERSION, Block, BlockId, BlockMeta, BlockSource, Resolution,
};
pub use dictionary::SERIES_MAX;
pub use error::Error;
pub use execute::execute;
pub use expire::{EXPIRE_MAX, Expired};
pub use jobs::{Job, MergeJob, SealJob, encode};
pub use key::{KeyRef, SeriesId, SeriesKey};
pub use persist::{
    DELETIONS_MAX, DICTIONARY_PREFIX, Drain, HEAD_PREFIX, INFO_PREFIX, MakeValue, ROW_BYTES_MAX, RowChange,
};
pub use plan::QueryPlan;
pub use query::{Agg, Limits, Query, QueryResult, Row, Selector};
pub use retention::Retention;
pub use rollup::Rollup;
pub use store::{
    AppendOutcome, At, FUTURE_MS, REFUSALS, Refusal, Refused, SEAL_SAMPLES, SEAL_SPAN_MS, Sample,
    SeriesStatus, SeriesStore, StoreStatus, TAIL_SAMPLES,
};
