//! The thread that owns the state's database. Every write and every long read is a job in its bounded queue, so jobs
//! exclude one another and the async runtime never waits on the disk. Between jobs it deletes what is no longer wanted,
//! slowly: sled pays dearly for mass deletes. A volume whose time is not the system's has its jobs done in place.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::block_cache::BlockCache;
use super::blocks::{Deletions, Pins};
use super::checkpoint::{COPY_BYTES, Rows};
use super::volume::{self, Batch, Jobs, Tree, Volume};
use super::{Error, Fatal, StoreConfig};

/// Jobs that may wait.
const JOBS_MAX: usize = 16;
/// How often, and how many keys at a time, what is no longer wanted is deleted: 5,000 a second.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
pub(super) const SWEEP_KEYS_MAX: usize = 500;

/// Memory for a database that is only written to, once.
const COPY_CACHE_BYTES: u64 = 4 << 20;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;
/// The blocks, for those who only read; absent while the database is being replaced, and at the end.
type Readers = Arc<RwLock<Option<Arc<dyn Tree>>>>;

/// A handle on the thread. The last one dropped ends it, after the jobs that wait.
pub(crate) struct Database {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    slots: Arc<Semaphore>,
    here: Option<Here>,
    readers: Readers,
    cached: Arc<BlockCache>,
    pins: Arc<Pins>,
    pulse: Arc<Pulse>,
    fatal: Fatal,
}

/// Jobs that are done where they are asked for, in place of the thread's.
struct Here {
    worker: Mutex<Worker>,
    lag: Arc<dyn Fn() -> Duration + Send + Sync>,
}

/// When the job that runs was last seen to move; absent between jobs.
#[derive(Default)]
pub(super) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    pub(super) fn beat(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    fn rest(&self) {
        *self.0.lock() = None;
    }
}

/// How much garbage the database's file may hold before it is copied. Meanwhile no checkpoint is written, and what is applied waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Garbage {
    /// Half of what lives: each byte of garbage costs two that are copied.
    Little,
    /// Three times what lives, while much is written.
    Much,
}

impl Garbage {
    fn bytes_max(self, live: u64) -> u64 {
        match self {
            Garbage::Little => live / 2,
            Garbage::Much => live * 3,
        }
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Job, Option<OwnedSemaphorePermit>)>,
    closing: bool,
}

/// What jobs work on.
pub(crate) struct Worker {
    /// The state's rows.
    pub(super) rows: Rows,
    /// Sealed blocks; their metas have a prefix of their own.
    pub(super) blocks: Arc<dyn Tree>,
    /// Some of them, in memory.
    pub(super) cached: Arc<BlockCache>,
    /// Blocks that nobody wants any more.
    pub(super) deletions: Deletions,
    pub(super) pins: Arc<Pins>,
    pub(super) volume: Arc<dyn Volume>,
    db: Arc<dyn volume::Database>,
    /// Where the database lies, below the directory of `config`.
    dir: PathBuf,
    config: StoreConfig,
    readers: Readers,
    pulse: Arc<Pulse>,
    /// How much lived when it was last looked at.
    live_bytes: u64,
    /// The file's size up to which it is not copied, as there was no room for that.
    no_room_until: u64,
}

/// Room in the queue for one job.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    permit: OwnedSemaphorePermit,
}

impl Database {
    pub(super) fn start(worker: Worker, fatal: Fatal) -> Result<Database, Error> {
        let (readers, pins) = (Arc::clone(&worker.readers), Arc::clone(&worker.pins));
        let cached = Arc::clone(&worker.cached);
        let (pulse, jobs) = (Arc::clone(&worker.pulse), worker.volume.jobs());
        let (here, on_thread) = match jobs {
            Jobs::Threads => (None, Some(worker)),
            Jobs::Here(lag) => (Some(Here { worker: Mutex::new(worker), lag }), None),
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            slots: Arc::new(Semaphore::new(JOBS_MAX)),
            here,
            readers,
            cached,
            pins,
            pulse,
            fatal,
        });
        let spawn = |worker: Worker| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("storage".to_string()).spawn(move || shared.run(worker))
        };
        let thread = on_thread
            .map(spawn)
            .transpose()
            .map_err(|error| Error::io("starting the storage thread", error))?;
        Ok(Database { shared, thread })
    }

    /// Waits for room for a job.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub(crate) async fn reserve(&self) -> Result<Slot, Error> {
        let permit = Arc::clone(&self.shared.slots).acquire_owned().await.map_err(|_| Error::Closed)?;
        Ok(Slot { shared: Arc::clone(&self.shared), permit })
    }

    /// Runs a job and waits for it. Once it has its room it is done even where the caller stops waiting. A failure
    /// is reported as fatal, except [`Error::Refused`].
    ///
    /// # Errors
    /// The job's, and [`Error::Closed`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Worker) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.reserve().await?.start(job).await.unwrap_or(Err(Error::Closed))
    }

    /// As [`Database::run`], for threads that may block.
    ///
    /// # Errors
    /// The job's, and [`Error::Closed`].
    pub(crate) fn run_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Worker) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut replied = self.shared.push(None, job);
        if self.shared.here.is_some() {
            self.shared.run_queued();
            return replied.try_recv().unwrap_or(Err(Error::Closed));
        }
        replied.blocking_recv().unwrap_or(Err(Error::Closed))
    }

    /// Whether jobs are done in place.
    pub(crate) fn is_in_place(&self) -> bool {
        self.shared.here.is_some()
    }

    /// Does what may block, away from the async runtime, or in place where jobs are.
    ///
    /// # Errors
    /// Where it panicked, or the runtime ends.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        match &self.shared.here {
            None => tokio::task::spawn_blocking(work).await,
            Some(here) => {
                tokio::time::sleep((here.lag)()).await;
                Ok(work())
            }
        }
    }

    /// Queues a job that nobody waits for.
    pub(crate) fn spawn(&self, job: impl FnOnce(&mut Worker) -> Result<(), Error> + Send + 'static) {
        drop(self.shared.push(None, job));
    }

    /// The blocks, for reading on any thread that may block.
    pub(super) fn read_blocks<T>(
        &self,
        read: impl FnOnce(&dyn Tree) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let tree = self.shared.readers.read();
        read(&**tree.as_ref().ok_or(Error::Closed)?)
    }

    /// Blocks that were read lately.
    pub(super) fn cached(&self) -> &BlockCache {
        &self.shared.cached
    }

    /// What must not be deleted.
    pub(super) fn pins(&self) -> &Arc<Pins> {
        &self.shared.pins
    }

    /// For how long the job that runs has not moved.
    pub(crate) fn stuck_for(&self) -> Option<Duration> {
        self.shared.pulse.0.lock().map(|moved| moved.elapsed())
    }

    /// Where failures are reported.
    pub(crate) fn fatal(&self) -> &Fatal {
        &self.shared.fatal
    }
}

impl Slot {
    /// Queues the job; it is done whether or not the result is waited for.
    pub(crate) fn start<T: Send + 'static>(
        self,
        job: impl FnOnce(&mut Worker) -> Result<T, Error> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Error>> {
        self.shared.push(Some(self.permit), job)
    }
}

impl Shared {
    fn push<T: Send + 'static>(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
        job: impl FnOnce(&mut Worker) -> Result<T, Error> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Error>> {
        let (reply, replied) = oneshot::channel();
        let fatal = self.fatal.clone();
        let job: Job = Box::new(move |worker| {
            let result = match fatal.reason() {
                Some(_) => Err(Error::Closed),
                None => caught(|| job(worker)),
            };
            if let Err(error) = &result
                && !matches!(error, Error::Refused(_) | Error::Closed)
            {
                fatal.report(error.chain());
            }
            // Nobody may be waiting any more.
            drop(reply.send(result));
        });
        let mut queue = self.queue.lock();
        if !queue.closing {
            queue.jobs.push_back((job, permit));
            self.wake.notify_one();
        }
        drop(queue);
        if let Some(here) = &self.here
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (shared, lag) = (Arc::clone(self), (here.lag)());
            runtime.spawn(async move {
                tokio::time::sleep(lag).await;
                shared.run_queued();
            });
        }
        replied
    }

    /// Does all jobs that wait, in place.
    fn run_queued(&self) {
        let Some(here) = &self.here else { return };
        // A job that asks for another one in place would wait for itself: there is none.
        let mut worker = here.worker.lock();
        loop {
            let Some((job, permit)) = self.queue.lock().jobs.pop_front() else { break };
            drop(permit);
            job(&mut worker);
        }
        if self.fatal.reason().is_none()
            && worker.wants_sweep()
            && let Err(error) = caught(|| worker.sweep())
        {
            self.fatal.report(error.chain());
        }
    }

    fn run(&self, mut worker: Worker) {
        let mut swept = Instant::now();
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    if let Some((job, permit)) = queue.jobs.pop_front() {
                        drop(permit);
                        break Some(job);
                    }
                    if queue.closing {
                        return;
                    }
                    if !worker.wants_sweep() {
                        self.wake.wait(&mut queue);
                    } else if self.wake.wait_until(&mut queue, swept + SWEEP_EVERY).timed_out() {
                        break None;
                    }
                }
            };
            self.pulse.beat();
            let result = match job {
                Some(job) => {
                    job(&mut worker);
                    Ok(())
                }
                None if self.fatal.reason().is_some() => Ok(()),
                None => caught(|| worker.sweep()),
            };
            if let Err(error) = result {
                self.fatal.report(error.chain());
            }
            self.pulse.rest();
            if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.shared.queue.lock().closing = true;
        self.shared.slots.close();
        self.shared.wake.notify_one();
        self.shared.run_queued();
        let readers = self.shared.readers.write().take();
        if self.shared.fatal.reason().is_some() {
            // The last one to let go of sled has it sync the disk that has failed, and sled panics about that.
            std::mem::forget(readers);
        }
        // The last handle may have been held by a job; the thread cannot wait for itself. And after a failure sled
        // may never come back from its last flush.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && self.shared.fatal.reason().is_none()
        {
            // It reports its own failures.
            let _ = thread.join();
        }
    }
}

/// sled panics about what it does not expect. That is a failure like others: the worker is not used after one.
fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(Error::io("the storage thread panicked", std::io::Error::other(text.to_string())))
    })
}

impl Worker {
    /// Takes over an open database.
    pub(super) fn new(
        volume: Arc<dyn Volume>,
        db: Arc<dyn volume::Database>,
        dir: PathBuf,
        config: StoreConfig,
    ) -> Result<Worker, Error> {
        let blocks = db.tree("blocks")?;
        let rows = Rows::open(&*db)?;
        Ok(Worker {
            rows,
            readers: Arc::new(RwLock::new(Some(Arc::clone(&blocks)))),
            blocks,
            cached: Arc::new(BlockCache::new(config.blocks_cache_bytes)),
            deletions: Deletions::default(),
            pins: Arc::default(),
            pulse: Arc::default(),
            volume,
            db,
            dir,
            config,
            live_bytes: 0,
            no_room_until: 0,
        })
    }

    /// Says that the job moves: one that does not for long counts as a failed disk.
    pub(super) fn pulse(&self) {
        self.pulse.beat();
    }

    /// To say so while the worker is in use.
    pub(super) fn pulse_handle(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Makes durable what was written.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.pulse();
        self.db.sync()
    }

    fn wants_sweep(&self) -> bool {
        self.rows.has_stale() || self.deletions.has_ready(&self.pins)
    }

    /// Deletes some of what is no longer wanted.
    pub(super) fn sweep(&mut self) -> Result<(), Error> {
        let deleted = self.rows.sweep(SWEEP_KEYS_MAX)?;
        let left = SWEEP_KEYS_MAX.saturating_sub(deleted);
        self.deletions.sweep(&*self.blocks, &self.cached, &self.pins, left)
    }

    /// Copies the live data to a fresh file where the present one holds much garbage: sled's files hardly shrink, and
    /// each checkpoint leaves behind what the last one wrote of the same rows. The new directory takes the old one's
    /// place by renaming; [`recover_dir`] undoes what a crash leaves half done.
    ///
    /// # Errors
    /// [`Error`]; the database is then closed, and the peer must stop.
    pub(super) fn compact_if_large(&mut self, garbage: Garbage) -> Result<bool, Error> {
        let size = self.db.size_on_disk()?;
        let wanted = |live| live + garbage.bytes_max(live) + self.config.garbage_bytes;
        // To find what lives takes a look at everything.
        if size <= wanted(self.live_bytes).max(self.no_room_until) {
            return Ok(false);
        }
        let live = self.find_live_bytes()?;
        let is_large = size > wanted(live);
        self.live_bytes = live;
        if !is_large {
            return Ok(false);
        }
        if self.volume.free_bytes(&self.dir)? < live.saturating_mul(2) {
            tracing::warn!(size, live, "the disk has no room to copy the state to a smaller file");
            self.no_room_until = size + self.config.garbage_bytes;
            return Ok(false);
        }
        tracing::info!(size, live, "copying the state to a smaller file");
        let [fresh, old] = [self.beside("fresh"), self.beside("old")];
        self.volume.remove_dir(&fresh)?;
        {
            let db = self.volume.database(&fresh, COPY_CACHE_BYTES)?;
            let mut copy = Worker::new(Arc::clone(&self.volume), db, fresh.clone(), self.config.clone())?;
            copy.copy_from(self)?;
            copy.sync()?;
        }
        // Readers wait until the new one is open.
        let readers = Arc::clone(&self.readers);
        let mut readers = readers.write();
        *readers = None;
        self.sync()?;
        self.replace_handles(&self.dir.with_extension("closed"))?;
        self.volume.rename(&self.dir, &old)?;
        self.volume.rename(&fresh, &self.dir)?;
        let db = self.volume.database(&self.dir, self.config.cache_bytes)?;
        self.adopt(db)?;
        *readers = Some(Arc::clone(&self.blocks));
        self.volume.remove_dir(&self.dir.with_extension("closed"))?;
        self.volume.remove_dir(&old)?;
        Ok(true)
    }

    fn beside(&self, word: &str) -> PathBuf {
        self.dir.with_extension(word)
    }

    /// Lets go of the database's files by holding an empty one in their place.
    fn replace_handles(&mut self, empty: &Path) -> Result<(), Error> {
        self.volume.remove_dir(empty)?;
        let db = self.volume.database(empty, 1 << 20)?;
        self.blocks = db.tree("blocks")?;
        self.rows.swap_tree(&*db)?;
        self.db = db;
        Ok(())
    }

    fn adopt(&mut self, db: Arc<dyn volume::Database>) -> Result<(), Error> {
        self.blocks = db.tree("blocks")?;
        self.rows = Rows::open(&*db)?;
        self.db = db;
        Ok(())
    }

    fn find_live_bytes(&self) -> Result<u64, Error> {
        let rows = self.rows.live_bytes(|| self.pulse())?;
        self.pulse();
        Ok(rows + super::blocks::live_bytes(&*self.blocks)?)
    }

    fn copy_from(&mut self, from: &Worker) -> Result<(), Error> {
        let db = Arc::clone(&self.db);
        // As it goes on: what waits to be written is in memory.
        self.rows.copy_from(&from.rows, || from.pulse(), || db.sync())?;
        let mut batch = Batch::default();
        let mut bytes = 0;
        for entry in from.blocks.range(&[], None) {
            let (key, value) = entry?;
            from.pulse();
            bytes += key.len() + value.len();
            batch.insert(key, value);
            if bytes > COPY_BYTES {
                self.apply_blocks(std::mem::take(&mut batch))?;
                self.db.sync()?;
                bytes = 0;
            }
        }
        self.apply_blocks(batch)
    }

    pub(super) fn apply_blocks(&self, batch: Batch) -> Result<(), Error> {
        self.pulse();
        self.blocks.apply(batch)
    }
}

/// Puts right what a crash during [`Worker::compact_if_large`] left: before the second rename the old directory
/// counts, after it the new one.
pub(super) fn recover_dir(volume: &dyn Volume, dir: &Path) -> Result<(), Error> {
    let old = dir.with_extension("old");
    if volume.is_dir(&old) && !volume.is_dir(dir) {
        volume.rename(&old, dir)?;
    }
    for word in ["old", "fresh", "closed"] {
        volume.remove_dir(&dir.with_extension(word))?;
    }
    Ok(())
}
