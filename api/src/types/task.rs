use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rscaler_raft::model::{self, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::variants::same_variants;

/// One step of a run against one target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its number.
    pub id: u64,
    /// The run it belongs to.
    pub run: u64,
    /// Index of its step in the run.
    pub step: u32,
    /// The action's name; absent for a command given with the request.
    #[schema(value_type = Option<String>)]
    pub action: Option<Name>,
    /// What it does: `command`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The node it acts on, if any.
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
    /// Where it stands.
    pub state: TaskState,
    /// Who has it, or had it last.
    pub peer: Option<u64>,
    /// Attempts so far; the fencing number of the current one.
    pub attempt: u32,
    /// Exit code of the last attempt, where it has one.
    pub exit_code: Option<i32>,
    /// Why it ended as it did, in words.
    pub reason: Option<String>,
    /// Somebody asked for it to end.
    pub cancel_requested: bool,
    /// It waits for input that a person gives.
    pub awaiting_input: bool,
    /// Attempts that are over; the last 20.
    pub history: Vec<Attempt>,
    /// What is kept of its output.
    pub output: TaskOutput,
    /// When it was created.
    pub created: Time,
    /// When its current or last attempt began to run.
    pub started: Option<Time>,
    /// When it ended.
    pub finished: Option<Time>,
}

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
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
        model::TaskState::from(self).is_final()
    }
}

/// Where output was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A remark of the control plane's own: a gap, a new attempt.
    Note,
}

same_variants! {
    TaskState { Queued, Assigned, Running, Succeeded, Failed, Cancelled, TimedOut, Lost }
    Stream { Stdout, Stderr, Note }
}

/// An attempt that is over.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Its number, starting at 1.
    pub attempt: u32,
    /// Who had it.
    pub peer: u64,
    /// When it began to run, if it did.
    pub started: Option<Time>,
    /// When it ended.
    pub finished: Time,
    /// How.
    pub state: TaskState,
    /// Exit code, where it has one.
    pub exit_code: Option<i32>,
    /// Why, in words.
    pub reason: Option<String>,
}

/// What is kept of a task's output, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TaskOutput {
    /// Kept: at most 4 MiB.
    pub kept: u64,
    /// Cut from the middle.
    pub cut: u64,
    /// Dropped before it reached the log.
    pub missed: u64,
}

/// A piece of a task's output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OutputChunk {
    /// Its sequence number. A number that is skipped was cut from the middle.
    pub seq: u64,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Where it was written.
    pub stream: Stream,
    /// What was written, where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What was written, in base64, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl OutputChunk {
    /// Shows a chunk that the state holds.
    pub fn new(seq: u64, chunk: &model::OutputChunk) -> OutputChunk {
        let (text, base64) = match std::str::from_utf8(&chunk.bytes) {
            Ok(text) => (Some(text.to_string()), None),
            Err(_) => (None, Some(STANDARD.encode(&chunk.bytes))),
        };
        OutputChunk { seq, attempt: chunk.attempt, stream: chunk.stream.into(), text, base64 }
    }

    /// The bytes as they were written.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.text, &self.base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

/// A task's output, or the next piece of it: also one line of the JSON form that follows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Output {
    /// The task.
    pub task: u64,
    /// Where it stands.
    pub state: TaskState,
    /// In order.
    pub chunks: Vec<OutputChunk>,
    /// Ask for this sequence number to go on.
    pub next: u64,
    /// Whether nothing more will come.
    pub complete: bool,
    /// Bytes over all of the task.
    pub bytes: TaskOutput,
}

impl From<model::OutputTotals> for TaskOutput {
    fn from(totals: model::OutputTotals) -> Self {
        TaskOutput {
            kept: totals.head_bytes + totals.tail_bytes,
            cut: totals.cut_bytes,
            missed: totals.missed_bytes,
        }
    }
}

impl Task {
    /// Shows a task of `step`.
    pub fn new(task: &model::Task, step: Option<&model::RunStep>) -> Task {
        let attempt = |attempt: &model::Attempt| Attempt {
            attempt: attempt.attempt,
            peer: attempt.peer.0,
            started: attempt.started.map(Into::into),
            finished: attempt.finished.into(),
            state: attempt.state.into(),
            exit_code: attempt.exit_code,
            reason: attempt.reason.clone(),
        };
        let peer = task.executor.map(|executor| executor.peer);
        Task {
            id: task.id.0,
            run: task.run.0,
            step: task.step,
            action: step.and_then(|step| step.action.clone()),
            kind: step.map_or("", |step| step.plan.kind.as_str()).to_string(),
            node: task.node.clone(),
            state: task.state.into(),
            peer: peer.or_else(|| task.history.last().map(|last| last.peer)).map(|peer| peer.0),
            attempt: task.attempt,
            exit_code: task.exit_code,
            reason: task.reason.clone(),
            cancel_requested: task.cancel_requested,
            awaiting_input: task.awaiting_input,
            history: task.history.iter().map(attempt).collect(),
            output: task.output.into(),
            created: task.created.into(),
            started: task.started.map(Into::into),
            finished: task.finished.map(Into::into),
        }
    }
}
