use std::time::Duration;

/// When followers take a leader for dead, and how often it shows that it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// The shortest wait for one, after the leader's lease (the longest wait) is over.
    pub election_min: Duration,
    /// The longest wait.
    pub election_max: Duration,
}

impl Default for Timers {
    /// A dead leader is replaced within about a quarter of a second.
    fn default() -> Self {
        Timers {
            heartbeat: Duration::from_millis(20),
            election_min: Duration::from_millis(70),
            election_max: Duration::from_millis(100),
        }
    }
}

impl Timers {
    /// How openraft is to run.
    pub(super) fn raft_config(
        self,
        log_entries_kept: u64,
    ) -> Result<openraft::Config, openraft::ConfigError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: "rscaler".to_string(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            // A snapshot is pulled within this; what was pulled is kept when it is not enough.
            install_snapshot_timeout: 600_000,
            max_in_snapshot_log_to_keep: log_entries_kept,
            purge_batch_size: (log_entries_kept / 20).max(1),
            ..super::raft_config()
        }
        .validate()
    }
}
