//! One connection: TLS where it is wanted, HTTP/1.1 or HTTP/2, and an answer for each request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::Watcher;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use warp::http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use warp::reply::Response;

use super::guard::StallGuard;
use super::idle::{Presence, Taken};
use crate::context::Context;
use crate::error::Problem;
use crate::request::RequestName;
use crate::routes::endpoint::{APPLIED, Matched};

const STREAMS_PER_CONNECTION_MAX: u32 = 128;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const HEAD_BYTES_MAX: u32 = 64 << 10;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What TLS begins with: a record of the handshake.
const TLS_FIRST_BYTE: u8 = 0x16;

/// A connection that was accepted.
pub(super) struct Connection<S> {
    pub(super) service: S,
    pub(super) ctx: Context,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) watcher: Watcher,
    pub(super) address: SocketAddr,
    pub(super) presence: Arc<Presence>,
    /// Whether its address has too many, so that it is told so and nothing else.
    pub(super) is_crowd: bool,
}

/// What a connection is read from and written to.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

impl<S> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Serves until either side ends it, or it has been idle for too long or at the wrong time.
    pub(super) async fn serve(self, stream: TcpStream) {
        let (presence, address) = (Arc::clone(&self.presence), self.address);
        let idle_timeout = self.ctx.limits().idle_timeout;
        tokio::select! {
            biased;
            () = presence.over(idle_timeout) => tracing::debug!(%address, "an idle connection is cut"),
            () = self.answer_requests(stream) => {}
        }
    }

    async fn answer_requests(self, stream: TcpStream) {
        // Small answers must not wait for more of them.
        let _ = stream.set_nodelay(true);
        let limits = self.ctx.limits().clone();
        let secured = async {
            match &self.tls {
                None => Some((plain(stream, &limits), true)),
                Some(_) if !begins_with_tls(&stream).await => Some((plain(stream, &limits), false)),
                Some(tls) => match tls.accept(StallGuard::new(stream, limits.stall_timeout)).await {
                    Ok(stream) => Some((Box::new(stream) as Box<dyn Stream>, true)),
                    Err(error) => {
                        tracing::debug!(address = %self.address, %error, "a TLS handshake failed");
                        None
                    }
                },
            }
        };
        let secured = tokio::select! {
            biased;
            () = self.ctx.closing().cancelled() => return,
            secured = tokio::time::timeout(limits.head_timeout, secured) => secured,
        };
        let Ok(Some((stream, speaks_right))) = secured else { return };
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
        let (ctx, service, address, presence) = (self.ctx, self.service, self.address, self.presence);
        let is_crowd = self.is_crowd;
        let answers = service_fn(move |request| {
            let (ctx, service, busy) = (ctx.clone(), service.clone(), presence.begin());
            async move {
                let response = if is_crowd {
                    crowded()
                } else if speaks_right {
                    answer(&ctx, service, address, request).await
                } else {
                    without_tls(&request)
                };
                Ok::<_, Infallible>(response.map(|body| Taken::new(body, busy)))
            }
        });
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), answers).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%address, %error, "a connection broke");
        }
    }
}

fn plain(stream: TcpStream, limits: &crate::context::Limits) -> Box<dyn Stream> {
    Box::new(StallGuard::new(stream, limits.stall_timeout))
}

/// Looks at the first byte, and leaves it there.
async fn begins_with_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    !matches!(stream.peek(&mut first).await, Ok(1..) if first[0] != TLS_FIRST_BYTE)
}

/// For whoever wrote `http://` where it is `https://`: words, in place of a broken connection.
fn without_tls(request: &Request<Incoming>) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("...");
    let host: String = host.chars().take(200).collect();
    let detail = format!("this port speaks TLS: write https://{host}");
    let problem = Problem::new(StatusCode::BAD_REQUEST, "tls_needed", detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// For whoever has too many connections already.
fn crowded() -> Response {
    let mut response =
        Problem::unavailable("too many connections from your address: use fewer, or close some")
            .into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
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
