//! Samples and what became of readings.

use std::sync::Arc;

use super::tasks::shorten;
use super::{Notice, State};
use crate::command::{
    CheckBatch, CheckReport, Outcome, Rejection, RejectionKind, Reply, SampleBatch, SampleSource,
};
use crate::model::{Actor, CheckOutput, CheckStatus, EventKind, FailureKind, Name};
use crate::series::SeriesKey;

/// Bytes kept of a failure's reason.
const REASON_BYTES_MAX: usize = 512;

impl State {
    pub(super) fn take_samples(&mut self, _index: u64, batch: &SampleBatch) -> Outcome {
        if batch.rows.len() > SampleBatch::ROWS_MAX {
            return Err(State::too_many(format!("at most {} samples at once", SampleBatch::ROWS_MAX)));
        }
        if let SampleSource::Collector { node, epoch } = &batch.source {
            self.check_assignment(node, *epoch)?;
        }
        Err(Rejection::new(RejectionKind::Conflict, "samples are not kept yet"))
    }

    fn check_assignment(&self, node: &Name, epoch: u64) -> Result<(), Rejection> {
        match self.assignment(node) {
            Some(assignment) if assignment.epoch == epoch => Ok(()),
            _ => Err(Rejection::stale(format!(
                "node `{node}` is not collected under assignment {epoch} any more"
            ))),
        }
    }

    pub(super) fn take_checks(&mut self, batch: &CheckBatch) -> Outcome {
        self.check_assignment(&batch.node, batch.epoch)?;
        for report in &batch.reports {
            self.take_check(&batch.node, report);
        }
        Ok(Reply::Done)
    }

    fn take_check(&mut self, node: &Name, report: &CheckReport) {
        if self.counter(&report.counter).is_none() {
            return;
        }
        let key = (node.clone(), report.counter.clone());
        let old = self.checks.get(&key).map(Arc::clone);
        let was_unreachable = old.as_ref().is_some_and(|old| is_unreachable(old.failure.as_ref()));
        let failure =
            report.failure.as_ref().map(|(kind, reason)| (*kind, shorten(reason, REASON_BYTES_MAX)));
        let unreachable = is_unreachable(failure.as_ref());
        let status = CheckStatus {
            last: report.at,
            failures_in_row: match (&failure, &old) {
                (None, _) => 0,
                (Some(_), Some(old)) => old.failures_in_row.saturating_add(report.failures),
                (Some(_), None) => report.failures,
            },
            failures_total: old.as_ref().map_or(0, |o| o.failures_total) + u64::from(report.failures),
            output: report.output.clone().map(cut).or_else(|| old.as_ref().and_then(|o| o.output.clone())),
            failure,
        };
        if unreachable && !self.has_unreachable_check(node) {
            let why = status.failure.as_ref().map_or("", |(_, why)| why.as_str());
            let message = format!("node `{node}` cannot be collected: {why}");
            self.record(Actor::System, EventKind::NodeReachability(node.clone()), message);
        }
        self.checks.insert(key, status);
        if was_unreachable && !unreachable && !self.has_unreachable_check(node) {
            let message = format!("node `{node}` is collected again");
            self.record(Actor::System, EventKind::NodeReachability(node.clone()), message);
        }
        self.notify(Notice::Check(node.clone(), report.counter.clone()));
    }

    fn has_unreachable_check(&self, node: &Name) -> bool {
        self.checks_of(node).any(|(_, status)| is_unreachable(status.failure.as_ref()))
    }

    /// What became of the last reading of each counter on a node, in counter order.
    pub fn checks_of(&self, node: &Name) -> impl Iterator<Item = (&Name, &Arc<CheckStatus>)> {
        let first =
            (node.clone(), Name::new("0").expect("`0` follows the grammar of names, and no name is less"));
        let node = node.clone();
        self.checks
            .range(first..)
            .take_while(move |((n, _), _)| *n == node)
            .map(|((_, counter), status)| (counter, status))
    }

    /// What became of the last readings, of all nodes, in (node, counter) order.
    pub fn checks(&self) -> impl Iterator<Item = (&(Name, Name), &Arc<CheckStatus>)> {
        self.checks.iter()
    }

    pub(super) fn forget_checks(&mut self, gone: impl Fn(&(Name, Name)) -> bool) {
        let keys: Vec<_> = self.checks.iter().map(|(key, _)| key).filter(|key| gone(key)).cloned().collect();
        for key in keys {
            self.checks.remove(&key);
        }
    }

    pub(super) fn forget_series(&mut self, _gone: impl Fn(&SeriesKey) -> bool) {}
}

fn is_unreachable(failure: Option<&(FailureKind, String)>) -> bool {
    matches!(
        failure,
        Some((FailureKind::Unreachable | FailureKind::HostKey | FailureKind::Authentication, _))
    )
}

fn cut(mut output: CheckOutput) -> CheckOutput {
    output.stdout.truncate(CheckOutput::BYTES_MAX);
    output.stderr.truncate(CheckOutput::BYTES_MAX);
    output
}
