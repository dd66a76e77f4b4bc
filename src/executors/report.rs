//! Reports of all attempts on this peer, several in one entry.

use std::time::Duration;

use rand::RngCore;
use rscaler_raft::command::{Command, Progress, Reply, TaskReport};
use rscaler_raft::handle::{EngineError, Handle, SubmitError};
use rscaler_raft::model::{Actor, RequestId, TaskId};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

use crate::lease::Lease;
use crate::metrics::Metrics;

/// Reports that wait. An attempt has one under way at a time, so that this is hardly ever reached.
const WAITING_MAX: usize = 256;
/// Reports in one entry.
const REPORTS_MAX: usize = 128;
/// Bytes of output in one entry.
const BYTES_MAX: usize = 512 << 10;
/// How long one try takes at most; the next one has the same request id.
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The longest that output waits for this peer's storage to catch up, so that everything else finds the log free. A storage
/// that does not move for so long stops its peer.
const STORAGE_PATIENCE: Duration = Duration::from_secs(60);

/// What became of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It counts.
    Taken,
    /// The attempt is not the current one any more.
    Refused,
    /// Our session is over; whether it counts is not known.
    Lapsed,
}

struct Item {
    report: TaskReport,
    bytes: usize,
    answer: oneshot::Sender<Verdict>,
}

/// Hands reports in.
#[derive(Clone)]
pub(super) struct Reporter {
    items: mpsc::Sender<Item>,
}

/// What takes the reports to the log. Ends when every [`Reporter`] is gone and nothing waits.
pub(super) struct ReportLoop {
    items: mpsc::Receiver<Item>,
    handle: Handle,
    lease: Lease,
    metrics: Arc<Metrics>,
}

pub(super) fn reporter(handle: Handle, lease: Lease, metrics: Arc<Metrics>) -> (Reporter, ReportLoop) {
    let (send, items) = mpsc::channel(WAITING_MAX);
    (Reporter { items: send }, ReportLoop { items, handle, lease, metrics })
}

impl Reporter {
    /// Commits reports of one attempt, in order, and says what became of the last of them.
    pub(super) async fn report(
        &self,
        task: TaskId,
        attempt: u32,
        session: u64,
        all: impl IntoIterator<Item = Progress>,
    ) -> Verdict {
        let mut last = None;
        for progress in all {
            let bytes = match &progress {
                Progress::Output { chunks, .. } => chunks.iter().map(|chunk| chunk.bytes.len()).sum(),
                _ => 0,
            };
            let (answer, verdict) = oneshot::channel();
            let report = TaskReport { task, attempt, session, progress };
            if self.items.send(Item { report, bytes, answer }).await.is_err() {
                return Verdict::Lapsed;
            }
            last = Some(verdict);
        }
        match last {
            Some(verdict) => verdict.await.unwrap_or(Verdict::Lapsed),
            None => Verdict::Taken,
        }
    }
}

impl ReportLoop {
    /// Takes reports to the log, one entry at a time, so that they arrive in the order they were handed in. The first goes
    /// at once; what comes while an entry is under way goes with the next.
    pub(super) async fn run(mut self) {
        let mut carried = None;
        loop {
            let first = match carried.take() {
                Some(item) => item,
                None => match self.items.recv().await {
                    Some(item) => item,
                    None => return,
                },
            };
            let mut bytes = first.bytes;
            let mut batch = vec![first];
            while batch.len() < REPORTS_MAX {
                let Ok(item) = self.items.try_recv() else { break };
                if bytes + item.bytes > BYTES_MAX {
                    carried = Some(item);
                    break;
                }
                bytes += item.bytes;
                batch.push(item);
            }
            if bytes > 0 {
                self.wait_for_storage().await;
            }
            self.submit(batch).await;
        }
    }

    async fn wait_for_storage(&self) {
        let until = Instant::now() + STORAGE_PATIENCE;
        while self.handle.is_storage_behind() && Instant::now() < until {
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn submit(&self, batch: Vec<Item>) {
        // Made once: a repetition of the same batch is answered as the first was, and adds no output twice.
        let request = RequestId::passing(random_u128());
        let actor = Actor::Peer(self.handle.local());
        loop {
            let session = self.lease.session();
            if batch.iter().all(|item| Some(item.report.session) != session) {
                return answer(batch, |_| Verdict::Lapsed);
            }
            let reports = batch.iter().map(|item| item.report.clone()).collect();
            let command = Command::TaskReports(reports);
            let submitted = self.handle.submit_within(PATIENCE, Some(request), actor.clone(), command).await;
            match submitted {
                Ok(Reply::Reports(taken)) => {
                    return answer(batch, |index| match taken.get(index) {
                        Some(true) => Verdict::Taken,
                        _ => Verdict::Refused,
                    });
                }
                Ok(other) => {
                    error!(?other, "an unexpected answer to task reports");
                    return answer(batch, |_| Verdict::Refused);
                }
                Err(SubmitError::Rejected(rejection)) => {
                    error!(%rejection, "task reports were refused as a whole");
                    return answer(batch, |_| Verdict::Refused);
                }
                Err(SubmitError::Engine(EngineError::Refused(why))) => {
                    error!(why, "task reports can't be committed");
                    return answer(batch, |_| Verdict::Refused);
                }
                Err(SubmitError::Engine(error)) => {
                    debug!(%error, "task reports could not be committed yet");
                    self.metrics.reports_retried.add_one();
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

fn answer(batch: Vec<Item>, verdict: impl Fn(usize) -> Verdict) {
    for (index, item) in batch.into_iter().enumerate() {
        // An attempt that was revoked meanwhile does not listen any more.
        let _ = item.answer.send(verdict(index));
    }
}

fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    u128::from_be_bytes(bytes)
}
