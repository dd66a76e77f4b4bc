//! One peer as a process.

pub mod leadership;
pub mod session;
