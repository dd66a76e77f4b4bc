//! The hosts together: started, found, loaded and stopped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::keys;
use super::listener;
use super::model::Model;
use super::process;
use super::sandbox::Sandbox;
use super::server::Shared;

/// How often the figures of the hosts move on.
const TICK: Duration = Duration::from_secs(1);
/// The most hosts that one fleet has.
const HOSTS_MAX: usize = 256;
/// How long [`Fleet::stop`] waits for connections and sessions to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// One host of a running [`Fleet`]: where it is and how to know it.
#[derive(Debug, Clone)]
pub struct SimulatedHost {
    /// Its name, which is also the name of its directory.
    pub name: String,
    /// Where its SSH server listens, on loopback. The port is another one at every start.
    pub addr: SocketAddr,
    /// Its host key, ed25519, the same at every start in the same directory.
    pub host_key: PublicKey,
    /// The absolute path of its directory, in which its scripts start.
    pub home: PathBuf,
}

/// Why hosts could not be started, or a load not set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that can't be a host's.
    #[error(
        "\"{0}\" can't be a host's name: use a-z, 0-9, '.', '_' and '-', at most 63 characters, first a letter or digit"
    )]
    Name(String),
    /// A name that is there twice.
    #[error("there are two hosts named \"{0}\"")]
    Duplicate(String),
    /// More hosts than a fleet may have.
    #[error("{0} hosts are too many; a demo has at most {HOSTS_MAX}")]
    TooMany(usize),
    /// A load that is none.
    #[error("{0} is no load; use a number from 0.0 (idle) to 1.0 (all cores busy)")]
    Load(f64),
    /// No host of this name was ever started in the directory.
    #[error("there is no simulated host \"{0}\"")]
    NoHost(String),
    /// The host's directory could not be read or written.
    #[error("could not use {}", path.display())]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The host's key could not be read or made.
    #[error("could not use the host key {}", path.display())]
    HostKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: russh::keys::Error,
    },
    /// No port could be had.
    #[error("could not listen on loopback for host \"{name}\"")]
    Listen {
        /// The host.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Running simulated hosts. Dropping it ends them too, but nothing waits for that; [`Fleet::stop`] does.
#[derive(Debug)]
pub struct Fleet {
    dir: PathBuf,
    hosts: Vec<SimulatedHost>,
    cancel: CancellationToken,
    futures: TaskTracker,
}

impl Fleet {
    /// Starts a host for each of `names`, with its files below `dir`, which is made if need be. Whoever holds
    /// the private key of `authorized_key` may log in to all of them as [`super::USER`].
    ///
    /// A directory of an earlier fleet keeps its hosts' keys, files and loads; processes that an earlier fleet
    /// left behind in it because it was killed are ended (Linux only).
    ///
    /// # Errors
    /// [`Error`]; hosts that were started before the one that failed are ended.
    pub async fn start(dir: &Path, names: &[String], authorized_key: &PublicKey) -> Result<Self, Error> {
        Self::start_ticking(dir, names, authorized_key, TICK).await
    }

    /// [`Self::start`], with a second of the simulated hosts lasting `tick`.
    pub(super) async fn start_ticking(
        dir: &Path,
        names: &[String],
        authorized_key: &PublicKey,
        tick: Duration,
    ) -> Result<Self, Error> {
        check_names(names)?;
        let mut fleet = Fleet {
            dir: dir.to_owned(),
            hosts: Vec::with_capacity(names.len()),
            cancel: CancellationToken::new(),
            futures: TaskTracker::new(),
        };
        let mut models = Vec::with_capacity(names.len());
        for name in names {
            let sandbox = Sandbox::create(dir, name)?;
            process::end_leftovers(sandbox.home());
            let mut model = Model::new(name, sandbox.load_target());
            sandbox.write(&model.step(sandbox.load_target()))?;
            let host = fleet.start_host(name, &sandbox, authorized_key).await?;
            fleet.hosts.push(host);
            models.push((sandbox, model));
        }
        fleet.futures.spawn(fleet.cancel.clone().run_until_cancelled_owned(keep_moving(models, tick)));
        fleet.futures.close();
        Ok(fleet)
    }

    async fn start_host(
        &self,
        name: &str,
        sandbox: &Sandbox,
        authorized_key: &PublicKey,
    ) -> Result<SimulatedHost, Error> {
        let host_key = keys::load_or_make(&self.dir.join("host-keys").join(name))?;
        let public_key = host_key.public_key().clone();
        let listen = |source| Error::Listen { name: name.to_owned(), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let home = sandbox.home().to_owned();
        let shared = Shared::new(name, &home, authorized_key, self.cancel.clone(), self.futures.clone());
        self.futures.spawn(listener::serve(Arc::new(shared), listener, host_key));
        Ok(SimulatedHost { name: name.to_owned(), addr, host_key: public_key, home })
    }

    /// The hosts, in the order of the names given to [`Self::start`].
    pub fn hosts(&self) -> &[SimulatedHost] {
        &self.hosts
    }

    /// Sets the load per core that a host moves to, from 0.0 to 1.0.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::NoHost`], [`Error::Directory`].
    pub fn set_load(&self, name: &str, load: f64) -> Result<(), Error> {
        set_load(&self.dir, name, load)
    }

    /// Ends all sessions with their processes, then all connections, then the listeners, and waits for it, at
    /// most five seconds. Processes that left their session's group (`setsid`) are found by their environment
    /// and killed too (Linux only). The directory stays.
    pub async fn stop(self) {
        self.cancel.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, self.futures.wait()).await.is_err() {
            warn!(left = self.futures.len(), "simulated hosts did not end in time");
        }
        for host in &self.hosts {
            process::end_leftovers(&host.home);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Sets the load per core, from 0.0 to 1.0, of a host whose fleet runs in `dir`, be it in another process.
///
/// # Errors
/// [`Error::Load`], [`Error::NoHost`], [`Error::Directory`].
pub fn set_load(dir: &Path, name: &str, load: f64) -> Result<(), Error> {
    if !(0.0..=1.0).contains(&load) {
        return Err(Error::Load(load));
    }
    check_name(name)?;
    Sandbox::open(dir, name)?.set_load_target(load)
}

fn check_names(names: &[String]) -> Result<(), Error> {
    if names.len() > HOSTS_MAX {
        return Err(Error::TooMany(names.len()));
    }
    for (i, name) in names.iter().enumerate() {
        check_name(name)?;
        if names[..i].contains(name) {
            return Err(Error::Duplicate(name.clone()));
        }
    }
    Ok(())
}

/// The rule of the product's names, under which a name is also a harmless file name.
fn check_name(name: &str) -> Result<(), Error> {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let is_good = name.len() <= 63
        && name.bytes().all(is_inner)
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if is_good { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

/// Moves the figures on for ever, one simulated second per tick. After a pause of the machine it goes on
/// from where it stood.
async fn keep_moving(mut models: Vec<(Sandbox, Model)>, tick: Duration) {
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let step = tokio::task::spawn_blocking(move || {
            let result = models.iter_mut().try_for_each(|(sandbox, model)| {
                let target = sandbox.load_target();
                sandbox.write(&model.step(target))
            });
            (models, result)
        });
        let Ok((back, result)) = step.await else { return };
        models = back;
        match result {
            Err(error) if !failing => {
                failing = true;
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the figures of the simulated hosts stand still"
                );
            }
            Err(_) => (),
            Ok(()) => failing = false,
        }
    }
}
