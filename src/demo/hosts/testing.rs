//! A real SSH client and a fleet to point it at, for the tests of this module.

#![allow(clippy::unwrap_used)]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{self, AuthResult, Handle};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg};
use tempfile::TempDir;

use super::{Fleet, SimulatedHost, USER};

/// How long anything may take before a test gives up.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Hosts in a directory that goes with them, and the key that opens them.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) key: Arc<PrivateKey>,
    pub(super) fleet: Fleet,
}

impl World {
    pub(super) async fn start(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Arc::new(new_key());
        let fleet = start_fleet(&dir, names, key.public_key()).await;
        Self { dir, key, fleet }
    }

    pub(super) fn host(&self) -> &SimulatedHost {
        &self.fleet.hosts()[0]
    }

    /// A connection to the first host, logged in.
    pub(super) async fn client(&self) -> Handle<Client> {
        connect(self.host(), USER, &self.key).await.expect("the key is authorized")
    }
}

/// A simulated second lasts 10 ms, so that a test need not wait for a minute of load.
pub(super) async fn start_fleet(dir: &TempDir, names: &[&str], key: &PublicKey) -> Fleet {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    Fleet::start_ticking(dir.path(), &names, key, Duration::from_millis(10)).await.unwrap()
}

pub(super) fn new_key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()))
}

/// Trusts the one host key it expects.
pub(super) struct Client(PublicKey);

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(
            matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()),
        )
    }
}

/// A connection that is not logged in yet.
pub(super) async fn dial(host: &SimulatedHost) -> Handle<Client> {
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let dialled = client::connect(config, host.addr, Client(host.host_key.clone()));
    tokio::time::timeout(DEADLINE, dialled).await.unwrap().unwrap()
}

/// A connection, or `None` when the host refuses user or key.
pub(super) async fn connect(
    host: &SimulatedHost,
    user: &str,
    key: &Arc<PrivateKey>,
) -> Option<Handle<Client>> {
    let mut client = dial(host).await;
    let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
    match client.authenticate_publickey(user, key).await.unwrap() {
        AuthResult::Success => Some(client),
        AuthResult::Failure { .. } => None,
    }
}

/// What a command printed and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) code: Option<u32>,
    pub(super) signal: Option<String>,
}

impl Outcome {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

pub(super) async fn exec(client: &Handle<Client>, command: &str) -> Outcome {
    exec_with(client, command, Vec::new()).await
}

/// Runs a command and feeds it, reading and writing at the same time.
pub(super) async fn exec_with(client: &Handle<Client>, command: &str, stdin: Vec<u8>) -> Outcome {
    let channel = client.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    let (read, write) = channel.split();
    let fed = async {
        let _ = write.data_bytes(stdin).await;
        let _ = write.eof().await;
        std::future::pending().await
    };
    // The host may be done before it has taken everything.
    let both = async {
        tokio::select! { outcome = drain(read) => outcome, () = fed => unreachable!("it waits for ever") }
    };
    tokio::time::timeout(DEADLINE, both).await.expect("the command ends")
}

/// Reads a channel to its end.
pub(super) async fn drain(mut channel: russh::ChannelReadHalf) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => outcome.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => outcome.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => outcome.code = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => outcome.signal = Some(format!("{signal_name:?}")),
            _ => (),
        }
    }
    outcome
}

/// A command that goes on, to be talked with line by line.
pub(super) struct Dialogue {
    pub(super) channel: Channel<client::Msg>,
    unread: Vec<u8>,
}

impl Dialogue {
    pub(super) async fn start(client: &Handle<Client>, command: &str) -> Self {
        let channel = client.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        Self { channel, unread: Vec::new() }
    }

    pub(super) async fn say(&self, line: &str) {
        self.channel.data_bytes(format!("{line}\n")).await.unwrap();
    }

    /// The next line of its standard output; standard error is passed over.
    pub(super) async fn line(&mut self) -> String {
        let read = async {
            loop {
                if let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
                    let line: Vec<_> = self.unread.drain(..=end).collect();
                    return String::from_utf8(line[..end].to_vec()).unwrap();
                }
                match self.channel.wait().await {
                    Some(ChannelMsg::Data { data }) => self.unread.extend_from_slice(&data),
                    Some(_) => (),
                    None => panic!("the channel ended; unread: {:?}", String::from_utf8_lossy(&self.unread)),
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("a line comes")
    }

    /// The next line as the number of a process.
    pub(super) async fn pid(&mut self) -> u32 {
        self.line().await.parse().unwrap()
    }
}

/// Waits until `look` answers what `is_it` accepts, and says what it last answered when it never does.
pub(super) async fn wait_for<T: Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    is_it: impl Fn(&T) -> bool,
) -> T {
    let started = Instant::now();
    loop {
        let seen = look();
        if is_it(&seen) {
            return seen;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not come; last seen: {seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) async fn wait_for_end_of(pid: u32) {
    wait_for(&format!("the end of process {pid}"), || is_alive(pid), |alive| !alive).await;
}

/// Whether a process runs; one that ended and was not yet collected does not.
pub(super) fn is_alive(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    if rustix::process::test_kill_process(pid).is_err() {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}
