//! rscaler.
pub mod collectors;
pub mod demo;
