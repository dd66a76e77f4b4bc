//! One round: a fresh control plane, loads, one kind of fault done to it again and again, and the verdict.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::faults::Fault;
use crate::figures::Round;
use crate::load::beats;
use crate::load::firings::{Fired, Firings};
use crate::load::fleet::Fleet;
use crate::load::registers::Registers;
use crate::load::sets::Sets;
use crate::load::tasks::Tasks;
use crate::load::{Judged, Stop};
use crate::plane::{Plane, wall_ms};

/// How soon after the last fault all peers must be ready and have applied the same.
const CONVERGING: Duration = Duration::from_secs(60);

/// What a round is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) peers: usize,
    pub(crate) fault: Fault,
    /// How long faults are done, at least.
    pub(crate) time: Duration,
    /// Triggers that are to fire meanwhile.
    pub(crate) triggers: usize,
}

/// Runs a round. Where something is violated, the peers' directories are left, and it says where.
pub(crate) async fn run(setup: Setup) -> Round {
    let began = Instant::now();
    let mut rng = StdRng::seed_from_u64(setup.seed);
    let fault = setup.fault;
    let mut plane = Plane::start(setup.peers, fault.preload(), fault.disk_mib()).await;
    let fleet = Fleet::start(&plane, 2).await;
    let begun_ms = wall_ms();
    let stop = Stop::default();
    let firings = match setup.triggers {
        0 => None,
        count => Some(Firings::start(&plane, count, count.div_ceil(9), &stop).await),
    };
    let registers = Registers::start(&plane.front, 4, setup.seed, &stop);
    let sets = Sets::start(&plane.front, 3, setup.seed, &stop);
    let tasks = Tasks::start(&plane.front, &fleet, 2, setup.seed, &stop);
    let mut judged = Judged::default();
    let mut gaps = Vec::new();
    let mut leaders = BTreeMap::new();
    let end = Instant::now() + setup.time;
    sleep(Duration::from_millis(500)).await;
    while Instant::now() < end || firings.as_ref().is_some_and(|firings| !firings.is_over()) {
        plane.front.start_gap();
        if let Err(why) = fault.strike(&mut plane, &mut rng).await {
            judged.violations.push(why);
        }
        plane.disturb_no_more();
        if !fault.is_relentless() {
            // Long enough for clients that wait at a peer that is gone to find another.
            sleep(Duration::from_millis(rng.random_range(800..2000))).await;
        }
        gaps.push(plane.front.gap());
        let accidents = plane.accidents();
        if !fault.may_end_peers() {
            judged.violations.extend(accidents);
        }
        for place in plane.places() {
            plane.peers[place].restart();
        }
        for claim in plane.claims().await {
            if *leaders.entry(claim.term).or_insert(claim.id) != claim.id {
                judged.violations.push(format!("two peers led term {}: {claim:?}, {leaders:?}", claim.term));
            }
        }
    }
    stop.now();
    let mut converged = None;
    match plane.converge(CONVERGING).await {
        Ok(took) => converged = Some(took),
        Err(why) => judged.violations.push(why),
    }
    judged.add(registers.judge().await);
    judged.add(sets.judge(&plane).await);
    let (beats, longest_silence) = beats::judge(&plane, fleet.hosts.len(), begun_ms).await;
    judged.add(beats);
    let mut effects = tasks.judge(&plane, &fleet).await;
    judged.add(std::mem::take(&mut effects.judged));
    let mut fired = Fired::default();
    if let Some(firings) = firings {
        fired = firings.judge(&plane, &fleet).await;
        judged.add(std::mem::take(&mut fired.judged));
    }
    for peer in &plane.peers {
        // sled panics where a disk fails; what that thread does then is to stop the peer.
        let may = |line: &String| fault.may_end_peers() && line.contains("thread 'storage'");
        judged.violations.extend(
            peer.panics().into_iter().filter(|line| !may(line)).map(|line| format!("{}: {line}", peer.name)),
        );
    }
    if !judged.violations.is_empty() {
        println!("{setup:?}: see {}", plane.keep().display());
        for violation in judged.violations.iter().take(20) {
            println!("    {}", violation.chars().take(1500).collect::<String>());
        }
    }
    Round { setup, took: began.elapsed(), gaps, converged, longest_silence, judged, effects, fired }
}
