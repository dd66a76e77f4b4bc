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
mod column;
mod columns;
mod dictionary;
mod due;
mod execute;
mod expire;
mod form;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
pub(crate) mod golden;
mod head;
mod jobs;
mod key;
mod load;
mod pack;
mod persist;
mod plan;
mod query;
mod record;
mod retention;
mod rollup;
pub(crate) mod rows;
mod sample;
mod store;
mod unpack;

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
pub use jobs::{Job, MergeJob, SealJob, encode, is_block};
pub use key::{KeyRef, SeriesId, SeriesKey};
pub use persist::{
    DELETIONS_MAX, DICTIONARY_PREFIX, Drain, HEAD_PREFIX, INFO_PREFIX, MakeValue, ROW_BYTES_MAX, RowChange,
};
pub use plan::QueryPlan;
pub use query::{Agg, Limits, Query, QueryResult, Row, Selector};
pub use record::SEAL_SPAN_MS;
pub use retention::Retention;
pub use rollup::Rollup;
pub use sample::{AppendOutcome, At, REFUSALS, Refusal, Refused, Sample, SeriesStatus, StoreStatus};
pub use store::{FUTURE_MS, SEAL_SAMPLES, SeriesStore, TAIL_SAMPLES};
