//! openraft's view of the log: our [`Log`] behind its traits.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::Stream;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::{oneshot, watch};

use super::convert::{self, Entry, LogId, RaftVote};
use super::types::{LogPosition, TypeConfig};
use crate::planted::{Bug, is_planted};
use crate::store::Log;
use crate::store::wal::Record;

/// The most bytes one read gives, unless one entry is larger.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log as openraft uses it. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    wal: Arc<dyn Log>,
    /// Entries below this index are in a durable checkpoint, so that the log may forget them.
    checkpointed: watch::Receiver<u64>,
}

impl LogStore {
    /// Wraps `wal`. `checkpointed` is the index of the first entry that is in no durable checkpoint.
    pub fn new(wal: Arc<impl Log>, checkpointed: watch::Receiver<u64>) -> LogStore {
        LogStore { wal, checkpointed }
    }

    #[cfg(test)]
    pub(super) fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.wal)
    }

    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records = if self.wal.is_cached(from) {
            self.wal.read(from, to, bytes_max)?
        } else {
            let wal = Arc::clone(&self.wal);
            tokio::task::spawn_blocking(move || wal.read(from, to, bytes_max))
                .await
                .map_err(|error| io::Error::other(format!("reading the log failed: {error}")))??
        };
        entries_from(records)
    }
}

fn entries_from(records: Vec<(LogPosition, Record)>) -> io::Result<Vec<Entry>> {
    records
        .into_iter()
        .map(|(position, record)| {
            convert::entry_from(position, record).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("entry {}: {error}", position.index))
            })
        })
        .collect()
}

/// The range as `from..to`.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(from) => from.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(to) => to.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    // What is applied is read a piece at a time: a peer that restarts far behind must not hold it all.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let pieces = futures::stream::try_unfold((self.clone(), from), move |(log, from)| async move {
            if from >= to {
                return Ok::<_, io::Error>(None);
            }
            let entries = log.read(from, to, READ_BYTES_MAX).await?;
            let Some(last) = entries.last() else { return Ok(None) };
            let next = last.log_id.index() + 1;
            Ok(Some((futures::stream::iter(entries.into_iter().map(Ok)), (log, next))))
        });
        Box::pin(futures::TryStreamExt::try_flatten(pieces))
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.wal.state().vote.map(RaftVote::from))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.wal.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(LogId::from),
            last_log_id: state.last.map(LogId::from),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        let (done, saved) = oneshot::channel();
        // openraft may have stopped waiting; the vote is saved all the same.
        self.wal.save_vote((*vote).into(), Box::new(move |result| drop(done.send(result))))?;
        if is_planted(Bug::VoteNotSynced) {
            return Ok(());
        }
        saved.await.map_err(|_| io::Error::other("the log has stopped"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        match committed {
            Some(committed) => self.wal.save_committed(committed.into()),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.wal.state().committed.map(LogId::from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        for entry in entries {
            match convert::record_from(&entry) {
                Ok(record) => records.push(record),
                Err(error) => {
                    let error = || io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
                    callback.io_completed(Err(error()));
                    return Err(error());
                }
            }
        }
        if is_planted(Bug::AcknowledgedBeforeSync) {
            self.wal.append(records, Box::new(|_| ()))?;
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.wal.append(records, Box::new(move |result| callback.io_completed(result)))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.wal.truncate_from(last_log_id.map_or(0, |last| last.index() + 1))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        if is_planted(Bug::PurgedPastCheckpoint) {
            return self.wal.purge(self.wal.state().committed.unwrap_or(log_id.into()));
        }
        let next = *self.checkpointed.borrow();
        if log_id.index() >= next {
            // It would leave nothing to start from. openraft purges behind a snapshot, and a snapshot stands on a
            // checkpoint: this is a defect, and stopping is the only safe answer.
            return Err(io::Error::other(format!(
                "the log must not be purged to {}: the checkpoint reaches only to {next}",
                log_id.index()
            )));
        }
        self.wal.purge(log_id.into())
    }
}
