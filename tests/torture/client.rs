//! Clients: HTTP with the outcomes told apart that a checker must tell apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use reqwest::Method;
use serde_json::Value;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// It was done.
    Done(Value),
    /// It was refused by what is there, with this status.
    Refused(u16, Value),
    /// Nothing happened: the control plane says so, or nobody was reached.
    Nothing(String),
    /// It may have happened.
    Unknown(String),
}

impl Answer {
    /// What was answered, of a request that was done.
    pub(crate) fn done(self) -> Option<Value> {
        match self {
            Answer::Done(value) => Some(value),
            _ => None,
        }
    }
}

/// The peers as clients find them, and what all clients count together.
pub(crate) struct Front {
    /// Base addresses, by place; those of peers that are gone are empty.
    urls: RwLock<Vec<String>>,
    pub(crate) token: String,
    began: Instant,
    /// When a write was last acknowledged to anybody, in ns since the beginning.
    last_write: AtomicU64,
    /// The longest time between two acknowledged writes since it was last asked for, in ns.
    longest_gap: AtomicU64,
    /// Requests sent.
    pub(crate) requests: AtomicU64,
    /// Requests whose end is unknown.
    pub(crate) unknown: AtomicU64,
}

impl Front {
    pub(crate) fn new(token: String) -> Arc<Front> {
        Arc::new(Front {
            urls: RwLock::default(),
            token,
            began: Instant::now(),
            last_write: AtomicU64::new(0),
            longest_gap: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        })
    }

    pub(crate) fn add(&self, url: String) {
        self.urls.write().push(url);
    }

    /// The peer at this place is no longer part of the control plane.
    pub(crate) fn leave(&self, place: usize) {
        self.urls.write()[place].clear();
    }

    fn url(&self, place: usize) -> String {
        let urls = self.urls.read();
        let from = place % urls.len();
        let url = urls[from..].iter().chain(&urls[..from]).find(|url| !url.is_empty());
        url.cloned().unwrap_or_default()
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wrote(&self) {
        let now = self.now();
        let last = self.last_write.fetch_max(now, Ordering::SeqCst);
        self.longest_gap.fetch_max(now.saturating_sub(last), Ordering::SeqCst);
    }

    /// From now on gaps are counted anew.
    pub(crate) fn start_gap(&self) {
        self.last_write.store(self.now(), Ordering::SeqCst);
        self.longest_gap.store(0, Ordering::SeqCst);
    }

    /// The longest time without an acknowledged write since [`Front::start_gap`], the open one included.
    pub(crate) fn gap(&self) -> Duration {
        let open = self.now().saturating_sub(self.last_write.load(Ordering::SeqCst));
        Duration::from_nanos(open.max(self.longest_gap.load(Ordering::SeqCst)))
    }
}

/// One client. It stays with one peer until that one does not serve it.
pub(crate) struct Client {
    pub(crate) front: Arc<Front>,
    http: reqwest::Client,
    place: usize,
}

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(6);

/// An HTTP client that takes the certificates that peers make for themselves.
pub(crate) fn http(patience: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .connect_timeout(Duration::from_millis(800))
        .timeout(patience)
        .build()
        .unwrap()
}

impl Client {
    pub(crate) fn new(front: &Arc<Front>, place: usize) -> Client {
        Client { front: Arc::clone(front), http: http(PATIENCE), place }
    }

    /// Sends a request once. A client that got no answer of a peer goes to the next one afterwards.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let writes = method != Method::GET;
        let answer = request(&self.http, &self.front, self.place, method, path, body, headers).await;
        self.front.requests.fetch_add(1, Ordering::Relaxed);
        match &answer {
            Answer::Done(_) if writes => self.front.wrote(),
            Answer::Nothing(_) => self.place += 1,
            Answer::Unknown(_) => {
                self.place += 1;
                if writes {
                    self.front.unknown.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        answer
    }
}

/// One request to one peer.
pub(crate) async fn request(
    http: &reqwest::Client,
    front: &Front,
    place: usize,
    method: Method,
    path: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request =
        http.request(method, format!("{}/api/v1/{path}", front.url(place))).bearer_auth(&front.token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Answer::Nothing(format!("{error:?}")),
        Err(error) => return Answer::Unknown(format!("{error:?}")),
    };
    let status = answer.status();
    let text = match answer.text().await {
        Ok(text) => text,
        Err(error) => return Answer::Unknown(format!("{error:?}")),
    };
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    match status.as_u16() {
        200..=299 => Answer::Done(value),
        503 if value["code"] == "unknown" => Answer::Unknown(value.to_string()),
        429 | 503 => Answer::Nothing(value.to_string()),
        500 => Answer::Unknown(value.to_string()),
        status => Answer::Refused(status, value),
    }
}
