//! rscaler.
pub mod collectors;
