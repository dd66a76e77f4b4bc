//! Control planes of real peer processes, each in a network namespace of its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Once;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client::{Answer, Front, http, request};
use crate::disk::Disk;
use crate::net::Net;
use crate::shim::Control;

/// How long a peer may take to start or to catch up on a busy machine.
pub(crate) const STARTING: Duration = Duration::from_secs(90);

/// Peers that together are a control plane.
pub(crate) struct Plane {
    // Before the directory, which holds their data.
    pub(crate) peers: Vec<Peer>,
    pub(crate) net: Net,
    pub(crate) front: Arc<Front>,
    http: reqwest::Client,
    preload: Preload,
    /// Each peer has a disk of its own of this size.
    disk_mib: Option<u64>,
    /// Whom something was done to, and when: from and to, ms since the Unix epoch.
    pub(crate) disturbed: Vec<(usize, i64, i64)>,
    /// Who was killed, and when.
    pub(crate) killed: Vec<(usize, i64)>,
    /// The numbers and places of those that were removed.
    pub(crate) removed: Vec<(u64, usize)>,
    dir: tempfile::TempDir,
}

/// One peer, as a process.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    namespace: String,
    address: String,
    process: Option<Child>,
    /// It was ended on purpose; nobody expects it to run.
    pub(crate) is_down: bool,
    /// It is no longer part of the control plane.
    pub(crate) is_gone: bool,
    /// What its disk and its clocks do.
    pub(crate) control: Option<Control>,
    /// Its own disk, if it has one.
    pub(crate) disk: Option<Disk>,
    preload: Preload,
}

/// What peers are run under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Preload {
    /// Nothing: as it is installed.
    Nothing,
    /// Clocks and failing disks in our hands.
    Shim,
    /// So that power can be cut, too.
    Journal,
}

/// A claim to lead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Claim {
    pub(crate) term: u64,
    pub(crate) id: u64,
    pub(crate) place: usize,
}

impl Plane {
    /// Starts a control plane and waits until all vote.
    pub(crate) async fn start(count: usize, preload: Preload, disk_mib: Option<u64>) -> Plane {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let dir = tempfile::Builder::new().prefix("rscaler-torture-").tempdir().unwrap();
        let net = Net::create().unwrap();
        let http = http(Duration::from_secs(3));
        let front = Front::new(String::new());
        let mut plane = Plane {
            peers: Vec::new(),
            net,
            front,
            http,
            preload,
            disk_mib,
            disturbed: Vec::new(),
            killed: Vec::new(),
            removed: Vec::new(),
            dir,
        };
        let first = plane.add();
        plane.peers[first].spawn(&["--bootstrap"]);
        let token = plane.peers[first].data.join("admin.token");
        until("the first token", STARTING, async || {
            std::fs::read_to_string(&token).ok().filter(|text| text.ends_with('\n')).ok_or("none yet")
        })
        .await;
        plane.front = Front::new(std::fs::read_to_string(&token).unwrap().trim().to_string());
        plane.front.add(plane.peers[first].url());
        plane.ready(first, STARTING).await.unwrap();
        for _ in 1..count {
            plane.join().await.unwrap();
        }
        plane
    }

    fn add(&mut self) -> usize {
        let place = self.net.add_peer().unwrap();
        let data = self.dir.path().join(format!("p{}", place + 1));
        std::fs::create_dir_all(&data).unwrap();
        let disk = self.disk_mib.map(|size| Disk::mount(&data, size).unwrap());
        self.peers.push(Peer {
            disk,
            name: format!("p{}", place + 1),
            control: (self.preload > Preload::Nothing).then(|| Control::new(&data)),
            preload: self.preload,
            data,
            namespace: self.net.namespace(place),
            address: self.net.address(place),
            process: None,
            is_down: false,
            is_gone: false,
        });
        place
    }

    /// Starts one more peer and waits until it votes; gives its place.
    pub(crate) async fn join(&mut self) -> Result<usize, String> {
        let place = self.add();
        let token = until("a join token", STARTING, async || {
            let made = self.ask_any(Method::POST, "peers/join-tokens", Some(&json!({}))).await;
            made.and_then(|made| made["token"].as_str().map(str::to_string)).ok_or("none")
        })
        .await;
        let through = self.peers.iter().find(|peer| peer.runs()).unwrap().peer_addr();
        self.peers[place].spawn(&["--join", &through, "--join-token", &token]);
        self.front.add(self.peers[place].url());
        self.ready(place, STARTING).await?;
        let name = self.peers[place].name.clone();
        until("the new peer to vote", STARTING, async || {
            let peers = self.ask_any(Method::GET, "peers", None).await.ok_or(Value::Null)?;
            let items = peers["items"].as_array().cloned().unwrap_or_default();
            let votes = |peer: &Value| peer["role"] == "voter" || peer["role"] == "leader";
            if items.iter().any(|peer| peer["name"] == *name && votes(peer)) { Ok(()) } else { Err(peers) }
        })
        .await;
        Ok(place)
    }

    /// Takes a peer out of the control plane for good; it may be dead.
    pub(crate) async fn remove(&mut self, place: usize) -> Result<(), String> {
        let id = until("the number of a peer", STARTING, async || self.id(place).await.ok_or(())).await;
        self.peers[place].is_gone = true;
        self.removed.push((id, place));
        self.front.leave(place);
        let began = Instant::now();
        loop {
            let others = self.places().into_iter().filter(|place| self.peers[*place].runs());
            let mut said = Vec::new();
            for other in others {
                said.push(self.ask(other, Method::DELETE, &format!("peers/{id}"), None).await);
                if let Some(Answer::Done(_) | Answer::Refused(404, _)) = said.last() {
                    break;
                }
            }
            if let Some(Answer::Done(_) | Answer::Refused(404, _)) = said.last() {
                break;
            }
            if began.elapsed() > STARTING {
                return Err(format!("{} could not be removed: {said:?}", self.peers[place].name));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        until("a removed peer to be let go", STARTING, async || {
            let peers = self.ask_any(Method::GET, "peers", None).await.ok_or(Value::Null)?;
            let items = peers["items"].as_array().cloned().unwrap_or_default();
            if items.iter().any(|peer| number(&peer["id"]) == Some(id)) { Err(peers) } else { Ok(()) }
        })
        .await;
        self.peers[place].kill();
        Ok(())
    }

    /// The places of those that are part of the control plane.
    pub(crate) fn places(&self) -> Vec<usize> {
        (0..self.peers.len()).filter(|place| !self.peers[*place].is_gone).collect()
    }

    /// From here on something is done to a peer.
    pub(crate) fn disturb(&mut self, place: usize) {
        self.disturbed.push((place, wall_ms(), i64::MAX));
    }

    /// Kills one, which is disturbed from here on.
    pub(crate) fn kill(&mut self, place: usize) {
        self.disturb(place);
        self.killed.push((place, wall_ms()));
        self.peers[place].kill();
    }

    /// Nothing is done to any peer any more.
    pub(crate) fn disturb_no_more(&mut self) {
        let now = wall_ms();
        for (_, _, to) in self.disturbed.iter_mut().filter(|(_, _, to)| *to == i64::MAX) {
            *to = now;
        }
    }

    /// Leaves the directory where it is, and says where.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_path_buf()
    }

    /// Waits until a peer says that it is ready; else what it said last.
    pub(crate) async fn ready(&mut self, place: usize, patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let url = format!("{}/readyz", self.peers[place].url());
            let last = match self.http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => format!("{error:?}"),
            };
            let name = self.peers[place].name.clone();
            if let Some(end) = self.peers[place].ended() {
                return Err(format!("{name} ended by itself: {end}"));
            }
            if began.elapsed() > patience {
                return Err(format!("{name} was not ready within {patience:?}: {last}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A request to one peer.
    pub(crate) async fn ask(&self, place: usize, method: Method, path: &str, body: Option<&Value>) -> Answer {
        request(&self.http, &self.front, place, method, path, body, &[]).await
    }

    /// A request to the running peers in turn, until one does it.
    pub(crate) async fn ask_any(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Value> {
        for place in self.places() {
            if self.peers[place].runs()
                && let Answer::Done(value) = self.ask(place, method.clone(), path, body).await
            {
                return Some(value);
            }
        }
        None
    }

    /// Who says of itself that it leads, newest term last.
    pub(crate) async fn claims(&self) -> Vec<Claim> {
        let running = self.places().into_iter().filter(|place| self.peers[*place].runs());
        let asked = running.map(|place| async move {
            let answer =
                tokio::time::timeout(Duration::from_secs(1), self.ask(place, Method::GET, "peers", None))
                    .await;
            let peers = answer.ok()?.done()?;
            let name = &self.peers[place].name;
            let own = peers["items"].as_array()?.iter().find(|peer| peer["name"] == *name.as_str())?.clone();
            let claim = Claim { term: own["term"].as_u64()?, id: number(&own["id"])?, place };
            (own["role"] == "leader").then_some(claim)
        });
        let mut claims: Vec<Claim> = futures::future::join_all(asked).await.into_iter().flatten().collect();
        claims.sort();
        claims
    }

    /// A peer's number.
    pub(crate) async fn id(&self, place: usize) -> Option<u64> {
        let peers = self.ask_any(Method::GET, "peers", None).await?;
        let name = self.peers[place].name.as_str();
        number(&peers["items"].as_array()?.iter().find(|peer| peer["name"] == name)?["id"])
    }

    /// The place of the peer that leads.
    pub(crate) async fn leader(&self) -> usize {
        until("a leader", STARTING, async || self.claims().await.last().map(|claim| claim.place).ok_or(()))
            .await
    }

    /// Everybody in the order of places but this one.
    pub(crate) fn others(&self, place: usize) -> Vec<usize> {
        self.places().into_iter().filter(|other| *other != place).collect()
    }

    /// Starts every peer that does not run, heals every link, and waits until all are ready and have applied the same.
    /// Gives what is wrong where that does not come to be.
    pub(crate) async fn converge(&mut self, patience: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        self.net.heal_all();
        for peer in self.peers.iter_mut().filter(|peer| !peer.is_gone) {
            peer.resume();
            if !peer.runs() {
                peer.restart();
            }
        }
        for place in self.places() {
            self.ready(place, patience.saturating_sub(began.elapsed())).await?;
        }
        loop {
            let mut applied = BTreeSet::new();
            let mut said = Vec::new();
            for place in self.places() {
                let peers = self.ask(place, Method::GET, "peers", None).await.done().unwrap_or_default();
                let name = &self.peers[place].name;
                let items = peers["items"].as_array().cloned().unwrap_or_default();
                let own = items.iter().find(|peer| peer["name"] == *name.as_str());
                let mine = own.and_then(|own| own["applied"].as_u64()).unwrap_or(0);
                applied.insert(mine);
                said.push(format!("{name}: {mine}"));
            }
            // Time goes on being applied, so they are never asked at the same moment.
            let (least, most) = (applied.first().copied().unwrap_or(0), applied.last().copied().unwrap_or(0));
            if least > 0 && most - least < 60 {
                return Ok(began.elapsed());
            }
            if began.elapsed() > patience {
                return Err(format!(
                    "peers had not applied the same within {patience:?}: {}",
                    said.join(", ")
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Processes that ended though nobody ended them, and panics; each is told once.
    pub(crate) fn accidents(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for peer in self.peers.iter_mut().filter(|peer| !peer.is_gone) {
            if let Some(end) = peer.ended() {
                peer.is_down = true;
                found.push(format!("{} ended by itself: {end}\n{}", peer.name, peer.log_end(12)));
            }
        }
        found
    }
}

impl Peer {
    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}:7700", self.address)
    }

    fn peer_addr(&self) -> String {
        format!("{}:7701", self.address)
    }

    fn spawn(&mut self, more: &[&str]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "env"]);
        if let Some(control) = &self.control {
            let environment = control.environment(self.preload == Preload::Journal);
            command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        }
        let child = command
            .arg(binary())
            .arg("server")
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--api", &format!("{}:7700", self.address), "--peer", &self.peer_addr()])
            .args(["--name", &self.name])
            .args(more)
            .env("RSCALER_SERVER_LOG", "info")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
        self.is_down = false;
    }

    /// Starts it from what it has on disk.
    pub(crate) fn restart(&mut self) {
        if self.process.is_none() {
            self.spawn(&[]);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            let _ = kill_process(Pid::from_child(process), signal);
        }
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.is_down = true;
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            process.wait().unwrap();
        }
    }

    /// Stops it from running, until [`Peer::resume`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`Peer::pause`].
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end and waits for that; gives its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.is_down = true;
        self.signal(Signal::TERM);
        let mut process = self.process.take()?;
        let began = Instant::now();
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status.code();
            }
            if began.elapsed() > Duration::from_secs(60) {
                let _ = process.kill();
                let _ = process.wait();
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether there is a process, as far as we have done to it.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// How it ended, where it ended by itself.
    fn ended(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.try_wait().unwrap()?;
        self.process = None;
        Some(status.to_string())
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// Whether it has ended by itself; its end is then forgotten.
    pub(crate) fn has_ended(&mut self) -> bool {
        if let Some(end) = self.ended() {
            self.is_down = true;
            self.note(&format!("---- it ended: {end}"));
        }
        self.process.is_none()
    }

    /// Writes a line into its log.
    pub(crate) fn note(&self, line: &str) {
        if let Ok(mut log) = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()) {
            let _ = writeln!(log, "{line}");
        }
    }

    /// All of its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self, lines: usize) -> String {
        let text = self.log();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Lines of its log that tell of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains("panicked at")).map(str::to_string).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.resume();
        self.kill();
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A number that may be written as text.
pub(crate) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("RSCALER_BIN").map_or_else(|| env!("CARGO_BIN_EXE_rscaler").into(), PathBuf::from)
}

/// Asks `look` until it says `Ok`; panics with what it said last when the time is over.
pub(crate) async fn until<T, E: std::fmt::Debug>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let began = Instant::now();
    loop {
        let last = match look().await {
            Ok(seen) => return seen,
            Err(last) => last,
        };
        assert!(began.elapsed() < patience, "waited {patience:?} for {what}; last: {last:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
