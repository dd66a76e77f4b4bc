//! What `/metrics` shows of the API, and of the control plane as this peer sees it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use rscaler_raft::handle::Handle;
use rscaler_raft::model::Kind;

/// Labels of a finished request. Routes are templates, so that there are few.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

type Level = Gauge<i64, AtomicI64>;

/// The metrics of one peer. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    connections: Level,
    streams: Level,
    is_leader: Level,
    has_leader: Level,
    term: Level,
    applied: Level,
    sessions: Level,
    peers: Level,
    open_tasks: Level,
    nodes_unassigned: Level,
    series: Level,
    series_blocks: Level,
    series_block_bytes: Level,
    series_open_samples: Level,
    samples_accepted: Level,
    samples_refused: Level,
    objects: Family<KindLabels, Gauge<u64, AtomicU64>>,
}

fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.5, 11))
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("rscaler");
        let requests = Family::default();
        registry.register("api_requests", "Requests answered, by route and status", requests.clone());
        let seconds = Family::<_, _, fn() -> _>::new_with_constructor(buckets);
        registry.register("api_request_seconds", "Time until an answer began", seconds.clone());
        let objects = Family::default();
        registry.register("objects", "Configuration objects, by kind", objects.clone());
        let mut level = |name, help| {
            let level = Level::default();
            registry.register(name, help, level.clone());
            level
        };
        let inner = Inner {
            requests,
            seconds,
            objects,
            connections: level("api_connections", "Open connections of clients"),
            streams: level("api_streams", "Open watchers and followers"),
            is_leader: level("raft_is_leader", "Whether this peer leads"),
            has_leader: level("raft_has_leader", "Whether this peer knows a leader"),
            term: level("raft_term", "Raft's term"),
            applied: level("raft_applied_index", "The last log entry applied here"),
            sessions: level("peers_alive", "Peers with a live session"),
            peers: level("peers", "Peers that were admitted"),
            open_tasks: level("tasks_open", "Tasks that have not ended"),
            nodes_unassigned: level("nodes_unassigned", "Nodes with an SSH profile that no peer collects"),
            series: level("series", "Series of samples"),
            series_blocks: level("series_blocks", "Stored blocks of samples"),
            series_block_bytes: level("series_block_bytes", "Bytes of the stored blocks of samples"),
            series_open_samples: level("series_open_samples", "Samples that are in no block yet"),
            samples_accepted: level("samples_accepted", "Samples taken since the beginning"),
            samples_refused: level("samples_refused", "Samples refused since the beginning"),
            registry: Mutex::new(registry),
        };
        Metrics { inner: Arc::new(inner) }
    }

    /// Adds metrics of the peer around the API.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.inner.registry.lock());
    }

    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let labels = RequestLabels { method: method.to_string(), route: route.to_string(), status };
        self.inner.requests.get_or_create(&labels).inc();
        self.inner
            .seconds
            .get_or_create(&RouteLabels { route: route.to_string() })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn connections(&self, change: i64) {
        self.inner.connections.inc_by(change);
    }

    pub(crate) fn streams(&self, change: i64) {
        self.inner.streams.inc_by(change);
    }

    /// The text, with what the control plane looks like now.
    pub(crate) fn render(&self, handle: &Handle) -> String {
        let inner = &self.inner;
        let level = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let leadership = *handle.leadership().borrow();
        inner.is_leader.set(i64::from(leadership.is_local()));
        inner.has_leader.set(i64::from(leadership.leader.is_some()));
        inner.term.set(i64::try_from(leadership.term).unwrap_or(i64::MAX));
        inner.applied.set(i64::try_from(handle.applied()).unwrap_or(i64::MAX));
        handle.read(|state| {
            inner.sessions.set(level(state.sessions().count()));
            inner.peers.set(level(state.peers().count()));
            inner.open_tasks.set(level(state.open_tasks().count()));
            for kind in Kind::ALL {
                let labels = KindLabels { kind: kind.as_str().to_string() };
                inner.objects.get_or_create(&labels).set(state.objects_of(kind).count() as u64);
            }
            let unassigned = state
                .objects_of(Kind::Node)
                .filter(|(name, _)| {
                    state.node(name).is_some_and(|node| node.ssh_profile.is_some())
                        && state.assignment(name).is_none()
                })
                .count();
            inner.nodes_unassigned.set(level(unassigned));
            let series = state.series().status();
            let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            inner.series.set(level(series.series));
            inner.series_blocks.set(level(series.blocks));
            inner.series_block_bytes.set(count(series.block_bytes));
            inner.series_open_samples.set(count(series.open_samples));
            inner.samples_accepted.set(count(series.accepted));
            inner.samples_refused.set(count(series.refused.total()));
        });
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &inner.registry.lock()).is_err() {
            text.clear();
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}
