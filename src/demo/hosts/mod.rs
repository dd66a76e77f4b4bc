//! The demo's simulated hosts: real SSH servers with real keys, whose sessions are real processes in a
//! directory of their own, under a load that the user turns up and down.
//!
//! A host listens on a loopback port, lets exactly one public key in, as the user `demo`, and runs `exec` and
//! `shell` requests with the machine's `/bin/sh`. What is simulated is only what such a script reads: files
//! like `proc/loadavg` in the host's directory, which a small model keeps moving.
//!
//! **The directory is no security boundary.** Scripts run with the rights of whoever started the demo, and may
//! do whatever that user may; the directory is where they start, and where what they read and write by relative
//! paths lies. The listener is on loopback only, and the one key is made by the demo.
//!
//! What a host offers to scripts, relative to where they start:
//!
//! | path | what |
//! | --- | --- |
//! | `load.target` | the load per core that the host moves to, 0.0 to 1.0; written by [`set_load`] and `shed-load` |
//! | `proc/loadavg`, `proc/meminfo`, `proc/uptime` | as Linux has them; four cores |
//! | `proc/cpu` | how busy the cores are, in per cent: one number |
//! | `www/requests` | the host's web service as pairs: `rate` (1/s), `latency_ms`, `errors` (1/s) |
//! | `www/metrics`, `www/status.json` | the same and more in Prometheus' text format and as JSON |
//! | `bin/` | first on the `PATH`: `shed-load`, `check_load` (a Nagios plugin), `free`, `uptime`, `nproc` |
//!
//! Start with [`Fleet`]; `listener.rs` is the life of a connection, `server.rs` what it may ask for,
//! `session.rs` the life of one process, `model.rs` the load.

mod fleet;

mod listener;
mod server;
mod session;
mod stdin;

mod keys;
mod process;
mod sandbox;

mod figures;
mod model;

#[cfg(test)]
mod hosts_test;
#[cfg(test)]
mod sessions_test;
#[cfg(test)]
mod testing;

pub use self::fleet::{Error, Fleet, SimulatedHost, set_load};

/// The only user that the hosts know.
pub const USER: &str = "demo";

/// The cores that every host has: with a load target of 0.9, `load1` moves to about 3.6.
pub const CORES: u32 = 4;
