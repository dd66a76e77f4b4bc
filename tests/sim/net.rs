//! A network between peers that the simulation owns: frames take time, get lost, come twice and in another order, and
//! not at all where it is cut. What one connection must keep in order, it does.
//!
//! The real connections of [`rscaler_raft::network`] run over it, both ends of them. A frame is taken off the stream
//! where it was written, waits here until it is due, and is put into the stream at the other end, on the runtime of the
//! peer that it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rscaler_raft::model::PeerId;
use rscaler_raft::network::client::{Connected, Lane, Wire};
use rscaler_raft::network::frame::{self, Bounds, FRAME_BYTES_MAX, Frame, Kind};
use rscaler_raft::network::server::{Limits, Service, serve};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{chance, clock, trace};

/// Bytes that a stream holds; the frames of the simulation are far smaller.
const STREAM_BYTES: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How the network treats what passes between two peers, in one direction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Weather {
    /// The least a frame takes, in ms.
    pub(crate) delay_ms: u64,
    /// What it may take in addition, in ms: frames overtake one another by it.
    pub(crate) jitter_ms: u64,
    /// How likely a frame is lost.
    pub(crate) loss: f64,
    /// How likely it comes a second time, later.
    pub(crate) twice: f64,
}

impl Weather {
    /// A good network.
    pub(crate) const FAIR: Weather = Weather { delay_ms: 0, jitter_ms: 1, loss: 0.0, twice: 0.0 };
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct End {
    connection: u64,
    is_client: bool,
}

enum Parcel {
    /// Somebody connects.
    Open,
    Frame(Frame),
    /// The other end is gone.
    Closed,
}

struct Due {
    to: End,
    parcel: Parcel,
}

/// What a peer's acceptor is told.
pub(crate) struct Arrived {
    connection: u64,
    from: u64,
    frames: UnboundedReceiver<Frame>,
}

#[derive(Clone, Copy)]
struct Connection {
    client: u64,
    server: u64,
    /// Entries of the log are sent one after the other without waiting for answers, and a snapshot takes its time: their
    /// order is what TCP is for. What is lost holds up all that follows, so that somebody finds it out.
    is_ordered: bool,
    /// When the last frame arrives, in each direction; never, where one was lost.
    last_due: [u64; 2],
}

/// The network.
pub(crate) struct Net {
    inner: Mutex<Inner>,
}

struct Inner {
    chance: StdRng,
    fair: Weather,
    weather: BTreeMap<(u64, u64), Weather>,
    cut: BTreeSet<(u64, u64)>,
    /// Where peers listen.
    ports: BTreeMap<u64, UnboundedSender<Arrived>>,
    connections: BTreeMap<u64, Connection>,
    ends: BTreeMap<End, UnboundedSender<Frame>>,
    /// By when it is due, and in which order it was sent.
    under_way: BTreeMap<(u64, u64), Due>,
    next: u64,
    pub(crate) frames: u64,
    lost: u64,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Arc<Net> {
        Arc::new(Net {
            inner: Mutex::new(Inner {
                chance: chance::source(seed, "net"),
                fair: Weather::FAIR,
                weather: BTreeMap::new(),
                cut: BTreeSet::new(),
                ports: BTreeMap::new(),
                connections: BTreeMap::new(),
                ends: BTreeMap::new(),
                under_way: BTreeMap::new(),
                next: 1,
                frames: 0,
                lost: 0,
            }),
        })
    }

    /// Lets nothing pass from one peer to another.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.inner.lock().cut.insert((from, to));
    }

    /// Lets everything pass, in fair weather.
    pub(crate) fn heal(&self) {
        let mut inner = self.inner.lock();
        inner.cut.clear();
        inner.weather.clear();
        inner.fair = Weather::FAIR;
    }

    /// How all connections are treated where nothing else was said.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.inner.lock().fair = weather;
    }

    /// How one direction is treated.
    pub(crate) fn set_weather_between(&self, from: u64, to: u64, weather: Weather) {
        self.inner.lock().weather.insert((from, to), weather);
    }

    /// Frames sent, and those of them that were lost.
    pub(crate) fn figures(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.frames, inner.lost)
    }

    /// Opens a peer's port.
    pub(crate) fn listen(&self, peer: u64) -> UnboundedReceiver<Arrived> {
        let (port, arrivals) = unbounded_channel();
        self.inner.lock().ports.insert(peer, port);
        arrivals
    }

    /// A peer's process is gone, and its connections with it. The others are told where its machine still runs.
    pub(crate) fn drop_peer(&self, peer: u64, are_others_told: bool) {
        let mut inner = self.inner.lock();
        inner.ports.remove(&peer);
        let its: Vec<(u64, Connection)> = inner
            .connections
            .iter()
            .filter(|(_, connection)| connection.client == peer || connection.server == peer)
            .map(|(id, connection)| (*id, *connection))
            .collect();
        for (id, connection) in its {
            let own = End { connection: id, is_client: connection.client == peer };
            inner.ends.remove(&own);
            if are_others_told {
                inner.post(own.other(), Parcel::Closed);
            }
        }
    }

    /// Delivers what is due now.
    pub(crate) fn deliver(self: &Arc<Self>) {
        loop {
            let mut inner = self.inner.lock();
            let due = inner.under_way.first_entry().filter(|entry| entry.key().0 <= clock::now());
            let Some(Due { to, parcel }) = due.map(|entry| entry.remove()) else { return };
            inner.arrive(to, parcel);
        }
    }

    fn send(&self, from: End, parcel: Parcel) {
        self.inner.lock().post(from.other(), parcel);
    }

    /// Whether somebody listens, as far as can be seen from `from`: nothing comes back where the way is cut.
    fn door(&self, from: u64, to: u64) -> Option<bool> {
        let inner = self.inner.lock();
        let is_cut = inner.cut.contains(&(from, to)) || inner.cut.contains(&(to, from));
        (!is_cut).then(|| inner.ports.contains_key(&to))
    }

    /// What ends with `end`.
    fn forget(&self, end: End) {
        let mut inner = self.inner.lock();
        inner.ends.remove(&end);
        if !inner.ends.contains_key(&end.other()) {
            inner.connections.remove(&end.connection);
        }
    }
}

impl End {
    fn other(self) -> End {
        End { is_client: !self.is_client, ..self }
    }
}

impl Inner {
    /// Sends something to `to`, by the weather.
    fn post(&mut self, to: End, parcel: Parcel) {
        let Some(connection) = self.connections.get(&to.connection).copied() else { return };
        let way = if to.is_client {
            (connection.server, connection.client)
        } else {
            (connection.client, connection.server)
        };
        self.frames += 1;
        if self.cut.contains(&way) {
            self.lost += 1;
            return;
        }
        let weather = self.weather.get(&way).copied().unwrap_or(self.fair);
        // What a connection itself says is repeated until it arrives, as TCP does it.
        let is_frame = matches!(parcel, Parcel::Frame(_));
        let jitter = self.chance.random_range(0..=weather.jitter_ms);
        let is_lost = is_frame && self.chance.random_bool(weather.loss);
        if connection.is_ordered {
            let last = connection.last_due[usize::from(to.is_client)];
            let due = (clock::now() + weather.delay_ms + jitter).max(last);
            let due = if is_lost { u64::MAX } else { due };
            if let Some(known) = self.connections.get_mut(&to.connection) {
                known.last_due[usize::from(to.is_client)] = due;
            }
            match due {
                u64::MAX if is_frame => self.lost += 1,
                // That the other end is gone is found out all the same.
                u64::MAX => self.post_in(weather.delay_ms + jitter, to, parcel),
                due => self.post_in(due - clock::now(), to, parcel),
            }
            return;
        }
        if is_lost {
            self.lost += 1;
            return;
        }
        // A proposal without a name must not come twice, and over TLS none does; Raft has to bear it of all else.
        let copy = match &parcel {
            Parcel::Frame(frame) if frame.kind != Ok(Kind::Propose) => Some(frame.clone()),
            _ => None,
        };
        if let Some(frame) = copy.filter(|_| self.chance.random_bool(weather.twice)) {
            let later = weather.delay_ms + self.chance.random_range(0..50 + weather.jitter_ms);
            self.post_in(later, to, Parcel::Frame(frame));
        }
        self.post_in(weather.delay_ms + jitter, to, parcel);
    }

    fn post_in(&mut self, ms: u64, to: End, parcel: Parcel) {
        // Never within the same step: the order in which peers run must not matter.
        let due = (clock::now() + ms.max(1), self.next);
        self.next += 1;
        self.under_way.insert(due, Due { to, parcel });
    }

    fn arrive(&mut self, to: End, parcel: Parcel) {
        let Some(connection) = self.connections.get(&to.connection).copied() else { return };
        match parcel {
            Parcel::Open => {
                let (frames, queue) = unbounded_channel();
                let arrived = Arrived { connection: to.connection, from: connection.client, frames: queue };
                let taken = self.ports.get(&connection.server).is_some_and(|port| port.send(arrived).is_ok());
                if taken {
                    self.ends.insert(to, frames);
                } else {
                    self.post(to.other(), Parcel::Closed);
                }
            }
            Parcel::Frame(frame) => {
                let number = frame.kind.map_or_else(|number| number, |kind| kind as u16);
                let (client, server) = (connection.client, connection.server);
                trace::event(&format!("frame {client} {server} {} {number}", to.is_client), &frame.body);
                let host = if to.is_client { client } else { server };
                match self.ends.get(&to) {
                    Some(end) => drop(end.send(frame)),
                    // A machine that started again says that it knows no such connection.
                    None if self.ports.contains_key(&host) => self.post(to.other(), Parcel::Closed),
                    None => {}
                }
            }
            Parcel::Closed => {
                self.ends.remove(&to);
                if !self.ends.contains_key(&to.other()) {
                    self.connections.remove(&to.connection);
                }
            }
        }
    }
}

/// One peer's side of the network.
pub(crate) struct SimWire {
    pub(crate) net: Arc<Net>,
    pub(crate) local: u64,
}

impl Wire for SimWire {
    fn connect<'a>(
        &'a self,
        target: PeerId,
        lane: Lane,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Connected, String>> {
        async move {
            let expected = super::peer::addr(target.0);
            if addr != expected {
                return Err(format!("nobody listens at {addr}"));
            }
            // The handshake takes a round trip, and is repeated until the network lets it pass.
            loop {
                tokio::time::sleep(Duration::from_millis(2)).await;
                match self.net.door(self.local, target.0) {
                    Some(true) => break,
                    Some(false) => return Err("the connection is refused".to_string()),
                    None => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
            let (ours, theirs) = duplex(STREAM_BYTES);
            let (frames, queue) = unbounded_channel();
            let end = {
                let mut inner = self.net.inner.lock();
                let end = End { connection: inner.next, is_client: true };
                inner.next += 1;
                let connection = Connection {
                    client: self.local,
                    server: target.0,
                    is_ordered: lane != Lane::Control,
                    last_due: [0; 2],
                };
                inner.connections.insert(end.connection, connection);
                inner.ends.insert(end, frames);
                inner.post(end.other(), Parcel::Open);
                end
            };
            tokio::spawn(carry(Arc::clone(&self.net), end, theirs, queue));
            Ok(Connected { stream: Box::new(ours), refused: std::future::pending().boxed() })
        }
        .boxed()
    }
}

/// Serves the connections that arrive at a peer.
pub(crate) async fn accept(
    net: Arc<Net>,
    mut arrivals: UnboundedReceiver<Arrived>,
    service: Arc<dyn Service>,
) {
    while let Some(Arrived { connection, from, frames }) = arrivals.recv().await {
        let (ours, theirs) = duplex(STREAM_BYTES);
        let end = End { connection, is_client: false };
        tokio::spawn(carry(Arc::clone(&net), end, theirs, frames));
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let _ = serve(ours, PeerId(from), std::future::pending(), Limits::default(), &service).await;
        });
    }
}

/// Carries frames between a stream and the network, until either ends.
async fn carry(net: Arc<Net>, end: End, stream: DuplexStream, frames: UnboundedReceiver<Frame>) {
    let (input, output) = split(stream);
    tokio::select! {
        biased;
        () = take(&net, end, input) => {}
        () = put(output, frames) => {}
    }
    net.send(end, Parcel::Closed);
    net.forget(end);
}

async fn take(net: &Net, end: End, mut input: ReadHalf<DuplexStream>) {
    let bounds = Bounds { bytes_max: FRAME_BYTES_MAX, idle_max: PATIENCE, stall_max: PATIENCE };
    while let Ok(Some(frame)) = frame::read(&mut input, bounds).await {
        net.send(end, Parcel::Frame(frame));
    }
}

async fn put(mut output: WriteHalf<DuplexStream>, mut frames: UnboundedReceiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        if frame::write(&mut output, &frame).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}
