//! The peer port: who may connect, what they may ask, and how much at once.
//!
//! A connection without certificate of this control plane can ask to join, and nothing else; few of those live at
//! a time, and not for long. A peer's connection must greet first. Its requests are handed to a [`Service`];
//! entries of the log in their order, all others at once. What is under way per connection is bounded: beyond,
//! requests are refused as busy, but reading goes on, so that heartbeats come through.

mod requests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use self::requests::failure;
pub use self::requests::{Incoming, Service, serve};
use super::certificate::PeerCertificate;
use super::frame::{self, Bounds, Frame, GROUP, Kind};
use super::message::{self, FEATURE_LEVEL, Failure, FailureCode, Hello, Join, Request, Welcome};
use super::tls::{self, Tls};
use crate::model::PeerId;

/// Bounds of the peer port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time, of everybody.
    pub connections_max: usize,
    /// Of those, connections that have not shown who they are, and joins. One more ends the oldest, so that
    /// connections which say nothing don't keep peers out.
    pub strangers_max: usize,
    /// Connections of one peer.
    pub per_peer_max: usize,
    /// How long somebody may take to show who they are.
    pub handshake_max: Duration,
    /// How long a join may take, with the entries it commits.
    pub join_max: Duration,
    /// How long a connection may be silent.
    pub idle_max: Duration,
    /// How long a started frame may stand still, in either direction.
    pub stall_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 512,
            strangers_max: 32,
            per_peer_max: 12,
            handshake_max: Duration::from_secs(5),
            join_max: Duration::from_secs(30),
            idle_max: Duration::from_secs(120),
            stall_max: Duration::from_secs(10),
        }
    }
}

const HELLO_BYTES_MAX: usize = 4 << 10;
const JOIN_BYTES_MAX: usize = 64 << 10;

/// The peer port.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Arc<Tls>,
    boot: u128,
    limits: Limits,
    service: Arc<dyn Service>,
    stop: CancellationToken,
    connections: TaskTracker,
    per_peer: Mutex<HashMap<PeerId, usize>>,
    strangers: Mutex<VecDeque<CancellationToken>>,
}

impl Server {
    /// Listens on `listener`, as the peer that `tls` is of, until `stop`.
    pub fn new(
        listener: TcpListener,
        tls: Arc<Tls>,
        boot: u128,
        limits: Limits,
        service: Arc<dyn Service>,
        stop: CancellationToken,
    ) -> Server {
        let shared = Shared {
            tls,
            boot,
            limits,
            service,
            stop,
            connections: TaskTracker::new(),
            per_peer: Mutex::default(),
            strangers: Mutex::default(),
        };
        Server { listener, shared: Arc::new(shared) }
    }

    /// Accepts connections until told to stop, then waits for them to end.
    pub async fn run(self) {
        let Server { listener, shared } = self;
        let connections = Arc::new(Semaphore::new(shared.limits.connections_max));
        loop {
            let accepted = tokio::select! {
                biased;
                () = shared.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (tcp, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: others must end before there can be new ones.
                    warn!(%error, "can't accept connections of peers");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(connection) = Arc::clone(&connections).try_acquire_owned() else {
                debug!(%from, "too many connections, closed at once");
                continue;
            };
            let stranger = shared.receive_stranger();
            let this = Arc::clone(&shared);
            shared.connections.spawn(async move {
                let _connection = connection;
                let evicted = stranger.token.clone();
                tokio::select! {
                    biased;
                    () = this.stop.cancelled() => {}
                    () = evicted.cancelled() => debug!(%from, "too many connections that say nothing, closed"),
                    ended = Arc::clone(&this).serve(tcp, stranger) => match ended {
                        Ok(()) => debug!(%from, "connection ended"),
                        Err(error) => debug!(%from, error, "connection ended"),
                    }
                }
            });
        }
        drop(listener);
        shared.connections.close();
        shared.connections.wait().await;
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the socket answers.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Shared {
    fn receive_stranger(self: &Arc<Self>) -> Stranger {
        let token = CancellationToken::new();
        let mut strangers = self.strangers.lock();
        strangers.push_back(token.clone());
        while strangers.len() > self.limits.strangers_max {
            let Some(oldest) = strangers.pop_front() else { break };
            oldest.cancel();
        }
        Stranger { shared: Arc::clone(self), token }
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, stranger: Stranger) -> Result<(), String> {
        let handshake_max = self.limits.handshake_max;
        let secured = tokio::time::timeout(handshake_max, self.secure(tcp));
        let (stream, joins) =
            secured.await.map_err(|_| format!("no handshake within {handshake_max:?}"))??;
        if joins {
            // One who joins remains a stranger to the end.
            let ended = self.serve_joiner(stream).await;
            drop(stranger);
            return ended;
        }
        let greeted = tokio::time::timeout(handshake_max, self.greet(stream));
        let (stream, certificate) =
            greeted.await.map_err(|_| format!("no greeting within {handshake_max:?}"))??;
        drop(stranger);
        let _counted = self.count(certificate.peer)?;
        let refused = self.tls.refused().refused(&certificate);
        requests::serve(stream, certificate.peer, refused, self.limits, &self.service).await
    }

    /// TLS, by what the other side wants to speak; true where it wants to join.
    async fn secure(&self, tcp: TcpStream) -> Result<(TlsStream<TcpStream>, bool), String> {
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await.map_err(|e| e.to_string())?;
        let hello = start.client_hello();
        let joins = match hello.alpn().into_iter().flatten().next() {
            Some(tls::PEER_PROTOCOL) => false,
            Some(tls::JOIN_PROTOCOL) => true,
            _ => return Err("it speaks no protocol of peers".to_string()),
        };
        let config = if joins { self.tls.joiners() } else { self.tls.peers() };
        let stream = start.into_stream(config).await.map_err(|error| error.to_string())?;
        Ok((stream, joins))
    }

    /// One request to join, one answer.
    async fn serve_joiner(&self, mut stream: TlsStream<TcpStream>) -> Result<(), String> {
        let handshake_max = self.limits.handshake_max;
        let bounds = Bounds { bytes_max: JOIN_BYTES_MAX, idle_max: handshake_max, stall_max: handshake_max };
        let frame = frame::read(&mut stream, bounds).await.map_err(|e| e.to_string())?;
        let Some(frame) = frame else { return Ok(()) };
        let answer = match (frame.kind, message::decode::<Join>(Join::SCHEMA, &frame.body)) {
            (Ok(Kind::Join), Ok(join)) => match message::common_protocol(join.protocols) {
                Ok(_) => {
                    let joined = Arc::clone(&self.service).join(join);
                    tokio::time::timeout(self.limits.join_max, joined).await.unwrap_or_else(|_| {
                        Err(Failure::new(
                            FailureCode::Unavailable,
                            "the control plane did not decide in time: try again",
                        ))
                    })
                }
                Err(failure) => Err(failure),
            },
            (Ok(Kind::Join), Err(error)) => Err(Failure::new(FailureCode::NotUnderstood, error.to_string())),
            _ => Err(Failure::new(FailureCode::Refused, "without a certificate, one can only ask to join")),
        };
        let frame = match answer.map(|joined| message::encode(Join::SCHEMA, &joined)) {
            Ok(Ok(body)) => Frame::answer(frame.req, Kind::Join, GROUP, body),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(why) => failure(frame.req, &why),
        };
        self.send_last(&mut stream, &frame).await
    }

    /// Checks who a peer says it is, and which versions it speaks.
    async fn greet(
        &self,
        mut stream: TlsStream<TcpStream>,
    ) -> Result<(TlsStream<TcpStream>, PeerCertificate), String> {
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .ok_or("it shows no certificate")
            .and_then(|certificate| {
                PeerCertificate::read(certificate).map_err(|_| "its certificate is no peer's")
            })?;
        let handshake_max = self.limits.handshake_max;
        let bounds = Bounds { bytes_max: HELLO_BYTES_MAX, idle_max: handshake_max, stall_max: handshake_max };
        let frame = frame::read(&mut stream, bounds).await.map_err(|error| error.to_string())?;
        let Some(frame) = frame else { return Err("it did not greet".to_string()) };
        match self.judge(&frame, &certificate) {
            Ok(protocol) => {
                let welcome = Welcome {
                    protocol,
                    peer: self.tls.peer(),
                    boot: self.boot,
                    feature_level: FEATURE_LEVEL,
                };
                let body = message::encode(Hello::SCHEMA, &welcome).map_err(|error| error.to_string())?;
                self.send_last(&mut stream, &Frame::answer(frame.req, Kind::Hello, GROUP, body)).await?;
                Ok((stream, certificate))
            }
            Err(why) => {
                warn!(peer = %certificate.peer, reason = why.message, "a peer's connection is refused");
                self.send_last(&mut stream, &failure(frame.req, &why)).await?;
                Err(why.message)
            }
        }
    }

    fn judge(&self, frame: &Frame, certificate: &PeerCertificate) -> Result<u16, Failure> {
        let refused = |message: String| Failure::new(FailureCode::Refused, message);
        if frame.kind != Ok(Kind::Hello) {
            return Err(refused("the first frame must be a greeting".to_string()));
        }
        let hello: Hello = message::decode(Hello::SCHEMA, &frame.body)
            .map_err(|error| Failure::new(FailureCode::Version, error.to_string()))?;
        let own = self.tls.control_plane();
        if hello.control_plane != own || certificate.control_plane != own {
            return Err(refused(format!(
                "this peer belongs to control plane {own}, not to {}",
                hello.control_plane
            )));
        }
        if hello.peer != certificate.peer {
            return Err(refused(format!(
                "the certificate is of peer {}, not of peer {}",
                certificate.peer, hello.peer
            )));
        }
        if hello.peer == self.tls.peer() {
            return Err(refused(format!(
                "peer {} talks to itself: is its data directory used twice?",
                hello.peer
            )));
        }
        if self.tls.refused().contains(certificate) {
            let message = format!("peer {} was removed from the control plane", hello.peer);
            return Err(Failure::new(FailureCode::Removed, message));
        }
        message::common_protocol(hello.protocols)
    }

    async fn send_last(&self, stream: &mut TlsStream<TcpStream>, frame: &Frame) -> Result<(), String> {
        let sent = async {
            frame::write(stream, frame).await?;
            stream.flush().await.map_err(frame::Error::from)
        };
        match tokio::time::timeout(self.limits.stall_max, sent).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("the other side takes nothing".to_string()),
        }
    }

    fn count(self: &Arc<Self>, peer: PeerId) -> Result<Counted, String> {
        let mut counts = self.per_peer.lock();
        let count = counts.entry(peer).or_default();
        if *count >= self.limits.per_peer_max {
            return Err(format!("peer {peer} has {count} connections, more than it needs"));
        }
        *count += 1;
        Ok(Counted { shared: Arc::clone(self), peer })
    }
}

/// A connection that has not shown who it is.
struct Stranger {
    shared: Arc<Shared>,
    token: CancellationToken,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // A cancelled one has left the list already. Tokens are compared by what they cancel.
        let mut strangers = self.shared.strangers.lock();
        if let Some(at) = strangers.iter().position(|token| *token == self.token) {
            strangers.remove(at);
        }
    }
}

/// A peer's connection, as long as it is counted.
struct Counted {
    shared: Arc<Shared>,
    peer: PeerId,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.shared.per_peer.lock();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}
