//! Who breaks things: at random moments a random fault, each ended after a while.

use rand::Rng;
use rand::rngs::StdRng;
use rscaler_raft::handle::Engine;
use rscaler_raft::model::PeerId;
use rscaler_raft::store::Space;
use tokio::time::Instant;

use super::faults::{DiskFault, FaultPlan};
use super::members::Replacement;
use super::net::Weather;
use super::world::World;
use super::{chance, clock, trace};

/// A fault, with its share of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Kill,
    KillLeader,
    PowerLoss,
    PowerLossOfAll,
    /// It ends in order.
    ShutDown,
    /// It stands still for a while.
    Freeze,
    CutLeaderOff,
    OneWayCut,
    Split,
    Storm,
    SlowDisk,
    BrokenDisk,
    FullDisk,
    FlippedBit,
    WrongClock,
    Transfer,
    /// A peer leaves, and another one comes.
    Replace,
    /// A peer loses its log: it may never start again, and another one comes.
    LoseLog,
    /// The leader dies, and the power of a peer fails just when it has voted for another one, which is cut off then.
    ForgetVote,
}

/// What there is, and how often of 100.
pub(crate) const ALL: &[(Fault, u32)] = &[
    (Fault::Kill, 12),
    (Fault::KillLeader, 14),
    (Fault::PowerLoss, 12),
    (Fault::PowerLossOfAll, 4),
    (Fault::ShutDown, 5),
    (Fault::Freeze, 8),
    (Fault::CutLeaderOff, 8),
    (Fault::OneWayCut, 8),
    (Fault::Split, 6),
    (Fault::Storm, 8),
    (Fault::SlowDisk, 4),
    (Fault::BrokenDisk, 4),
    (Fault::FullDisk, 2),
    (Fault::FlippedBit, 2),
    (Fault::WrongClock, 4),
    (Fault::Transfer, 4),
    (Fault::Replace, 4),
    (Fault::LoseLog, 2),
];

enum Undo {
    Start(u64),
    Heal,
    Calm(u64),
}

/// A vote that somebody is to forget.
struct AwaitedVote {
    /// Who led before, and is down.
    leader: u64,
    /// Until when it is waited for.
    until: u64,
    /// Who has voted for whom, and when.
    given: Option<(u64, u64, u64)>,
}

/// How long a vote's answer takes at the most, in ms.
const ANSWER_MS: u64 = 3;

/// Peers replaced in one run.
const REPLACED_MAX: usize = 3;

/// See the module.
pub(crate) struct Nemesis {
    chance: StdRng,
    faults: Vec<(Fault, u32)>,
    next: u64,
    every: u64,
    undo: Vec<(u64, Undo)>,
    replacement: Option<Replacement>,
    replaced: usize,
    awaited_vote: Option<AwaitedVote>,
    /// What was done.
    pub(crate) done: Vec<Fault>,
}

impl Nemesis {
    /// Does some of `faults`, about every `every` ms.
    pub(crate) fn new(seed: u64, faults: &[(Fault, u32)], every: u64) -> Nemesis {
        Nemesis {
            chance: chance::source(seed, "nemesis"),
            faults: faults.to_vec(),
            next: clock::now() + every,
            every,
            undo: Vec::new(),
            replacement: None,
            replaced: 0,
            awaited_vote: None,
            done: Vec::new(),
        }
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, world: &mut World) {
        let now = clock::now();
        while let Some(at) = self.undo.iter().position(|(due, _)| *due <= now) {
            let (_, undo) = self.undo.remove(at);
            self.undo(world, undo);
        }
        self.replace(world);
        self.forget_vote(world);
        // A process that can't go on exits; somebody starts it again.
        let failed: Vec<u64> = world
            .hosts
            .values()
            .filter(|host| host.process.as_ref().is_some_and(|process| process.has_failed()))
            .map(|host| host.id)
            .collect();
        for host in failed {
            if let Some(process) = &world.hosts[&host].process {
                trace::told(&format!(
                    "peer {host} stops: {:?} {:?}",
                    process.fatal.reason(),
                    process.refused.lock()
                ));
            }
            world.kill(host, false);
            self.later(500..3000, Undo::Start(host));
        }
        if now >= self.next {
            self.next = now + self.chance.random_range(self.every / 4..=self.every * 2);
            let all: u32 = self.faults.iter().map(|(_, share)| share).sum();
            let mut drawn = self.chance.random_range(0..all);
            let found = self.faults.iter().find(|(_, share)| {
                let is_it = drawn < *share;
                drawn = drawn.saturating_sub(*share);
                is_it
            });
            if let Some((fault, _)) = found.copied() {
                self.make(world, fault);
            }
        }
    }

    /// Ends all faults and starts what is down.
    pub(crate) fn end(&mut self, world: &mut World) {
        self.undo.clear();
        self.awaited_vote = None;
        world.net.heal();
        let ids: Vec<u64> = world.hosts.keys().copied().collect();
        for id in ids {
            self.undo(world, Undo::Calm(id));
            let process = world.hosts[&id].process.as_ref();
            if process.is_some_and(|process| process.has_failed() || process.is_ending()) {
                world.kill(id, false);
            }
            world.start(id);
        }
    }

    /// Goes on with a replacement; whether one is under way.
    pub(crate) fn replace(&mut self, world: &mut World) -> bool {
        if let Some(replacement) = &mut self.replacement
            && replacement.step(world, &mut self.chance)
        {
            self.replacement = None;
        }
        self.replacement.is_some()
    }

    /// Goes on with [`Fault::ForgetVote`].
    fn forget_vote(&mut self, world: &mut World) {
        let Some(awaited) = &mut self.awaited_vote else { return };
        let now = clock::now();
        if awaited.given.is_none() {
            awaited.given = world.hosts.values().filter(|host| host.process.is_some()).find_map(|host| {
                let vote = host.log.unsynced_vote()?;
                (!vote.committed && vote.peer != host.id).then_some((host.id, vote.peer, now))
            });
        }
        let leader = awaited.leader;
        match awaited.given {
            Some((voter, candidate, at)) if now >= at + ANSWER_MS => {
                world.kill(voter, true);
                let others: Vec<u64> = world.hosts.keys().copied().filter(|id| *id != candidate).collect();
                for other in others {
                    world.net.cut(candidate, other);
                    world.net.cut(other, candidate);
                }
                self.later(1..5, Undo::Start(voter));
                self.later(500..1500, Undo::Heal);
            }
            None if now >= awaited.until => {}
            _ => return,
        }
        self.awaited_vote = None;
        self.later(1..5, Undo::Start(leader));
        let ids: Vec<u64> = world.hosts.keys().copied().collect();
        for id in ids {
            self.undo(world, Undo::Calm(id));
        }
    }

    fn later(&mut self, ms: std::ops::Range<u64>, undo: Undo) {
        let due = clock::now() + self.chance.random_range(ms);
        self.undo.push((due, undo));
    }

    fn undo(&mut self, world: &mut World, undo: Undo) {
        match undo {
            Undo::Start(host) => world.start(host),
            Undo::Heal => world.net.heal(),
            Undo::Calm(id) => {
                let Some(host) = world.hosts.get_mut(&id) else { return };
                host.wall_error_ms = 0;
                host.log.set_plan(FaultPlan::default());
                host.medium.set_plan(FaultPlan::default());
                if let Some(inside) = host.inside() {
                    inside.space.send_replace(Space::Ok);
                }
                if let Some(process) = &mut host.process {
                    process.rate = 1000;
                }
            }
        }
    }

    fn make(&mut self, world: &mut World, fault: Fault) {
        let ids: Vec<u64> = world.hosts.values().filter(|host| !host.is_gone).map(|host| host.id).collect();
        let any = ids[self.chance.random_range(0..ids.len())];
        let leader = world.leader().unwrap_or(any);
        trace::told(&format!("fault {fault:?} {any} {leader}"));
        self.done.push(fault);
        match fault {
            Fault::Kill => self.kill(world, any, false),
            Fault::KillLeader => self.kill(world, leader, false),
            Fault::PowerLoss => self.kill(world, any, true),
            Fault::PowerLossOfAll => {
                for id in ids {
                    self.kill(world, id, true);
                }
            }
            Fault::ShutDown => {
                if let Some(process) = &world.hosts[&any].process {
                    process.shut_down();
                }
            }
            Fault::Freeze => {
                let (now, ms) = (clock::now(), self.chance.random_range(50..4000));
                if let Some(process) = world.hosts.get_mut(&any).and_then(|host| host.process.as_mut()) {
                    process.stop_until(now + ms, now);
                    world.common.ledger.freeze(any, now + ms);
                }
            }
            Fault::CutLeaderOff => {
                for other in ids.iter().filter(|id| **id != leader) {
                    world.net.cut(leader, *other);
                    world.net.cut(*other, leader);
                }
                self.later(200..4000, Undo::Heal);
            }
            Fault::OneWayCut => {
                let other = ids[self.chance.random_range(0..ids.len())];
                world.net.cut(any, other);
                self.later(200..4000, Undo::Heal);
            }
            Fault::Split => {
                let side: Vec<bool> = ids.iter().map(|_| self.chance.random_bool(0.5)).collect();
                for (a, is_left) in ids.iter().zip(&side) {
                    for (b, is_also_left) in ids.iter().zip(&side) {
                        if is_left != is_also_left {
                            world.net.cut(*a, *b);
                        }
                    }
                }
                self.later(200..4000, Undo::Heal);
            }
            Fault::Storm => {
                let weather = Weather {
                    delay_ms: self.chance.random_range(0..30),
                    jitter_ms: self.chance.random_range(0..60),
                    loss: self.chance.random_range(0.0..0.2),
                    twice: self.chance.random_range(0.0..0.2),
                };
                if self.chance.random_bool(0.5) {
                    world.net.set_weather(weather);
                } else {
                    for other in ids {
                        world.net.set_weather_between(any, other, weather);
                    }
                }
                self.later(500..5000, Undo::Heal);
            }
            Fault::ForgetVote => {
                world.kill(leader, false);
                for id in ids {
                    let plan = FaultPlan { slow_ms: 200, ..FaultPlan::default() };
                    world.hosts[&id].log.set_plan(plan);
                }
                self.awaited_vote = Some(AwaitedVote { leader, until: clock::now() + 2000, given: None });
            }
            Fault::SlowDisk => {
                let slow_ms = self.chance.random_range(10..300);
                world.hosts[&any].log.set_plan(FaultPlan { slow_ms, ..FaultPlan::default() });
                self.later(500..4000, Undo::Calm(any));
            }
            Fault::BrokenDisk => {
                let after = self.chance.random_range(0..40);
                let plan = |fault| FaultPlan { fails_after: Some((after, fault)), slow_ms: 0 };
                match self.chance.random_range(0..4) {
                    0 => world.hosts[&any].log.set_plan(plan(DiskFault::Panic)),
                    1 => world.hosts[&any].log.set_plan(plan(DiskFault::Eio)),
                    _ => world.hosts[&any].medium.set_plan(plan(DiskFault::Eio)),
                }
            }
            Fault::FullDisk => {
                // Told in time, most often; then it is full in earnest.
                if let Some(inside) = world.hosts[&any].inside() {
                    inside.space.send_replace(Space::Low { free_bytes: 1 << 20 });
                }
                if self.chance.random_bool(0.3) {
                    let full = FaultPlan { fails_after: Some((20, DiskFault::Full)), slow_ms: 0 };
                    world.hosts[&any].log.set_plan(full);
                    world.hosts[&any].medium.set_plan(full);
                }
                self.later(500..5000, Undo::Calm(any));
            }
            Fault::FlippedBit => {
                self.kill(world, any, false);
                if world.hosts[&any].medium.flip_bit() {
                    trace::told(&format!("a bit flips at {any}"));
                }
            }
            Fault::WrongClock => {
                let hour = 3_600_000;
                let error = self.chance.random_range(-hour..=hour);
                let rate = self.chance.random_range(900..=1100);
                if let Some(host) = world.hosts.get_mut(&any) {
                    host.wall_error_ms = error;
                    if let Some(process) = &mut host.process {
                        process.rate = rate;
                    }
                }
                self.later(1000..10_000, Undo::Calm(any));
            }
            Fault::Replace | Fault::LoseLog => {
                let voters = world.voters();
                if self.replacement.is_some() || self.replaced >= REPLACED_MAX || !voters.contains(&any) {
                    return;
                }
                if fault == Fault::LoseLog {
                    self.kill(world, any, true);
                    world.hosts.get_mut(&any).expect("it was drawn from them").is_gone = true;
                }
                self.replaced += 1;
                self.replacement = Some(Replacement::begin(world, any, &mut self.chance));
            }
            Fault::Transfer => {
                let host = &world.hosts[&leader];
                if let (Some(inside), Some(process)) = (host.inside(), &host.process) {
                    let raft = inside.consensus.clone();
                    process.spawn(async move {
                        let deadline = Instant::now() + std::time::Duration::from_secs(2);
                        let _ = raft.transfer_leader(PeerId(any), deadline).await;
                    });
                }
            }
        }
    }

    fn kill(&mut self, world: &mut World, host: u64, is_power_loss: bool) {
        if world.hosts[&host].process.is_some() {
            world.kill(host, is_power_loss);
            self.later(20..3000, Undo::Start(host));
        }
    }
}
