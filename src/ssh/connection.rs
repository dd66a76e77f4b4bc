//! One authenticated connection and the sessions on it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use russh::{ChannelOpenFailure, Disconnect, client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::channel::{Event, Place, Session, SessionCount};
use super::dial::{Client, Dialer};
use super::endpoint::Endpoint;
use super::error::Error;
use super::exec::{Spare, Tools};
use super::orphans::Orphans;
use super::quote;
use super::shell::{self, CheckLimits, CheckOutput};

/// How long the server may take to open a channel or to answer a request on one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command that ends another one may take.
const KILL_TIMEOUT: Duration = Duration::from_secs(8);

/// A kept connection to one node. Cheap to clone; all clones are the same connection.
#[derive(Clone)]
pub struct Connection {
    pub(super) inner: Arc<Inner>,
    _use: Arc<InUse>,
}

pub(super) struct Inner {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) dialer: Arc<Dialer>,
    handle: client::Handle<Client>,
    cut: CancellationToken,
    ended: Arc<Mutex<Option<String>>>,
    /// Keeps the jump host's connection.
    via: Option<Connection>,
    /// Sessions open at the server, by our count.
    pub(super) sessions: SessionCount,
    /// Places for commands.
    pub(super) commands: Arc<Semaphore>,
    pub(super) shells: shell::Shells,
    /// Shared by all connections to the node, one after the other.
    pub(super) orphans: Arc<Orphans>,
    retired: AtomicBool,
    uses: AtomicUsize,
    last_used: Mutex<Instant>,
    /// Whether old markers were swept on this connection already.
    pub(super) swept: AtomicBool,
    /// What the first command found out about the node.
    pub(super) tools: OnceLock<Tools>,
    pub(super) spare: Spare,
}

/// Counts the users of a connection, so that one in use is not closed as idle.
struct InUse(Arc<Inner>);

impl InUse {
    fn new(inner: &Arc<Inner>) -> Arc<Self> {
        inner.uses.fetch_add(1, Ordering::SeqCst);
        *inner.last_used.lock() = Instant::now();
        Arc::new(Self(inner.clone()))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.last_used.lock() = Instant::now();
        self.0.uses.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why no session was opened.
pub(super) enum OpenError {
    /// The server has no place for one more (MaxSessions).
    Full,
    Other(Error),
}

impl Connection {
    pub(super) fn from_inner(inner: &Arc<Inner>) -> Self {
        Self { inner: inner.clone(), _use: InUse::new(inner) }
    }

    /// `host:port` of the node.
    pub fn address(&self) -> String {
        self.inner.endpoint.address()
    }

    /// Whether it still stands, as far as we know.
    pub fn is_open(&self) -> bool {
        self.inner.is_usable()
    }

    /// Runs a counter's script in a shell that is kept open, at most `limit` long; see [`crate::ssh::shell`]. `limit` also bounds the
    /// wait for a free shell. A script that fails, hangs or floods is an `Ok` whose [`CheckOutput::end`] says so.
    ///
    /// # Errors
    /// [`Error::Timeout`] when no shell was free in time or none could be started, [`Error::ConnectionLost`] when the
    /// connection or the shell died under the check, [`Error::Invalid`] for a script that holds NUL or is too long.
    ///
    /// Cancel safe: dropped, the script and all it started are killed.
    pub async fn run_check(
        &self,
        script: &str,
        limit: Duration,
        limits: CheckLimits,
    ) -> Result<CheckOutput, Error> {
        shell::run(self, script, limit, limits).await
    }

    /// Closes the connection: whoever works on it gets [`Error::ConnectionLost`].
    pub fn close(&self) {
        self.inner.close();
    }

    /// Opens a TCP stream from the node to somewhere else.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn open_tcp(
        &self,
        host: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static + use<>, Error> {
        let channel =
            self.inner.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
        match channel {
            Ok(channel) => Ok(channel.into_stream()),
            Err(russh::Error::ChannelOpenFailure(reason)) => Err(Error::Unreachable {
                host: format!("{host}:{port}"),
                detail: format!("{} could not connect there: {}", self.address(), reason.description()),
            }),
            Err(error) => Err(Error::Unreachable {
                host: self.address(),
                detail: format!("the jump host's connection failed: {}", self.inner.why(&error.to_string())),
            }),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        dialer: Arc<Dialer>,
        dialled: super::dial::Dialled,
        via: Option<Connection>,
        orphans: Arc<Orphans>,
    ) -> Arc<Self> {
        let options = &dialer.options;
        Arc::new(Self {
            commands: Arc::new(Semaphore::new(options.commands_per_connection.max(1))),
            shells: shell::Shells::new(options.shells_per_connection.max(1)),
            orphans,
            endpoint,
            handle: dialled.handle,
            cut: dialled.cut,
            ended: dialled.ended,
            via,
            sessions: watch::Sender::new(0),
            retired: AtomicBool::new(false),
            uses: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
            swept: AtomicBool::new(false),
            tools: OnceLock::new(),
            spare: Spare::default(),
            dialer,
        })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::SeqCst) && !self.handle.is_closed()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.handle.is_closed()
    }

    /// How long nobody has used it; zero while somebody does.
    pub(super) fn idle_for(&self) -> Duration {
        if self.uses.load(Ordering::SeqCst) > 0 { Duration::ZERO } else { self.last_used.lock().elapsed() }
    }

    /// Says goodbye and then cuts the stream, which ends the session whatever state it is in.
    pub(super) fn close(self: &Arc<Self>) {
        if self.retired.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = self.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.cut.cancel();
            return;
        };
        runtime.spawn(async move {
            this.shells.close_all();
            this.spare.close();
            let goodbye = this.handle.disconnect(Disconnect::ByApplication, "", "");
            let _ = timeout(Duration::from_secs(1), goodbye).await;
            let _ = timeout(Duration::from_secs(1), async {
                while !this.handle.is_closed() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            this.cut.cancel();
        });
    }

    /// The reason why the connection ended, or else `other`.
    pub(super) fn why(&self, other: &str) -> String {
        self.ended.lock().clone().unwrap_or_else(|| other.to_owned())
    }

    pub(super) fn lost(&self) -> Error {
        Error::ConnectionLost { host: self.endpoint.address(), detail: self.why("it was closed") }
    }

    /// For what failed before anything was started.
    pub(super) fn unreachable(&self, detail: &str) -> Error {
        Error::Unreachable { host: self.endpoint.address(), detail: self.why(detail) }
    }

    pub(super) fn refused(&self, detail: impl Into<String>) -> Error {
        Error::Refused { host: self.endpoint.address(), detail: detail.into() }
    }

    pub(super) fn took_too_long(&self, what: &str, after: Duration) -> Error {
        Error::Timeout { host: self.endpoint.address(), what: what.into(), after }
    }

    /// Opens a session and asks the login shell to run `command`, without waiting for the answer to that. Cancel safe: the
    /// opening goes on in the background and what it opens is closed.
    pub(super) async fn open(self: &Arc<Self>, command: String) -> Result<Session, OpenError> {
        let (send, receive) = oneshot::channel();
        let this = self.clone();
        tokio::spawn(async move {
            let place = Place::take(&this);
            let result = match this.handle.channel_open_session().await {
                Ok(channel) => {
                    let session = Session::new(channel, place);
                    match session.writer().exec(true, command).await {
                        Ok(()) => Ok(session),
                        Err(_) => Err(OpenError::Other(this.unreachable("the connection was closed"))),
                    }
                }
                Err(russh::Error::ChannelOpenFailure(
                    ChannelOpenFailure::ConnectFailed | ChannelOpenFailure::ResourceShortage,
                )) => Err(OpenError::Full),
                Err(russh::Error::ChannelOpenFailure(reason)) => Err(OpenError::Other(
                    this.refused(format!("it opens no session: {}", reason.description())),
                )),
                Err(error) => Err(OpenError::Other(this.unreachable(&error.to_string()))),
            };
            let _ = send.send(result);
        });
        match timeout(ANSWER_TIMEOUT, receive).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(OpenError::Other(self.unreachable("the connection was closed"))),
            Err(_) => {
                // A server that does not answer this will not answer anything else.
                self.close();
                Err(OpenError::Other(
                    self.took_too_long("opening a session (nothing was started)", ANSWER_TIMEOUT),
                ))
            }
        }
    }

    /// Like [`Inner::open`], but waits for a place until `deadline` when the server has none.
    pub(super) async fn open_when_free(
        self: &Arc<Self>,
        command: &str,
        deadline: Instant,
    ) -> Result<Session, Error> {
        let started = Instant::now();
        let mut count = self.sessions.subscribe();
        loop {
            count.mark_unchanged();
            match self.open(command.to_owned()).await {
                Ok(session) => return Ok(session),
                Err(OpenError::Other(error)) => return Err(error),
                Err(OpenError::Full) => {}
            }
            // What waits for a command or a check can be started again at any time.
            if !self.spare.close() {
                self.shells.close_one_idle();
            }
            // The server may give a place free that we don't know of (a session whose process ended late): look now and then.
            let again = (Instant::now() + Duration::from_millis(250)).min(deadline);
            let _ = timeout_at(again, count.changed()).await;
            if Instant::now() >= deadline {
                return Err(self.refused(format!(
                    "no session became free within {:?} (its MaxSessions is too small for what runs there)",
                    started.elapsed()
                )));
            }
        }
    }

    /// A second connection to the same node, for when this one has no session left to end something with. Its user closes it.
    pub(super) async fn another(&self) -> Option<Arc<Self>> {
        match self.dialer.dial(&self.endpoint, self.via.as_ref()).await {
            Ok(dialled) => {
                let (endpoint, dialer) = (self.endpoint.clone(), self.dialer.clone());
                Some(Self::new(endpoint, dialer, dialled, self.via.clone(), self.orphans.clone()))
            }
            Err(error) => {
                debug!(host = %self.endpoint.address(), %error, "no connection to end a process with");
                None
            }
        }
    }

    /// Runs a short piece of shell of ours beside everything else, for ending what went wrong: on this connection or, when
    /// the server has no place left, on a new one. Answers whether it ran.
    pub(super) async fn run_aside(self: &Arc<Self>, script: &str) -> bool {
        let command = format!("exec sh -c {}", quote::word(script));
        let ran = timeout(KILL_TIMEOUT, async {
            match self.open(command.clone()).await {
                Ok(session) => return ended_well(session).await,
                Err(OpenError::Other(_)) => return false,
                Err(OpenError::Full) => {}
            }
            let Some(aside) = self.another().await else { return false };
            let ran = match aside.open(command).await {
                Ok(session) => ended_well(session).await,
                Err(_) => false,
            };
            aside.close();
            ran
        })
        .await;
        match ran {
            Ok(ran) => ran,
            Err(_) => {
                // The node does not react at all: whatever is kept open to it is worth nothing.
                self.close();
                false
            }
        }
    }
}

async fn ended_well(mut session: Session) -> bool {
    let mut ended = false;
    loop {
        match session.next().await {
            Event::Exit(_) => ended = true,
            Event::Closed | Event::Failure => return ended,
            _ => {}
        }
    }
}
