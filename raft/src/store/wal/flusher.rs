use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use raft_log::api::raft_log_writer::RaftLogWriter;

use super::{Completion, Shared};
use crate::store::{Error, Fatal};

/// Who waits for the next sync.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Vec<Completion>,
    bytes: u64,
    /// Something wants a sync without waiting for it.
    pub(super) sync_wanted: bool,
    pub(super) closing: bool,
}

impl Queue {
    pub(super) fn push(&mut self, done: Completion, bytes: u64) {
        self.waiting.push(done);
        self.bytes += bytes;
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.sync_wanted
    }
}

/// Told by the log's writer that a sync is over; then tells all who waited for it. Dropped untold, it fails
/// them: nobody waits for ever.
pub(super) struct Flushed {
    waiting: Vec<Completion>,
    bytes: u64,
    unflushed: Option<Arc<AtomicU64>>,
    /// Told of a failure before anyone who waits.
    fatal: Option<Fatal>,
    done: Option<SyncSender<io::Result<()>>>,
}

impl Flushed {
    pub(super) fn begin(waiting: Vec<Completion>) -> (Flushed, Receiver<io::Result<()>>) {
        let (done, over) = sync_channel(1);
        (Flushed { waiting, bytes: 0, unflushed: None, fatal: None, done: Some(done) }, over)
    }

    fn complete(&mut self, result: &io::Result<()>) {
        let copy = || match result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if let (Err(error), Some(fatal)) = (result, &self.fatal) {
            fatal.report(format!("syncing the log: {error}"));
        }
        if let Some(unflushed) = self.unflushed.take() {
            unflushed.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        for done in self.waiting.drain(..) {
            done(copy());
        }
        if let Some(done) = self.done.take() {
            // The flusher waits for this, or has given up.
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
        if self.done.is_some() {
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

/// Syncs for all that wait, until the log is closed and nobody waits, or a sync fails.
fn run(shared: &Shared) {
    loop {
        {
            let mut queue = shared.queue.lock();
            while queue.is_idle() && !queue.closing {
                shared.wake.wait(&mut queue);
            }
            if queue.is_idle() {
                return;
            }
        }
        if let Err(error) = flush(shared) {
            shared.fatal.report(format!("syncing the log: {error}"));
            // What came meanwhile fails too. Under the log's lock, after which every write is refused.
            let _log = shared.log.write();
            let mut queue = shared.queue.lock();
            queue.closing = true;
            let (rest, _over) = Flushed::begin(std::mem::take(&mut queue.waiting));
            drop(queue);
            drop(rest);
            return;
        }
    }
}

fn flush(shared: &Shared) -> io::Result<()> {
    let over = {
        let mut log = shared.log.write();
        // Under the log's lock, so that what is taken here was written before.
        let mut queue = shared.queue.lock();
        queue.sync_wanted = false;
        let (mut flushed, over) = Flushed::begin(std::mem::take(&mut queue.waiting));
        flushed.bytes = std::mem::take(&mut queue.bytes);
        flushed.unflushed = Some(Arc::clone(&shared.unflushed_bytes));
        flushed.fatal = Some(shared.fatal.clone());
        drop(queue);
        log.raft_log.flush(true, Some(flushed))?;
        over
    };
    match over.recv_timeout(shared.flush_patience) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the log's writer has stopped")),
        Err(RecvTimeoutError::Timeout) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the disk has not answered for {} s", shared.flush_patience.as_secs()),
        )),
    }
}
