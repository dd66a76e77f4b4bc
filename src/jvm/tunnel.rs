//! RMI through SSH connections: Java connects to a port of ours on the loopback address, says by a random token for which JVM, and is
//! handed on through the node's SSH connection. Without a token that we gave nothing is opened: other users of this machine get
//! no further than that port.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::error::{Fault, FaultKind};
use crate::ssh::{Endpoint, Pool, Urgency};

/// Connections that are handed on at once.
const STREAMS_MAX: usize = 2048;
/// How long Java may take to say for whom a connection is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);
const WORDS_MAX: usize = 255;

/// What a token stands for.
#[derive(Debug)]
pub(super) struct Way {
    token: [u8; 16],
    node: String,
    endpoint: Arc<Endpoint>,
    host: String,
    ways: Ways,
}

impl Way {
    pub(super) fn token(&self) -> [u8; 16] {
        self.token
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.ways.lock().remove(&self.token);
    }
}

type Ways = Arc<Mutex<HashMap<[u8; 16], Weak<Way>>>>;

/// The port and the tokens it takes.
pub(super) struct Tunnels {
    pool: Pool,
    ways: Ways,
    listener: Mutex<Option<std::net::TcpListener>>,
    port: Result<u16, String>,
}

impl Tunnels {
    /// Opens the port.
    pub(super) fn new(pool: Pool) -> Tunnels {
        let opened = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let SocketAddr::V4(address) = listener.local_addr()? else {
                return Err(std::io::Error::other("not the address that was asked for"));
            };
            Ok((listener, address.port()))
        });
        let (listener, port) = match opened {
            Ok((listener, port)) => (Some(listener), Ok(port)),
            Err(error) => (None, Err(error.to_string())),
        };
        Tunnels { pool, ways: Ways::default(), listener: Mutex::new(listener), port }
    }

    /// A way to `host` as `node` sees it, for as long as it is kept; and the port that leads there.
    pub(super) fn way(
        &self,
        node: &str,
        endpoint: &Arc<Endpoint>,
        host: &str,
    ) -> Result<(u16, Arc<Way>), Fault> {
        let port = self.port.clone().map_err(|error| {
            Fault::new(FaultKind::Unavailable, format!("no port for connections over SSH: {error}"))
        })?;
        let way = Arc::new(Way {
            token: rand::random(),
            node: node.to_string(),
            endpoint: Arc::clone(endpoint),
            host: host.to_string(),
            ways: Arc::clone(&self.ways),
        });
        self.ways.lock().insert(way.token, Arc::downgrade(&way));
        Ok((port, way))
    }

    /// Hands connections on, for ever.
    pub(super) async fn run(&self) {
        let listener = self.listener.lock().take();
        let Some(listener) = listener.and_then(|listener| TcpListener::from_std(listener).ok()) else {
            return std::future::pending().await;
        };
        let places = Arc::new(Semaphore::new(STREAMS_MAX));
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = streams.join_next(), if !streams.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                        let (pool, ways) = (self.pool.clone(), Arc::clone(&self.ways));
                        streams.spawn(async move {
                            hand_on(stream, pool, ways).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "a connection for SSH could not be taken");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

async fn hand_on(mut stream: TcpStream, pool: Pool, ways: Ways) {
    let _ = stream.set_nodelay(true);
    let mut hello = [0; 18];
    if !matches!(timeout(HELLO_TIMEOUT, stream.read_exact(&mut hello)).await, Ok(Ok(_))) {
        return;
    }
    let (token, port) = hello.split_at(16);
    let way = ways.lock().get(token).and_then(Weak::upgrade);
    let Some(way) = way else { return };
    let port = u16::from_be_bytes([port[0], port[1]]);
    let opened = async {
        let connection = pool.connection(&way.node, &way.endpoint, Urgency::Background).await?;
        let tcp = connection.open_tcp(&way.host, port).await?;
        Ok::<_, crate::ssh::Error>((connection, tcp))
    };
    match opened.await {
        Ok((_connection, mut tcp)) => {
            if stream.write_all(&[0]).await.is_ok() {
                let ended = copy_bidirectional(&mut stream, &mut tcp).await;
                debug!(node = way.node, port, ?ended, "a connection over SSH ended");
            }
        }
        Err(error) => {
            let mut words = error.to_string().into_bytes();
            words.truncate(WORDS_MAX);
            let mut answer = vec![1, u8::try_from(words.len()).unwrap_or(u8::MAX)];
            answer.extend(words);
            let _ = stream.write_all(&answer).await;
        }
    }
}
