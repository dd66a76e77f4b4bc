//! Samples and what became of readings.

use std::sync::Arc;
use std::time::Duration;

use super::tasks::shorten;
use super::{Notice, State};
use crate::command::{
    CheckBatch, CheckReport, Outcome, Rejection, Reply, RowSeries, SampleBatch, SampleSource,
};
use crate::model::{Actor, CheckOutput, CheckStatus, EventKind, FailureKind, Name};
use crate::series::{At, SeriesId, SeriesKey};

/// Bytes kept of a failure's reason.
const REASON_BYTES_MAX: usize = 512;
/// The longest name of an instance.
const INSTANCE_BYTES_MAX: usize = 200;
/// How many series of a node are looked up together.
const SERIES_LOOKED_UP: usize = 64;
/// How often old samples are looked for.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(10);

impl State {
    pub(super) fn take_samples(&mut self, index: u64, batch: &SampleBatch) -> Outcome {
        if batch.rows.len() > SampleBatch::ROWS_MAX {
            return Err(State::too_many(format!("at most {} samples at once", SampleBatch::ROWS_MAX)));
        }
        if let SampleSource::Collector { node, epoch } = &batch.source {
            self.check_assignment(node, *epoch)?;
        }
        let at = self.at(index);
        let known: Vec<Option<SeriesId>> = batch.keys.iter().map(|key| self.known_series(at, key)).collect();
        let mut accepted = Vec::with_capacity(batch.rows.len());
        for row in &batch.rows {
            let id = match row.series {
                RowSeries::Known(id) => Some(id),
                RowSeries::New(position) => known.get(position as usize).copied().flatten(),
            };
            // An id that no series has is counted as such.
            let id = id.unwrap_or(SeriesId(u32::MAX));
            if self.series.push(at, id, row.at, row.value).is_ok() {
                accepted.push((id, row.at, row.value));
            }
        }
        self.notice_samples(batch, &accepted);
        self.observe(&accepted);
        let taken = u32::try_from(accepted.len()).unwrap_or(u32::MAX);
        let dropped = u32::try_from(batch.rows.len()).unwrap_or(u32::MAX) - taken;
        Ok(Reply::Samples { accepted: taken, dropped })
    }

    /// The series of a key, made where it is new; none where its counter or node is not (any more).
    fn known_series(&mut self, at: At, key: &SeriesKey) -> Option<SeriesId> {
        if let Some(id) = self.series.id(key.parts()) {
            return Some(id);
        }
        let counter = Name::new(&key.counter).ok()?;
        let node = self.node(&Name::new(&key.node).ok()?)?;
        let collected =
            self.counter(&counter)?.clusters.iter().any(|selector| selector.covers(&node.cluster));
        let short = key.instance.as_ref().is_none_or(|instance| instance.len() <= INSTANCE_BYTES_MAX);
        if !collected || !short {
            return None;
        }
        self.series.intern(at, key.parts()).ok()
    }

    fn notice_samples(&mut self, batch: &SampleBatch, accepted: &[(SeriesId, i64, f64)]) {
        if let SampleSource::Collector { node, .. } = &batch.source {
            self.notify(Notice::Samples(node.clone()));
            return;
        }
        // Samples of a node mostly come together: its series are looked up once, and not each.
        let mut of_node: Vec<SeriesId> = Vec::new();
        let mut last = None;
        for (id, _, _) in accepted {
            if of_node.binary_search(id).is_ok() {
                continue;
            }
            let Some(key) = self.series.key(*id) else { continue };
            if last.as_ref() == Some(&key.node) {
                continue;
            }
            last = Some(Arc::clone(&key.node));
            of_node = self.series.some_of_node(&key.node, SERIES_LOOKED_UP);
            if let Ok(node) = Name::new(&key.node) {
                self.notify(Notice::Samples(node));
            }
        }
    }

    fn at(&self, index: u64) -> At {
        At { index, now_ms: self.globals.clock.wall.0 }
    }

    /// Lets go of samples that are older than they are kept.
    pub(super) fn expire_samples(&mut self, index: u64) {
        let now = self.globals.clock.elapsed;
        if now.since(self.globals.expired_at) < EXPIRE_INTERVAL {
            return;
        }
        self.globals.expired_at = now;
        let retention = self.retention();
        let expired = self.series.expire(self.at(index), &retention);
        if expired.series > 0 {
            self.series_forgotten();
        }
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
                (None | Some((FailureKind::Partly, _)), _) => 0,
                (Some(_), Some(old)) => old.failures_in_row.saturating_add(report.failures),
                (Some(_), None) => report.failures,
            },
            failures_total: old.as_ref().map_or(0, |o| o.failures_total) + u64::from(report.failures),
            output: report.output.clone().map(cut).or_else(|| old.as_ref().and_then(|o| o.output.clone())),
            failure,
        };
        if unreachable && self.is_news(node, status.failure.as_ref()) {
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

    /// Whether a node that can't be collected was collected so far, or is refused now where it was only out of reach: a host that comes
    /// back with another key must not pass for one that is still away.
    fn is_news(&self, node: &Name, failure: Option<&(FailureKind, String)>) -> bool {
        match failure {
            Some((kind @ (FailureKind::HostKey | FailureKind::Authentication), _)) => {
                !self.checks_of(node).any(|(_, check)| check.failure.as_ref().is_some_and(|(k, _)| k == kind))
            }
            _ => !self.has_unreachable_check(node),
        }
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
