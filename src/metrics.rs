//! What this peer counts of its own work: collectors, executors, session. Plain atomics, read by whoever serves
//! `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// Sets it.
    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Counts one up until the guard is dropped.
    pub fn enter(&self) -> Inside<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Inside(self)
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of what a [`Level`] counts.
pub struct Inside<'a>(&'a Level);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a number is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// `rscaler_<area>_<what>_<unit>`.
    pub name: &'static str,
    /// What it is, for a person.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Its value now.
    pub value: u64,
}

macro_rules! metrics {
    ($($field:ident: $type:ident as $kind:ident, $name:literal, $help:literal;)*) => {
        /// All that this peer counts. Shared behind an `Arc`.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Metrics {
            /// Every metric with its value now.
            pub fn read(&self) -> Vec<Metric> {
                vec![$(Metric {
                    name: $name,
                    help: $help,
                    kind: MetricKind::$kind,
                    value: self.$field.get(),
                },)*]
            }
        }
    };
}

metrics! {
    nodes_collected: Level as Gauge, "rscaler_collector_nodes", "Nodes whose counters this peer collects.";
    checks_in_flight: Level as Gauge, "rscaler_collector_checks_in_flight", "Readings that are going on.";
    checks: Count as Counter, "rscaler_collector_checks_total", "Readings that ended, well or badly.";
    checks_failed: Count as Counter, "rscaler_collector_checks_failed_total", "Readings that yielded nothing.";
    checks_overrun: Count as Counter, "rscaler_collector_checks_overrun_total",
        "Readings that were left out because the one before was still going on or the time had passed.";
    checks_shed: Count as Counter, "rscaler_collector_checks_shed_total",
        "Readings that were left out because samples wait to be committed.";
    check_ms: Count as Counter, "rscaler_collector_check_duration_ms_total", "Time that readings took, summed up.";
    lag_ms: Count as Counter, "rscaler_collector_lag_ms_total",
        "Time by which readings began later than planned, summed up.";
    samples_proposed: Count as Counter, "rscaler_collector_samples_proposed_total", "Samples sent to the log.";
    samples_refused: Count as Counter, "rscaler_collector_samples_refused_total",
        "Samples that the control plane did not take: duplicates, out of order, not finite, assignment moved.";
    samples_dropped: Count as Counter, "rscaler_collector_samples_dropped_total",
        "Samples dropped here because too many waited.";
    samples_waiting: Level as Gauge, "rscaler_collector_samples_waiting", "Samples that wait to be committed.";
    batches_failed: Count as Counter, "rscaler_collector_batches_failed_total",
        "Batches that could not be committed at the first try.";
    attempts_running: Level as Gauge, "rscaler_executor_attempts_running", "Task attempts that this peer has.";
    attempts: Count as Counter, "rscaler_executor_attempts_total", "Task attempts that ended here.";
    attempts_revoked: Count as Counter, "rscaler_executor_attempts_revoked_total",
        "Task attempts that were stopped because they were no longer this peer's.";
    output_missed_bytes: Count as Counter, "rscaler_executor_output_missed_bytes_total",
        "Bytes of task output that were dropped before they reached the log.";
    reports_retried: Count as Counter, "rscaler_executor_reports_retried_total",
        "Batches of task reports that could not be committed at the first try.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        let all = Metrics::default().read();
        let names: BTreeSet<_> = all.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all.len());
        for metric in all {
            assert!(metric.name.starts_with("rscaler_") && metric.help.ends_with('.'), "{metric:?}");
            assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{metric:?}");
        }
    }

    #[test]
    fn levels_go_down_when_what_they_count_leaves() {
        let metrics = Metrics::default();
        {
            let _one = metrics.checks_in_flight.enter();
            let _two = metrics.checks_in_flight.enter();
            assert_eq!(metrics.checks_in_flight.get(), 2);
        }
        assert_eq!(metrics.checks_in_flight.get(), 0);
    }
}
