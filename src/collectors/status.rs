//! What of a counter's readings is reported to the control plane, and when. Pure.
//!
//! A change between success and failure is told at once. What merely goes on is told now and then, for the whole node
//! together, so that thousands of counters that are well cost little.

use std::time::Duration;

use rscaler_raft::command::CheckReport;
use rscaler_raft::model::{CheckOutput, FailureKind, Name, Timestamp};

use super::outcome::Outcome;

/// A failure whose text changes is told at most this often.
const REASON_EVERY: Duration = Duration::from_secs(10);
/// What a script prints is told at most this often, where it is small.
const OUTPUT_EVERY: Duration = Duration::from_secs(10);
/// Where it is not.
const LARGE_OUTPUT_EVERY: Duration = Duration::from_secs(60);
/// Bytes from which on output is not small.
const LARGE_OUTPUT_BYTES: usize = 512;
/// Everything is told this often.
const REFRESH_EVERY: Duration = Duration::from_secs(60);

/// How a counter's readings on a node went so far.
#[derive(Default)]
pub(super) struct CheckLog {
    /// What was told last: when, and the failure.
    told: Option<(Moment, Option<(FailureKind, String)>)>,
    /// The output that was told last.
    told_output: Option<(Moment, CheckOutput)>,
    /// What was seen last and has not been told.
    news: Option<Seen>,
    /// Failures since the last report.
    failures: u32,
}

/// Monotonic time since the collector began.
pub(super) type Moment = Duration;

struct Seen {
    tick: Timestamp,
    failure: Option<(FailureKind, String)>,
    output: Option<CheckOutput>,
}

/// How pressing a report is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Urgency {
    /// Nothing to tell.
    None,
    /// To be told with whatever else of the node is.
    Due,
    /// To be told now.
    Now,
}

impl CheckLog {
    /// Takes note of a reading.
    pub(super) fn observe(&mut self, tick: Timestamp, outcome: &Outcome) {
        let failure = match &outcome.result {
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                Some((failure.kind, failure.reason.clone()))
            }
            Ok(_) => outcome.warning.clone().map(|warning| (FailureKind::Partly, warning)),
        };
        self.news = Some(Seen { tick, failure, output: outcome.output.clone() });
    }

    /// How pressing it is to report now.
    pub(super) fn urgency(&self, now: Moment) -> Urgency {
        let Some(news) = &self.news else { return Urgency::None };
        let Some((told_at, told)) = &self.told else { return Urgency::Now };
        let since = now.saturating_sub(*told_at);
        let kind = |failure: &Option<(FailureKind, String)>| failure.as_ref().map(|(kind, _)| *kind);
        if kind(told) != kind(&news.failure) {
            Urgency::Now
        } else if (*told != news.failure && since >= REASON_EVERY)
            || since >= REFRESH_EVERY
            || self.is_output_due(now)
        {
            Urgency::Due
        } else {
            Urgency::None
        }
    }

    fn is_output_due(&self, now: Moment) -> bool {
        let Some(output) = self.news.as_ref().and_then(|news| news.output.as_ref()) else { return false };
        let Some((told_at, told)) = &self.told_output else { return true };
        let is_news = told.stdout != output.stdout
            || told.stderr != output.stderr
            || told.exit_code != output.exit_code;
        let is_large = output.stdout.len() + output.stderr.len() > LARGE_OUTPUT_BYTES;
        let every = if is_large { LARGE_OUTPUT_EVERY } else { OUTPUT_EVERY };
        is_news && now.saturating_sub(*told_at) >= every
    }

    /// The report to send now.
    pub(super) fn take(&mut self, counter: &Name, now: Moment) -> Option<CheckReport> {
        let changes_side = self.urgency(now) == Urgency::Now;
        let with_output = changes_side || self.is_output_due(now);
        let news = self.news.take()?;
        let output = news.output.filter(|_| with_output);
        if let Some(output) = &output {
            self.told_output = Some((now, output.clone()));
        }
        self.told = Some((now, news.failure.clone()));
        Some(CheckReport {
            counter: counter.clone(),
            at: news.tick,
            failure: news.failure,
            failures: std::mem::take(&mut self.failures),
            output,
        })
    }

    /// The kind of the failure that was seen last, if the last reading failed.
    pub(super) fn failing(&self) -> Option<FailureKind> {
        let last = match (&self.news, &self.told) {
            (Some(news), _) => news.failure.as_ref(),
            (None, Some((_, failure))) => failure.as_ref(),
            (None, None) => None,
        };
        last.map(|(kind, _)| *kind).filter(|kind| *kind != FailureKind::Partly)
    }
}

/// Joins two reports of one counter of which the first was not sent.
pub(super) fn join(earlier: CheckReport, later: CheckReport) -> CheckReport {
    CheckReport {
        failures: earlier.failures.saturating_add(later.failures),
        output: later.output.or(earlier.output),
        ..later
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::outcome::{Failure, Measured};
    use super::*;

    fn counter() -> Name {
        Name::new("load1").unwrap()
    }

    fn output(stdout: &str) -> CheckOutput {
        let (stdout, stderr) = (stdout.as_bytes().to_vec(), Vec::new());
        CheckOutput { at: Timestamp(0), stdout, stderr, exit_code: Some(0), duration_ms: 3 }
    }

    fn well(stdout: &str) -> Outcome {
        let result = Ok(vec![Measured { jvm: None, instance: None, value: 1.0 }]);
        Outcome { result, warning: None, output: Some(output(stdout)) }
    }

    fn bad(kind: FailureKind, reason: &str) -> Outcome {
        Outcome::failed(Failure { kind, reason: reason.to_string() })
    }

    fn seconds(n: u64) -> Moment {
        Duration::from_secs(n)
    }

    #[test]
    fn the_first_reading_and_each_change_of_sides_are_told_at_once() {
        let mut log = CheckLog::default();
        assert_eq!(log.urgency(seconds(0)), Urgency::None);
        log.observe(Timestamp(1000), &well("1"));
        assert_eq!(log.urgency(seconds(0)), Urgency::Now);
        let first = log.take(&counter(), seconds(0)).unwrap();
        assert_eq!((first.failure, first.failures, first.output), (None, 0, Some(output("1"))));

        log.observe(Timestamp(2000), &bad(FailureKind::Exit, "exited with 3"));
        assert_eq!(log.urgency(seconds(1)), Urgency::Now);
        let failed = log.take(&counter(), seconds(1)).unwrap();
        assert_eq!((failed.at, failed.failures), (Timestamp(2000), 1));
        assert_eq!(log.failing(), Some(FailureKind::Exit));

        log.observe(Timestamp(3000), &well("1"));
        assert_eq!(log.urgency(seconds(2)), Urgency::Now);
        assert_eq!(log.failing(), None);
    }

    #[test]
    fn a_failure_that_goes_on_is_counted_and_told_each_minute() {
        let mut log = CheckLog::default();
        log.observe(Timestamp(0), &bad(FailureKind::Unreachable, "refused"));
        log.take(&counter(), seconds(0)).unwrap();
        for second in 1..60 {
            log.observe(Timestamp(second * 1000), &bad(FailureKind::Unreachable, "refused"));
            assert_eq!(log.urgency(seconds(second as u64)), Urgency::None);
        }
        assert_eq!(log.urgency(seconds(60)), Urgency::Due);
        assert_eq!(log.take(&counter(), seconds(60)).unwrap().failures, 59);
        assert!(log.take(&counter(), seconds(60)).is_none());
    }

    #[test]
    fn what_could_be_read_in_part_is_told_and_is_no_failure() {
        let mut log = CheckLog::default();
        log.observe(Timestamp(0), &well("1"));
        log.take(&counter(), seconds(0)).unwrap();
        let partly = Outcome { warning: Some("line 2: no number".to_string()), ..well("1\nx") };
        log.observe(Timestamp(1000), &partly);
        assert_eq!((log.urgency(seconds(1)), log.failing()), (Urgency::Now, None));
        let report = log.take(&counter(), seconds(1)).unwrap();
        assert_eq!(report.failure, Some((FailureKind::Partly, "line 2: no number".to_string())));
        assert_eq!(report.failures, 0);
    }

    #[test]
    fn a_reason_that_changes_all_the_time_is_told_now_and_then() {
        let mut log = CheckLog::default();
        log.observe(Timestamp(0), &bad(FailureKind::Parse, "a"));
        log.take(&counter(), seconds(0)).unwrap();
        log.observe(Timestamp(1000), &bad(FailureKind::Parse, "b"));
        assert_eq!(log.urgency(seconds(9)), Urgency::None);
        assert_eq!(log.urgency(seconds(10)), Urgency::Due);
    }

    #[test]
    fn output_is_told_where_it_is_news_and_large_output_less_often() {
        let large = "x".repeat(LARGE_OUTPUT_BYTES + 1);
        let table = [("1", "1", None), ("1", "2", Some(10)), ("1", large.as_str(), Some(60))];
        for (before, after, due_after) in table {
            let mut log = CheckLog::default();
            log.observe(Timestamp(0), &well(before));
            log.take(&counter(), seconds(0)).unwrap();
            log.observe(Timestamp(1000), &well(after));
            let first_due = (1..60).find(|second| log.urgency(seconds(*second)) == Urgency::Due);
            assert_eq!(first_due, due_after.filter(|due| *due < 60), "{before} {after:.5}");
            let report = log.take(&counter(), seconds(60)).unwrap();
            assert_eq!(report.output.is_some(), due_after.is_some());
        }
    }

    #[test]
    fn joined_reports_lose_no_failure_and_no_output() {
        let report = |at, failures, output| CheckReport {
            counter: counter(),
            at: Timestamp(at),
            failure: None,
            failures,
            output,
        };
        let joined = join(report(1, 2, Some(output("1"))), report(2, 3, None));
        assert_eq!(joined, report(2, 5, Some(output("1"))));
    }
}
