//! Raft's log and vote on disk. The only module that names `raft_log`; nothing below it is ours.
//!
//! Everything goes through one lock and one ordered queue: a vote and an append never change places. A write
//! returns once it is readable; its completion is called after `fdatasync`. One sync at a time serves all that wait when
//! it begins, so the more there are the fewer syncs each costs. Any error stops the log for good and is reported to
//! [`Fatal`].

mod codec;
mod flusher;
mod tail;
#[cfg(test)]
mod wal_test;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use codec::fuzz_records;
pub use codec::{Record, Vote};

use self::flusher::{Flushed, Turns};
use self::tail::Tail;
use super::{Error, Fatal, files};
use crate::consensus::LogPosition;

/// Called once the write is on disk, or with why it is not. Must not block, and must not use the log.
pub type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The format of the whole, kept in the log itself.
const FORMAT: u64 = 1;

/// Where the log is and how it behaves.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// Its directory; nothing else may be in it.
    pub dir: PathBuf,
    /// Size of a file, in bytes.
    pub chunk_bytes_max: usize,
    /// Entries kept in memory, in bytes; the open file's are kept as well.
    pub cache_bytes_max: usize,
    /// A sync that takes longer counts as a failed disk.
    pub flush_patience: Duration,
}

impl WalConfig {
    /// The usual settings.
    pub fn new(dir: impl Into<PathBuf>) -> WalConfig {
        WalConfig {
            dir: dir.into(),
            chunk_bytes_max: 16 << 20,
            cache_bytes_max: 8 << 20,
            flush_patience: Duration::from_secs(30),
        }
    }
}

/// What the caller knows of the log before it opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// This peer has no identity yet: a log with a vote or entries is another peer's.
    Nothing,
    /// This peer has an identity: without its log it may have forgotten a vote or entries it acknowledged.
    Log,
}

/// What the log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalState {
    /// The vote.
    pub vote: Option<Vote>,
    /// The last entry, or where the log was purged to where there is none.
    pub last: Option<LogPosition>,
    /// The last entry known to be committed; may be behind.
    pub committed: Option<LogPosition>,
    /// Entries up to and including it are gone.
    pub purged: Option<LogPosition>,
}

impl WalState {
    /// The index of the first entry there could be.
    pub fn first_index(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    /// The index of the next entry.
    pub fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Types;

impl raft_log::Types for Types {
    type LogId = LogPosition;
    type LogPayload = Record;
    type Vote = Vote;
    type Callback = Flushed;
    type UserData = u64;

    fn log_index(position: &LogPosition) -> u64 {
        position.index
    }

    fn payload_size(record: &Record) -> u64 {
        record.bytes() as u64 + 64
    }
}

/// The log. See the module.
pub struct Wal {
    shared: Arc<Shared>,
    flusher: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    log: RwLock<Log>,
    turns: Arc<Turns>,
    fatal: Fatal,
}

struct Log {
    raft_log: RaftLog<Types>,
    tail: Tail,
}

impl Wal {
    /// Opens and locks the log, or begins one.
    ///
    /// # Errors
    /// [`Error::Refused`] where the log is not what the caller expects, [`Error::Corrupt`] where it is damaged in
    /// a way that a crash does not explain: this peer must then rejoin under a new number. [`Error::Io`].
    pub fn open(config: &WalConfig, expected: Expected, fatal: Fatal) -> Result<Wal, Error> {
        let known = files::list(&config.dir)?.iter().any(|name| name.ends_with(".wal"));
        if expected == Expected::Log && !known {
            return Err(Error::Refused(format!(
                "this peer has an identity but no log in {}: it may have forgotten what it promised. \
                 Remove it from the control plane, and let it join again as a new peer with an empty data directory",
                config.dir.display()
            )));
        }
        files::create_dir(&config.dir)?;
        let raft_log = open_raft_log(config)?;
        let mut log = Log { raft_log, tail: Tail::default() };
        check_format(&mut log.raft_log, &config.dir)?;
        check_complete(&log.raft_log, &config.dir)?;
        sync_files(&config.dir)?;
        let state = log.state();
        if expected == Expected::Nothing && (state.vote.is_some() || state.last.is_some()) {
            return Err(Error::Refused(format!(
                "there is a log in {} but this peer has no identity: it belongs to another peer, or the identity \
                 was lost. Use an empty data directory, or restore the identity file",
                config.dir.display()
            )));
        }
        let shared = Arc::new(Shared {
            log: RwLock::new(log),
            turns: Turns::new(config.flush_patience, fatal.clone()),
            fatal,
        });
        let flusher = flusher::spawn(Arc::clone(&shared))?;
        Ok(Wal { shared, flusher: Some(flusher) })
    }

    /// What the log holds now, whether synced or not.
    pub fn state(&self) -> WalState {
        self.shared.log.read().state()
    }

    /// Appends entries that follow the last one. They can be read when this returns.
    ///
    /// # Errors
    /// Any is fatal and reported; `done` is then called with it too.
    pub fn append(
        &self,
        entries: impl IntoIterator<Item = (LogPosition, Record)>,
        done: Completion,
    ) -> io::Result<()> {
        let mut bytes = 0;
        self.write("appending to the log", Some(done), |log| {
            for (position, record) in entries {
                bytes += record.bytes() as u64 + 64;
                log.tail.push(position.index, record.bytes() + 64);
                log.raft_log.append([(position, record)])?;
            }
            Ok(bytes)
        })
    }

    /// Saves a vote.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn save_vote(&self, vote: Vote, done: Completion) -> io::Result<()> {
        self.write("saving the vote", Some(done), |log| log.raft_log.save_vote(vote).map(|_| 64))
    }

    /// Removes the entries from `index` on. Durable with the next append.
    ///
    /// # Errors
    /// Any is fatal and reported.
    pub fn truncate_from(&self, index: u64) -> io::Result<()> {
        self.write("truncating the log", None, |log| {
            if index < log.state().next_index() {
                log.tail.truncate_from(index);
                log.raft_log.truncate(index)?;
            }
            Ok(0)
        })
    }

    /// Removes the entries up to and including `upto`; files that hold nothing else are deleted after a sync.
    ///
    /// # Errors
    /// Any is fatal and reported.
    pub fn purge(&self, upto: LogPosition) -> io::Result<()> {
        self.write("purging the log", None, |log| log.raft_log.purge(upto).map(|_| 64))?;
        self.shared.turns.want_sync();
        Ok(())
    }

    /// Notes how far the log is committed. Neither written nor synced by itself, but with what is written next: it only
    /// spares work after a start. What is not newer, or not in the log, is left out.
    ///
    /// # Errors
    /// Any is fatal and reported.
    pub fn save_committed(&self, committed: LogPosition) -> io::Result<()> {
        self.write("saving what is committed", None, |log| {
            let state = log.state();
            if Some(committed) > state.committed && Some(committed) <= state.last {
                log.raft_log.commit(committed)?;
            }
            Ok(0)
        })
    }

    /// Entries of `from..to` that the log holds, in order and without a gap, until they exceed `bytes_max`: the
    /// first is given whatever its size. May read the disk, see [`Wal::is_cached`].
    ///
    /// # Errors
    /// Any is fatal and reported.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogPosition, Record)>> {
        self.check_alive()?;
        let log = self.shared.log.read();
        let state = log.state();
        let from = from.max(state.first_index());
        let to = to.min(state.next_index());
        let mut entries = Vec::new();
        if from >= to {
            return Ok(entries);
        }
        let mut bytes = 0;
        let mut next = from;
        for entry in log.raft_log.read(from, to) {
            let (position, record) = entry.map_err(|error| self.fail("reading the log", error))?;
            if entries.is_empty() && state.purged.is_none() {
                // A log may begin above 0.
                next = position.index;
            }
            if position.index != next {
                break;
            }
            bytes += record.bytes() + 64;
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push((position, record));
            next += 1;
        }
        if next != to && !(entries.is_empty() && state.purged.is_none()) {
            let gap = Error::corrupt("the log", format!("entry {next} is missing"));
            return Err(self.fail("reading the log", gap.into()));
        }
        Ok(entries)
    }

    /// Whether entries from `index` on are in memory, so that reading them does not block.
    pub fn is_cached(&self, index: u64) -> bool {
        self.shared.log.read().tail.contains(index)
    }

    /// Bytes written but not synced. Proposals are to be refused while there are too many.
    pub fn unflushed_bytes(&self) -> u64 {
        self.shared.turns.unflushed_bytes()
    }

    /// What the log takes on disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.log.read().raft_log.on_disk_size()
    }

    fn write(
        &self,
        doing: &str,
        done: Option<Completion>,
        work: impl FnOnce(&mut Log) -> io::Result<u64>,
    ) -> io::Result<()> {
        let refuse = |error: io::Error, done: Option<Completion>| {
            if let Some(done) = done {
                done(Err(io::Error::new(error.kind(), error.to_string())));
            }
            Err(error)
        };
        let mut log = self.shared.log.write();
        if let Err(error) = self.check_alive() {
            return refuse(error, done);
        }
        match work(&mut log) {
            Ok(bytes) => {
                let Some(done) = done else { return Ok(()) };
                let begun = self.shared.turns.sync(&mut log, done, bytes);
                drop(log);
                begun.map_err(|error| self.fail(doing, error))
            }
            Err(error) => {
                drop(log);
                refuse(self.fail(doing, error), done)
            }
        }
    }

    fn check_alive(&self) -> io::Result<()> {
        match self.shared.fatal.reason() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(format!("the log has stopped: {reason}"))),
        }
    }

    fn fail(&self, doing: &str, error: io::Error) -> io::Error {
        self.shared.fatal.report(format!("{doing}: {error}"));
        error
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.shared.turns.close();
        if let Some(flusher) = self.flusher.take() {
            // It reports its own failures; a panic there left nothing to do here.
            let _ = flusher.join();
        }
    }
}

impl Log {
    fn state(&self) -> WalState {
        let state = self.raft_log.log_state();
        WalState {
            vote: state.vote().copied(),
            last: state.last().copied(),
            committed: state.committed().copied(),
            purged: state.purged().copied(),
        }
    }
}

fn open_raft_log(config: &WalConfig) -> Result<RaftLog<Types>, Error> {
    let dir = config
        .dir
        .to_str()
        .ok_or_else(|| Error::Refused(format!("the path {} is not valid Unicode", config.dir.display())))?;
    let mut settings = raft_log::Config::new(dir);
    settings.wal.chunk_max_size = Some(config.chunk_bytes_max);
    settings.wal.read_buffer_size = Some(1 << 20);
    // Batches are made by our flusher: waiting here would only add to each write.
    settings.wal.flush_batch_wait = Some(Duration::ZERO);
    settings.wal.truncate_incomplete_record = Some(true);
    settings.log_cache_capacity = Some(config.cache_bytes_max);
    settings.log_cache_max_items = Some(100_000);
    let opening = format!("opening the log in {}", config.dir.display());
    // It panics where a file in the middle is empty.
    let opened = std::panic::catch_unwind(|| RaftLog::open(Arc::new(settings)))
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::InvalidData, "a file has no record")));
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Refused(format!(
            "the log in {} is in use by another process",
            config.dir.display()
        )),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => Error::corrupt(
            format!("the log in {}", config.dir.display()),
            format!(
                "{error}. What this peer promised may be lost: remove it from the control plane, and let it join \
                 again as a new peer with an empty data directory"
            ),
        ),
        _ => Error::io(opening, error),
    })
}

fn check_format(raft_log: &mut RaftLog<Types>, dir: &Path) -> Result<(), Error> {
    let state = raft_log.log_state();
    match state.user_data {
        Some(FORMAT) => Ok(()),
        Some(other) => Err(Error::Refused(format!(
            "the log in {} has format {other}, and this version reads {FORMAT}: upgrade this peer",
            dir.display()
        ))),
        None if state.vote().is_none() && state.last().is_none() => {
            let opening = || format!("beginning the log in {}", dir.display());
            raft_log.save_user_data(Some(FORMAT)).map_err(|error| Error::io(opening(), error))?;
            let (flushed, done) = Flushed::begin();
            raft_log.flush(true, Some(flushed)).map_err(|error| Error::io(opening(), error))?;
            done.recv()
                .unwrap_or_else(|_| Err(io::Error::other("the log's writer has stopped")))
                .map_err(|error| Error::io(opening(), error))
        }
        None => Err(Error::corrupt(format!("the log in {}", dir.display()), "it does not say its format")),
    }
}

/// Makes durable what the log holds. A process that was killed leaves records that are written but not synced: what is
/// read of them counts from now on, as a vote given or an entry stored, and must outlast a loss of power too.
fn sync_files(dir: &Path) -> Result<(), Error> {
    for name in files::list(dir)?.iter().filter(|name| name.ends_with(".wal")) {
        let path = dir.join(name);
        std::fs::File::open(&path)
            .and_then(|file| file.sync_data())
            .map_err(|error| Error::io(format!("syncing {}", path.display()), error))?;
    }
    files::sync_dir(dir)
}

/// The crate finds gaps between files and between entries, but not that the first files are gone.
fn check_complete(raft_log: &RaftLog<Types>, dir: &Path) -> Result<(), Error> {
    let state = raft_log.log_state();
    let first = state.purged().map_or(0, |purged| purged.index + 1);
    let next = state.last().map_or(0, |last| last.index + 1);
    for index in [first, next.saturating_sub(1)] {
        if first >= next {
            break;
        }
        let found = raft_log.read(index, index + 1).next();
        if !matches!(found, Some(Ok((position, _))) if position.index == index) {
            return Err(Error::corrupt(
                format!("the log in {}", dir.display()),
                format!(
                    "entry {index} of {first} to {} is missing. Remove this peer from the control plane, and let \
                     it join again as a new peer with an empty data directory",
                    next - 1
                ),
            ));
        }
    }
    Ok(())
}
