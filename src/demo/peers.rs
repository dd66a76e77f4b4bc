//! The demo's peers: child processes of this program, started, noticed when they end, and stopped.
//!
//! Each has a process group of its own, so that Ctrl-C in the terminal reaches the demo alone, which then ends them
//! in order. Each ends by itself when its standard input does (`--exit-on-stdin-eof`), so that none is left behind
//! by a demo that was killed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::{join_all, pending, select_all};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout_at};

use super::directory::PeerRecord;

/// Where the search for free ports begins: below those that systems give to outgoing connections, so that a peer
/// finds its own again when it is restarted.
const PORT_FIRST: u16 = 7401;
/// Where it ends.
const PORT_LAST: u16 = 9400;
/// How much of the end of a peer's log is shown when it fails.
const LOG_BYTES_SHOWN: u64 = 8 << 10;
const LOG_LINES_SHOWN: usize = 15;
/// How long ports of a demo that was just killed may still be taken by its peers.
const PORTS_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one that was killed may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// With what a peer is started.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    /// As the first of a new control plane.
    Bootstrap,
    /// To join one.
    Join {
        /// A peer that is in it.
        at: SocketAddr,
        /// The right to do so.
        token: &'a str,
    },
    /// As what it was before.
    Again,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Where it is.
    pub(super) record: PeerRecord,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// What it printed.
    pub(super) log: PathBuf,
    /// Where in it begins what it printed since its last start, in bytes.
    pub(super) log_from: u64,
    /// How it ended, when it did.
    pub(super) ended: Option<ExitStatus>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    // Apart from the child, for waiting for the child closes what it holds itself.
    stdin: Option<ChildStdin>,
}

impl Peer {
    /// Its process, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Where clients reach it.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.record.api)
    }
}

/// All peers of a demo.
#[derive(Debug)]
pub(super) struct Peers {
    program: PathBuf,
    peers: Vec<Peer>,
}

impl Peers {
    /// Peers that are started later, with their data below `dir`.
    pub(super) fn new(program: &Path, dir: &Path, records: &[PeerRecord]) -> Peers {
        let peer = |record: &PeerRecord| Peer {
            data: dir.join(&record.name),
            log: dir.join(format!("{}.log", record.name)),
            log_from: 0,
            record: record.clone(),
            ended: None,
            running: None,
        };
        Peers { program: program.to_owned(), peers: records.iter().map(peer).collect() }
    }

    /// In the order of their names.
    pub(super) fn all(&self) -> &[Peer] {
        &self.peers
    }

    /// Starts one; whether it comes up, others must see.
    ///
    /// # Errors
    /// When it runs already, or the system refuses.
    pub(super) fn start(&mut self, index: usize, start: Start<'_>) -> anyhow::Result<u32> {
        let program = &self.program;
        let peer = self.peers.get_mut(index).context("there is no such peer")?;
        let name = &peer.record.name;
        if let Some(running) = &peer.running {
            bail!("{name} runs already (process {})", running.pid);
        }
        let log = File::options().create(true).append(true).open(&peer.log);
        let log = log.with_context(|| format!("could not write {}", peer.log.display()))?;
        peer.log_from = log.metadata().map_or(0, |data| data.len());
        let mut command = Command::new(program);
        // What the user set for the command line, or for a peer of their own, is not meant for these.
        for (key, _) in std::env::vars_os() {
            let key_bytes = key.as_encoded_bytes();
            if key_bytes.starts_with(b"RSCALER_") && !key_bytes.starts_with(b"RSCALER_SERVER_LOG") {
                command.env_remove(key);
            }
        }
        command.args(arguments(&peer.record, start)).arg("--data-dir").arg(&peer.data);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        command.process_group(0).kill_on_drop(true);
        let mut child =
            command.spawn().with_context(|| format!("could not start {name} as {}", program.display()))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        let stdin = child.stdin.take();
        peer.running = Some(Running { child, pid, stdin });
        peer.ended = None;
        Ok(pid)
    }

    /// The next peer that ends, and how; never when none runs. Cancel safe.
    pub(super) async fn next_end(&mut self) -> (usize, ExitStatus) {
        let waits: Vec<_> = self
            .peers
            .iter_mut()
            .enumerate()
            .filter_map(|(index, peer)| {
                let running = peer.running.as_mut()?;
                Some(Box::pin(async move { (index, running.child.wait().await) }))
            })
            .collect();
        if waits.is_empty() {
            return pending().await;
        }
        let ((index, status), _, _) = select_all(waits).await;
        // It can't be waited for only if somebody else did, which nobody does.
        let status = status.unwrap_or_else(|_| ExitStatus::from_raw(0));
        self.note_end(index, status);
        (index, status)
    }

    /// Whether a peer has ended, without waiting.
    pub(super) fn has_ended(&mut self, index: usize) -> Option<ExitStatus> {
        let status = self.peers.get_mut(index)?.running.as_mut()?.child.try_wait().ok()??;
        self.note_end(index, status);
        Some(status)
    }

    fn note_end(&mut self, index: usize, status: ExitStatus) {
        if let Some(peer) = self.peers.get_mut(index) {
            peer.running = None;
            peer.ended = Some(status);
        }
    }

    /// Asks all to end, and kills those that have not after `patience`, or once `hurry` is ready. Answers who was
    /// killed.
    pub(super) async fn stop(&mut self, patience: Duration, hurry: impl Future<Output = ()>) -> Vec<String> {
        let running = || self.peers.iter().filter_map(|peer| Some((peer, peer.running.as_ref()?)));
        for (_, running) in running() {
            signal(running.pid, Signal::TERM);
        }
        let deadline = Instant::now() + patience;
        tokio::select! {
            biased;
            () = self.wait_for_all(deadline) => {}
            () = hurry => {}
        }
        let mut killed = Vec::new();
        for peer in &mut self.peers {
            if let Some(running) = &mut peer.running {
                killed.push(peer.record.name.clone());
                // Closed too, for a process that can't be killed now (it hangs in the kernel) may read it later.
                running.stdin = None;
                let _ = running.child.start_kill();
            }
        }
        self.wait_for_all(Instant::now() + KILL_TIMEOUT).await;
        killed
    }

    async fn wait_for_all(&mut self, deadline: Instant) {
        join_all(self.peers.iter_mut().map(|peer| async move {
            if let Some(running) = &mut peer.running
                && let Ok(Ok(status)) = timeout_at(deadline, running.child.wait()).await
            {
                peer.ended = Some(status);
                peer.running = None;
            }
        }))
        .await;
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself. It was not collected, so its number is no other's.
        let _ = kill_process(pid, signal);
    }
}

fn arguments(record: &PeerRecord, start: Start<'_>) -> Vec<String> {
    let text = |arguments: &[&str]| arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    let mut arguments = text(&["server", "--exit-on-stdin-eof", "--name", &record.name]);
    arguments.extend(text(&["--api", &record.api.to_string(), "--peer", &record.peer.to_string()]));
    match start {
        Start::Bootstrap => arguments.extend(text(&["--bootstrap"])),
        Start::Join { at, token } => {
            arguments.extend(text(&["--join", &at.to_string(), "--join-token", token]));
        }
        Start::Again => {}
    }
    arguments
}

/// How a process ended, in words: "was killed by signal 9".
pub(super) fn how_it_ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "was killed (signal 9)".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(0)) => "ended".to_owned(),
        (None, Some(code)) => format!("failed with exit status {code}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// The end of a log, or what keeps it from being read; nothing of what is before the byte `from`.
pub(super) fn end_of_log(path: &Path, from: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_SHOWN).max(from)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_SHOWN).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) => return format!("its log {} could not be read: {error}", path.display()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return format!("it printed nothing to {}", path.display());
    }
    let shown: Vec<_> = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..]
        .iter()
        .map(|line| format!("  {}", super::screen::plain(line)))
        .collect();
    format!("the end of its log {}:\n{}", path.display(), shown.join("\n"))
}

/// Addresses on loopback for new peers, that nobody uses.
///
/// # Errors
/// When there are too few.
pub(super) fn choose_addresses(count: usize) -> anyhow::Result<Vec<PeerRecord>> {
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut free = (PORT_FIRST..=PORT_LAST).filter_map(|port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        let addr = listener.local_addr().ok()?;
        held.push(listener);
        Some(addr)
    });
    let mut next = || {
        let none = || format!("no port from {PORT_FIRST} to {PORT_LAST} is free on 127.0.0.1");
        free.next().with_context(none)
    };
    let apis = (0..count).map(|_| next()).collect::<anyhow::Result<Vec<_>>>()?;
    let peers = (0..count).map(|_| next()).collect::<anyhow::Result<Vec<_>>>()?;
    let record = |(index, (api, peer))| PeerRecord { name: format!("p{}", index + 1), api, peer };
    Ok(apis.into_iter().zip(peers).enumerate().map(record).collect())
}

/// Waits until addresses that were chosen before are free: the peers of a demo that was killed end a moment after
/// it.
///
/// # Errors
/// When somebody else has one.
pub(super) async fn wait_for_addresses(records: &[PeerRecord]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PORTS_TIMEOUT;
    for addr in records.iter().flat_map(|record| [record.api, record.peer]) {
        while let Err(error) = TcpListener::bind(addr) {
            if Instant::now() > deadline {
                return Err(error).with_context(|| {
                    format!("could not have {addr}, which a peer of this demo had before: end what uses it, or give another directory")
                });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// The first admin token, as the first peer wrote it down.
pub(super) fn read_token(data: &Path) -> anyhow::Result<String> {
    let path = data.join("admin.token");
    let token = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    Ok(token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Peers whose program is a script, which gets what a peer gets.
    fn peers(dir: &Path, script: &str) -> Peers {
        let program = dir.join("peer.sh");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let record = |number: u16| PeerRecord {
            name: format!("p{number}"),
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400 + number)),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 7500 + number)),
        };
        Peers::new(&program, dir, &[record(1), record(2)])
    }

    async fn wait_for_log(peers: &Peers, index: usize, says: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = fs::read_to_string(&peers.all()[index].log).unwrap_or_default();
            if log.contains(says) {
                return log;
            }
            assert!(Instant::now() < deadline, "the log does not say {says:?}: {log:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_peer_is_told_who_it_is_and_keeps_its_input() {
        let dir = tempfile::tempdir().unwrap();
        let mut peers = peers(dir.path(), "echo \"$@\"\nread -r line\necho its input ended");
        peers.start(0, Start::Bootstrap).unwrap();
        let at = "127.0.0.1:7501".parse().unwrap();
        peers.start(1, Start::Join { at, token: "secret" }).unwrap();
        let common = |n: usize| {
            format!("server --exit-on-stdin-eof --name p{n} --api 127.0.0.1:740{n} --peer 127.0.0.1:750{n} ")
        };
        let data = |n: usize| format!("--data-dir {}/p{n}\n", dir.path().display());
        assert_eq!(wait_for_log(&peers, 0, "\n").await, format!("{}--bootstrap {}", common(1), data(1)));
        assert_eq!(
            wait_for_log(&peers, 1, "\n").await,
            format!("{}--join 127.0.0.1:7501 --join-token secret {}", common(2), data(2))
        );
        let refused = peers.start(0, Start::Again).unwrap_err().to_string();
        assert!(refused.contains("p1 runs already"), "{refused}");

        // Waiting for an end must not close the input, by which a peer would end.
        let none = tokio::time::timeout(Duration::from_millis(200), peers.next_end()).await;
        assert!(none.is_err(), "{none:?}");

        // A demo that is killed closes it.
        peers.peers[0].running.as_mut().unwrap().stdin = None;
        wait_for_log(&peers, 0, "its input ended").await;
        let (index, status) = peers.next_end().await;
        assert_eq!((index, status.code()), (0, Some(0)));
        assert!(peers.stop(PATIENCE, pending()).await.is_empty());
    }

    #[tokio::test]
    async fn a_peer_that_fails_is_noticed_and_its_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let mut peers = peers(dir.path(), "echo the disk is full >&2\nexit 3");
        peers.start(1, Start::Again).unwrap();
        let (index, status) = peers.next_end().await;
        assert_eq!((index, how_it_ended(status).as_str()), (1, "failed with exit status 3"));
        let peer = &peers.all()[1];
        assert!(end_of_log(&peer.log, peer.log_from).ends_with(":\n  the disk is full"));
        assert_eq!(peers.all()[1].pid(), None);
        assert!(peers.start(1, Start::Again).is_ok(), "it can be started again");
        peers.next_end().await;
        let peer = &peers.all()[1];
        assert_eq!(end_of_log(&peer.log, peer.log_from).lines().count(), 2, "and has a log of its own");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_end_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut peers =
            peers(dir.path(), "trap '' TERM\necho ready\nwhile :; do read -r line; sleep 1; done");
        peers.start(0, Start::Again).unwrap();
        wait_for_log(&peers, 0, "ready").await;
        assert_eq!(peers.stop(PATIENCE, async {}).await, ["p1"]);
        assert_eq!(how_it_ended(peers.all()[0].ended.unwrap()), "was killed (signal 9)");
    }

    #[tokio::test]
    async fn a_peer_has_a_process_group_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut peers = peers(dir.path(), "echo ready\nread -r line");
        let pid = peers.start(0, Start::Again).unwrap();
        wait_for_log(&peers, 0, "ready").await;
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
        peers.stop(PATIENCE, pending()).await;
        assert_eq!(how_it_ended(peers.all()[0].ended.unwrap()), "was ended by signal 15");
    }

    #[test]
    fn addresses_are_distinct_and_free() {
        let records = choose_addresses(3).unwrap();
        let mut all: Vec<_> = records.iter().flat_map(|record| [record.api, record.peer]).collect();
        assert_eq!(records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["p1", "p2", "p3"]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|addr| addr.ip().is_loopback()));
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<_> = (0..5000).map(|n| format!("line {n}\n")).collect();
        fs::write(&path, lines.concat()).unwrap();
        let shown = end_of_log(&path, 0);
        assert_eq!(shown.lines().count(), 1 + LOG_LINES_SHOWN);
        assert!(shown.ends_with("line 4999"));
        assert!(end_of_log(&dir.path().join("none"), 0).contains("could not be read"));
    }
}
