//! What handlers may reach: the control plane's handle, and what only the peer around it can do.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use rscaler_raft::handle::Handle;
use rscaler_raft::model::Timestamp;
use rscaler_raft::state::State;
use tokio::sync::{Semaphore, broadcast::error::RecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Limiter;
use crate::changes::Ring;
use crate::metrics::Metrics;
use crate::puts::Puts;

/// Bounds of the server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. Where there are more, the one that has been idle for longest is cut; while all are busy,
    /// further ones wait to be accepted.
    pub connections_max: usize,
    /// Of those, connections of one address (one /64 network). Where there are more, its own idle ones are cut; while all
    /// are busy, further ones are told so, and beyond a few of these closed at once.
    pub connections_per_address_max: usize,
    /// Answers without an end in sight at once: watchers, followers, backups.
    pub streams_max: usize,
    /// Bytes of bodies that have come and are not answered yet, of all requests together. What comes beyond is
    /// refused, to be sent again a moment later.
    pub bodies_bytes_max: usize,
    /// Bytes of an ordinary body.
    pub body_bytes_max: usize,
    /// Bytes of a body that may hold files: files, apply.
    pub document_bytes_max: usize,
    /// How long a TLS handshake or a request's head may take.
    pub head_timeout: Duration,
    /// How long a connection may have no request.
    pub idle_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long an answer may take to begin.
    pub request_timeout: Duration,
    /// How long a client may take nothing of an answer before it is dropped.
    pub stall_timeout: Duration,
    /// How long requests may go on after a shutdown began.
    pub grace: Duration,
    /// Requests a second of one token, in the long run.
    pub requests_per_second: u32,
    /// Requests of one token at once.
    pub requests_burst: u32,
    /// Requests a second of one address to what takes no token, in the long run.
    pub visits_per_second: u32,
    /// Failed authentications and logins a minute of one address.
    pub attempts_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 4096,
            connections_per_address_max: 1024,
            bodies_bytes_max: 128 << 20,
            streams_max: 256,
            body_bytes_max: 1 << 20,
            document_bytes_max: 16 << 20,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(40),
            stall_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            requests_per_second: 500,
            requests_burst: 1000,
            visits_per_second: 200,
            attempts_per_minute: 30,
        }
    }
}

/// A copy as it is read.
pub type CopyStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Makes consistent copies of the control plane.
#[async_trait::async_trait]
pub trait Backup: Send + Sync + 'static {
    /// Begins a copy of the state as it is now.
    ///
    /// # Errors
    /// Why there can be none now, in words for whoever asked.
    async fn begin(&self) -> Result<CopyStream, String>;
}

/// A join token as text, and what is replicated of it.
pub struct JoinTokenText {
    /// For the one who joins.
    pub text: String,
    /// SHA-256 of the token's secret.
    pub hash: [u8; 32],
}

/// Makes join tokens: only the peer knows its certificate authority.
pub trait JoinTokens: Send + Sync + 'static {
    /// The token that pins this control plane's authority and holds `secret`.
    fn token(&self, secret: [u8; 32]) -> JoinTokenText;
}

/// A part of the peer that may be unable to serve.
pub trait Readiness: Send + Sync + 'static {
    /// Its name: `disk`.
    fn layer(&self) -> &'static str;
    /// Why it cannot serve; absent where it can.
    fn problem(&self) -> Option<String>;
}

/// What only the peer around the API can do.
pub struct Hooks {
    /// For `GET /api/v1/backup`.
    pub backup: Arc<dyn Backup>,
    /// For `POST /api/v1/peers/join-tokens`.
    pub join_tokens: Arc<dyn JoinTokens>,
    /// For `/readyz`.
    pub readiness: Vec<Arc<dyn Readiness>>,
}

/// When readiness was last looked at, and which layers were not ready, with the reason of each.
type Readied = (Instant, Result<(), Vec<(String, String)>>);

/// What handlers may reach. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    hooks: Hooks,
    limits: Limits,
    limiter: Limiter,
    metrics: Metrics,
    ring: Arc<Ring>,
    puts: Arc<Puts>,
    streams: Arc<Semaphore>,
    hashing: Arc<Semaphore>,
    /// Room for bodies, in units of [`BODY_UNIT_BYTES`].
    bodies: Arc<Semaphore>,
    parsing: Semaphore,
    queries: Semaphore,
    /// The last answer of `/readyz`, so that probing costs no round trip each.
    ready: Mutex<Option<Readied>>,
    closing: CancellationToken,
}

/// Password hashes computed at once: each takes 19 MiB and a core for some 20 ms.
const HASHING_MAX: usize = 2;
/// Room for bodies is given out in pieces of so many bytes.
pub(crate) const BODY_UNIT_BYTES: usize = 1 << 10;
/// Bodies of many documents that are taken apart at once: each may take a core and some 100 MB for a second.
const PARSING_MAX: usize = 2;
/// Queries of samples at once: each may take a core and some 100 MB.
const QUERIES_MAX: usize = 4;
/// How long a write waits until this peer has applied it too.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

impl Context {
    /// Joins the parts.
    pub fn new(handle: Handle, hooks: Hooks, limits: Limits) -> Context {
        let ring = Arc::new(Ring::new(handle.applied()));
        Context {
            inner: Arc::new(Inner {
                handle,
                hooks,
                limiter: Limiter::new(&limits),
                metrics: Metrics::new(),
                ring,
                puts: Arc::default(),
                streams: Arc::new(Semaphore::new(limits.streams_max)),
                hashing: Arc::new(Semaphore::new(HASHING_MAX)),
                bodies: Arc::new(Semaphore::new(limits.bodies_bytes_max.div_ceil(BODY_UNIT_BYTES))),
                parsing: Semaphore::new(PARSING_MAX),
                queries: Semaphore::new(QUERIES_MAX),
                ready: Mutex::new(None),
                closing: CancellationToken::new(),
                limits,
            }),
        }
    }

    /// The control plane.
    pub fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// The metrics that `/metrics` shows; a peer adds its own.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.inner.hooks
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.inner.limiter
    }

    pub(crate) fn ring(&self) -> &Arc<Ring> {
        &self.inner.ring
    }

    pub(crate) fn puts(&self) -> &Arc<Puts> {
        &self.inner.puts
    }

    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.inner.streams
    }

    pub(crate) fn hashing(&self) -> &Arc<Semaphore> {
        &self.inner.hashing
    }

    pub(crate) fn bodies(&self) -> &Arc<Semaphore> {
        &self.inner.bodies
    }

    pub(crate) fn parsing(&self) -> &Semaphore {
        &self.inner.parsing
    }

    pub(crate) fn queries(&self) -> &Semaphore {
        &self.inner.queries
    }

    /// Ends what has no end in sight.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    pub(crate) fn ready_cache(&self) -> &Mutex<Option<Readied>> {
        &self.inner.ready
    }

    /// The wall clock: the replicated one, this machine's before the first tick.
    pub(crate) fn now(&self) -> Timestamp {
        let replicated = self.inner.handle.read(|state| state.clock().wall);
        if replicated.0 > 0 { replicated } else { Timestamp(jiff::Timestamp::now().as_millisecond()) }
    }

    /// Waits until `look` sees what it waits for in the state of this peer, which may lag behind the leader's.
    /// Gives what it saw last, at the latest after a few seconds.
    pub(crate) async fn wait_for<T>(&self, look: impl Fn(&State) -> Option<T>) -> Option<T> {
        let handle = &self.inner.handle;
        if let Some(seen) = handle.read(&look) {
            return Some(seen);
        }
        let mut committed = handle.subscribe();
        let deadline = Instant::now() + CATCH_UP_MAX;
        loop {
            if let Some(seen) = handle.read(&look) {
                return Some(seen);
            }
            match tokio::time::timeout_at(deadline, committed.recv()).await {
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) | Err(_) => return None,
            }
        }
    }
}
