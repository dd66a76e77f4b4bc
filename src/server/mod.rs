//! One peer as a process: build -> run -> drain.
//!
//! The only place where futures begin that live as long as the process. Each has a name; each ends when it is told to
//! ([`shutdown`]), and one that ends by itself ends the peer, for a peer without it would only look alive.

mod api;
mod durable;
pub mod leadership;
mod open_files;
pub mod peer;
mod services;
pub mod session;
pub mod shutdown;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rscaler_raft::handle::Handle;
use rscaler_raft::model::Capabilities;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::services::Services;
use self::session::Session;
use self::shutdown::Stops;
use crate::collectors::{self, Collectors};
use crate::executors::command::CommandExecutor;
use crate::executors::{self, Dispatcher, Executors, JmxExecutor, PauseExecutor};
use crate::inventory::{JvmAnswerer, JvmTargets, ReplicatedHostKeys, Targets};
use crate::jvm::{self, Jvms};
use crate::lease;
use crate::metrics::Metrics;
use crate::scheduler;
use crate::ssh::{self, Pool};

/// The replicated part of a peer: log, state, transport.
#[async_trait]
pub trait ControlPlane: Send + 'static {
    /// Waits until it can't go on, and says why: a disk that failed, a peer that was removed. Cancel safe.
    async fn failed(&mut self) -> String;
    /// Ends it in order, stores last; takes little more than `grace`.
    async fn shutdown(self: Box<Self>, grace: Duration);
}

/// The HTTP API.
#[async_trait]
pub trait Api: Send + 'static {
    /// Serves until `stop`, then finishes what it has begun, some seconds at most.
    ///
    /// # Errors
    /// Why it could not go on.
    async fn serve(self: Box<Self>, stop: CancellationToken) -> Result<(), String>;
}

/// What a peer is made of.
pub struct Parts {
    /// The door to the replicated part.
    pub handle: Handle,
    /// The replicated part.
    pub control_plane: Box<dyn ControlPlane>,
    /// The API, bound already.
    pub api: Box<dyn Api>,
    /// What is counted; the API shows it.
    pub metrics: Arc<Metrics>,
}

/// How a peer works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its API answers, for the other peers' clients.
    pub api_url: String,
    /// How often the session is renewed.
    pub renew_every: Duration,
    /// Tasks at once.
    pub tasks_max: u32,
    /// How long a planned stop may take.
    pub grace: Duration,
    /// Bounds of collection.
    pub collectors: collectors::Options,
    /// Bounds of connections.
    pub ssh: ssh::Options,
    /// Which Java speaks to JVMs.
    pub java: jvm::Options,
}

impl Options {
    /// The usual settings.
    pub fn new(api_url: impl Into<String>) -> Options {
        Options {
            api_url: api_url.into(),
            renew_every: Duration::from_millis(400),
            tasks_max: 64,
            grace: Duration::from_secs(30),
            collectors: collectors::Options::default(),
            ssh: ssh::Options::default(),
            java: jvm::Options::new(&jvm::JavaChoice::Any),
        }
    }
}

/// Why a peer stopped although nobody asked it to. The process ends with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Runs a peer until a signal asks it to stop, or until it can't go on.
///
/// # Errors
/// [`Failure`], after everything was ended as well as could be.
pub async fn run(parts: Parts, options: Options) -> Result<(), Failure> {
    let mut signals = shutdown::Signals::new().map_err(|error| Failure(format!("signals: {error}")))?;
    let first = signals.next();
    let peer = Running::start(parts, options);
    let (peer, ended) = peer.until(first).await;
    tokio::select! {
        biased;
        () = peer.end(ended.is_err()) => ended,
        signal = signals.next() => {
            error!(signal, "stopped at once, in the middle of an orderly stop");
            Err(Failure(format!("a second signal ({signal}) ended an orderly stop")))
        }
    }
}

/// A peer whose services run.
pub struct Running {
    handle: Handle,
    control_plane: Box<dyn ControlPlane>,
    pool: Pool,
    services: Services,
    stops: Stops,
    grace: Duration,
}

impl Running {
    /// Starts all services.
    pub fn start(parts: Parts, options: Options) -> Running {
        let Parts { handle, control_plane, api, metrics } = parts;
        let stops = Stops::default();
        let (keeper, lease) = lease::lease();
        let pool = Pool::new(options.ssh, Arc::new(ReplicatedHostKeys::new(handle.clone())));
        let targets = Arc::new(Targets::new(handle.clone()));
        let mut services = Services::default();

        let (java, java_loop) = jvm::java(options.java);
        let has_java = java.has_java();
        services.start_plain("java", java_loop.run());
        let jvms = Arc::new(Jvms::new(java, pool.clone()));
        let jvm_targets = Arc::new(JvmTargets::new(handle.clone(), Arc::clone(&targets)));
        handle.answer_with(JvmAnswerer::new(Arc::clone(&jvm_targets), Arc::clone(&jvms)));
        let kept = Arc::clone(&jvms);
        services.start_plain("jvms", async move { kept.run().await });

        services.start("api", api.serve(stops.requests.clone()));

        let capabilities = Capabilities {
            work: [Capabilities::SSH]
                .into_iter()
                .chain(has_java.then_some(Capabilities::JMX))
                .map(str::to_string)
                .collect(),
            tasks_max: options.tasks_max,
            version: env!("CARGO_PKG_VERSION").to_string(),
        };
        let session =
            session::Options { renew_every: options.renew_every, capabilities, api_url: options.api_url };
        let session = Session::new(handle.clone(), session, keeper);
        services.start_apart("session", session.run(stops.drain.clone(), stops.session.clone()));

        let leading = leadership::run(handle.clone(), scheduler::wall_clock, stops.leadership.clone());
        services.start_apart("leadership", leading);

        let collectors = Collectors::new(
            handle.clone(),
            lease.clone(),
            Arc::clone(&targets),
            pool.clone(),
            (Arc::clone(&jvm_targets), Arc::clone(&jvms)),
            options.collectors,
            Arc::clone(&metrics),
        );
        services.start_plain("collectors", collectors.run(stops.collection.clone()));

        let command = Arc::new(CommandExecutor::new(handle.clone(), targets, pool.clone()));
        let jmx = Arc::new(JmxExecutor::new(handle.clone(), jvm_targets, jvms));
        let bounds = executors::Options { tasks_max: options.tasks_max };
        let dispatcher = Dispatcher::new(
            handle.clone(),
            lease,
            Executors { command, pause: Arc::new(PauseExecutor), jmx },
            &bounds,
            Arc::clone(&metrics),
        );
        services.start_plain("executors", dispatcher.run(stops.drain.clone(), stops.attempts.clone()));

        let kept = pool.clone();
        services.start_plain("connections", async move { kept.maintain().await });

        info!("peer {} runs", handle.local());
        Running { handle, control_plane, pool, services, stops, grace: options.grace }
    }

    /// Waits until `asked` is ready (what asked is in its answer), or until the peer can't go on.
    pub async fn until(
        mut self,
        asked: impl Future<Output = &'static str>,
    ) -> (Running, Result<(), Failure>) {
        let ended = tokio::select! {
            biased;
            by = asked => {
                info!(by, "asked to stop");
                Ok(())
            }
            reason = self.control_plane.failed() => Err(Failure(reason)),
            reason = self.services.first_end() => Err(Failure(reason)),
        };
        if let Err(failure) = &ended {
            error!(reason = %failure, "this peer can't go on");
        }
        (self, ended)
    }
}

#[cfg(test)]
mod server_test;
