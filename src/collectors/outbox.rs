//! Samples and reports on their way to the log: gathered per node, sent in batches, bounded.
//!
//! Each node has at most one batch under way, so that its samples arrive in order; a few nodes are served at a time.
//! While the log is slow, batches grow instead of becoming more. What does not fit is dropped, oldest first, and counted;
//! before it comes to that, [`Backlog::is_high`] makes the schedule leave readings out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rscaler_raft::command::{
    CheckBatch, CheckReport, Command, Reply, RowSeries, SampleBatch, SampleRow, SampleSource,
};
use rscaler_raft::handle::{EngineError, Handle, SubmitError};
use rscaler_raft::model::{Actor, Name, SeriesKey};
use rscaler_raft::series::KeyRef;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::status::join;
use crate::metrics::Metrics;

/// How long a node's first sample waits for others.
const LINGER: Duration = Duration::from_millis(80);
/// Nodes whose batches are under way.
const SENDING_MAX: usize = 16;
/// Samples of one node that wait.
const ROWS_PER_NODE_MAX: usize = 16 * 1024;
/// Samples that wait in all, from which on readings are left out.
const HIGH_ROWS: u64 = 100_000;
/// Reports in one entry, and the bytes of output in it.
const REPORTS_MAX: usize = 64;
const REPORT_BYTES_MAX: usize = 128 << 10;
/// How long one try takes at most, and the pause after one that failed.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long the rest is tried at the end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Something to be sent.
pub(super) enum Parcel {
    /// Samples of one reading.
    Samples { node: Name, epoch: u64, rows: Vec<Row> },
    /// Reports on readings.
    Checks { node: Name, epoch: u64, reports: Vec<CheckReport> },
    /// The node is collected by somebody else.
    Forget(Name),
}

/// A sample whose series is named.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) counter: Name,
    pub(super) jvm: Option<Name>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) at: i64,
    pub(super) value: f64,
}

/// How much waits.
#[derive(Clone, Default)]
pub(super) struct Backlog(Arc<AtomicU64>);

impl Backlog {
    /// Whether readings are to be left out until it is less.
    pub(super) fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed) > HIGH_ROWS
    }
}

/// What waits of one node.
struct Pending {
    epoch: u64,
    rows: VecDeque<Row>,
    reports: BTreeMap<Name, CheckReport>,
    /// When it is to be sent, if it is not being sent.
    due: Option<Instant>,
    is_sending: bool,
}

/// What was sent.
struct Sent {
    node: Name,
    epoch: u64,
    rows: Vec<Row>,
    reports: Vec<CheckReport>,
    samples: Option<Result<Reply, SubmitError>>,
    checks: Option<Result<Reply, SubmitError>>,
}

/// The loop that sends.
pub(super) struct Outbox {
    handle: Handle,
    metrics: Arc<Metrics>,
    parcels: mpsc::Receiver<Parcel>,
    backlog: Backlog,
    pending: BTreeMap<Name, Pending>,
}

impl Outbox {
    pub(super) fn new(handle: Handle, metrics: Arc<Metrics>, parcels: mpsc::Receiver<Parcel>) -> Outbox {
        Outbox { handle, metrics, parcels, backlog: Backlog::default(), pending: BTreeMap::new() }
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }

    /// Sends until `stop`, then a little longer what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let handle = self.handle.clone();
        let mut sending = FuturesUnordered::new();
        let mut end: Option<Instant> = None;
        loop {
            let now = Instant::now();
            while sending.len() < SENDING_MAX
                && let Some(batch) = self.next_batch(now)
            {
                sending.push(send(handle.clone(), batch));
            }
            if end.is_some_and(|end| now >= end) || (end.is_some() && self.is_empty() && sending.is_empty()) {
                return;
            }
            let next = self.pending.values().filter_map(|pending| pending.due).min();
            let wake = match (next.filter(|_| sending.len() < SENDING_MAX), end) {
                (Some(next), Some(end)) => next.min(end),
                (Some(next), None) => next,
                (None, Some(end)) => end,
                (None, None) => now + Duration::from_secs(60),
            };
            tokio::select! {
                biased;
                () = stop.cancelled(), if end.is_none() => {
                    end = Some(Instant::now() + END_TIMEOUT);
                    for pending in self.pending.values_mut().filter(|pending| pending.due.is_some()) {
                        pending.due = Some(now);
                    }
                }
                Some(sent) = sending.next(), if !sending.is_empty() => self.sent(sent),
                Some(parcel) = self.parcels.recv() => self.take(parcel),
                () = sleep_until(wake) => {}
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.pending.values().all(|pending| pending.rows.is_empty() && pending.reports.is_empty())
    }

    fn take(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Samples { node, epoch, rows } => {
                let pending = self.pending_of(node, epoch);
                pending.rows.extend(rows);
                pending.wake(Instant::now() + LINGER);
            }
            Parcel::Checks { node, epoch, reports } => {
                let pending = self.pending_of(node, epoch);
                for report in reports {
                    pending.add_report(report);
                }
                pending.wake(Instant::now() + LINGER);
            }
            Parcel::Forget(node) => {
                self.pending.remove(&node);
            }
        }
        self.bound();
    }

    fn pending_of(&mut self, node: Name, epoch: u64) -> &mut Pending {
        let pending = self.pending.entry(node).or_insert_with(|| Pending::new(epoch));
        if pending.epoch != epoch {
            // What was collected under another assignment would be refused.
            let is_sending = pending.is_sending;
            *pending = Pending { is_sending, ..Pending::new(epoch) };
        }
        pending
    }

    /// Drops the oldest samples of nodes that have too many, and says how many wait.
    fn bound(&mut self) {
        let mut waiting = 0;
        for pending in self.pending.values_mut() {
            let over = pending.rows.len().saturating_sub(ROWS_PER_NODE_MAX);
            if over > 0 {
                pending.rows.drain(..over);
                self.metrics.samples_dropped.add(over as u64);
            }
            waiting += pending.rows.len() as u64;
        }
        self.backlog.0.store(waiting, Ordering::Relaxed);
        self.metrics.samples_waiting.set(waiting);
    }

    /// The next batch that is to be sent now.
    fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        let (node, pending) = self
            .pending
            .iter_mut()
            .filter(|(_, pending)| pending.due.is_some_and(|due| due <= now))
            .min_by_key(|(_, pending)| pending.due)?;
        pending.due = None;
        pending.is_sending = true;
        let count = pending.rows.len().min(SampleBatch::ROWS_MAX);
        let rows: Vec<Row> = pending.rows.drain(..count).collect();
        let mut reports: Vec<CheckReport> = Vec::new();
        let mut bytes = 0;
        while reports.len() < REPORTS_MAX && bytes < REPORT_BYTES_MAX {
            let Some((_, report)) = pending.reports.pop_first() else { break };
            bytes += report.output.as_ref().map_or(0, |output| output.stdout.len() + output.stderr.len());
            reports.push(report);
        }
        Some(Batch { node: node.clone(), epoch: pending.epoch, rows, reports })
    }

    fn sent(&mut self, sent: Sent) {
        let now = Instant::now();
        let Sent { node, epoch, rows, reports, samples, checks } = sent;
        let count = rows.len() as u64;
        let mut again = Vec::new();
        match samples {
            None => {}
            Some(Ok(Reply::Samples { accepted: _, dropped })) => {
                self.metrics.samples_proposed.add(count);
                self.metrics.samples_refused.add(u64::from(dropped));
            }
            Some(Ok(other)) => warn!(%node, ?other, "an unexpected answer to samples"),
            Some(Err(SubmitError::Rejected(rejection))) => {
                debug!(%node, %rejection, "samples refused");
                self.metrics.samples_proposed.add(count);
                self.metrics.samples_refused.add(count);
            }
            Some(Err(SubmitError::Engine(EngineError::Refused(why)))) => {
                warn!(%node, why, "samples can't be committed");
                self.metrics.samples_dropped.add(count);
            }
            // Twice does no harm: the second time they count as duplicates.
            Some(Err(SubmitError::Engine(error))) => {
                debug!(%node, %error, "samples could not be committed yet");
                self.metrics.batches_failed.add_one();
                again = rows;
            }
        }
        let reports_again = match checks {
            Some(Err(SubmitError::Engine(EngineError::Unavailable(_) | EngineError::Unknown(_)))) => reports,
            _ => Vec::new(),
        };
        let Some(pending) = self.pending.get_mut(&node) else { return };
        pending.is_sending = false;
        let failed = !again.is_empty() || !reports_again.is_empty();
        if pending.epoch == epoch {
            for row in again.into_iter().rev() {
                pending.rows.push_front(row);
            }
            for report in reports_again {
                pending.add_earlier_report(report);
            }
        }
        if pending.rows.is_empty() && pending.reports.is_empty() {
            self.pending.remove(&node);
        } else {
            pending.wake(if failed { now + RETRY_PAUSE } else { now });
        }
        self.bound();
    }
}

impl Pending {
    fn new(epoch: u64) -> Pending {
        Pending { epoch, rows: VecDeque::new(), reports: BTreeMap::new(), due: None, is_sending: false }
    }

    fn wake(&mut self, at: Instant) {
        if !self.is_sending && self.due.is_none() {
            self.due = Some(at);
        }
    }

    fn add_report(&mut self, later: CheckReport) {
        let report = match self.reports.remove(&later.counter) {
            Some(earlier) => join(earlier, later),
            None => later,
        };
        self.reports.insert(report.counter.clone(), report);
    }

    fn add_earlier_report(&mut self, earlier: CheckReport) {
        let report = match self.reports.remove(&earlier.counter) {
            Some(later) => join(earlier, later),
            None => earlier,
        };
        self.reports.insert(report.counter.clone(), report);
    }
}

struct Batch {
    node: Name,
    epoch: u64,
    rows: Vec<Row>,
    reports: Vec<CheckReport>,
}

async fn send(handle: Handle, batch: Batch) -> Sent {
    let Batch { node, epoch, rows, reports } = batch;
    let actor = Actor::Peer(handle.local());
    let mut samples = None;
    if !rows.is_empty() {
        let command = Command::Samples(encode(&handle, &node, epoch, &rows));
        samples = Some(handle.submit_within(PATIENCE, None, actor.clone(), command).await);
    }
    let mut checks = None;
    if !reports.is_empty() {
        let command = Command::Checks(CheckBatch { node: node.clone(), epoch, reports: reports.clone() });
        checks = Some(handle.submit_within(PATIENCE, None, actor, command).await);
    }
    Sent { node, epoch, rows, reports, samples, checks }
}

/// Names each series once: by its number where it has one, else by its key.
fn encode(handle: &Handle, node: &Name, epoch: u64, rows: &[Row]) -> SampleBatch {
    let mut keys: Vec<SeriesKey> = Vec::new();
    let mut named: BTreeMap<(&Name, Option<&Name>, Option<&str>), RowSeries> = BTreeMap::new();
    let mut out = Vec::with_capacity(rows.len());
    handle.read(|state| {
        for row in rows {
            let place = (&row.counter, row.jvm.as_ref(), row.instance.as_deref());
            let series = *named.entry(place).or_insert_with(|| {
                let key = KeyRef {
                    counter: row.counter.as_str(),
                    node: node.as_str(),
                    jvm: row.jvm.as_ref().map(Name::as_str),
                    instance: row.instance.as_deref(),
                };
                match state.series().id(key) {
                    Some(id) => RowSeries::Known(id),
                    None => {
                        keys.push(SeriesKey {
                            counter: Arc::clone(row.counter.as_arc()),
                            node: Arc::clone(node.as_arc()),
                            jvm: row.jvm.as_ref().map(|jvm| Arc::clone(jvm.as_arc())),
                            instance: row.instance.clone(),
                        });
                        RowSeries::New(u32::try_from(keys.len() - 1).unwrap_or(u32::MAX))
                    }
                }
            });
            // One representation of what is not a number, so that all peers hold the same bytes.
            let value = if row.value.is_nan() { f64::NAN } else { row.value };
            out.push(SampleRow { series, at: row.at, value });
        }
    });
    let source = SampleSource::Collector { node: node.clone(), epoch };
    SampleBatch { source, keys, rows: out }
}
