//! rscaler.
pub mod collectors;
pub mod demo;
pub mod ssh;
