//! Whole control planes in one process, on simulated time, network and disks; the same seed is the same run.
//!
//! What runs is real: Raft, the log's and the state's adapters, apply, forwarding, sessions, leases, tasks. What is
//! simulated lies below seams of the program: `store::Log` and `store::volume` (disks), `network::client::Wire` (the
//! network), the clocks of `lease` and `scheduler`. A peer is a [`peer::Host`], all of them with what is between them a
//! [`world::World`]; [`nemesis`] breaks things, [`clients`] work, [`checks`] look after every step, and [`scenario`] puts
//! it together.
//!
//! ```text
//! cargo nextest run --test sim                 the short runs
//! cargo test --test sim -- run --seed 7        one run, exactly as it went before; SIM_TRACE=1 tells what
//!                                              happens, SIM_LOG=debug what peers say
//! scripts/torture --simulation --minutes 60     many runs
//! ```
#![allow(clippy::unwrap_used, missing_docs)]

mod asking;
mod bugs;
mod chance;
// What clients saw is judged as in the programme of processes.
#[path = "../torture/check/mod.rs"]
mod check;
mod checks;
mod clients;
mod clock;
mod faults;
mod harness;
mod jobs;
mod log;
mod members;
mod nemesis;
mod net;
mod objects;
mod peer;
mod scenario;
mod spikes;
mod tests;
mod torture;
mod trace;
mod volume;
mod work;
mod world;

fn main() -> std::process::ExitCode {
    harness::main(tests::ALL)
}
