//! What is done beside applying: checkpoints, snapshots, sealing of samples. When, is decided here by size and time.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::machine::{Core, Machine};
use crate::replica::Replica;
use crate::series;
use crate::store::{Blocks, Error, NewBlock, Store};

/// When things are due.
#[derive(Clone, Debug)]
pub struct UpkeepConfig {
    /// A checkpoint is due after this long, if anything was applied.
    pub checkpoint_every: Duration,
    /// A checkpoint is due after this much was applied, in bytes of the log.
    pub checkpoint_bytes: u64,
    /// A snapshot is due after this much was applied, in bytes of the log, and not less than the last one is long: to write it
    /// costs as much.
    pub snapshot_bytes: u64,
    /// A snapshot is due after this long, if [`UpkeepConfig::snapshot_entries_min`] were applied.
    pub snapshot_every: Duration,
    /// See there.
    pub snapshot_entries_min: u64,
    /// The state is digested at every index that this divides; 0: never.
    pub digest_every: u64,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        UpkeepConfig {
            checkpoint_every: Duration::from_secs(30),
            checkpoint_bytes: 16 << 20,
            snapshot_bytes: 64 << 20,
            snapshot_every: Duration::from_secs(600),
            snapshot_entries_min: 1000,
            digest_every: 10_000,
        }
    }
}

/// What was applied since something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Since {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Since {
    pub(super) fn add(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
    }
}

impl UpkeepConfig {
    pub(super) fn is_digest_due(&self, index: u64) -> bool {
        self.digest_every > 0 && index > 0 && index.is_multiple_of(self.digest_every)
    }

    pub(super) fn is_checkpoint_due_by_size(&self, since: &Since) -> bool {
        since.bytes >= self.checkpoint_bytes
    }

    /// So much is in no checkpoint that what can wait should: well before [`UpkeepConfig::must_wait_for_storage`], which
    /// holds up everything.
    pub(super) fn is_storage_behind(&self, since: &Since) -> bool {
        since.bytes >= self.checkpoint_bytes + self.checkpoint_bytes / 2
    }

    /// So much is in no checkpoint that nothing more is applied until the storage has caught up.
    pub(super) fn must_wait_for_storage(&self, since: &Since) -> bool {
        since.bytes >= self.checkpoint_bytes * 3
    }

    fn is_checkpoint_due(&self, since: &Since, elapsed: Duration) -> bool {
        self.is_checkpoint_due_by_size(since) || since.entries > 0 && elapsed >= self.checkpoint_every
    }

    fn is_snapshot_due(&self, since: &Since, elapsed: Duration, last_bytes: u64) -> bool {
        since.bytes >= self.snapshot_bytes.max(last_bytes)
            || since.entries >= self.snapshot_entries_min && elapsed >= self.snapshot_every
    }
}

/// How often is looked at what is due by time.
const TICK: Duration = Duration::from_secs(1);
/// Jobs on samples that are done between two stores of blocks.
const JOBS_MAX: usize = 32;
/// Rounds of jobs before what else is due gets its turn.
const ROUNDS_MAX: usize = 16;

/// The loop that does what is due. The server runs it; dropping it is how it ends.
pub struct Upkeep {
    core: Arc<Core>,
}

impl Upkeep {
    /// The upkeep of a machine that is then given to Raft.
    pub fn new(machine: &Machine) -> Upkeep {
        Upkeep { core: Arc::clone(machine.core()) }
    }

    /// Runs until cancelled or until something fails, which is then reported as fatal. `trigger_snapshot` asks Raft
    /// to make a snapshot. What is begun when this is cancelled is ended by the storage thread.
    pub async fn run<F, Fut>(self, trigger_snapshot: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ()>,
    {
        let store = self.core.store.clone();
        tokio::select! {
            biased;
            () = watch_storage(store) => {}
            () = self.do_what_is_due(trigger_snapshot) => {}
        }
    }

    async fn do_what_is_due<F, Fut>(&self, trigger_snapshot: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut ticker = ticker();
        let begun = Instant::now();
        let (mut checkpointed, mut snapshot_asked) = (begun, begun);
        loop {
            tokio::select! {
                biased;
                () = self.core.wake.notified() => {}
                _ = ticker.tick() => {}
            }
            let (since_checkpoint, since_snapshot) = self.core.since();
            let now = Instant::now();
            let last_bytes =
                self.core.store.current_snapshot().map_or(0, |last| last.manifest().file_bytes());
            if self.core.config.is_snapshot_due(&since_snapshot, now - snapshot_asked, last_bytes) {
                // It is a checkpoint as well. Raft may put it off: it is asked again.
                trigger_snapshot().await;
                if since_snapshot.bytes < self.core.config.snapshot_bytes {
                    snapshot_asked = now;
                }
            }
            if self.core.config.is_checkpoint_due(&since_checkpoint, now - checkpointed) {
                checkpointed = now;
                if self.checkpoint().await.is_err() {
                    return;
                }
            }
            match self.seal().await {
                Ok(true) => self.core.wake.notify_one(),
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    /// Writes a checkpoint of what is applied now; for an orderly stop, so that the next start has less to apply.
    ///
    /// # Errors
    /// Any is fatal and reported.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.core.checkpoint().await
    }

    /// Encodes sealed samples, merges and rolls up blocks, off the apply path; true where more waits.
    ///
    /// # Errors
    /// Any is fatal and reported.
    pub async fn seal(&self) -> Result<bool, Error> {
        let (replica, blocks) = (Arc::clone(&self.core.replica), self.core.store.blocks().clone());
        let work = self.core.store.blocking(move || {
            for _ in 0..ROUNDS_MAX {
                if !seal_some(&replica, &blocks)? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        let result =
            work.await.unwrap_or_else(|error| Err(Error::io("sealing samples", io::Error::other(error))));
        if let Err(error) = &result {
            self.core.store.fatal().report(format!("sealing samples: {}", error.chain()));
        }
        result
    }
}

fn ticker() -> tokio::time::Interval {
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticker
}

/// Beside what waits for the storage, and so would not see that it has stopped.
async fn watch_storage(store: Store) {
    let mut ticker = ticker();
    loop {
        ticker.tick().await;
        store.check_alive();
    }
}

fn seal_some(replica: &Replica, blocks: &Blocks) -> Result<bool, Error> {
    let jobs = replica.with_state_mut(|state| state.series_mut().take_jobs(JOBS_MAX));
    if jobs.is_empty() {
        return Ok(false);
    }
    let (mut done, mut put) = (Vec::new(), Vec::new());
    for job in jobs {
        match job.run(blocks) {
            Ok(made) => {
                done.push((job, made.iter().map(|block| block.meta).collect::<Vec<_>>()));
                put.extend(made.into_iter().map(NewBlock::from));
            }
            Err(error) => {
                if !matches!(error, series::Error::Gone(_)) {
                    // Only a merge reads what can be damaged. Its inputs stay as they are, and it comes again.
                    tracing::error!(series = job.series().0, %error, "blocks cannot be merged");
                }
                replica.with_state_mut(|state| state.series_mut().abandon(job));
            }
        }
    }
    blocks.put_blocking(put)?;
    replica.with_state_mut(|state| {
        for (job, metas) in &done {
            state.series_mut().confirm(job, metas);
        }
    });
    // Where nothing was done, what failed would be tried again at once.
    Ok(!done.is_empty())
}

/// How Raft treats the log and snapshots; timers and names are the caller's. Snapshots are asked for by [`Upkeep`].
pub fn raft_config() -> openraft::Config {
    openraft::Config {
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 20_000,
        purge_batch_size: 1000,
        max_payload_entries: 256,
        install_snapshot_timeout: 60_000,
        enable_pre_vote: Some(true),
        // Entries are on their way to the others before they are in the own log. Who led, was killed, and went on as the leader
        // of the same term would give the numbers of lost ones, which others may have, to new ones.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_due_by_size_or_by_time() {
        let config = UpkeepConfig::default();
        let since = |entries, bytes| Since { entries, bytes };
        let (second, half, ten) = (Duration::from_secs(1), Duration::from_secs(30), Duration::from_secs(600));
        for (name, since, elapsed, checkpoint, snapshot) in [
            ("nothing was applied", since(0, 0), ten, false, false),
            ("little, just now", since(5, 500), second, false, false),
            ("little, half a minute ago", since(5, 500), half, true, false),
            ("a checkpoint's worth", since(5, 16 << 20), second, true, false),
            ("a snapshot's worth", since(5, 64 << 20), second, true, true),
            ("too few for a snapshot", since(999, 1 << 20), ten, true, false),
            ("enough, ten minutes ago", since(1000, 1 << 20), ten, true, true),
            ("enough, but recently", since(1000, 1 << 20), half, true, false),
        ] {
            assert_eq!(config.is_checkpoint_due(&since, elapsed), checkpoint, "{name}");
            assert_eq!(config.is_snapshot_due(&since, elapsed, 50 << 20), snapshot, "{name}");
        }
        let large = since(5, 64 << 20);
        assert!(!config.is_snapshot_due(&large, second, 300 << 20), "the last one was longer");
    }

    #[test]
    fn bulk_waits_for_the_storage_before_everything_does() {
        let config = UpkeepConfig::default();
        for (mebibytes, bulk_waits, all_wait) in
            [(16, false, false), (23, false, false), (24, true, false), (47, true, false), (48, true, true)]
        {
            let since = Since { entries: 5, bytes: mebibytes << 20 };
            assert_eq!(config.is_storage_behind(&since), bulk_waits, "{mebibytes} MiB");
            assert_eq!(config.must_wait_for_storage(&since), all_wait, "{mebibytes} MiB");
        }
    }

    #[test]
    fn ours_is_a_valid_raft_config() {
        assert!(raft_config().validate().is_ok());
    }
}
