//! The fault programme: control planes of real peers in network namespaces of their own, to which everything is done
//! that machines and networks do, while clients work and what they saw is checked.
//!
//! ```text
//! torture run [--minutes N] [--seed S] [--peers 3|5] [FAULT...]     the programme; ends with a table
//! torture --list | NAME --exact                                     its short tests, as a test runner calls them
//! ```
//!
//! Start reading at [`round`]; `faults.rs` has what is done, `load/` what clients do, `check/` how it is judged.
#![allow(clippy::unwrap_used, missing_docs)]

mod check;
mod check_test;
mod client;
mod disk;
mod faults;
mod figures;
#[path = "../cluster/hosts.rs"]
#[allow(dead_code, reason = "the tests of whole control planes do more with hosts")]
mod hosts;
mod load;
mod net;
mod plane;
mod round;
mod shim;
mod short;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::faults::{FAULTS, Fault};
use crate::figures::Figures;
use crate::round::Setup;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let worked = if arguments.first().is_some_and(|first| first == "run") {
        programme(&arguments[1..])
    } else {
        short::run(&arguments)
    };
    std::process::exit(i32::from(!worked));
}

/// What the programme is asked for.
struct Asked {
    minutes: f64,
    seed: u64,
    peers: Option<usize>,
    faults: Vec<Fault>,
}

fn read(arguments: &[String]) -> Result<Asked, String> {
    let mut asked =
        Asked { minutes: 10.0, seed: rand::random_range(1..1_000_000), peers: None, faults: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} takes a value"));
        let wrong = |_| format!("{argument} takes a number");
        match argument.as_str() {
            "--minutes" => asked.minutes = value()?.parse().map_err(|_| wrong(()))?,
            "--seed" => asked.seed = value()?.parse().map_err(|_| wrong(()))?,
            "--peers" => asked.peers = Some(value()?.parse().map_err(|_| wrong(()))?),
            name => match Fault::named(name) {
                Some(fault) => asked.faults.push(fault),
                None => {
                    let names: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
                    return Err(format!("there is no fault {name}; there are {}", names.join(", ")));
                }
            },
        }
    }
    if asked.faults.is_empty() {
        asked.faults = FAULTS.iter().map(|(_, fault)| *fault).collect();
    }
    Ok(asked)
}

/// Rounds until the time is over, each fault before any comes again. Whether nothing was violated.
fn programme(arguments: &[String]) -> bool {
    let mut asked = match read(arguments) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}");
            return false;
        }
    };
    if let Err(why) = net::permitted() {
        eprintln!("network namespaces can not be made here: {why}");
        return false;
    }
    if let Err(why) = disk::permitted() {
        println!("without full-disk: file systems can not be mounted here: {why}");
        asked.faults.retain(|fault| fault.disk_mib().is_none());
    }
    let runtime = runtime();
    let end = Instant::now() + Duration::from_secs_f64(asked.minutes * 60.0);
    let (mut figures, mut waiting, mut seed) = (Figures::default(), Vec::new(), asked.seed);
    let mut order = StdRng::seed_from_u64(seed);
    while Instant::now() < end {
        if waiting.is_empty() {
            waiting = asked.faults.clone();
            waiting.shuffle(&mut order);
        }
        let Some(fault) = waiting.pop() else { break };
        let peers = asked.peers.unwrap_or(if order.random_bool(0.3) { 5 } else { 3 });
        let setup = Setup { seed, peers, fault, time: Duration::from_secs(25), triggers: fault.triggers() };
        let round = runtime.block_on(round::run(setup));
        println!(
            "seed {seed}, {peers} peers, {}: {} operations, {} unknown, {} violations, {:.0} s",
            fault.name(),
            round.judged.operations,
            round.judged.unknown,
            round.judged.violations.len(),
            round.took.as_secs_f64()
        );
        round.effects.undisturbed.iter().for_each(|lost| println!("  {lost}"));
        figures.add(round);
        seed += 1;
    }
    println!("\n{}", figures.table());
    figures.violations() == 0
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
