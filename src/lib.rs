//! rscaler.
pub mod collectors;
pub mod demo;
pub mod executors;
pub mod inventory;
pub mod lease;
pub mod metrics;
pub mod scheduler;
pub mod server;
pub mod ssh;
