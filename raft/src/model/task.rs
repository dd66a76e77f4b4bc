//! The unit of work that one peer executes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Elapsed, Name, PeerId, RunId, TaskId, Timestamp};

/// One step of a run against one target.
///
/// ```text
/// queued -> assigned -> running -> succeeded | failed | cancelled | timed-out | lost
///   ^__________|___________|   (retry, after a pause; attempt grows with each assignment)
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Its number.
    pub id: TaskId,
    /// The run it belongs to.
    pub run: RunId,
    /// Index of its step in the run.
    pub step: u32,
    /// The node it acts on, if any.
    pub node: Option<Name>,
    /// Where it stands.
    pub state: TaskState,
    /// Who has it, while assigned or running.
    pub executor: Option<Executor>,
    /// Attempts so far; the fencing number of the current one.
    pub attempt: u32,
    /// Attempts that began and ended by themselves: what [`crate::model::Retry`] counts.
    pub tries: u32,
    /// Attempts that were lost with their executor; at most [`Task::LOSSES_MAX`].
    pub losses: u32,
    /// Not assigned before this moment (back-off).
    pub not_before: Elapsed,
    /// Ended by the control plane at this moment even if its executor says nothing.
    pub deadline: Option<Elapsed>,
    /// Somebody asked for it to end.
    pub cancel_requested: bool,
    /// It waits for input that a person gives.
    pub awaiting_input: bool,
    /// Exit code of the last attempt, where it has one.
    pub exit_code: Option<i32>,
    /// Why it ended as it did, in words.
    pub reason: Option<String>,
    /// Attempts that are over; the last [`Task::HISTORY_MAX`].
    pub history: Vec<Attempt>,
    /// What is kept of its output.
    pub output: OutputTotals,
    /// When it was created, replicated wall clock.
    pub created: Timestamp,
    /// When its current or last attempt began to run.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

impl Task {
    /// How many executors a task may lose before it stays lost.
    pub const LOSSES_MAX: u32 = 10;
    /// How many past attempts are remembered.
    pub const HISTORY_MAX: usize = 20;
    /// How much output of a task is kept, in bytes, over all its attempts; the middle is cut.
    pub const OUTPUT_BYTES_MAX: u64 = 4 << 20;
}

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub enum TaskState {
    /// Waits for a peer, or for its back-off to pass.
    Queued,
    /// A peer has it and has not begun.
    Assigned,
    /// A peer runs it.
    Running,
    /// Done.
    Succeeded,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It ran out of time.
    TimedOut,
    /// Its executor died; what it did is not known.
    Lost,
}

impl TaskState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        !matches!(self, TaskState::Queued | TaskState::Assigned | TaskState::Running)
    }
}

/// The peer that has a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Executor {
    /// The peer.
    pub peer: PeerId,
    /// Its session when the task was given to it.
    pub session: u64,
}

/// An attempt that is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, starting at 1.
    pub attempt: u32,
    /// Who had it.
    pub peer: PeerId,
    /// When it began to run, if it did.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// How.
    pub state: TaskState,
    /// Exit code, where it has one.
    pub exit_code: Option<i32>,
    /// Why, in words.
    pub reason: Option<String>,
}

/// Which stream of a task's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A remark of the control plane's own: a gap, a new attempt.
    Note,
}

/// A piece of a task's output, keyed by (task, sequence number).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutputChunk {
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Where it was written.
    pub stream: Stream,
    /// At most [`OutputChunk::BYTES_MAX`].
    #[serde(with = "crate::codec::bytes")]
    pub bytes: Arc<[u8]>,
}

impl OutputChunk {
    /// The largest chunk, in bytes.
    pub const BYTES_MAX: usize = 32 << 10;
}

/// What is kept of a task's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OutputTotals {
    /// The sequence number of the next chunk.
    pub next: u64,
    /// Bytes kept of the beginning: up to half of [`Task::OUTPUT_BYTES_MAX`].
    pub head_bytes: u64,
    /// Bytes kept of the end: up to the other half.
    pub tail_bytes: u64,
    /// Bytes cut from the middle.
    pub cut_bytes: u64,
    /// Bytes that the executor had to drop before they reached the log.
    pub missed_bytes: u64,
    /// Chunks before this sequence number are the kept beginning.
    pub head_end: u64,
    /// The first sequence number of the kept end; between the two lies what was cut.
    pub tail_start: u64,
}
