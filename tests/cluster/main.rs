//! Whole control planes: real peer processes, real hosts behind a real sshd, the HTTP API and the CLI. Nothing here
//! looks into a peer's private state.
#![allow(clippy::unwrap_used, missing_docs)]

mod backup;
mod cli;
mod demo;
mod disk;
mod errors;
mod failover;
mod first_path;
mod format;
mod hostile;
mod hosts;
mod jmx;
mod jvms;
mod membership;
mod plane;
mod ports;
mod reach;
mod rolling;
mod ui;
mod wait;
mod writer;
