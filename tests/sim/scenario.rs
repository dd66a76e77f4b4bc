//! Whole runs: a control plane, work, faults, and the verdict.

use super::clients::Clients;
use super::jobs::Jobs;
use super::nemesis::{ALL, Fault, Nemesis};
use super::spikes::Spikes;
use super::world::{Setup, World};
use super::{chance, clock, objects, trace};

/// How long peers may take to agree once all faults are over, in ms: a snapshot's connection on which something was lost
/// is given up after 20 s.
const CONVERGENCE_MS: u64 = 30_000;
/// How long clients may wait for answers then: as long as they are patient, and then some.
const ANSWERS_MS: u64 = 15_000;
/// How long tasks may take then: one that is lost waits for its deadline and the control plane's patience.
const TASKS_MS: u64 = 60_000;

/// What a run came to.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) problem: Option<String>,
    pub(crate) world_ms: u64,
    pub(crate) faults: usize,
    pub(crate) terms: usize,
    pub(crate) entries: u64,
    pub(crate) digests: usize,
    pub(crate) done: u64,
    pub(crate) unknown: u64,
    pub(crate) executions: usize,
    pub(crate) samples: usize,
    pub(crate) firings: usize,
    pub(crate) frames: u64,
    pub(crate) lost: u64,
    pub(crate) events: u64,
    pub(crate) digest: String,
}

impl Report {
    /// All figures in one line, and the digest of the run.
    pub(crate) fn line(&self) -> String {
        let figures = [
            ("simulated-ms", self.world_ms),
            ("faults", self.faults as u64),
            ("terms", self.terms as u64),
            ("entries", self.entries),
            ("digests-compared", self.digests as u64),
            ("operations", self.done),
            ("operations-unknown", self.unknown),
            ("executions", self.executions as u64),
            ("samples", self.samples as u64),
            ("firings", self.firings as u64),
            ("frames", self.frames),
            ("frames-lost", self.lost),
            ("events", self.events),
        ];
        let figures: Vec<String> = figures.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} digest={}", figures.join(" "), self.digest)
    }

    /// The figures of a line.
    pub(crate) fn read(line: &str) -> Option<Vec<(String, u64)>> {
        let figures = line.split_whitespace().filter(|word| !word.starts_with("digest="));
        figures
            .map(|word| {
                let (name, value) = word.split_once('=')?;
                Some((name.replace('-', " "), value.parse().ok()?))
            })
            .collect()
    }
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) setup: Setup,
    pub(crate) faults: &'static [(Fault, u32)],
    /// About so many ms lie between two faults.
    pub(crate) fault_every: u64,
    pub(crate) clients: usize,
    /// How long it goes on, in ms.
    pub(crate) ms: u64,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { setup: Setup::default(), faults: ALL, fault_every: 1500, clients: 6, ms: 20_000 }
    }
}

impl Plan {
    /// A plan by name.
    pub(crate) fn named(name: &str) -> Option<Plan> {
        Some(match name {
            "all" => Plan::default(),
            "calm" => Plan { faults: &[], fault_every: u64::MAX / 4, ms: 5_000, ..Plan::default() },
            "power" => Plan { faults: POWER, fault_every: 700, ..Plan::default() },
            "elections" => Plan { faults: ELECTIONS, fault_every: 1000, ..Plan::default() },
            "five" => Plan { setup: Setup { voters: 5, ..Setup::default() }, ..Plan::default() },
            "sessions" => Plan { faults: SESSIONS, fault_every: 1500, ..Plan::default() },
            _ => return None,
        })
    }
}

const POWER: &[(Fault, u32)] = &[(Fault::PowerLoss, 3), (Fault::PowerLossOfAll, 1), (Fault::KillLeader, 1)];
const ELECTIONS: &[(Fault, u32)] = &[
    (Fault::ForgetVote, 6),
    (Fault::PowerLoss, 2),
    (Fault::CutLeaderOff, 3),
    (Fault::KillLeader, 3),
    (Fault::Transfer, 2),
];
const SESSIONS: &[(Fault, u32)] = &[
    (Fault::Kill, 4),
    (Fault::Freeze, 4),
    (Fault::CutLeaderOff, 4),
    (Fault::OneWayCut, 4),
    (Fault::ShutDown, 2),
];

/// Runs a plan on a thread of its own, whose chance is the seed's.
pub(crate) fn run(seed: u64, plan: Plan) -> Report {
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(16 << 20);
    let running = thread.spawn(move || {
        chance::seed_this_thread(seed);
        run_here(seed, plan)
    });
    match running.map(std::thread::JoinHandle::join) {
        Ok(Ok(report)) => report,
        _ => panic!("seed {seed} panicked"),
    }
}

fn run_here(seed: u64, plan: Plan) -> Report {
    let mut world = World::found(seed, plan.setup);
    if world.submit(1, objects::all()).is_none() {
        world.fail("the objects could not be made".to_string());
    }
    let mut work = Workload {
        clients: Clients::new(seed, plan.clients),
        jobs: Jobs::new(seed),
        spikes: Spikes::new(seed),
    };
    let mut nemesis = Nemesis::new(seed, plan.faults, plan.fault_every);
    let end = clock::now() + plan.ms;
    while clock::now() < end && world.problem.is_none() {
        nemesis.step(&mut world);
        work.step(&world);
        world.step();
    }
    trace::told("the faults end");
    nemesis.end(&mut world);
    let deadline = clock::now() + CONVERGENCE_MS;
    while world.problem.is_none() && nemesis.replace(&mut world) {
        if clock::now() > deadline {
            world.fail("a peer could not be replaced though nothing fails any more".to_string());
        }
        world.step();
    }
    work.settle(&mut world);
    let firings = match work.verdict(&world) {
        Ok(firings) => firings,
        Err(problem) => {
            world.fail(problem);
            0
        }
    };
    let (frames, lost) = world.net.figures();
    let (events, digest) = trace::end();
    Report {
        world_ms: clock::now(),
        faults: nemesis.done.len(),
        terms: world.checks.terms(),
        entries: world.checks.last_committed(),
        digests: world.checks.digests(),
        done: work.clients.done,
        unknown: work.clients.unknown,
        executions: world.ledger().count(),
        samples: work.spikes.taken(),
        firings,
        frames,
        lost,
        events,
        digest,
        problem: world.problem.take(),
    }
}

/// All that is done while things fail.
struct Workload {
    clients: Clients,
    jobs: Jobs,
    spikes: Spikes,
}

impl Workload {
    fn step(&mut self, world: &World) {
        self.clients.step(world);
        self.jobs.step(world);
        self.spikes.step(world);
    }

    /// Waits until all is answered, all peers have applied the same, and all tasks have ended.
    fn settle(&mut self, world: &mut World) {
        let healed = clock::now();
        while world.problem.is_none() && !self.is_idle() {
            if clock::now() - healed > ANSWERS_MS {
                return world.fail("clients are not answered though nothing fails any more".to_string());
            }
            self.clients.collect(world);
            self.jobs.collect(world);
            self.spikes.collect(world);
            world.step();
        }
        let last = world.checks.last_committed();
        world.until("all peers have applied the same", CONVERGENCE_MS, |world| {
            world.leader().is_some()
                && world
                    .hosts
                    .values()
                    .filter(|host| !host.is_gone)
                    .all(|host| host.inside().is_some_and(|inside| inside.replica.applied() >= last))
        });
        let jobs = &self.jobs;
        world.until("all tasks have ended", TASKS_MS, |world| {
            world
                .hosts
                .values()
                .filter_map(|host| host.inside())
                .all(|inside| inside.handle.read(|state| jobs.are_done(state)))
        });
    }

    fn is_idle(&self) -> bool {
        self.clients.is_idle() && self.jobs.is_idle() && self.spikes.is_idle()
    }

    /// What is wrong in the end; how often the trigger fired.
    fn verdict(&self, world: &World) -> Result<usize, String> {
        if world.problem.is_some() {
            return Ok(0);
        }
        self.clients.verdict(world)?;
        let mut firings = 0;
        for inside in world.hosts.values().filter_map(|host| host.inside()) {
            inside.handle.read(|state| self.jobs.verdict(state, world.ledger()))?;
            firings = inside.handle.read(|state| self.spikes.verdict(state))?;
        }
        Ok(firings)
    }
}
