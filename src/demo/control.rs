//! How a running demo is spoken to from other terminals: one request and one answer a connection, each a line of
//! JSON, over a socket that only the user can reach ([`super::registry`]).

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::registry::Registry;

/// The longest request or answer.
const LINE_BYTES_MAX: u64 = 256 << 10;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests may wait.
const REQUESTS_MAX: usize = 16;

/// What can be asked of a running demo.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(super) enum Request {
    /// The load per core of a host is to move there.
    Load {
        /// The host.
        host: String,
        /// 0.0 to 1.0.
        level: f64,
    },
    /// A peer that ended is to be started again.
    Restart {
        /// Its name.
        peer: String,
    },
    /// How all parts are.
    Status,
}

/// What a running demo says to it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It was done.
    Done {
        /// What, in words.
        message: String,
    },
    /// It was not done.
    Failed {
        /// Why, in words.
        message: String,
    },
    /// How all parts are.
    Status(Status),
}

/// What a demo is made of, and how its parts are.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its directory.
    pub dir: PathBuf,
    /// Its process.
    pub pid: u32,
    /// The file with the admin token.
    pub token_file: PathBuf,
    /// Its peers, by name.
    pub peers: Vec<PeerStatus>,
    /// Its simulated hosts, by name.
    pub hosts: Vec<HostStatus>,
}

/// A peer of a demo.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its API, as a URL.
    pub api: String,
    /// Its process; `None` when it ended.
    pub pid: Option<u32>,
    /// How it ended, when it did.
    pub ended: Option<String>,
    /// Whether the others say that it leads.
    pub leads: bool,
    /// The file with what it printed.
    pub log: PathBuf,
    /// Where in it begins what it printed since its last start, in bytes.
    pub log_from: u64,
}

/// A simulated host of a demo.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name, also of its node.
    pub name: String,
    /// Where its SSH server listens.
    pub addr: SocketAddr,
    /// The one-minute load last seen.
    pub load1: Option<f64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "demo   process {} in {}", self.pid, self.dir.display())?;
        writeln!(f, "token  {}", self.token_file.display())?;
        for PeerStatus { name, api, pid, ended, leads, .. } in &self.peers {
            match (pid, ended) {
                (Some(pid), _) => write!(f, "peer   {name}  {api}  process {pid}")?,
                (None, Some(ended)) => write!(f, "peer   {name}  {api}  {ended}")?,
                (None, None) => write!(f, "peer   {name}  {api}  not started")?,
            }
            writeln!(f, "{}", if *leads { "  leads" } else { "" })?;
        }
        for HostStatus { name, addr, load1 } in &self.hosts {
            write!(f, "host   {name}  {addr}")?;
            match load1 {
                Some(load1) => writeln!(f, "  load1 {load1:.2}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// A request, and where its answer goes.
pub(super) struct Asked {
    /// What is asked.
    pub(super) request: Request,
    /// Where the answer goes.
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The demo's end. Dropping it ends it.
pub(super) struct Control {
    requests: mpsc::Receiver<Asked>,
    _listener: AbortOnDropHandle<()>,
}

impl Control {
    /// Listens.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub(super) fn listen(socket: &Path) -> anyhow::Result<Control> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("could not listen at {}", socket.display()))?;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let future = tokio::spawn(async move {
            loop {
                // Out of descriptors, most likely: others will be freed.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                // One after the other: requests are few and short. Who does not speak loses its turn.
                let _ = timeout(REQUEST_TIMEOUT + ANSWER_TIMEOUT, serve(stream, &sender)).await;
            }
        });
        Ok(Control { requests, _listener: AbortOnDropHandle::new(future) })
    }

    /// The next request. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        self.requests.recv().await
    }
}

async fn serve(mut stream: UnixStream, requests: &mpsc::Sender<Asked>) -> anyhow::Result<()> {
    let line = timeout(REQUEST_TIMEOUT, read_line(&mut stream)).await??;
    if line.is_empty() {
        // Somebody looked whether a demo runs.
        return Ok(());
    }
    let answer = match serde_json::from_slice(&line) {
        Err(error) => Answer::Failed { message: format!("the demo does not know this request: {error}") },
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            requests.send(Asked { request, answer }).await?;
            answered.await.unwrap_or_else(|_| Answer::Failed { message: "the demo is ending".into() })
        }
    };
    write_line(&mut stream, &answer).await
}

/// Asks the running demo; `dir` says which, where several run.
///
/// # Errors
/// When no demo runs, or several, or it does not answer.
pub(super) async fn ask(dir: Option<&Path>, request: &Request) -> anyhow::Result<Answer> {
    ask_in(&Registry::of_user(), dir, request).await
}

async fn ask_in(registry: &Registry, dir: Option<&Path>, request: &Request) -> anyhow::Result<Answer> {
    let socket = find(registry, dir)?;
    let asked = async {
        let mut stream = UnixStream::connect(&socket).await?;
        write_line(&mut stream, request).await?;
        let line = read_line(&mut stream).await?;
        Ok::<Answer, anyhow::Error>(serde_json::from_slice(&line)?)
    };
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .context("the demo did not answer in time")?
        .context("could not talk to the demo")
}

fn find(registry: &Registry, dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    let mut running = registry.running();
    if let Some(dir) = dir {
        let wanted = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        running.retain(|(entry, _)| entry.dir == wanted);
        return match running.pop() {
            Some((_, socket)) => Ok(socket),
            None => bail!("no demo of yours runs in {}", dir.display()),
        };
    }
    match running.as_slice() {
        [] => bail!("no demo of yours runs: start one with `rscaler demo`"),
        [(_, socket)] => Ok(socket.clone()),
        several => {
            let dirs: Vec<_> = several.iter().map(|(entry, _)| entry.dir.display().to_string()).collect();
            bail!("several demos run: say which with --dir, one of {}", dirs.join(", "))
        }
    }
}

async fn read_line(stream: &mut UnixStream) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line).await?;
    Ok(line)
}

async fn write_line<T: Serialize>(stream: &mut UnixStream, value: &T) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::demo::registry::{Entry, Listed};

    fn demo(registry: &Registry, pid: u32) -> (Listed, Control) {
        let entry = Entry { dir: format!("/demo/{pid}").into(), temporary: false, pid };
        let listed = registry.reserve(pid).unwrap();
        let control = Control::listen(listed.socket()).unwrap();
        listed.announce(&entry).unwrap();
        (listed, control)
    }

    async fn answer_once(control: &mut Control, message: &str) -> Request {
        let asked = control.next().await.unwrap();
        asked.answer.send(Answer::Done { message: message.into() }).unwrap();
        asked.request
    }

    #[tokio::test]
    async fn a_request_reaches_the_one_demo_and_its_answer_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path());
        let request = Request::Load { host: "web01".into(), level: 0.9 };
        let none = ask_in(&registry, None, &request).await.unwrap_err().to_string();
        assert!(none.contains("start one with `rscaler demo`"), "{none}");

        let (_listed, mut control) = demo(&registry, 1);
        let (answer, got) =
            tokio::join!(ask_in(&registry, None, &request), answer_once(&mut control, "web01: 0.9"));
        assert_eq!(got, request);
        assert_eq!(answer.unwrap(), Answer::Done { message: "web01: 0.9".into() });
    }

    #[tokio::test]
    async fn of_several_demos_the_directory_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path());
        let (_one, mut first) = demo(&registry, 1);
        let (_two, mut second) = demo(&registry, 2);
        let several = ask_in(&registry, None, &Request::Status).await.unwrap_err().to_string();
        assert!(several.contains("--dir") && several.contains("/demo/1, /demo/2"), "{several}");
        for (path, control) in [("/demo/1", &mut first), ("/demo/2", &mut second)] {
            let (answer, _) = tokio::join!(
                ask_in(&registry, Some(path.as_ref()), &Request::Status),
                answer_once(control, path)
            );
            assert_eq!(answer.unwrap(), Answer::Done { message: path.into() });
        }
        let wrong = ask_in(&registry, Some("/demo/3".as_ref()), &Request::Status).await.unwrap_err();
        assert!(wrong.to_string().contains("no demo of yours runs in /demo/3"), "{wrong}");
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_costs_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path());
        let (listed, mut control) = demo(&registry, 1);
        let mut stream = UnixStream::connect(listed.socket()).await.unwrap();
        stream.write_all(b"{\"request\":\"dance\"}\n").await.unwrap();
        let answer: Answer = serde_json::from_slice(&read_line(&mut stream).await.unwrap()).unwrap();
        assert!(matches!(answer, Answer::Failed { message } if message.contains("dance")));
        let (answer, _) =
            tokio::join!(ask_in(&registry, None, &Request::Status), answer_once(&mut control, "well"));
        assert_eq!(answer.unwrap(), Answer::Done { message: "well".into() });
    }

    #[test]
    fn a_status_is_shown_in_words() {
        let peer = |name: &str, pid, ended: Option<&str>, leads| PeerStatus {
            name: name.into(),
            api: "http://127.0.0.1:7401".into(),
            pid,
            ended: ended.map(str::to_owned),
            leads,
            log: "/d/peers/p1.log".into(),
            log_from: 0,
        };
        let status = Status {
            dir: "/d".into(),
            pid: 5,
            token_file: "/d/admin.token".into(),
            peers: vec![
                peer("p1", None, Some("was killed by signal 9"), false),
                peer("p2", Some(7), None, true),
            ],
            hosts: vec![HostStatus {
                name: "web01".into(),
                addr: "127.0.0.1:4022".parse().unwrap(),
                load1: Some(3.456),
            }],
        };
        let expected = "demo   process 5 in /d\ntoken  /d/admin.token\n\
            peer   p1  http://127.0.0.1:7401  was killed by signal 9\n\
            peer   p2  http://127.0.0.1:7401  process 7  leads\n\
            host   web01  127.0.0.1:4022  load1 3.46\n";
        assert_eq!(status.to_string(), expected);
        let json = serde_json::to_vec(&Answer::Status(status.clone())).unwrap();
        assert_eq!(serde_json::from_slice::<Answer>(&json).unwrap(), Answer::Status(status));
    }
}
