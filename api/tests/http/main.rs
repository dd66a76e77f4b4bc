//! The API over a real listening server, with the real client and the real state machine of one peer.
#![allow(clippy::unwrap_used)]

mod access;
mod apply;
mod client;
mod consensus;
mod description;
mod limits;
mod mistakes;
mod peers;
mod resources;
mod runs;
mod samples;
mod session;
mod support;
mod tls;
mod watch;
