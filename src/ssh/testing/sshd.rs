//! Real sshd servers for tests, each in a directory of its own, on addresses of the loopback network.
//!
//! Nothing of the system's own sshd is used or changed but its binary and the folder `/run/sshd`, which it insists on when
//! started as root. A server is stopped, with everything that runs below it, when its [`Sshd`] is dropped. This file needs nothing
//! of the package, so that tests outside of it can include it by its path.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Kinds of key, as `ssh-keygen -t` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// ed25519
    Ed25519,
    /// ECDSA on the P-256 curve
    Ecdsa,
    /// RSA with 2048 bits
    Rsa,
}

impl KeyKind {
    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// How a server is to be. Start from `Setup::default()`.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The kinds of its host keys.
    pub host_keys: Vec<KeyKind>,
    /// sshd's MaxSessions.
    pub max_sessions: u32,
    /// What `sh` is on it; the system's own where `None`.
    pub sh: Option<&'static str>,
    /// Where it listens, an address of this machine; one of its own on loopback where `None`.
    pub address: Option<String>,
    /// More lines for its configuration.
    pub config: Vec<String>,
    /// Wraps the server's start, such as `["unshare", "-m", ...]`; the server's command line follows.
    pub wrapper: Vec<String>,
    /// The login shell of a user of its own ([`with_own_user`]).
    pub login_shell: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            host_keys: vec![KeyKind::Ed25519],
            max_sessions: 10,
            sh: None,
            address: None,
            config: Vec::new(),
            wrapper: Vec::new(),
            login_shell: "/bin/sh",
        }
    }
}

/// A running sshd.
pub struct Sshd {
    dir: tempfile::TempDir,
    setup: Setup,
    child: Option<Child>,
    /// Its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    own_files: Option<tempfile::TempDir>,
}

impl Sshd {
    /// Starts a server and waits until it answers.
    pub fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Root's sshd wants everything on the way to be closed to others.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
            .expect("permissions of our own directory");
        let run = Path::new("/run/sshd");
        if rustix::process::geteuid().is_root() && !run.exists() {
            fs::create_dir(run).expect("/run/sshd can be created by root");
        }
        fs::write(dir.path().join("authorized_keys"), &client_key().1).expect("our own directory");
        let (host, port) = free_address(setup.address.clone());
        let mut this = Self { dir, setup, child: None, host, port, own_files: None };
        this.new_host_keys();
        this.restart();
        this
    }

    /// The server's directory, for files of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Changes the kinds of its host keys; they are made by [`Sshd::new_host_keys`].
    pub fn set_host_keys(&mut self, kinds: Vec<KeyKind>) {
        self.setup.host_keys = kinds;
    }

    /// Gives the server other host keys, from its next start on.
    pub fn new_host_keys(&mut self) {
        for kind in &self.setup.host_keys {
            let name = format!("host_{}", kind.name());
            let _ = fs::remove_file(self.dir.path().join(&name));
            generate_key(self.dir.path(), &name, *kind, "");
        }
    }

    /// Lets this key log in as well; answers the private key.
    pub fn add_client_key(&self, kind: KeyKind, passphrase: &str) -> String {
        let name = format!("extra_{}_{}", kind.name(), passphrase.len());
        let key = generate_key(self.dir.path(), &name, kind, passphrase);
        let public =
            fs::read_to_string(self.dir.path().join(format!("{name}.pub"))).expect("ssh-keygen wrote it");
        let path = self.dir.path().join("authorized_keys");
        let all = fs::read_to_string(&path).expect("written at the start") + &public;
        fs::write(path, all).expect("our own directory");
        key
    }

    /// The public host key of this kind, in OpenSSH's form without comment.
    pub fn host_key(&self, kind: KeyKind) -> String {
        let text = fs::read_to_string(self.dir.path().join(format!("host_{}.pub", kind.name())))
            .expect("a host key");
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// Stops the server with all its sessions and starts it again on the same address.
    pub fn restart(&mut self) {
        self.stop();
        self.listen();
    }

    /// Starts a server that was stopped or cut off again, on the same address.
    pub fn listen(&mut self) {
        let dir = self.dir.path().display().to_string();
        let mut config = vec![
            format!("ListenAddress {}", self.host),
            format!("Port {}", self.port),
            "PidFile none".into(),
            format!("AuthorizedKeysFile {dir}/authorized_keys"),
            "StrictModes no".into(),
            "UsePAM no".into(),
            "PermitRootLogin yes".into(),
            "PasswordAuthentication no".into(),
            "KbdInteractiveAuthentication no".into(),
            format!("MaxSessions {}", self.setup.max_sessions),
            "MaxStartups 200:30:400".into(),
            "UseDNS no".into(),
            "PrintMotd no".into(),
            "AllowTcpForwarding yes".into(),
            "LogLevel VERBOSE".into(),
        ];
        // The first of several lines counts.
        config.splice(0..0, self.setup.config.iter().cloned());
        config.extend(self.setup.host_keys.iter().map(|kind| format!("HostKey {dir}/host_{}", kind.name())));
        let mut path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned();
        if let Some(shell) = self.setup.sh {
            let bin = self.dir.path().join("bin");
            let _ = fs::create_dir(&bin);
            let _ = std::os::unix::fs::symlink(shell, bin.join("sh"));
            path = format!("{}:{path}", bin.display());
        }
        // With users of its own it has homes of its own.
        let home = if self.setup.wrapper.is_empty() { format!("HOME={dir}/home ") } else { String::new() };
        let _ = fs::create_dir(self.dir.path().join("home"));
        config.push(format!("SetEnv {home}PATH={path} RSCALER_HOST={dir} RSCALER_DIR={dir}"));
        let path = self.dir.path().join("sshd_config");
        fs::write(&path, config.join("\n") + "\n").expect("our own directory");
        let mut command = self.setup.wrapper.clone();
        command.extend(["/usr/sbin/sshd", "-D", "-f"].map(String::from));
        command.push(path.display().to_string());
        command.extend(["-E".to_owned(), format!("{dir}/log")]);
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssh-server is installed");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect((self.host.as_str(), self.port)).is_err() {
            assert!(Instant::now() < deadline, "sshd did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the server and kills its sessions, and with them everything they run.
    pub fn stop(&mut self) {
        let sessions = self.processes();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // What lost its session is not found below the server, but by the name that all of it has inherited.
        for pid in sessions.into_iter().chain(self.named_processes()) {
            send_signal(pid, "KILL");
        }
    }

    /// Ends the server and its connections, and nothing of what they had started: a node that can't be reached, but lives on.
    pub fn cut_off(&mut self) {
        // Stopped first: what it accepts meanwhile would live on. Killed last: its connections are found below it.
        if let Some(pid) = self.pid() {
            send_signal(pid, "STOP");
        }
        self.kill_connections();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        loop {
            let is_sshd = |pid: &u32| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                name.starts_with("sshd")
            };
            let left: Vec<u32> = self.named_processes().into_iter().filter(is_sshd).collect();
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(|pid| send_signal(pid, "KILL"));
        }
    }

    fn named_processes(&self) -> Vec<u32> {
        let name = format!("RSCALER_HOST={}", self.dir.path().display()).into_bytes();
        all_processes()
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|variable| variable == name)
            })
            .collect()
    }

    /// Kills the processes of open connections, as a crash of the node's sshd would; the server goes on listening, and what
    /// the sessions had started goes on running.
    pub fn kill_connections(&self) {
        for pid in self.connection_processes() {
            send_signal(pid, "KILL");
        }
    }

    /// Freezes server and open connections, as a host in trouble does, until [`Sshd::thaw`].
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Ends a [`Sshd::freeze`].
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, signal: &str) {
        for pid in self.connection_processes().into_iter().chain(self.pid()) {
            send_signal(pid, signal);
        }
    }

    /// The server's process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// sshd's own processes for open connections.
    pub fn connection_processes(&self) -> Vec<u32> {
        let Some(pid) = self.pid() else { return Vec::new() };
        descendants(pid)
            .into_iter()
            .filter(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                name.starts_with("sshd")
            })
            .collect()
    }

    /// Everything that runs below the server.
    pub fn processes(&self) -> Vec<u32> {
        self.pid().map(descendants).unwrap_or_default()
    }

    /// What sshd logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The private key that may log in there, as [`user_name`]: the same for all servers of a process.
    pub fn client_key(&self) -> &str {
        &client_key().0
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.thaw();
        self.stop();
        drop(self.own_files.take());
    }
}

/// A user that exists for one sshd and what runs below it.
pub struct OwnUser {
    /// The login name.
    pub name: String,
    /// Its home directory.
    pub home: PathBuf,
}

/// The password of an [`OwnUser`].
pub const OWN_PASSWORD: &str = "it's a $ecret";

/// Starts a server with a user of its own who may use sudo as `rule` says: it runs in a mount namespace that has other files in
/// place of `/etc/passwd`, `/etc/shadow` and `/etc/sudoers`. That takes root; `None` for others.
pub fn with_own_user(setup: Setup, rule: &str) -> Option<(Sshd, OwnUser)> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: it takes root");
        return None;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our own directory");
    let name = "rscaler-test".to_owned();
    let hash = Command::new("openssl")
        .args(["passwd", "-6", OWN_PASSWORD])
        .output()
        .expect("openssl is installed")
        .stdout;
    let hash = String::from_utf8_lossy(&hash).trim().to_owned();
    let home = dir.path().join("home");
    fs::create_dir(&home).expect("our own directory");
    std::os::unix::fs::chown(&home, Some(54321), Some(54321)).expect("we are root");
    let write = |file: &str, mode: u32, content: String| {
        let path = dir.path().join(file);
        fs::write(&path, content).expect("our own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
    };
    let passwd = fs::read_to_string("/etc/passwd").expect("every system has it");
    write(
        "passwd",
        0o644,
        format!("{passwd}{name}:x:54321:54321::{}:{}\n", home.display(), setup.login_shell),
    );
    let shadow = fs::read_to_string("/etc/shadow").expect("we are root");
    write("shadow", 0o600, format!("{shadow}{name}:{hash}:19000:0:99999:7:::\n"));
    write("sudoers", 0o440, format!("root ALL=(ALL:ALL) ALL\n{name} {rule}\n"));
    let mounts: String = ["passwd", "shadow", "sudoers"]
        .iter()
        .filter(|file| Path::new("/etc").join(file).exists())
        .map(|file| format!("mount --bind {}/{file} /etc/{file} && ", dir.path().display()))
        .collect();
    let wrapper =
        ["unshare", "-m", "--propagation", "private", "sh", "-c", &format!("{mounts}exec \"$@\""), "sh"];
    let setup = Setup { wrapper: wrapper.map(String::from).to_vec(), ..setup };
    let mut sshd = Sshd::start(setup);
    sshd.own_files = Some(dir);
    Some((sshd, OwnUser { name, home }))
}

/// Waits until `condition` holds; panics with `what` after `limit`.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process with this id exists and is not just waiting to be reaped.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Sends a signal to one process.
pub fn send_signal(pid: u32, signal: &str) {
    let _ = Command::new("kill").args(["-s", signal, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Who runs the tests.
pub fn user_name() -> String {
    let output = Command::new("id").arg("-un").output().expect("`id` is everywhere");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The key that every server takes, private and public.
fn client_key() -> &'static (String, String) {
    static KEY: OnceLock<(String, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let private = generate_key(dir.path(), "client", KeyKind::Ed25519, "");
        let public = fs::read_to_string(dir.path().join("client.pub")).expect("ssh-keygen wrote it");
        (private, public)
    })
}

fn generate_key(dir: &Path, name: &str, kind: KeyKind, passphrase: &str) -> String {
    let path: PathBuf = dir.join(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind.name(), "-N", passphrase, "-C", "", "-f"]).arg(&path);
    if kind == KeyKind::Rsa {
        command.args(["-b", "2048"]);
    }
    let status = command.stdin(Stdio::null()).status().expect("openssh-client is installed");
    assert!(status.success(), "ssh-keygen failed");
    fs::read_to_string(path).expect("ssh-keygen wrote it")
}

/// An address, of the loopback network unless one is given, with a port that is free now.
fn free_address(given: Option<String>) -> (String, u16) {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let own = || format!("127.0.0.{}", NEXT.fetch_add(1, Ordering::Relaxed).clamp(2, 250));
    let host = given.unwrap_or_else(own);
    let listener = TcpListener::bind((host.as_str(), 0)).expect("a free port at an address of ours");
    let port = listener.local_addr().expect("it is bound").port();
    (host, port)
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes that run `sleep SECONDS` for one of these tests, which tells its own by an odd number.
pub fn sleepers(seconds: &str) -> Vec<u32> {
    let line = format!("sleep\0{seconds}\0").into_bytes();
    all_processes()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line) && is_alive(*pid)
        })
        .collect()
}

/// A number of seconds for [`sleepers`] that nobody else uses.
pub fn odd_seconds() -> String {
    rand::random_range(100_000_000_u32..1_000_000_000).to_string()
}

fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next, mut seen) = (Vec::new(), vec![root], HashSet::new());
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(*child) {
                found.push(*child);
                next.push(*child);
            }
        }
    }
    found
}
