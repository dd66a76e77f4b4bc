//! Tasks assigned to this peer, and those who carry them out.
//!
//! ```text
//!  commit ---> Notice::Task ---> [dispatch] ---> [attempt]: Started -> committed? -> Executor::execute -> Finished
//!                                                   |  output, in batches            |
//!                                                   v                                v
//!                                                [report]: batches of reports ---> the log
//! ```
//!
//! Nothing polls: a task begins when the entry that gave it to this peer is applied here. An executor has one attempt,
//! one deadline and bounded output; it keeps no state and tries nothing twice, for that is decided where reports are
//! applied. Nothing runs before its `Started` was taken, and nothing goes on once the lease is over.
//!
//! A new kind of action is a new [`Executor`], named in [`Executors`].

mod attempt;
pub mod command;
mod dispatch;
mod jmx;
mod output;
mod pause;
mod report;

use std::sync::Arc;

use async_trait::async_trait;
use rscaler_raft::command::{Ending, EndingResult};
use rscaler_raft::model::{Action, ActionKind, Task};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use dispatch::{Dispatcher, Options};
pub use jmx::JmxExecutor;
pub use output::Output;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use output::fuzz_output;
pub use pause::PauseExecutor;

/// Carries out attempts at one kind of action.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Makes one attempt and says how it ended. Ends soon after [`Work::cancel`] and, by itself, at
    /// [`Work::deadline`]. Dropped, it stops what it began as far as that can be done without waiting.
    async fn execute(&self, work: &Work) -> Ending;
}

/// One attempt at a task.
pub struct Work {
    /// The task, as it was when this attempt began.
    pub task: Arc<Task>,
    /// What is to be done.
    pub action: Arc<Action>,
    /// Where output goes. Never waits.
    pub output: Output,
    /// Somebody wants it to end.
    pub cancel: CancellationToken,
    /// When its time is over.
    pub deadline: Instant,
}

/// Who carries out which kind of action on this peer.
#[derive(Clone)]
pub struct Executors {
    /// For [`ActionKind::Command`].
    pub command: Arc<dyn Executor>,
    /// For [`ActionKind::Pause`].
    pub pause: Arc<dyn Executor>,
    /// For [`ActionKind::JmxInvoke`].
    pub jmx: Arc<dyn Executor>,
}

impl Executors {
    fn for_action(&self, action: &Action) -> Arc<dyn Executor> {
        match action.kind {
            ActionKind::Command(_) => Arc::clone(&self.command),
            ActionKind::Pause(_) => Arc::clone(&self.pause),
            ActionKind::JmxInvoke(_) => Arc::clone(&self.jmx),
        }
    }
}

/// An ending with its reason.
pub(crate) fn ending(result: EndingResult, exit_code: Option<i32>, reason: impl Into<String>) -> Ending {
    let reason: String = reason.into();
    Ending { result, exit_code, reason: Some(reason).filter(|reason| !reason.is_empty()) }
}

#[cfg(test)]
mod executors_test;
