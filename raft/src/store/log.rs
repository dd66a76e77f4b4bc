use std::io;

use super::wal::{Completion, Record, Vote, Wal, WalState};
use crate::consensus::LogPosition;

/// A log with the vote, as agreement uses it: [`Wal`] on a real disk. What is behind it must keep its order: a vote
/// and an append never change places, and what is told as done is on disk.
pub trait Log: Send + Sync + 'static {
    /// What it holds now, whether synced or not.
    fn state(&self) -> WalState;

    /// Appends entries that follow the last one. They can be read when this returns; `done` is called once they are
    /// on disk.
    ///
    /// # Errors
    /// Any is fatal and reported; `done` is then called with it too.
    fn append(&self, entries: Vec<(LogPosition, Record)>, done: Completion) -> io::Result<()>;

    /// Saves a vote.
    ///
    /// # Errors
    /// As [`Log::append`].
    fn save_vote(&self, vote: Vote, done: Completion) -> io::Result<()>;

    /// Removes the entries from `index` on. Durable with the next append.
    ///
    /// # Errors
    /// Any is fatal and reported.
    fn truncate_from(&self, index: u64) -> io::Result<()>;

    /// Removes the entries up to and including `upto`.
    ///
    /// # Errors
    /// Any is fatal and reported.
    fn purge(&self, upto: LogPosition) -> io::Result<()>;

    /// Notes how far the log is committed. Not synced by itself.
    ///
    /// # Errors
    /// Any is fatal and reported.
    fn save_committed(&self, committed: LogPosition) -> io::Result<()>;

    /// Entries of `from..to` that the log holds, in order and without a gap, until they exceed `bytes_max`: the first
    /// is given whatever its size. May read the disk, see [`Log::is_cached`].
    ///
    /// # Errors
    /// Any is fatal and reported.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogPosition, Record)>>;

    /// Whether entries from `index` on are in memory, so that reading them does not block.
    fn is_cached(&self, index: u64) -> bool;
}

impl Log for Wal {
    fn state(&self) -> WalState {
        Wal::state(self)
    }

    fn append(&self, entries: Vec<(LogPosition, Record)>, done: Completion) -> io::Result<()> {
        Wal::append(self, entries, done)
    }

    fn save_vote(&self, vote: Vote, done: Completion) -> io::Result<()> {
        Wal::save_vote(self, vote, done)
    }

    fn truncate_from(&self, index: u64) -> io::Result<()> {
        Wal::truncate_from(self, index)
    }

    fn purge(&self, upto: LogPosition) -> io::Result<()> {
        Wal::purge(self, upto)
    }

    fn save_committed(&self, committed: LogPosition) -> io::Result<()> {
        Wal::save_committed(self, committed)
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogPosition, Record)>> {
        Wal::read(self, from, to, bytes_max)
    }

    fn is_cached(&self, index: u64) -> bool {
        Wal::is_cached(self, index)
    }
}
