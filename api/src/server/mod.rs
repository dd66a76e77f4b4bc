//! Listens, and serves the API over HTTP/1.1 and HTTP/2, with and without TLS, in one code path.

mod guard;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use warp::http::{HeaderName, HeaderValue, Method, Request, header};
use warp::reply::Response;

pub use tls::{Certificate, Error as TlsError, server_config};

use crate::context::Context;
use crate::request::RequestName;
use crate::routes;
use crate::routes::endpoint::{APPLIED, Matched};
use guard::StallGuard;

/// How long nothing is accepted after an error that is the machine's: too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const STREAMS_PER_CONNECTION_MAX: u32 = 128;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const HEAD_BYTES_MAX: u32 = 64 << 10;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        // A place first: what cannot be served waits in the system's queue.
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, address, place)) = accepted else { continue };
        let connection = Connection {
            service: service.clone(),
            ctx: ctx.clone(),
            tls: tls.clone(),
            watcher: graceful.watcher(),
            address,
        };
        let metrics = ctx.metrics().clone();
        connections.spawn(async move {
            metrics.connections(1);
            connection.serve(stream).await;
            metrics.connections(-1);
            drop(place);
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
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

struct Connection<S> {
    service: S,
    ctx: Context,
    tls: Option<TlsAcceptor>,
    watcher: Watcher,
    address: SocketAddr,
}

/// What a connection is read from and written to.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

impl<S> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    async fn serve(self, stream: TcpStream) {
        // Small answers must not wait for more of them.
        let _ = stream.set_nodelay(true);
        let limits = self.ctx.limits().clone();
        let stream = StallGuard::new(stream, limits.stall_timeout);
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let handshake = tokio::time::timeout(limits.head_timeout, tls.accept(stream));
                let handshake = tokio::select! {
                    biased;
                    () = self.ctx.closing().cancelled() => return,
                    handshake = handshake => handshake,
                };
                match handshake {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => {
                        tracing::debug!(address = %self.address, %error, "a TLS handshake failed");
                        return;
                    }
                    Err(_) => return,
                }
            }
        };
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX as usize);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_header_list_size(HEAD_BYTES_MAX);
        let (ctx, service, address) = (self.ctx, self.service, self.address);
        let answers = service_fn(move |request| {
            let (ctx, service) = (ctx.clone(), service.clone());
            async move { Ok::<_, Infallible>(answer(&ctx, service, address, request).await) }
        });
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), answers).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%address, %error, "a connection broke");
        }
    }
}

/// Names the request, lets the routes answer it, and writes down how that went.
async fn answer<S>(ctx: &Context, service: S, address: SocketAddr, mut request: Request<Incoming>) -> Response
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let begun = Instant::now();
    let name = RequestName(format!("{:016x}", rand::random::<u64>()).into());
    let method = request.method().clone();
    let path = request.uri().path().to_string();
    request.extensions_mut().insert(address);
    request.extensions_mut().insert(name.clone());
    if method == Method::HEAD {
        // Answered as GET; hyper leaves the body out.
        *request.method_mut() = Method::GET;
    }
    let Ok(mut response) = service.call(request).await;
    let route = response.extensions().get::<Matched>().map_or("other", |matched| &matched.0).to_string();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&name.0) {
        headers.insert(REQUEST_ID, value);
    }
    headers.entry(APPLIED).or_insert_with(|| HeaderValue::from(ctx.handle().applied()));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    ctx.metrics().answered(method.as_str(), &route, status, took);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if status >= 500 {
        tracing::warn!(request = %name.0, %method, path, status, took_ms, %address, "a request failed");
    } else {
        tracing::debug!(request = %name.0, %method, path, status, took_ms, %address, "a request was answered");
    }
    response
}
