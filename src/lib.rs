//! rscaler.

pub mod ssh;
