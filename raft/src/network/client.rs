//! Connections to other peers: dialled when needed, shared by all requests, given up when they stand still.
//!
//! There are three to each peer, one per [`Lane`], so that no heartbeat ever waits behind a batch of entries or a
//! snapshot. A request has a deadline; its answer comes in any order. What was not sent is told from what may
//! have happened ([`CallError::is_unsent`]).

mod connection;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rand::Rng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::connection::Connection;
use super::certificate::PeerCertificate;
use super::frame::{self, Bounds, Frame, Kind};
use super::message::{self, FEATURE_LEVEL, Failure, FailureCode, Hello, PROTOCOLS, Request, Welcome};
use super::tls::Tls;
use crate::codec;
use crate::model::PeerId;

const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
const HANDSHAKE_BYTES_MAX: usize = 4 << 10;

/// One of the connections to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Heartbeats, votes, questions, small proposals: never more than a moment's work.
    Control,
    /// Entries of the log, in their order.
    Log,
    /// Snapshots and large proposals.
    Bulk,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer can't be reached: the request was not sent.
    #[error("{0}")]
    Unreachable(Arc<str>),
    /// The connection broke: the request may have been served.
    #[error("the connection broke before the answer came: {0}")]
    Lost(Arc<str>),
    /// No answer in time: the request may have been served, or may be yet.
    #[error("no answer in time")]
    TimedOut,
    /// The peer says why not.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// Request or answer does not fit the format.
    #[error(transparent)]
    Format(#[from] codec::Error),
}

impl CallError {
    /// Whether it is certain that the request was not served.
    pub fn is_unsent(&self) -> bool {
        match self {
            CallError::Unreachable(_) => true,
            CallError::Failed(failure) => failure.code != FailureCode::Unknown,
            CallError::Lost(_) | CallError::TimedOut | CallError::Format(_) => false,
        }
    }
}

/// How a connection to another peer is made, on which both sides know who the other is.
pub trait Wire: Send + Sync + 'static {
    /// Connects to `target` at `addr`.
    ///
    /// # Errors
    /// Why not, in words.
    fn connect<'a>(
        &'a self,
        target: PeerId,
        lane: Lane,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Connected, String>>;
}

/// A connection that was made.
pub struct Connected {
    /// Takes requests and gives their answers.
    pub stream: Box<dyn Stream>,
    /// Becomes ready when the other peer may no longer be spoken to.
    pub refused: BoxFuture<'static, ()>,
}

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What all links of a peer share.
pub struct Dialer {
    wire: Arc<dyn Wire>,
    runtime: Handle,
    stop: CancellationToken,
    removed: watch::Receiver<Option<String>>,
}

/// TCP with TLS, as the peer that `tls` is of.
struct TlsWire {
    tls: Arc<Tls>,
    boot: u128,
    removed: watch::Sender<Option<String>>,
}

impl Dialer {
    /// Dials as the peer that `tls` is of. Connections live on `runtime` until `stop`.
    pub fn new(tls: Arc<Tls>, boot: u128, runtime: Handle, stop: CancellationToken) -> Arc<Dialer> {
        let (removed, told) = watch::channel(None);
        let wire = Arc::new(TlsWire { tls, boot, removed });
        Arc::new(Dialer { wire, runtime, stop, removed: told })
    }

    /// Connects by any wire.
    pub fn over(wire: Arc<dyn Wire>, runtime: Handle, stop: CancellationToken) -> Arc<Dialer> {
        Arc::new(Dialer { wire, runtime, stop, removed: watch::channel(None).1 })
    }

    /// The reason, once another peer has said that this one was removed from the control plane.
    pub fn removed(&self) -> watch::Receiver<Option<String>> {
        self.removed.clone()
    }
}

/// The connection to one peer in one lane. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Arc<Dialer>,
    target: PeerId,
    lane: Lane,
    addr: RwLock<Arc<str>>,
    state: watch::Sender<State>,
    failures: Mutex<u32>,
}

#[derive(Clone)]
enum State {
    Idle,
    Dialling,
    Up(Arc<Connection>),
    Down { reason: Arc<str>, until: Instant },
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let State::Up(connection) = &*self.state.borrow() {
            connection.close("no longer needed");
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Link({:?} to peer {} at {})",
            self.shared.lane,
            self.shared.target,
            self.shared.addr.read()
        )
    }
}

impl Link {
    /// A link that dials when first used.
    pub fn new(dialer: Arc<Dialer>, target: PeerId, addr: &str, lane: Lane) -> Link {
        Link {
            shared: Arc::new(Shared {
                dialer,
                target,
                lane,
                addr: RwLock::new(addr.into()),
                state: watch::Sender::new(State::Idle),
                failures: Mutex::new(0),
            }),
        }
    }

    /// Where the next connection goes.
    pub fn set_addr(&self, addr: &str) {
        let mut now = self.shared.addr.write();
        if **now != *addr {
            *now = addr.into();
        }
    }

    /// Where the next connection goes.
    pub fn addr(&self) -> Arc<str> {
        Arc::clone(&self.shared.addr.read())
    }

    /// Whether there is a connection now.
    pub fn is_up(&self) -> bool {
        matches!(&*self.shared.state.borrow(), State::Up(connection) if !connection.is_closed())
    }

    /// Asks, and waits for the answer. Cancel safe: an answer that nobody waits for is dropped.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<R: Request>(
        &self,
        group: u32,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Answer, CallError> {
        self.start(group, request, deadline).await?.answer(deadline).await
    }

    /// Puts a request into the connection's queue, behind the ones before it; its answer may come later.
    ///
    /// # Errors
    /// [`CallError::Unreachable`] where there is no connection, or no place in its queue, by the deadline.
    pub async fn start<R: Request>(
        &self,
        group: u32,
        request: &R,
        deadline: Instant,
    ) -> Result<Pending<R>, CallError> {
        let body = message::encode(R::SCHEMA, request)?;
        let connection = self.connection(deadline).await?;
        let (req, answer) = connection.send(R::KIND, group, body, deadline).await?;
        Ok(Pending { answer, connection, req, request: PhantomData })
    }

    /// Makes sure that there is a connection.
    ///
    /// # Errors
    /// [`CallError::Unreachable`].
    pub async fn connect(&self, deadline: Instant) -> Result<(), CallError> {
        self.connection(deadline).await.map(|_| ())
    }

    async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, CallError> {
        let mut watch = self.shared.state.subscribe();
        loop {
            let state = watch.borrow_and_update().clone();
            match state {
                State::Up(connection) if !connection.is_closed() => return Ok(connection),
                State::Down { reason, until } if until > Instant::now() => {
                    return Err(CallError::Unreachable(reason));
                }
                State::Dialling => match tokio::time::timeout_at(deadline, watch.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(CallError::Unreachable("stopped".into())),
                    Err(_) => {
                        let addr = self.addr();
                        let reason = format!("peer {} at {addr} does not answer", self.shared.target);
                        return Err(CallError::Unreachable(reason.into()));
                    }
                },
                State::Idle | State::Up(_) | State::Down { .. } => self.dial(),
            }
        }
    }

    /// Begins to dial, unless somebody does already.
    fn dial(&self) {
        let begun = self.shared.state.send_if_modified(|state| match state {
            State::Dialling => false,
            State::Up(connection) if !connection.is_closed() => false,
            _ => {
                *state = State::Dialling;
                true
            }
        });
        if !begun {
            return;
        }
        // Weak, so that a link that nobody holds any more ends with its connection.
        let link = Arc::downgrade(&self.shared);
        let (dialer, target, lane, addr) =
            (Arc::clone(&self.shared.dialer), self.shared.target, self.shared.lane, self.addr());
        self.shared.dialer.runtime.spawn(async move {
            let dialled = tokio::select! {
                biased;
                () = dialer.stop.cancelled() => Err("this peer is stopping".to_string()),
                dialled = tokio::time::timeout(DIAL_TIMEOUT, dialer.wire.connect(target, lane, &addr)) => match dialled {
                    Ok(Ok(connected)) => Ok(Connection::run(&dialer, target, lane, connected)),
                    Ok(Err(reason)) => Err(reason),
                    Err(_) => Err(format!("peer {target} at {addr} did not answer within {DIAL_TIMEOUT:?}")),
                },
            };
            let Some(shared) = link.upgrade() else {
                if let Ok(connection) = dialled {
                    connection.close("no longer needed");
                }
                return;
            };
            let state = match dialled {
                Ok(connection) => {
                    *shared.failures.lock() = 0;
                    debug!(peer = %target, ?lane, %addr, "connected");
                    State::Up(connection)
                }
                Err(reason) => {
                    let failures = {
                        let mut failures = shared.failures.lock();
                        *failures = failures.saturating_add(1);
                        *failures
                    };
                    if failures == 1 {
                        info!(peer = %target, ?lane, %addr, reason, "peer is not reachable");
                    }
                    State::Down { reason: reason.into(), until: Instant::now() + backoff(failures) }
                }
            };
            shared.state.send_replace(state);
        });
    }
}

/// Doubles with each failure in a row, and is spread so that peers don't dial in step.
fn backoff(failures: u32) -> Duration {
    let longest = BACKOFF_MIN.saturating_mul(1 << failures.min(10)).min(BACKOFF_MAX);
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

impl Wire for TlsWire {
    fn connect<'a>(
        &'a self,
        target: PeerId,
        _: Lane,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Connected, String>> {
        self.dial(target, addr).boxed()
    }
}

impl TlsWire {
    async fn dial(&self, target: PeerId, addr: &str) -> Result<Connected, String> {
        let describe =
            |what: &str, error: &dyn fmt::Display| format!("peer {target} at {addr}: {what}: {error}");
        let tcp = TcpStream::connect(addr).await.map_err(|e| describe("no connection", &e))?;
        tcp.set_nodelay(true).map_err(|e| describe("no connection", &e))?;
        let mut stream = TlsConnector::from(self.tls.client())
            .connect(self.tls.name_of(target), tcp)
            .await
            .map_err(|e| describe("no secure connection", &e))?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|certificate| PeerCertificate::read(certificate).ok())
            .ok_or_else(|| format!("peer {target} at {addr} shows no certificate"))?;

        let hello = Hello {
            protocols: PROTOCOLS,
            control_plane: self.tls.control_plane(),
            peer: self.tls.peer(),
            boot: self.boot,
            feature_level: FEATURE_LEVEL,
        };
        match greet(&mut stream, &hello).await {
            Ok(welcome) if welcome.peer == target => {}
            Ok(welcome) => return Err(format!("peer {} answers at {addr}, not peer {target}", welcome.peer)),
            Err(error) => {
                if error.says_removed() {
                    self.removed.send_replace(Some(format!("peer {target} says that this peer was removed")));
                }
                return Err(describe("refused", &error));
            }
        }
        let tls = Arc::clone(&self.tls);
        let refused = async move { tls.refused().refused(&certificate).await }.boxed();
        Ok(Connected { stream: Box::new(stream), refused })
    }
}

#[derive(Debug, thiserror::Error)]
enum GreetError {
    #[error("{0}")]
    Frame(#[from] frame::Error),
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Format(#[from] codec::Error),
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl GreetError {
    /// A removed peer's certificate is refused by TLS, or its greeting by the other peer.
    fn says_removed(&self) -> bool {
        match self {
            GreetError::Failed(failure) => failure.code == FailureCode::Removed,
            GreetError::Frame(frame::Error::Io(error)) => {
                error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some_and(|error| {
                    matches!(
                        error,
                        rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked)
                    )
                })
            }
            _ => false,
        }
    }
}

async fn greet(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    hello: &Hello,
) -> Result<Welcome, GreetError> {
    exchange(stream, hello, HANDSHAKE_BYTES_MAX, DIAL_TIMEOUT).await
}

/// One request and its answer on a connection that has no others.
pub(super) async fn exchange<R: Request, E>(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    request: &R,
    bytes_max: usize,
    patience: Duration,
) -> Result<R::Answer, E>
where
    E: From<frame::Error> + From<codec::Error> + From<Failure> + From<Closed>,
{
    use tokio::io::AsyncWriteExt;
    let body = message::encode(R::SCHEMA, request)?;
    frame::write(stream, &Frame::request(0, R::KIND, frame::GROUP, body)).await?;
    stream.flush().await.map_err(frame::Error::from)?;
    let bounds = Bounds { bytes_max, idle_max: patience, stall_max: patience };
    let answer = frame::read(stream, bounds).await?.ok_or(Closed)?;
    Ok(read_answer::<R>(answer.kind, &answer.body)??)
}

/// The other side ended the connection instead of answering.
pub(super) struct Closed;

impl From<Closed> for GreetError {
    fn from(_: Closed) -> Self {
        GreetError::Closed
    }
}

/// Reads the body of an answer to `R`: its answer, or why there is none.
fn read_answer<R: Request>(
    kind: Result<Kind, u16>,
    body: &[u8],
) -> Result<Result<R::Answer, Failure>, codec::Error> {
    match kind {
        Ok(kind) if kind == R::KIND => Ok(Ok(message::decode(R::SCHEMA, body)?)),
        Ok(Kind::Failure) => Ok(Err(message::decode(1, body)?)),
        _ => Err(codec::Error::Corrupt {
            what: format!("the answer to {:?}", R::KIND),
            detail: format!("it is of kind {kind:?}"),
        }),
    }
}

/// A request that was queued; [`Pending::answer`] waits for what comes back.
pub struct Pending<R> {
    answer: oneshot::Receiver<Result<Frame, Arc<str>>>,
    connection: Arc<Connection>,
    req: u64,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Pending<R> {
    /// Waits for the answer. Cancel safe.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn answer(&mut self, deadline: Instant) -> Result<R::Answer, CallError> {
        match tokio::time::timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(Ok(frame))) => Ok(read_answer::<R>(frame.kind, &frame.body)??),
            Ok(Ok(Err(reason))) => Err(CallError::Lost(reason)),
            Ok(Err(_)) => Err(CallError::Lost("stopped".into())),
            Err(_) => Err(CallError::TimedOut),
        }
    }
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        self.connection.forget(self.req);
    }
}
