//! How steady is leadership when the machine is busy, and how long do writes stop when a leader dies?
//!
//! ```text
//! cargo run --release -p rscaler-raft --example steadiness -- \
//!     [SECONDS] [BUSY THREADS] [KILLS] [HEARTBEAT MS] [ELECTION MIN MS] [ELECTION MAX MS]
//! ```
//!
//! Three peers in this process. First they are left alone for SECONDS while BUSY THREADS do nothing but count, and
//! somebody writes: a change of term is a needless election. Then the leader is dropped KILLS times, without a
//! word; the gap is from there to the next write that another peer acknowledges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rscaler_raft::command::{Command, Proposal};
use rscaler_raft::consensus::{Payload, Timers};
use rscaler_raft::model::{Actor, PeerRole, Timestamp};
use rscaler_raft::peer::{Peer, PeerConfig};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(30);

struct Ground {
    root: tempfile::TempDir,
    timers: Timers,
}

impl Ground {
    fn config(&self, number: u64, listen: &str) -> PeerConfig {
        let dir = self.root.path().join(number.to_string());
        let mut config = PeerConfig::new(dir, format!("p{number}"), listen, "http://127.0.0.1:0");
        config.timers = self.timers;
        config
    }
}

async fn write(peer: &Peer) -> Result<()> {
    let command = Command::Tick { term: 0, first: false, delta_ms: 1, wall: Timestamp(0) };
    let payload = Payload::encode(&Proposal { request: None, actor: Actor::System, command })?;
    peer.engine().propose(payload, Instant::now() + PATIENCE).await??;
    Ok(())
}

fn term(peers: &BTreeMap<u64, Peer>) -> u64 {
    peers.values().map(|peer| peer.engine().leadership().borrow().term).max().unwrap_or(0)
}

async fn voters(peers: &BTreeMap<u64, Peer>, count: usize) {
    for peer in peers.values() {
        while peer.engine().members().await.iter().filter(|member| member.voter).count() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (seconds, busy, kills) = (next(10)?, next(2)?, next(10)?);
    let usual = Timers::default();
    let mut millis = |usual: Duration| next(usual.as_millis() as u64).map(Duration::from_millis);
    let timers = Timers {
        heartbeat: millis(usual.heartbeat)?,
        election_min: millis(usual.election_min)?,
        election_max: millis(usual.election_max)?,
    };
    println!("{timers:?}");
    let ground = Ground { root: tempfile::tempdir()?, timers };
    let mut peers = BTreeMap::new();
    let mut addrs = BTreeMap::new();
    peers.insert(1, Peer::bootstrap(ground.config(1, "127.0.0.1:0")).await?);
    for number in 2..=3 {
        let token = peers[&1].create_join_token(PATIENCE, PeerRole::Voter).await?;
        let joined = Peer::join(ground.config(number, "127.0.0.1:0"), &token, peers[&1].addr()).await?;
        peers.insert(number, joined);
    }
    voters(&peers, 3).await;
    for (number, peer) in &peers {
        addrs.insert(*number, peer.addr().to_string());
    }

    let ended = Arc::new(AtomicBool::new(false));
    let counted = Arc::new(AtomicU64::new(0));
    for _ in 0..busy {
        let (ended, counted) = (Arc::clone(&ended), Arc::clone(&counted));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (before, begun) = (term(&peers), Instant::now());
    let mut writes = 0u64;
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let sent = Instant::now();
        write(&peers[&(writes % 3 + 1)]).await?;
        slowest = slowest.max(sent.elapsed());
        writes += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "{busy} busy threads, {seconds} s: {} needless elections, {writes} writes, slowest {slowest:?}",
        term(&peers) - before
    );
    ended.store(true, Ordering::Relaxed);

    let mut gaps = Vec::new();
    for _ in 0..kills {
        let leader = loop {
            let leader = peers.values().find_map(|peer| peer.engine().leadership().borrow().leader);
            if let Some(leader) = leader.filter(|leader| peers.contains_key(&leader.0)) {
                break leader.0;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        drop(peers.remove(&leader));
        let killed = Instant::now();
        if let Some(survivor) = peers.values().next() {
            write(survivor).await?;
        }
        gaps.push(killed.elapsed());
        let again = loop {
            match Peer::open(ground.config(leader, &addrs[&leader])).await {
                Ok(peer) => break peer,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        peers.insert(leader, again);
        voters(&peers, 3).await;
        // Long enough for it to follow, so that the next kill finds three peers.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    gaps.sort_unstable();
    if let (Some(median), Some(longest)) = (gaps.get(gaps.len() / 2), gaps.last()) {
        println!("{kills} leaders killed: writes stopped for {median:?} (median), {longest:?} (longest)");
    }
    for (_, peer) in peers {
        peer.shutdown(Duration::from_secs(2)).await;
    }
    Ok(())
}
