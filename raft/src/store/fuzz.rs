//! What lies on disk and comes in snapshots, for [`crate::fuzz`].

pub(crate) use super::checkpoint::fuzz_rows as checkpoint_rows;
pub(crate) use super::snapshot::fuzz_sections as snapshots;
pub(crate) use super::wal::fuzz_records as log_records;
