//! The runtime that Raft has for itself.
//!
//! Heartbeats go out every few milliseconds. On a runtime shared with everything else a peer does, one long poll
//! would look like a dead leader. The threads here ask for a higher priority, and do without where they may not.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tracing::debug;

/// One: an entry passes a dozen futures here, and waking another thread for each would cost more than their work. What
/// may take long goes through [`aside`].
const THREADS: usize = 1;
/// Of threads that keep a time by which others judge this peer.
const NICENESS: i32 = -10;
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A runtime that may be dropped anywhere.
pub struct RaftRuntime {
    runtime: Option<Runtime>,
}

/// Lets the calling thread come before others, where this process may.
pub fn raise_priority() {
    // `None` is the calling thread, on Linux. Needs a privilege that a peer may well not have.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        debug!(thread = std::thread::current().name(), %error, "runs at normal priority");
    }
}

/// Does what may take long, while the other futures of this thread go on elsewhere.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl RaftRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    /// As the operating system answers.
    pub fn start() -> io::Result<RaftRuntime> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("raft")
            .enable_all()
            .on_thread_start(raise_priority)
            .build()?;
        Ok(RaftRuntime { runtime: Some(runtime) })
    }

    /// Where futures are put.
    pub fn handle(&self) -> Handle {
        self.runtime.as_ref().expect("it is taken only by stop and drop").handle().clone()
    }

    /// Ends all that is left, and waits for its threads.
    pub async fn stop(mut self) {
        if let Some(runtime) = self.runtime.take() {
            let stopped = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(STOP_PATIENCE));
            let _ = stopped.await;
        }
    }
}

impl Drop for RaftRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed where futures run.
            runtime.shutdown_background();
        }
    }
}
