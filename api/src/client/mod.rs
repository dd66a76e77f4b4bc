//! The typed client of the API: what the command line speaks to peers with.
//!
//! It knows several peers and goes on to the next when one does not answer. Every write carries an
//! `Idempotency-Key`, so that it can be repeated after a broken connection without being done twice. Start reading
//! at [`Client`]; `calls` has one method for each endpoint.

mod calls;
mod failure;
pub mod json;
mod stream;
mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use calls::{Listing, RunFilter, TaskFilter, Written};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use stream::fuzz_events;
pub use stream::{ByteStream, FollowedOutput, WatchEvent, WatchStream};
pub use trust::{Trust, fingerprint_text, parse_fingerprint};

use crate::error::Problem;
use failure::{NotReached, chain, not_reached};

const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long an answer may take; longer than a peer waits for a leader.
const ANSWER_MAX: Duration = Duration::from_secs(45);
/// How long an answer without an end in sight may take to begin: a backup makes a snapshot first.
const BEGIN_MAX: Duration = Duration::from_secs(130);
const ANSWER_BYTES_MAX: usize = 256 << 20;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a request was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane says why not.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// No peer could be reached: nothing happened.
    #[error("no peer answers; tried {}", tried(.0))]
    Unreachable(Vec<(String, String)>),
    /// Peers are there, and none has a certificate that is trusted, or none speaks TLS: nothing happened.
    #[error("no peer can be trusted; tried {}", tried(.0))]
    Untrusted(Vec<(String, String)>),
    /// The connection broke after the request was sent: it may have happened.
    #[error("{endpoint} took the request and did not answer it; it may have been done: {why}")]
    Broken {
        /// Who was asked.
        endpoint: String,
        /// What went wrong.
        why: String,
    },
    /// The answer is not one of this API.
    #[error("{endpoint} does not answer like an rscaler peer: {why}")]
    Unexpected {
        /// Who was asked.
        endpoint: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The client can't be made so.
    #[error("{0}")]
    Config(String),
}

fn tried(endpoints: &[(String, String)]) -> String {
    let shown: Vec<String> = endpoints.iter().map(|(endpoint, why)| format!("{endpoint} ({why})")).collect();
    shown.join(", ")
}

impl Error {
    /// The problem, where the control plane answered with one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Error::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }

    /// Whether nobody answered, or nobody who could: no leader, no peer.
    pub fn is_no_answer(&self) -> bool {
        match self {
            Error::Unreachable(_) | Error::Untrusted(_) | Error::Broken { .. } => true,
            Error::Problem(problem) => problem.status == 503,
            Error::Unexpected { .. } | Error::Config(_) => false,
        }
    }
}

/// How a [`Client`] is made.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    endpoints: Vec<String>,
    token: Option<String>,
    trust: Trust,
    patience: Option<Duration>,
}

impl Builder {
    /// Adds a peer: `https://host:port` or `http://host:port`. Several are tried in turn.
    pub fn endpoint(mut self, url: impl Into<String>) -> Builder {
        self.endpoints.push(url.into());
        self
    }

    /// Who asks.
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.token = Some(token.into());
        self
    }

    /// Which certificates are trusted.
    pub fn trust(mut self, trust: Trust) -> Builder {
        self.trust = trust;
        self
    }

    /// How long a request is tried while no peer can take it; 15 s where not said.
    pub fn patience(mut self, patience: Duration) -> Builder {
        self.patience = Some(patience);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`Error::Config`] where an endpoint, the token or what is trusted can't be so.
    pub fn build(self) -> Result<Client, Error> {
        if self.endpoints.is_empty() {
            return Err(Error::Config(
                "no peer is named: give the URL of one, such as http://127.0.0.1:7700".to_string(),
            ));
        }
        let mut endpoints = Vec::new();
        for text in self.endpoints {
            let url = reqwest::Url::parse(text.trim())
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
                .ok_or_else(|| {
                    Error::Config(format!("`{text}` is not the URL of a peer: write https://host:port"))
                })?;
            endpoints.push(url.as_str().trim_end_matches('/').to_string());
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| Error::Config("the token has characters that no token has".to_string()))?;
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(self.trust.client_config()?)
            .connect_timeout(CONNECT_MAX)
            .tcp_keepalive(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("rscaler/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .build()
            .map_err(|error| Error::Config(format!("the HTTP client cannot be made: {}", chain(&error))))?;
        Ok(Client {
            http,
            endpoints: endpoints.into(),
            current: Arc::new(AtomicUsize::new(0)),
            patience: self.patience.unwrap_or(Duration::from_secs(15)),
        })
    }
}

/// Speaks to the peers of one control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoints: Arc<[String]>,
    /// Which endpoint answered last.
    current: Arc<AtomicUsize>,
    patience: Duration,
}

/// A request, to be sent to any peer and perhaps more than once.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Option<Bytes>,
    /// Whether the body of the answer has no end in sight.
    streams: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Call {
        let mut headers = HeaderMap::new();
        if method != Method::GET {
            let key = format!("{:032x}", rand::random::<u128>());
            if let Ok(value) = HeaderValue::from_str(&key) {
                headers.insert("idempotency-key", value);
            }
        }
        Call { method, path: path.into(), query: Vec::new(), headers, body: None, streams: false }
    }

    pub(crate) fn get(path: impl Into<String>) -> Call {
        Call::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Call {
        Call::new(Method::POST, path)
    }

    pub(crate) fn query(mut self, key: &'static str, value: impl ToString) -> Call {
        self.query.push((key, value.to_string()));
        self
    }

    pub(crate) fn maybe(self, key: &'static str, value: Option<impl ToString>) -> Call {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Call {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn body(self, content_type: &str, body: Bytes) -> Call {
        let mut call = self.header(reqwest::header::CONTENT_TYPE, content_type);
        call.body = Some(body);
        call
    }

    pub(crate) fn json(self, body: &impl Serialize) -> Result<Call, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Config(error.to_string()))?;
        Ok(self.body("application/json", body.into()))
    }

    pub(crate) fn streams(mut self) -> Call {
        self.streams = true;
        self
    }
}

/// What one try came to.
enum Tried {
    Answered(Response),
    /// It did not get there: nothing happened.
    NotReached(NotReached),
    /// It got there, and the connection broke.
    Broken(String),
}

impl Client {
    /// Begins to make one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The peers it knows.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Sends until a peer answers with something that is worth showing, or patience ends.
    pub(crate) async fn send(&self, call: Call) -> Result<Response, Error> {
        let deadline = Instant::now() + self.patience;
        let mut pause = PAUSE_FIRST;
        let mut failures: Vec<(String, NotReached)> = Vec::new();
        let mut tries = 0usize;
        loop {
            let index = self.current.load(Ordering::Relaxed) % self.endpoints.len();
            let endpoint = &self.endpoints[index];
            tries += 1;
            let last = match self.try_once(endpoint, &call).await {
                Tried::Answered(response)
                    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED =>
                {
                    return Ok(response);
                }
                Tried::Answered(response) => {
                    let busy = response.status() == StatusCode::TOO_MANY_REQUESTS;
                    let wait = retry_after(&response)
                        .filter(|_| busy || response.status() == StatusCode::SERVICE_UNAVAILABLE);
                    let error = read_problem(endpoint, response).await;
                    let Some(wait) = wait else { return Err(error) };
                    if Instant::now() + wait.min(PAUSE_MAX) >= deadline {
                        return Err(error);
                    }
                    if busy {
                        tokio::time::sleep(wait.min(deadline.saturating_duration_since(Instant::now())))
                            .await;
                        continue;
                    }
                    error
                }
                Tried::NotReached(why) => {
                    failures.retain(|(known, _)| known != endpoint);
                    failures.push((endpoint.clone(), why));
                    let told = failures.iter().map(|(known, not)| (known.clone(), not.why.clone())).collect();
                    if failures.iter().filter(|(_, not)| not.lasts).count() == self.endpoints.len() {
                        return Err(Error::Untrusted(told));
                    }
                    Error::Unreachable(told)
                }
                Tried::Broken(why) => Error::Broken { endpoint: endpoint.clone(), why },
            };
            // Another request may have moved on already: then that endpoint is tried next.
            let next = (index + 1) % self.endpoints.len();
            let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
            if Instant::now() + pause >= deadline {
                return Err(last);
            }
            if tries.is_multiple_of(self.endpoints.len()) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    async fn try_once(&self, endpoint: &str, call: &Call) -> Tried {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{endpoint}{}", call.path))
            .query(&call.query)
            .headers(call.headers.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        if !call.streams {
            request = request.timeout(ANSWER_MAX);
        }
        let begin_max = if call.streams { BEGIN_MAX } else { ANSWER_MAX };
        match tokio::time::timeout(begin_max, request.send()).await {
            Ok(Ok(response)) => Tried::Answered(response),
            Ok(Err(error)) if error.is_connect() || error.is_builder() => {
                Tried::NotReached(not_reached(&error))
            }
            Ok(Err(error)) => Tried::Broken(chain(&error)),
            Err(_) => Tried::Broken(format!("no answer within {} s", begin_max.as_secs())),
        }
    }

    /// Sends, and reads the answer's body.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            let index = self.current.load(Ordering::Relaxed);
            let response = self.send(call.clone()).await?;
            match read_json(response).await {
                // The peer ended in the middle of its answer. Another one has the same, under the same key.
                Err(Error::Broken { .. }) if tries < self.endpoints.len() => {
                    tries += 1;
                    let next = (index + 1) % self.endpoints.len();
                    let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
                }
                read => return read,
            }
        }
    }

    /// Sends, and expects nothing back.
    pub(crate) async fn tell(&self, call: Call) -> Result<(), Error> {
        self.send(call).await.map(|_| ())
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    text.parse().ok().map(Duration::from_secs)
}

fn endpoint_of(response: &Response) -> String {
    let url = response.url();
    format!("{}://{}", url.scheme(), url.authority())
}

async fn read_problem(endpoint: &str, response: Response) -> Error {
    let status = response.status();
    match read_bytes(response).await {
        Ok(body) => match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Error::Problem(Box::new(problem)),
            Err(_) => Error::Unexpected {
                endpoint: endpoint.to_string(),
                why: format!("status {status} without a problem"),
            },
        },
        Err(error) => error,
    }
}

pub(crate) async fn read_bytes(mut response: Response) -> Result<Vec<u8>, Error> {
    let endpoint = endpoint_of(&response);
    let broken = |why: String| Error::Broken { endpoint: endpoint.clone(), why };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(chain(&error)))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::Unexpected { endpoint, why: "the answer is too large".to_string() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(crate) async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let endpoint = endpoint_of(&response);
    let body = read_bytes(response).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::Unexpected { endpoint, why: format!("the answer cannot be read: {error}") })
}
