//! What is done to peers, one at a time. Each fault leaves the control plane as it found it, so that it can be done again.

mod clocks;
mod disks;
mod links;
mod members;

use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::plane::{Plane, Preload, STARTING};

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// Nothing: what the others are compared with.
    None,
    /// `kill -9` of the leader, and its restart.
    KillLeader,
    /// `kill -9` of the leader every two seconds, while triggers fire.
    Firings,
    /// `kill -9` of any peer, and its restart.
    KillAny,
    /// `kill -9` of all peers at once, and their restart.
    KillAll,
    /// SIGSTOP of the leader for a while.
    PauseLeader,
    /// SIGSTOP of any peers, each for a while.
    PauseAny,
    /// A planned stop of each peer in turn, and its start.
    Restart,
    /// Leadership is handed over, again and again.
    Transfer,
    /// The leader's cable is out.
    LinkDownLeader,
    /// A follower's cable is out.
    LinkDownFollower,
    /// One peer's frames to another are lost, not those the other way.
    OneWay,
    /// What the leader sends to the others is lost.
    LeaderMute,
    /// What the others send to the leader is lost.
    LeaderDeaf,
    /// The leader is cut off from the others, and clients still reach it.
    LeaderCut,
    /// Peers in two groups that do not reach each other.
    Split,
    /// Cables that go in and out, ten times a second.
    Flap,
    /// Packets between peers are late, lost, doubled and reordered.
    BadNetwork,
    /// Peers join and are removed.
    Members,
    /// The power of one peer fails: what was not synced is gone.
    PowerOne,
    /// The power of all peers fails at once.
    PowerAll,
    /// Every sync of a peer takes long.
    SlowDisk,
    /// Syncs, or writes, of a peer fail.
    FailingDisk,
    /// A peer's disk is nearly full, then quite full.
    FullDisk,
    /// A bit of a peer's log is flipped while it is down.
    DamagedLog,
    /// A peer's database is damaged while it is down.
    DamagedState,
    /// Peers' wall clocks jump by an hour.
    ClockJump,
    /// Of those that need nothing special, any.
    Mixed,
    /// Peers' clocks run at rates that differ by up to a fifth.
    ClockRate,
}

/// All of them, with the names they are asked for by.
pub(crate) const FAULTS: &[(&str, Fault)] = &[
    ("none", Fault::None),
    ("kill-leader", Fault::KillLeader),
    ("firings", Fault::Firings),
    ("kill-any", Fault::KillAny),
    ("kill-all", Fault::KillAll),
    ("pause-leader", Fault::PauseLeader),
    ("pause-any", Fault::PauseAny),
    ("restart", Fault::Restart),
    ("transfer", Fault::Transfer),
    ("link-down-leader", Fault::LinkDownLeader),
    ("link-down-follower", Fault::LinkDownFollower),
    ("one-way", Fault::OneWay),
    ("leader-mute", Fault::LeaderMute),
    ("leader-deaf", Fault::LeaderDeaf),
    ("leader-cut", Fault::LeaderCut),
    ("split", Fault::Split),
    ("flap", Fault::Flap),
    ("bad-network", Fault::BadNetwork),
    ("members", Fault::Members),
    ("power-one", Fault::PowerOne),
    ("power-all", Fault::PowerAll),
    ("slow-disk", Fault::SlowDisk),
    ("failing-disk", Fault::FailingDisk),
    ("full-disk", Fault::FullDisk),
    ("damaged-log", Fault::DamagedLog),
    ("damaged-state", Fault::DamagedState),
    ("mixed", Fault::Mixed),
    ("clock-jump", Fault::ClockJump),
    ("clock-rate", Fault::ClockRate),
];

const MIXED: &[Fault] = &[
    Fault::KillLeader,
    Fault::KillAny,
    Fault::PauseLeader,
    Fault::LinkDownLeader,
    Fault::OneWay,
    Fault::LeaderMute,
    Fault::LeaderDeaf,
    Fault::LeaderCut,
    Fault::Flap,
    Fault::Transfer,
];

impl Fault {
    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Fault> {
        FAULTS.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault)
    }

    /// The name it is asked for by.
    pub(crate) fn name(self) -> &'static str {
        FAULTS.iter().find(|(_, fault)| *fault == self).map_or("?", |(name, _)| name)
    }

    /// What it needs peers to run under.
    pub(crate) fn preload(self) -> Preload {
        match self {
            Fault::PowerOne | Fault::PowerAll | Fault::FailingDisk => Preload::Journal,
            Fault::SlowDisk | Fault::ClockJump | Fault::ClockRate => Preload::Shim,
            _ => Preload::Nothing,
        }
    }

    /// The size of the disk that it needs peers to have.
    pub(crate) fn disk_mib(self) -> Option<u64> {
        (self == Fault::FullDisk).then_some(400)
    }

    /// How many triggers are to fire meanwhile.
    pub(crate) fn triggers(self) -> usize {
        if self == Fault::Firings { 500 } else { 0 }
    }

    /// Whether it goes on without a pause.
    pub(crate) fn is_relentless(self) -> bool {
        self == Fault::Firings
    }

    /// Whether peers may end by themselves.
    pub(crate) fn may_end_peers(self) -> bool {
        matches!(self, Fault::FullDisk | Fault::FailingDisk)
    }

    /// Does it once, for as long as it is worth, and undoes it. Says what is wrong with how a peer took it.
    pub(crate) async fn strike(self, plane: &mut Plane, rng: &mut StdRng) -> Result<(), String> {
        let places = plane.places();
        let time = Duration::from_millis(rng.random_range(1500..4000));
        let any = *places.choose(rng).expect("there are peers");
        match self {
            Fault::None => sleep(Duration::from_secs(3)).await,
            Fault::KillLeader => {
                let leader = plane.leader().await;
                kill_and_restart(plane, &[leader], rng).await?;
            }
            Fault::Firings => {
                let began = Instant::now();
                let leader = plane.leader().await;
                plane.kill(leader);
                plane.peers[leader].restart();
                plane.ready(leader, STARTING).await?;
                sleep(Duration::from_secs(2).saturating_sub(began.elapsed())).await;
            }
            Fault::KillAny => kill_and_restart(plane, &[any], rng).await?,
            Fault::KillAll => kill_and_restart(plane, &places, rng).await?,
            Fault::PauseLeader => {
                let leader = plane.leader().await;
                plane.disturb(leader);
                plane.peers[leader].pause();
                sleep(time).await;
                plane.peers[leader].resume();
            }
            Fault::PauseAny => {
                for _ in 0..4 {
                    let any = *places.choose(rng).unwrap_or(&any);
                    plane.disturb(any);
                    plane.peers[any].pause();
                    sleep(Duration::from_millis(rng.random_range(50..1500))).await;
                    plane.peers[any].resume();
                    sleep(Duration::from_millis(rng.random_range(50..500))).await;
                }
            }
            Fault::Restart => restart_each(plane).await?,
            Fault::Transfer => transfer(plane, rng).await,
            Fault::LinkDownLeader => {
                let leader = plane.leader().await;
                links::down(plane, leader, time).await;
            }
            Fault::LinkDownFollower => {
                let leader = plane.leader().await;
                let follower = *plane.others(leader).choose(rng).unwrap_or(&leader);
                links::down(plane, follower, time).await;
            }
            Fault::OneWay => {
                let to = *plane.others(any).choose(rng).unwrap_or(&any);
                links::cut(plane, &[(any, to)], time).await;
            }
            Fault::LeaderMute | Fault::LeaderDeaf | Fault::LeaderCut => {
                let leader = plane.leader().await;
                let (mute, deaf) = (self != Fault::LeaderDeaf, self != Fault::LeaderMute);
                links::cut_off(plane, leader, mute, deaf, time).await;
            }
            Fault::Split => links::split(plane, rng, time).await,
            Fault::Flap => links::flap(plane, any, rng, time).await,
            Fault::BadNetwork => links::bad(plane, rng, time * 2).await?,
            Fault::Members => members::come_and_go(plane, rng).await?,
            Fault::PowerOne => disks::power(plane, &[any], rng).await?,
            Fault::PowerAll => disks::power(plane, &places, rng).await?,
            Fault::SlowDisk => disks::slow(plane, rng, time).await,
            Fault::FailingDisk => disks::failing(plane, any, rng).await?,
            Fault::FullDisk => disks::full(plane, any).await?,
            Fault::DamagedLog => disks::damaged_log(plane, any, rng).await?,
            Fault::DamagedState => disks::damaged_state(plane, any, rng).await?,
            Fault::Mixed => {
                let any = *MIXED.choose(rng).expect("there are some");
                plane.peers[0].note(&format!("---- {}", any.name()));
                Box::pin(any.strike(plane, rng)).await?;
            }
            Fault::ClockJump => clocks::jump(plane, rng, time).await?,
            Fault::ClockRate => clocks::rate(plane, rng, time).await?,
        }
        Ok(())
    }
}

async fn kill_and_restart(plane: &mut Plane, places: &[usize], rng: &mut StdRng) -> Result<(), String> {
    for place in places {
        plane.kill(*place);
    }
    sleep(Duration::from_millis(rng.random_range(300..2000))).await;
    for place in places {
        plane.peers[*place].restart();
    }
    for place in places {
        plane.ready(*place, STARTING).await?;
    }
    Ok(())
}

async fn restart_each(plane: &mut Plane) -> Result<(), String> {
    for place in plane.places() {
        plane.disturb(place);
        let code = plane.peers[place].stop().await;
        if code != Some(0) {
            let (name, end) = (&plane.peers[place].name, plane.peers[place].log_end(20));
            return Err(format!("{name} did not stop well: {code:?}\n{end}"));
        }
        plane.peers[place].restart();
        plane.ready(place, STARTING).await?;
    }
    Ok(())
}

async fn transfer(plane: &Plane, rng: &mut StdRng) {
    for _ in 0..6 {
        let leader = plane.leader().await;
        let to = *plane.others(leader).choose(rng).unwrap_or(&leader);
        if let Some(id) = plane.id(to).await {
            plane.ask_any(Method::POST, "peers/leader", Some(&json!({"to": id}))).await;
        }
        sleep(Duration::from_millis(rng.random_range(100..500))).await;
    }
}
