//! A control plane and all around it: hosts, the network between them, time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rscaler_raft::command::{Command, Reply};
use rscaler_raft::consensus::UpkeepConfig;
use rscaler_raft::handle::{EngineError, Handle, SubmitError};
use rscaler_raft::model::{Actor, Elapsed, PeerRole, RequestId};
use rscaler_raft::secrets::{Keyring, SecretBytes};

use super::checks::Checks;
use super::net::Net;
use super::peer::{Common, Host, addr};
use super::{chance, clock, trace, work};

/// How long founding and joining may take, in ms of the world.
const PATIENCE_MS: u64 = 30_000;

/// See the module.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) net: Arc<Net>,
    pub(crate) common: Arc<Common>,
    pub(crate) hosts: BTreeMap<u64, Host>,
    pub(crate) checks: Checks,
    /// The first thing that should not have been.
    pub(crate) problem: Option<String>,
    pub(crate) chance: StdRng,
    /// How much time has passed on the fastest clock, in thousandths of a millisecond.
    fastest: u64,
}

/// How peers of a world are set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) voters: u64,
    pub(crate) log_entries_kept: u64,
    /// Entries after which a snapshot is made, at the earliest each second.
    pub(crate) snapshot_entries: u64,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { voters: 3, log_entries_kept: 100, snapshot_entries: 150 }
    }
}

impl World {
    /// Founds a control plane. The thread's chance must have been seeded.
    pub(crate) fn found(seed: u64, setup: Setup) -> World {
        clock::set_now(0);
        let net = Net::new(seed);
        let keyring = Keyring::generate(SecretBytes::new(Vec::new())).expect("there are random bytes");
        let upkeep = UpkeepConfig {
            checkpoint_every: Duration::from_secs(2),
            checkpoint_bytes: 64 << 10,
            snapshot_bytes: 256 << 10,
            snapshot_every: Duration::from_secs(1),
            snapshot_entries_min: setup.snapshot_entries,
            digest_every: 20,
        };
        let common = Arc::new(Common {
            net: Arc::clone(&net),
            keyring: Arc::new(keyring),
            upkeep,
            log_entries_kept: setup.log_entries_kept,
            ledger: Arc::default(),
        });
        let mut world = World {
            seed,
            net,
            common,
            hosts: BTreeMap::new(),
            checks: Checks::default(),
            problem: None,
            chance: chance::source(seed, "world"),
            fastest: 0,
        };
        let mut first = Host::new(1, seed);
        first.is_first = true;
        first.start(&world.common);
        world.hosts.insert(1, first);
        let admit = Command::AdmitPeer {
            token: None,
            name: "p1".to_string(),
            peer_addr: addr(1),
            api_url: "http://simulated:1".to_string(),
        };
        world.submit(1, admit);
        for _ in 1..setup.voters {
            world.join(1, PeerRole::Voter);
        }
        world.until("all vote", PATIENCE_MS, |world| world.voters().len() as u64 == setup.voters);
        trace::told("founded");
        world
    }

    /// Admits a peer by way of `via`, and starts it.
    pub(crate) fn join(&mut self, via: u64, role: PeerRole) -> Option<u64> {
        use rand::Rng;
        let hash: [u8; 32] = self.chance.random();
        let name = format!("p{}", self.hosts.len() + 1);
        self.submit(via, Command::CreateJoinToken { hash, ttl_ms: 600_000, role })?;
        // Its number is not known before it is admitted, and its address follows from it.
        let next = self.hosts.keys().next_back().copied().unwrap_or(0) + 1;
        let admit = Command::AdmitPeer {
            token: Some(hash),
            name,
            peer_addr: addr(next),
            api_url: "http://simulated:1".to_string(),
        };
        let Some(Reply::Peer(peer)) = self.submit(via, admit) else { return None };
        assert_eq!(peer.0, next, "numbers are given in order");
        let mut host = Host::new(peer.0, self.seed);
        host.seeds = self.hosts.keys().copied().collect();
        host.start(&self.common);
        trace::told(&format!("peer {peer} joins"));
        self.hosts.insert(peer.0, host);
        Some(peer.0)
    }

    /// Commits a command by way of a peer, again and again until it answers; absent where it refuses or time is over.
    pub(crate) fn submit(&mut self, via: u64, command: Command) -> Option<Reply> {
        use rand::RngCore;
        let request =
            RequestId(u128::from(self.chance.next_u64()) << 64 | u128::from(self.chance.next_u64()));
        let deadline = clock::now() + PATIENCE_MS;
        while clock::now() < deadline && self.problem.is_none() {
            let command = command.clone();
            let answer = self.ask(via, move |handle| async move {
                handle.submit_once(request, Actor::System, command).await
            });
            match answer {
                Some(Ok(reply)) => return Some(reply),
                Some(Err(SubmitError::Rejected(rejection))) => {
                    trace::told(&format!("refused: {rejection}"));
                    return None;
                }
                Some(Err(SubmitError::Engine(EngineError::Refused(_)))) | None => return None,
                Some(Err(SubmitError::Engine(_))) => {}
            }
        }
        None
    }

    /// Asks a peer something, and waits for the answer; absent where its process ends before, or does not answer.
    pub(crate) fn ask<T, F>(&mut self, host: u64, ask: impl FnOnce(Handle) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let deadline = clock::now() + PATIENCE_MS;
        while self.hosts.get(&host)?.inside().is_none() {
            if clock::now() >= deadline || self.problem.is_some() {
                return None;
            }
            self.step();
        }
        let host = self.hosts.get(&host)?;
        let future = ask(host.inside()?.handle.clone());
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        host.process.as_ref()?.spawn(async move {
            let value = future.await;
            *slot.lock() = Some(value);
        });
        while clock::now() < deadline && self.problem.is_none() {
            self.step();
            if let Some(value) = answer.lock().take() {
                return Some(value);
            }
            if Arc::strong_count(&answer) == 1 {
                return None;
            }
        }
        None
    }

    /// Lets a millisecond pass for everybody.
    pub(crate) fn step(&mut self) {
        clock::set_now(clock::now() + 1);
        self.net.deliver();
        let rates = self.hosts.values().filter_map(|host| host.process.as_ref().map(|process| process.rate));
        self.fastest += rates.max().unwrap_or(1000);
        for host in self.hosts.values_mut() {
            if let Some(process) = &mut host.process {
                process.step(clock::now(), host.wall_error_ms);
            }
        }
        self.look();
    }

    /// Waits until something holds; it is a problem where it does not in time.
    pub(crate) fn until(&mut self, what: &str, ms_max: u64, holds: impl Fn(&World) -> bool) {
        for _ in 0..ms_max {
            if self.problem.is_some() || holds(self) {
                return;
            }
            self.step();
        }
        let seen: Vec<String> = self.hosts.values().map(tell).collect();
        self.fail(format!("not within {ms_max} ms: {what}; {}", seen.join("; ")));
    }

    /// Notes the first problem.
    pub(crate) fn fail(&mut self, problem: String) {
        if self.problem.is_none() {
            trace::told(&problem);
            self.problem = Some(format!("at {} ms: {problem}", clock::now()));
        }
    }

    fn look(&mut self) {
        let mut found = Vec::new();
        for host in self.hosts.values() {
            if let Err(problem) = self.checks.look(host) {
                found.push(problem);
            }
        }
        for inside in self.hosts.values().filter_map(Host::inside) {
            let elapsed = inside.replica.read(|state| state.clock().elapsed.since(Elapsed::default()));
            if elapsed > Duration::from_micros(self.fastest) {
                let now = clock::now();
                found.push(format!("the replicated clock is at {elapsed:?}, and only {now} ms have passed"));
            }
        }
        found.extend(self.common.ledger.problems().into_iter().take(1));
        for problem in found {
            self.fail(problem);
        }
    }

    /// The members, and whether they vote, as the leader knows it; none where nobody leads.
    pub(crate) fn members(&self) -> Vec<(u64, bool)> {
        let inside = self.leader().and_then(|leader| self.hosts[&leader].inside());
        let members = inside.map(|inside| futures::executor::block_on(inside.handle.members()));
        members.unwrap_or_default().into_iter().map(|member| (member.peer.0, member.voter)).collect()
    }

    /// The voters, as the leader knows them.
    pub(crate) fn voters(&self) -> Vec<u64> {
        self.members().into_iter().filter(|(_, votes)| *votes).map(|(id, _)| id).collect()
    }

    /// Who leads, in the newest term that anybody leads in.
    pub(crate) fn leader(&self) -> Option<u64> {
        let led = self.hosts.values().filter(|host| host.is_running()).filter_map(|host| {
            let leadership = *host.inside()?.handle.leadership().borrow();
            leadership.is_local().then_some((leadership.term, host.id))
        });
        led.max().map(|(_, id)| id)
    }

    /// Starts the process of a host.
    pub(crate) fn start(&mut self, host: u64) {
        let common = Arc::clone(&self.common);
        // What a peer writes down of the others while it runs.
        let known: Vec<u64> =
            self.hosts.values().filter(|h| !h.is_gone && h.id != host).map(|h| h.id).collect();
        if let Some(host) = self.hosts.get_mut(&host)
            && host.process.is_none()
            && !host.is_gone
        {
            trace::told(&format!("start {}", host.id));
            host.seeds = known;
            host.start(&common);
        }
    }

    /// Ends the process of a host at once.
    pub(crate) fn kill(&mut self, host: u64, is_power_loss: bool) {
        if let Some(host) = self.hosts.get_mut(&host)
            && host.process.is_some()
        {
            trace::told(&format!("kill {} {is_power_loss}", host.id));
            host.kill(&self.net, is_power_loss);
        }
    }

    /// The ledger of effects.
    pub(crate) fn ledger(&self) -> &work::Ledger {
        &self.common.ledger
    }
}

fn tell(host: &Host) -> String {
    let Some(process) = &host.process else { return format!("peer {} is down", host.id) };
    if let Some(why) = &*process.refused.lock() {
        return format!("peer {} does not start: {why}", host.id);
    }
    let Some(inside) = process.inside.get() else { return format!("peer {} starts", host.id) };
    let leadership = *inside.handle.leadership().borrow();
    format!(
        "peer {}: leader {:?} in term {}, applied {}, {:?}",
        host.id,
        leadership.leader.map(|leader| leader.0),
        leadership.term,
        inside.replica.applied(),
        process.fatal.reason()
    )
}
