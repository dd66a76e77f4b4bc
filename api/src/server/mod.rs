//! Listens, and serves the API over HTTP/1.1 and HTTP/2, with and without TLS, in one code path.

mod connection;
mod crowd;
mod guard;
mod idle;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use tls::{Certificate, Error as TlsError, server_config};

use crate::context::Context;
use crate::routes;
use connection::Connection;
use crowd::Crowd;
use idle::Idle;

/// How long nothing is accepted after an error that is the machine's: too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections of one address beyond its bound that are answered, in words, before they are closed.
const TOLD_MAX: usize = 16;
/// How long one waits for a place while every connection is busy, before looking for an idle one again.
const PLACE_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener of the API.
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    ctx: Context,
}

impl Server {
    /// Binds; serves TLS where there is a configuration for it.
    ///
    /// # Errors
    /// The address is in use, or not one of this machine.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        ctx: Context,
    ) -> io::Result<Server> {
        Ok(Server::on(TcpListener::bind(address).await?, tls, ctx))
    }

    /// Serves on a listener that is bound already.
    pub fn on(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, ctx: Context) -> Server {
        Server { listener, tls, ctx }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`. Then it accepts nothing more, ends streams, lets requests finish for as long as the
    /// limits' grace, and drops what is left.
    pub async fn run(self, shutdown: CancellationToken) {
        let Server { listener, tls, ctx } = self;
        let ring = Arc::clone(ctx.ring());
        let changes = ring.run(ctx.handle(), ctx.closing());
        let serving = serve(listener, tls.map(TlsAcceptor::from), &ctx, &shutdown);
        tokio::join!(changes, serving);
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, ctx: &Context, shutdown: &CancellationToken) {
    let service = TowerToHyperService::new(warp::service(routes::filter(ctx)));
    let places = Arc::new(Semaphore::new(ctx.limits().connections_max));
    let (idle, crowd) = (Idle::default(), Crowd::default());
    let of_one_max = ctx.limits().connections_per_address_max;
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        // A place first: what cannot be served waits in the system's queue.
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places, &idle) => accepted,
        };
        let Some((stream, address, place)) = accepted else { continue };
        let (member, of_one) = crowd.enter(address.ip());
        // One that is idle makes room for this one, as long as there are any.
        let is_crowd = of_one > of_one_max && !idle.cut_one_of(address.ip());
        if is_crowd && of_one > of_one_max + TOLD_MAX {
            tracing::debug!(%address, "an address has too many connections: closed at once");
            continue;
        }
        let connection = Connection {
            service: service.clone(),
            ctx: ctx.clone(),
            tls: tls.clone(),
            watcher: graceful.watcher(),
            address,
            presence: idle.enter(address.ip()),
            is_crowd,
        };
        let metrics = ctx.metrics().clone();
        connections.spawn(async move {
            metrics.connections(1);
            connection.serve(stream).await;
            metrics.connections(-1);
            drop((place, member));
        });
    }
    drop(listener);
    ctx.closing().cancel();
    let finish = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    if tokio::time::timeout(ctx.limits().grace, finish).await.is_err() {
        tracing::warn!("requests did not finish within the grace period and are dropped");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    idle: &Idle,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = place(places, idle).await?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// A place for one more connection; one that is idle gives up its own.
async fn place(places: &Arc<Semaphore>, idle: &Idle) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        idle.cut_one();
        if let Ok(place) = tokio::time::timeout(PLACE_PAUSE, Arc::clone(places).acquire_owned()).await {
            return place.ok();
        }
    }
}
