//! Syncs: one at a time, each for all who wait when it begins. Whoever writes while none is under way begins it; what comes
//! meanwhile is begun by a thread of its own, for the log's writer, which tells that a sync is over, must not use the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use raft_log::api::raft_log_writer::RaftLogWriter;

use super::{Completion, Log, Shared};
use crate::store::{Error, Fatal};

/// Whose turn it is. Its lock is never held while the log is used, and taken after the log's where both are.
pub(super) struct Turns {
    queue: Mutex<Queue>,
    wake: Condvar,
    unflushed_bytes: AtomicU64,
    patience: Duration,
    fatal: Fatal,
}

/// Who waits for the next sync.
#[derive(Default)]
struct Queue {
    waiting: Vec<Completion>,
    bytes: u64,
    /// Something wants a sync without waiting for it.
    sync_wanted: bool,
    /// Since when a sync is under way.
    under_way: Option<Instant>,
    failed: bool,
    closing: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.sync_wanted
    }

    fn take(&mut self, turns: &Arc<Turns>) -> Flushed {
        self.under_way = Some(Instant::now());
        self.sync_wanted = false;
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = std::mem::take(&mut self.bytes);
        Flushed { waiting, bytes, turns: Some(Arc::clone(turns)), done: None }
    }
}

impl Turns {
    pub(super) fn new(patience: Duration, fatal: Fatal) -> Arc<Turns> {
        let (queue, wake) = (Mutex::default(), Condvar::new());
        Arc::new(Turns { queue, wake, unflushed_bytes: AtomicU64::new(0), patience, fatal })
    }

    pub(super) fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes.load(Ordering::Relaxed)
    }

    /// Has what was just written to `log` synced; `done` is called then.
    pub(super) fn sync(self: &Arc<Self>, log: &mut Log, done: Completion, bytes: u64) -> io::Result<()> {
        self.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        let begun = {
            let mut queue = self.queue.lock();
            queue.waiting.push(done);
            queue.bytes += bytes;
            (queue.under_way.is_none() && !queue.failed).then(|| queue.take(self))
        };
        match begun {
            Some(flushed) => log.raft_log.flush(true, Some(flushed)),
            None => Ok(()),
        }
    }

    /// Wants a sync, and waits for none.
    pub(super) fn want_sync(&self) {
        self.queue.lock().sync_wanted = true;
        self.wake.notify_one();
    }

    /// No more is coming: the thread ends once nobody waits.
    pub(super) fn close(&self) {
        self.queue.lock().closing = true;
        self.wake.notify_one();
    }

    /// The next batch for the thread; none when it is to end.
    fn next(self: &Arc<Self>) -> Option<Flushed> {
        let mut queue = self.queue.lock();
        loop {
            if queue.failed {
                return None;
            }
            match queue.under_way {
                Some(since) if since.elapsed() > self.patience => {
                    queue.failed = true;
                    drop(queue);
                    self.fatal.report(format!(
                        "syncing the log: the disk has not answered for {} s",
                        self.patience.as_secs()
                    ));
                    return None;
                }
                // Looked after now and then: nothing else tells that it hangs.
                Some(_) => drop(self.wake.wait_for(&mut queue, self.patience / 4)),
                None if !queue.is_idle() => return Some(queue.take(self)),
                None if queue.closing => return None,
                None => self.wake.wait(&mut queue),
            }
        }
    }

    fn over(&self, bytes: u64, failed: bool) {
        self.unflushed_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        queue.under_way = None;
        queue.failed |= failed;
        if queue.failed || queue.closing || !queue.is_idle() {
            self.wake.notify_one();
        }
    }
}

/// Told by the log's writer that a sync is over; then tells all who waited for it. Dropped untold, it fails
/// them: nobody waits for ever.
pub(super) struct Flushed {
    waiting: Vec<Completion>,
    bytes: u64,
    turns: Option<Arc<Turns>>,
    done: Option<SyncSender<io::Result<()>>>,
}

impl Flushed {
    /// For one who waits at once, before there are turns.
    pub(super) fn begin() -> (Flushed, Receiver<io::Result<()>>) {
        let (done, over) = sync_channel(1);
        (Flushed { waiting: Vec::new(), bytes: 0, turns: None, done: Some(done) }, over)
    }

    fn complete(&mut self, result: &io::Result<()>) {
        let copy = || match result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let turns = self.turns.take();
        // Of a failure, before anyone who waits is told.
        if let (Err(error), Some(turns)) = (result, &turns) {
            turns.fatal.report(format!("syncing the log: {error}"));
        }
        for done in self.waiting.drain(..) {
            done(copy());
        }
        if let Some(turns) = turns {
            turns.over(self.bytes, result.is_err());
        }
        if let Some(done) = self.done.take() {
            // Whoever waited may have given up.
            let _ = done.try_send(copy());
        }
    }
}

impl raft_log::Callback for Flushed {
    fn send(mut self, result: io::Result<()>) {
        self.complete(&result);
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        if self.turns.is_some() || self.done.is_some() {
            self.complete(&Err(io::Error::other("the log's writer has stopped")));
        }
    }
}

pub(super) fn spawn(shared: Arc<Shared>) -> Result<std::thread::JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name("wal-flush".to_string())
        .spawn(move || run(&shared))
        .map_err(|error| Error::io("starting the log's flusher", error))
}

/// Begins syncs for those who came while one was under way, until the log is closed and nobody waits, or one fails.
fn run(shared: &Shared) {
    while let Some(flushed) = shared.turns.next() {
        let begun = shared.log.write().raft_log.flush(true, Some(flushed));
        if let Err(error) = begun {
            shared.turns.fatal.report(format!("syncing the log: {error}"));
            shared.turns.queue.lock().failed = true;
        }
    }
    // What came after a failure fails too. Under the log's lock, after which every write is refused.
    let _log = shared.log.write();
    let mut queue = shared.turns.queue.lock();
    let rest = std::mem::take(&mut queue.waiting);
    drop(queue);
    for done in rest {
        done(Err(io::Error::other("the log has stopped")));
    }
}
