//! One attempt from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use rscaler_raft::command::{Ending, EndingResult, Progress};
use rscaler_raft::model::{OutputChunk, Task, TaskId};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, instrument};

use super::output::{Allowance, Batch};
use super::report::{Reporter, Verdict};
use super::{Executor, Output, Work, ending};
use crate::lease::Lease;
use crate::metrics::Metrics;

/// How long past its deadline an executor may take to end. Shorter than the control plane's own patience (15 s),
/// so that the ending is ours to tell.
const OVERTIME: Duration = Duration::from_secs(10);
/// How long an executor may take to end after it was asked to.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(12);
/// How long one may take when the peer stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Who may say what to an attempt.
#[derive(Clone, Default)]
pub(super) struct Signals {
    /// Somebody wants the task to end.
    pub(super) cancel: CancellationToken,
    /// It is not ours any more: stop at once and say nothing.
    pub(super) revoke: CancellationToken,
    /// The peer stops: hand back what has not begun.
    pub(super) drain: CancellationToken,
    /// The peer stops now: end what has begun.
    pub(super) stop: CancellationToken,
}

/// An attempt to be made.
pub(super) struct Attempt {
    pub(super) task: Arc<Task>,
    pub(super) action: Arc<rscaler_raft::model::Action>,
    pub(super) session: u64,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) reporter: Reporter,
    pub(super) lease: Lease,
    pub(super) signals: Signals,
    pub(super) places: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
}

impl Attempt {
    fn id(&self) -> TaskId {
        self.task.id
    }

    /// Makes the attempt. Ends early, in silence, when it is revoked or its lease is over.
    #[instrument(name = "attempt", skip_all, fields(task = self.task.id.0, attempt = self.task.attempt))]
    pub(super) async fn run(self) {
        let _level = self.metrics.attempts_running.enter();
        let (lease, revoke) = (self.lease.clone(), self.signals.revoke.clone());
        tokio::select! {
            biased;
            () = revoke.cancelled() => self.metrics.attempts_revoked.add_one(),
            () = lease.lapsed(self.session) => {
                info!("stopped: this peer's session is over");
                self.metrics.attempts_revoked.add_one();
            }
            () = self.make() => self.metrics.attempts.add_one(),
        }
    }

    async fn report(&self, progress: Progress) -> Verdict {
        self.reporter.report(self.id(), self.task.attempt, self.session, [progress]).await
    }

    /// Hands in the ending, and before it what of the output has not gone yet.
    async fn finish(&self, output: Option<&Output>, ending: Ending) {
        info!(result = ?ending.result, exit_code = ending.exit_code, reason = ending.reason, "attempt ended");
        let rest = std::iter::from_fn(|| output.and_then(Output::take)).map(|batch| self.output_of(batch));
        let all = rest.chain([Progress::Finished(ending)]);
        let verdict = self.reporter.report(self.id(), self.task.attempt, self.session, all).await;
        if verdict != Verdict::Taken {
            debug!(?verdict, "the ending does not count");
        }
    }

    async fn make(&self) {
        let place = tokio::select! {
            biased;
            () = self.signals.cancel.cancelled() => None,
            () = self.signals.drain.cancelled() => None,
            place = self.places.acquire() => place.ok(),
        };
        if self.signals.cancel.is_cancelled() {
            return self
                .finish(None, ending(EndingResult::Cancelled, None, "it was cancelled before it began"))
                .await;
        }
        let Some(_place) = place.filter(|_| !self.signals.drain.is_cancelled()) else {
            return self
                .finish(None, ending(EndingResult::HandedBack, None, "the peer is about to stop"))
                .await;
        };
        // From when on our time counts: the control plane's begins when the report is applied, which is later.
        let begun = Instant::now();
        let verdict = self.report(Progress::Started).await;
        if verdict != Verdict::Taken {
            debug!(?verdict, "not begun");
            // Either it is not ours any more, which ends us from outside, or a request to cancel it was applied first.
            // The state here may be behind, so the request may still be on its way.
            if timeout(CANCEL_TIMEOUT, self.signals.cancel.cancelled()).await.is_ok() {
                let reason = "it was cancelled before it began";
                self.finish(None, ending(EndingResult::Cancelled, None, reason)).await;
            }
            return;
        }
        if !self.lease.holds(self.session) {
            return;
        }
        let work = Work {
            task: Arc::clone(&self.task),
            action: Arc::clone(&self.action),
            output: Output::new(),
            cancel: CancellationToken::new(),
            deadline: begun + self.action.timeout,
        };
        let ending = self.carry_out(&work).await;
        self.finish(Some(&work.output), ending).await;
    }

    /// Runs the executor, passing its output on, and sees to it that it ends.
    async fn carry_out(&self, work: &Work) -> Ending {
        let mut execution = std::pin::pin!(self.executor.execute(work));
        let mut pump = std::pin::pin!(self.pump(&work.output));
        let mut end_by = work.deadline + OVERTIME;
        let mut asked: Option<EndingResult> = None;
        loop {
            tokio::select! {
                biased;
                ending = &mut execution => return self.judge(asked, ending),
                () = self.signals.stop.cancelled(), if asked != Some(EndingResult::Unknown) => {
                    work.cancel.cancel();
                    asked = Some(EndingResult::Unknown);
                    end_by = end_by.min(Instant::now() + STOP_TIMEOUT);
                }
                () = self.signals.cancel.cancelled(), if asked.is_none() => {
                    work.cancel.cancel();
                    asked = Some(EndingResult::Cancelled);
                    end_by = end_by.min(Instant::now() + CANCEL_TIMEOUT);
                }
                () = sleep_until(end_by) => {
                    let result = asked.unwrap_or(EndingResult::TimedOut);
                    return ending(result, None, "it did not end when it was asked to, and was left alone");
                }
                () = &mut pump => {}
            }
        }
    }

    /// What an ending is worth when we asked for it.
    fn judge(&self, asked: Option<EndingResult>, ended: Ending) -> Ending {
        match (asked, ended.result) {
            (Some(EndingResult::Unknown), EndingResult::Cancelled) => {
                let how = ended.reason.unwrap_or_default();
                let reason = format!("the peer that ran it was stopped in the middle: {how}");
                ending(EndingResult::Unknown, ended.exit_code, reason)
            }
            _ => ended,
        }
    }

    /// Passes output on as it comes. Never ends: once nobody takes it, it just waits.
    async fn pump(&self, output: &Output) {
        let mut allowance = Allowance::new(Instant::now());
        loop {
            output.ready().await;
            let Some(batch) = output.take() else { continue };
            let next = allowance.spend(batch.cost(), Instant::now());
            if self.report(self.output_of(batch)).await != Verdict::Taken {
                return std::future::pending().await;
            }
            sleep_until(next).await;
        }
    }

    fn output_of(&self, batch: Batch) -> Progress {
        self.metrics.output_missed_bytes.add(batch.missed_bytes);
        let attempt = self.task.attempt;
        let chunks = batch
            .chunks
            .into_iter()
            .map(|(stream, bytes)| OutputChunk { attempt, stream, bytes: bytes.into() })
            .collect();
        Progress::Output { chunks, missed_bytes: batch.missed_bytes }
    }
}
