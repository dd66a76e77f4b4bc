#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use super::certificate::{self, Authority, PeerCertificate};
use super::client::{CallError, Dialer, Lane, Link};
use super::frame::{self, Bounds, FRAME_BYTES_MAX, Frame, GROUP, Kind};
use super::join::{self, Applicant, JoinToken};
use super::message::{self, Failure, FailureCode, Hello, Join, Joined, Ping, Pong, Welcome};
use super::server::{Incoming, Limits, Server, Service};
use super::tls::{self, Refused, RefusedList, Tls};
use crate::identity::{ControlPlaneId, TlsFiles};
use crate::model::PeerId;

const PATIENCE: Duration = Duration::from_secs(10);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// An authority that makes peers.
struct Fleet {
    id: ControlPlaneId,
    authority: Authority,
}

impl Fleet {
    fn new() -> Fleet {
        let id = ControlPlaneId::generate().unwrap();
        let (key, certificate) = Authority::generate(id).unwrap();
        Fleet { id, authority: Authority::load(id, &key, &certificate).unwrap() }
    }

    fn files(&self, peer: u64) -> TlsFiles {
        let key = certificate::generate_key().unwrap();
        let issued = self.authority.issue(&certificate::request(&key).unwrap(), PeerId(peer)).unwrap();
        let authority = self.authority.certificate().to_vec();
        TlsFiles { key, certificate: issued.certificate, authority }
    }

    fn tls(&self, peer: u64) -> Arc<Tls> {
        Arc::new(Tls::new(self.id, PeerId(peer), &self.files(peer), Arc::new(Refused::default())).unwrap())
    }

    fn dialer(&self, peer: u64) -> Arc<Dialer> {
        Dialer::new(self.tls(peer), 1, Handle::current(), CancellationToken::new())
    }

    /// A peer that listens. Stops when dropped.
    async fn listen(&self, peer: u64, limits: Limits) -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tls, service, stop) = (self.tls(peer), Arc::new(Echo::default()), CancellationToken::new());
        let server = Server::new(listener, Arc::clone(&tls), 1, limits, service.clone(), stop.clone());
        tokio::spawn(server.run());
        Listening { addr, tls, service, stop }
    }
}

struct Listening {
    addr: SocketAddr,
    tls: Arc<Tls>,
    service: Arc<Echo>,
    stop: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Listening {
    fn link(&self, dialer: &Arc<Dialer>, target: u64) -> Link {
        Link::new(Arc::clone(dialer), PeerId(target), &self.addr.to_string(), Lane::Control)
    }
}

/// Answers pings with how many there were; appends, which are pings here, with their place in the order.
#[derive(Default)]
struct Echo {
    pings: AtomicU64,
    joins: AtomicU64,
}

impl Service for Echo {
    fn serve(self: Arc<Self>, request: Incoming) -> BoxFuture<'static, ()> {
        async move {
            match request.kind {
                Kind::Ping => {
                    let pong = Pong { applied: self.pings.fetch_add(1, Ordering::SeqCst), ..Pong::default() };
                    request.answer::<Ping>(Ok(pong)).await;
                }
                // Never answered while the connection lives.
                Kind::Vote => std::future::pending::<()>().await,
                _ => request.answer::<Ping>(Err(Failure::new(FailureCode::Refused, "no"))).await,
            }
        }
        .boxed()
    }

    fn serve_appends(self: Arc<Self>, mut requests: mpsc::Receiver<Incoming>) -> BoxFuture<'static, ()> {
        async move {
            let mut place = 0;
            while let Some(request) = requests.recv().await {
                request.answer::<Entry>(Ok(place)).await;
                place += 1;
            }
        }
        .boxed()
    }

    fn join(self: Arc<Self>, join: Join) -> BoxFuture<'static, Result<Joined, Failure>> {
        async move {
            self.joins.fetch_add(1, Ordering::SeqCst);
            Err(Failure::new(FailureCode::Refused, format!("no place for {}", join.name)))
        }
        .boxed()
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Entry(Vec<u8>);

impl message::Request for Entry {
    const KIND: Kind = Kind::Append;
    type Answer = u64;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Unanswered;

impl message::Request for Unanswered {
    const KIND: Kind = Kind::Vote;
    type Answer = u64;
}

fn bounds() -> Bounds {
    Bounds { bytes_max: FRAME_BYTES_MAX, idle_max: PATIENCE, stall_max: PATIENCE }
}

#[tokio::test]
async fn requests_share_a_connection_and_get_their_own_answers() {
    let fleet = Fleet::new();
    let (one, dialer) = (fleet.listen(1, Limits::default()).await, fleet.dialer(2));
    let link = one.link(&dialer, 1);
    let calls = (0..200).map(|_| link.call(GROUP, &Ping {}, soon()));
    let mut pongs: Vec<u64> =
        futures::future::join_all(calls).await.into_iter().map(|pong| pong.unwrap().applied).collect();
    pongs.sort_unstable();
    assert_eq!(pongs, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn appends_keep_their_order() {
    let fleet = Fleet::new();
    let (one, dialer) = (fleet.listen(1, Limits::default()).await, fleet.dialer(2));
    let link = one.link(&dialer, 1);
    let mut pending = Vec::new();
    for _ in 0..100 {
        pending.push(link.start(GROUP, &Entry(vec![7; 10_000]), soon()).await.unwrap());
    }
    for (place, mut pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.answer(soon()).await.unwrap(), place as u64);
    }
}

#[tokio::test]
async fn without_a_certificate_one_can_only_ask_to_join() {
    let fleet = Fleet::new();
    let one = fleet.listen(1, Limits::default()).await;
    let fingerprint = certificate::fingerprint(fleet.authority.certificate());

    // As a joiner: verified, but anything else than a join is refused and ends the connection.
    let connect = |config| {
        let addr = one.addr;
        async move {
            let tcp = TcpStream::connect(addr).await.unwrap();
            TlsConnector::from(config).connect(ServerName::try_from("x.rscaler").unwrap(), tcp).await
        }
    };
    let mut stream = connect(tls::join_config(fingerprint).unwrap()).await.unwrap();
    let body = message::encode(1, &Ping {}).unwrap();
    frame::write(&mut stream, &Frame::request(1, Kind::Ping, GROUP, body)).await.unwrap();
    stream.flush().await.unwrap();
    let answer = frame::read(&mut stream, bounds()).await.unwrap().unwrap();
    assert_eq!(answer.kind, Ok(Kind::Failure));
    let failure: Failure = message::decode(1, &answer.body).unwrap();
    assert_eq!(failure.code, FailureCode::Refused);
    assert!(!matches!(frame::read(&mut stream, bounds()).await, Ok(Some(_))));

    // As a peer: the handshake fails at the latest when the first bytes are read.
    let mut config = (*tls::join_config(fingerprint).unwrap()).clone();
    config.alpn_protocols = vec![tls::PEER_PROTOCOL.to_vec()];
    if let Ok(mut stream) = connect(Arc::new(config)).await {
        assert!(stream.read_u8().await.is_err());
    }
    assert_eq!(one.service.pings.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_peer_of_another_control_plane_gets_nothing() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let one = fleet.listen(1, Limits::default()).await;
    let link = one.link(&other.dialer(2), 1);
    let error = link.call(GROUP, &Ping {}, soon()).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)) && error.is_unsent(), "{error}");
}

#[tokio::test]
async fn who_answers_must_be_whom_was_dialled() {
    let fleet = Fleet::new();
    let (one, dialer) = (fleet.listen(1, Limits::default()).await, fleet.dialer(2));
    let error = one.link(&dialer, 3).call(GROUP, &Ping {}, soon()).await.unwrap_err();
    assert!(matches!(&error, CallError::Unreachable(reason) if reason.contains("secure")), "{error}");
}

#[tokio::test]
async fn a_refused_peer_is_cut_off_and_told_so() {
    let fleet = Fleet::new();
    let (one, dialer) = (fleet.listen(1, Limits::default()).await, fleet.dialer(2));
    let link = one.link(&dialer, 1);
    link.call(GROUP, &Ping {}, soon()).await.unwrap();
    let removed = dialer.removed();
    assert_eq!(*removed.borrow(), None);

    // The connection that stands is closed: what waits on it fails.
    let mut unanswered = link.start(GROUP, &Unanswered, soon()).await.unwrap();
    one.tls.refused().set(RefusedList { peers: [PeerId(2)].into(), ..RefusedList::default() });
    let error = unanswered.answer(soon()).await.unwrap_err();
    assert!(matches!(error, CallError::Lost(_)) && !error.is_unsent(), "{error}");

    // And there are no new ones.
    let error = link.call(GROUP, &Ping {}, soon()).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error}");
    let mut removed = removed;
    timeout(PATIENCE, removed.wait_for(Option::is_some)).await.unwrap().unwrap();

    // Others are served.
    one.link(&fleet.dialer(3), 1).call(GROUP, &Ping {}, soon()).await.unwrap();
}

#[tokio::test]
async fn a_revoked_serial_number_is_refused_and_a_new_certificate_is_not() {
    let fleet = Fleet::new();
    let one = fleet.listen(1, Limits::default()).await;
    let dialer = fleet.dialer(2);
    let files = fleet.files(2);
    let tls = Arc::new(Tls::new(fleet.id, PeerId(2), &files, Arc::default()).unwrap());
    let revoked = Dialer::new(Arc::clone(&tls), 1, Handle::current(), CancellationToken::new());
    let serial = PeerCertificate::read(&files.certificate).unwrap().serial;
    one.tls.refused().set(RefusedList { serials: [serial].into(), ..RefusedList::default() });
    assert!(one.link(&revoked, 1).call(GROUP, &Ping {}, soon()).await.is_err());
    one.link(&dialer, 1).call(GROUP, &Ping {}, soon()).await.unwrap();
    // A renewed certificate is shown by the next connection.
    tls.replace(&fleet.files(2)).unwrap();
    one.link(&revoked, 1).call(GROUP, &Ping {}, soon()).await.unwrap();
}

#[tokio::test]
async fn garbage_and_oversized_frames_end_only_their_own_connection() {
    let fleet = Fleet::new();
    let one = fleet.listen(1, Limits::default()).await;
    let dialer = fleet.dialer(2);
    let link = one.link(&dialer, 1);
    link.call(GROUP, &Ping {}, soon()).await.unwrap();

    let mut plain = TcpStream::connect(one.addr).await.unwrap();
    plain.write_all(&[b'x'; 4096]).await.unwrap();
    let mut rest = Vec::new();
    // Reset or closed, but soon.
    let _ = timeout(PATIENCE, plain.read_to_end(&mut rest)).await.unwrap();

    for garbage in [[0xff; 64], [0; 64]] {
        let mut stream = greeted(&fleet, &one, message::PROTOCOLS).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    }
    link.call(GROUP, &Ping {}, soon()).await.unwrap();
}

/// A connection of peer 9, made by hand.
async fn greeted(
    fleet: &Fleet,
    to: &Listening,
    protocols: (u16, u16),
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let tls = fleet.tls(9);
    let tcp = TcpStream::connect(to.addr).await.unwrap();
    let mut stream = TlsConnector::from(tls.client()).connect(tls.name_of(to.tls.peer()), tcp).await.unwrap();
    let hello = Hello { protocols, control_plane: fleet.id, peer: PeerId(9), boot: 1, feature_level: 1 };
    let body = message::encode(1, &hello).unwrap();
    frame::write(&mut stream, &Frame::request(0, Kind::Hello, GROUP, body)).await.unwrap();
    stream.flush().await.unwrap();
    let answer = frame::read(&mut stream, bounds()).await.unwrap().unwrap();
    match answer.kind {
        Ok(Kind::Hello) => Ok(stream),
        _ => Err(message::decode(1, &answer.body).unwrap()),
    }
}

#[tokio::test]
async fn requests_and_versions_of_the_future_are_refused_in_words() {
    let fleet = Fleet::new();
    let one = fleet.listen(1, Limits::default()).await;
    let failure = greeted(&fleet, &one, (8, 9)).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Version);
    assert!(failure.message.contains("8 to 9"), "{failure}");

    let mut stream = greeted(&fleet, &one, message::PROTOCOLS).await.unwrap();
    let unknown = Frame { req: 5, kind: Err(999), is_answer: false, group: GROUP, body: vec![] };
    let other_group = Frame::request(6, Kind::Ping, 1, vec![]);
    let other_schema = Frame::request(7, Kind::Ping, GROUP, message::encode(2, &Ping {}).unwrap());
    for frame in [unknown, other_group] {
        frame::write(&mut stream, &frame).await.unwrap();
        stream.flush().await.unwrap();
        let answer = frame::read(&mut stream, bounds()).await.unwrap().unwrap();
        assert_eq!((answer.req, answer.kind), (frame.req, Ok(Kind::Failure)));
    }
    // The schema is for who serves it to refuse.
    let bytes = other_schema.body;
    assert!(message::decode::<Ping>(1, &bytes).unwrap_err().to_string().contains("upgrade"));
}

#[tokio::test]
async fn a_peer_that_gives_no_sign_of_life_is_given_up() {
    let fleet = Fleet::new();
    // Greets, then reads without ever answering.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let tls = fleet.tls(1);
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(tls.peers()).accept(tcp).await.unwrap();
        let hello = frame::read(&mut stream, bounds()).await.unwrap().unwrap();
        let welcome = Welcome { protocol: 1, peer: PeerId(1), boot: 1, feature_level: 1 };
        let body = message::encode(1, &welcome).unwrap();
        frame::write(&mut stream, &Frame::answer(hello.req, Kind::Hello, GROUP, body)).await.unwrap();
        stream.flush().await.unwrap();
        while let Ok(Some(_)) = frame::read(&mut stream, bounds()).await {}
    });
    let link = Link::new(fleet.dialer(2), PeerId(1), &addr, Lane::Control);
    let begun = Instant::now();
    let error = link.call(GROUP, &Ping {}, soon()).await.unwrap_err();
    assert!(matches!(&error, CallError::Lost(reason) if reason.contains("sign of life")), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_answer_does_not_end_a_connection_that_lives() {
    let fleet = Fleet::new();
    let (one, dialer) = (fleet.listen(1, Limits::default()).await, fleet.dialer(2));
    let link = one.link(&dialer, 1);
    // Longer than a connection without any sign of life would last.
    let deadline = Instant::now() + Duration::from_millis(2500);
    assert_eq!(link.call(GROUP, &Unanswered, deadline).await.unwrap_err(), CallError::TimedOut);
    link.call(GROUP, &Ping {}, soon()).await.unwrap();
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_peers_out() {
    let fleet = Fleet::new();
    let limits = Limits { strangers_max: 4, ..Limits::default() };
    let one = fleet.listen(1, limits).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(one.addr).await.unwrap());
    }
    one.link(&fleet.dialer(2), 1).call(GROUP, &Ping {}, soon()).await.unwrap();
    // The oldest was closed to make room, long before its time to shake hands was over.
    let read = timeout(Duration::from_secs(2), silent[0].read_u8()).await.unwrap();
    assert!(read.is_err());
}

#[tokio::test]
async fn a_peer_that_comes_back_is_reached_again() {
    let fleet = Fleet::new();
    let dialer = fleet.dialer(2);
    let one = fleet.listen(1, Limits::default()).await;
    let link = one.link(&dialer, 1);
    link.call(GROUP, &Ping {}, soon()).await.unwrap();
    drop(one);
    let gone = async { while link.call(GROUP, &Ping {}, soon()).await.is_ok() {} };
    timeout(PATIENCE, gone).await.unwrap();
    let again = fleet.listen(1, Limits::default()).await;
    link.set_addr(&again.addr.to_string());
    let back = async { while link.call(GROUP, &Ping {}, soon()).await.is_err() {} };
    timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn a_joiner_trusts_only_the_authority_of_its_token() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let one = fleet.listen(1, Limits::default()).await;
    let applicant = Applicant {
        name: "p2".to_string(),
        peer_addr: "127.0.0.1:1".to_string(),
        api_url: "http://127.0.0.1:2".to_string(),
        key: certificate::generate_key().unwrap(),
    };
    let addr = one.addr.to_string();
    let wrong = JoinToken::generate(other.authority.certificate()).unwrap();
    let error = join::join(&addr, &wrong, &applicant).await.unwrap_err();
    assert!(matches!(error, join::Error::OtherControlPlane { .. }) && !error.is_passing(), "{error}");
    assert_eq!(one.service.joins.load(Ordering::SeqCst), 0, "the secret was sent to a stranger");

    let right = JoinToken::generate(fleet.authority.certificate()).unwrap();
    let error = join::join(&addr, &right, &applicant).await.unwrap_err();
    assert!(error.to_string().contains("no place for p2") && !error.is_passing(), "{error}");

    drop(one);
    let error = join::join("127.0.0.1:1", &right, &applicant).await.unwrap_err();
    assert!(matches!(error, join::Error::Connect { .. }) && error.is_passing(), "{error}");
}
