//! The thread that owns the state's databases. Every write and every long read is a job in its bounded queue, so jobs
//! exclude one another and the async runtime never waits on the disk. Between jobs it deletes what is no longer wanted,
//! slowly: sled pays dearly for mass deletes. A volume whose time is not the system's has its jobs done in place.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::block_cache::BlockCache;
use super::blocks;
use super::checkpoint::Rows;
use super::compaction::{Compacted, Garbage};
use super::deletions::{Deletions, Pins};
use super::volume::{Batch, Jobs, Tree, Volume};
use super::{Error, Fatal, StoreConfig};

/// Jobs that may wait.
const JOBS_MAX: usize = 16;
/// How often, and how many keys at a time, what is no longer wanted is deleted: 5,000 a second.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
pub(super) const SWEEP_KEYS_MAX: usize = 500;

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

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Job, Option<OwnedSemaphorePermit>)>,
    closing: bool,
}

/// What jobs work on: two databases, so that what the rows' checkpoints leave behind is got rid of without copying the blocks.
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
    /// Counts what was put among the blocks: rows that are newer than the blocks miss some.
    pub(super) puts: u64,
    of_rows: Compacted,
    of_blocks: Compacted,
    readers: Readers,
    pulse: Arc<Pulse>,
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
    /// Opens both databases, or begins them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the blocks are older than the rows, and where sled says so; [`Error::Io`].
    pub(super) fn open(volume: &Arc<dyn Volume>, config: &StoreConfig) -> Result<Worker, Error> {
        let (rows_dir, blocks_dir) = (config.rows_dir(), config.blocks_dir());
        let open = |dir, cache_bytes| Compacted::open(volume, dir, cache_bytes, config.garbage_bytes);
        let of_rows = open(rows_dir, config.rows_cache_bytes)?;
        if !volume.is_dir(&blocks_dir) {
            blocks::move_out(&*of_rows.db, &**volume, &blocks_dir)?;
        }
        let of_blocks = open(blocks_dir, config.blocks_cache_bytes)?;
        let (rows, blocks) = (Rows::open(&*of_rows.db)?, of_blocks.db.tree("blocks")?);
        let puts = blocks::puts(&*blocks)?;
        if puts < rows.puts() {
            return Err(Error::corrupt(
                "the database of blocks",
                format!("it ends with put {puts}, and {} were made before the checkpoint", rows.puts()),
            ));
        }
        Ok(Worker {
            rows,
            readers: Arc::new(RwLock::new(Some(Arc::clone(&blocks)))),
            blocks,
            cached: Arc::new(BlockCache::new(config.read_cache_bytes)),
            deletions: Deletions::default(),
            pins: Arc::default(),
            pulse: Arc::default(),
            volume: Arc::clone(volume),
            puts,
            of_rows,
            of_blocks,
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

    /// Makes durable what was written to the rows.
    pub(super) fn sync_rows(&self) -> Result<(), Error> {
        self.pulse();
        self.of_rows.db.sync()
    }

    /// Makes durable what was written to the blocks.
    pub(super) fn sync_blocks(&self) -> Result<(), Error> {
        self.pulse();
        self.of_blocks.db.sync()
    }

    /// Both, the blocks first: rows name them.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.sync_blocks()?;
        self.sync_rows()
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

    /// Copies to a smaller file what holds much garbage.
    ///
    /// # Errors
    /// [`Error`]; a database may then be closed, and the peer must stop.
    pub(super) fn compact_if_due(&mut self, garbage: Garbage) -> Result<(), Error> {
        let (rows, pulse) = (&mut self.rows, &self.pulse);
        if self.of_rows.is_due(garbage, || rows.live_bytes(|| pulse.beat()))? {
            let db = self.of_rows.begin_copy()?;
            Rows::open(&*db)?.copy_from(rows, || pulse.beat(), || db.sync())?;
            db.sync()?;
            drop(db);
            self.of_rows.replace(|empty| rows.swap_tree(empty))?;
            *rows = Rows::open(&*self.of_rows.db)?;
            self.of_rows.clean_up()?;
        }
        let blocks = &mut self.blocks;
        if self.of_blocks.is_due(garbage, || blocks::live_bytes(&**blocks, || pulse.beat()))? {
            let db = self.of_blocks.begin_copy()?;
            blocks::copy(&**blocks, &*db, || pulse.beat())?;
            drop(db);
            // Readers wait until the new one is open.
            let mut readers = self.readers.write();
            *readers = None;
            self.of_blocks.replace(|empty| {
                *blocks = empty.tree("blocks")?;
                Ok(())
            })?;
            *blocks = self.of_blocks.db.tree("blocks")?;
            *readers = Some(Arc::clone(blocks));
            drop(readers);
            self.of_blocks.clean_up()?;
        }
        Ok(())
    }

    pub(super) fn apply_blocks(&self, batch: Batch) -> Result<(), Error> {
        self.pulse();
        self.blocks.apply(batch)
    }
}
