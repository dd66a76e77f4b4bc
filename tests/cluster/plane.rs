//! Control planes of real peer processes on loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::wait::until;

/// How long a peer may take to start or to catch up on a busy machine.
pub(crate) const STARTING: Duration = Duration::from_secs(60);

/// Peers that together are a control plane.
pub(crate) struct Plane {
    // Before the directory, which holds their logs.
    pub(crate) peers: Vec<Peer>,
    dir: tempfile::TempDir,
    pub(crate) token: String,
    /// What peers that are started are told by their environment.
    pub(crate) environment: Vec<(String, String)>,
    http: reqwest::Client,
}

/// One peer, as a process.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) api: String,
    peer_addr: String,
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Plane {
    /// Starts a control plane of `count` peers and waits until all vote.
    pub(crate) async fn start(count: usize) -> Plane {
        Plane::start_with(count, &[]).await
    }

    /// The same with more in the peers' environment.
    pub(crate) async fn start_with(count: usize, environment: &[(&str, &str)]) -> Plane {
        let dir = tempfile::tempdir().unwrap();
        let http = http();
        let environment =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut plane = Plane { dir, peers: Vec::new(), token: String::new(), environment, http };
        let mut first = plane.new_peer();
        first.spawn(&["--bootstrap"]);
        plane.peers.push(first);
        plane.ready(0).await;
        plane.token =
            std::fs::read_to_string(plane.peers[0].data.join("admin.token")).unwrap().trim().to_string();
        for _ in 1..count {
            plane.join().await;
        }
        plane.voters(count).await;
        plane
    }

    fn new_peer(&self) -> Peer {
        let name = format!("p{}", self.peers.len() + 1);
        let data = self.dir.path().join(&name);
        let environment = self.environment.clone();
        Peer { name, data, api: free_address(), peer_addr: free_address(), environment, process: None }
    }

    /// Starts one more peer with a fresh token and waits until it is ready; gives its place.
    pub(crate) async fn join(&mut self) -> usize {
        let token = self.cli_json(&["peers", "token"])["token"].as_str().unwrap().to_string();
        let place = self.join_with(&token);
        self.ready(place).await;
        place
    }

    /// Starts one more peer with a given token; gives its place.
    pub(crate) fn join_with(&mut self, token: &str) -> usize {
        let mut peer = self.new_peer();
        let through = self.peers.iter().find(|p| p.is_running()).unwrap().peer_addr.clone();
        peer.spawn(&["--join", &through, "--join-token", token]);
        self.peers.push(peer);
        self.peers.len() - 1
    }

    /// Starts a control plane of one peer, `p1`, whose data directory `fill` puts where it is told.
    #[allow(dead_code, reason = "only the tests of formats ask for it")]
    pub(crate) async fn of_directory(fill: impl FnOnce(&Path)) -> Plane {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        let http = http();
        let mut plane = Plane { dir, peers: Vec::new(), token: String::new(), environment: Vec::new(), http };
        let mut peer = plane.new_peer();
        plane.token = std::fs::read_to_string(peer.data.join("admin.token")).unwrap().trim().to_string();
        peer.spawn(&[]);
        plane.peers.push(peer);
        plane.ready(0).await;
        plane
    }

    /// Starts a control plane of one peer from a backup of another; its tokens are that one's.
    pub(crate) async fn restore(from: &Plane, file: &Path) -> Plane {
        let dir = tempfile::tempdir().unwrap();
        let mut plane = Plane {
            dir,
            peers: Vec::new(),
            token: from.token.clone(),
            environment: Vec::new(),
            http: from.http.clone(),
        };
        let mut peer = plane.new_peer();
        let keyring = from.peers[0].data.join("keyring");
        let restored = Command::new(binary())
            .arg("restore")
            .arg(file)
            .arg("--data-dir")
            .arg(&peer.data)
            .arg("--keyring")
            .arg(keyring)
            .args(["--api", &peer.api, "--peer", &peer.peer_addr, "--name", &peer.name])
            .output()
            .unwrap();
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        peer.spawn(&[]);
        plane.peers.push(peer);
        plane.ready(0).await;
        plane
    }

    /// Waits until a peer says that it is ready.
    pub(crate) async fn ready(&mut self, place: usize) {
        let url = format!("http://{}/readyz", self.peers[place].api);
        let http = self.http.clone();
        until("a peer to be ready", STARTING, || async {
            let answer = http.get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
        assert!(
            self.peers[place].is_still_running(),
            "{} ended: {}",
            self.peers[place].name,
            self.peers[place].log()
        );
    }

    /// Waits until `count` peers vote.
    pub(crate) async fn voters(&self, count: usize) {
        until("all peers to vote", STARTING, || async {
            let peers = self.get("peers").await.map_err(|(_, body)| body)?;
            let items = peers["items"].as_array().cloned().unwrap_or_default();
            let voting = items.iter().filter(|p| p["role"] == "leader" || p["role"] == "voter").count();
            if voting == count { Ok(()) } else { Err(peers) }
        })
        .await;
    }

    /// The place in `peers` of the one that leads, as the first running peer knows.
    pub(crate) async fn leader(&self) -> usize {
        until("a leader", STARTING, || async {
            let peers = self.get("peers").await.map_err(|(_, body)| body)?;
            let leader = peers["items"].as_array().and_then(|items| {
                items.iter().find(|p| p["role"] == "leader" && p["alive"] != json!(false)).cloned()
            });
            let name = leader.as_ref().and_then(|p| p["name"].as_str()).map(str::to_string);
            let place =
                name.and_then(|name| self.peers.iter().position(|p| p.name == name && p.is_running()));
            place.ok_or(peers)
        })
        .await
    }

    /// The id of a peer, by its place.
    pub(crate) async fn id(&self, place: usize) -> u64 {
        let peers = self.get("peers").await.unwrap();
        let name = &self.peers[place].name;
        let peer =
            peers["items"].as_array().unwrap().iter().find(|p| p["name"] == json!(name)).unwrap().clone();
        peer["id"].as_u64().or_else(|| peer["id"].as_str().and_then(|id| id.parse().ok())).unwrap()
    }

    /// GET on the first running peer.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, (u16, Value)> {
        self.send(Method::GET, path, None).await
    }

    /// POST on the first running peer.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value, (u16, Value)> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// A request to the first running peer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, (u16, Value)> {
        let place = self.peers.iter().position(Peer::is_running).expect("a peer runs");
        self.ask(place, method, path, body).await
    }

    /// A request to one peer; an answer that is no success comes with its status, 0 where there was none.
    pub(crate) async fn ask(
        &self,
        place: usize,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, (u16, Value)> {
        let url = format!("http://{}/api/v1/{path}", self.peers[place].api);
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|error| (0, json!(format!("{error:?}"))))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if status.is_success() { Ok(value) } else { Err((status.as_u16(), value)) }
    }

    /// Runs the CLI against the running peers.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_command(arguments).output().unwrap()
    }

    /// The CLI as a command, for those who want more of it.
    pub(crate) fn cli_command(&self, arguments: &[&str]) -> Command {
        let running: Vec<String> =
            self.peers.iter().filter(|p| p.is_running()).map(|p| format!("http://{}", p.api)).collect();
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env("RSCALER_API", running.join(","))
            .env("RSCALER_TOKEN", &self.token)
            .env("NO_COLOR", "1")
            .env("HOME", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the CLI, which must succeed, and gives its standard output.
    pub(crate) fn cli_ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(
            output.status.success(),
            "rscaler {arguments:?}: {:?}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the CLI with `-o json`.
    pub(crate) fn cli_json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let said = self.cli_ok(&all);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Applies documents given as YAML.
    pub(crate) fn apply(&self, yaml: &str) -> String {
        let file = self.dir.path().join("apply.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.cli_ok(&["apply", "-f", file.to_str().unwrap()])
    }

    /// A file beside the peers' directories.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn http() -> reqwest::Client {
    static CRYPTO: Once = Once::new();
    CRYPTO.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap()
}

impl Peer {
    fn spawn(&mut self, more: &[&str]) {
        std::fs::create_dir_all(&self.data).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(binary())
            .arg("server")
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--api", &self.api, "--peer", &self.peer_addr, "--name", &self.name])
            .args(more)
            .env("RSCALER_SERVER_LOG", std::env::var("RSCALER_SERVER_LOG").unwrap_or("info".to_string()))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    /// Starts the peer again from what it has on disk.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none());
        self.spawn(&[]);
    }

    /// Kills the process, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Asks the process to end, and gives its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take()?;
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        process.wait().unwrap().code()
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).unwrap();
    }

    /// The process, while it runs.
    #[allow(dead_code, reason = "the load programs ask for it")]
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Where other peers reach it.
    #[allow(dead_code, reason = "only tests of the ports ask for it")]
    pub(crate) fn peer_addr(&self) -> &str {
        &self.peer_addr
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The exit code, once the process has ended by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.process.as_mut().and_then(|process| process.try_wait().unwrap()).and_then(|status| status.code())
    }

    fn is_still_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// What the peer has logged so far; the end of it.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.name, self.log());
        }
    }
}

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rscaler"))
}

/// A loopback address that is free now, and stays so: below the ports that the system gives to others.
pub(crate) fn free_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let port = 10_000 + (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())) {
            return listener.local_addr().unwrap().to_string();
        }
    }
}
