//! Reusable, named things to do.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Name, TaskState, Value};

/// A reusable, named thing to do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Action {
    /// What is done.
    pub kind: ActionKind,
    /// How long one attempt may take: 1 s to 24 h.
    pub timeout: Duration,
    /// When a task that ended badly is tried again.
    pub retry: Retry,
    /// What becomes of a task whose executor died.
    pub on_executor_loss: OnExecutorLoss,
    /// How a step over many nodes proceeds.
    pub spread: Spread,
}

/// What an [`Action`] does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ActionKind {
    /// Runs a script on a node.
    Command(CommandAction),
    /// Waits, on no node.
    Pause(PauseAction),
    /// Invokes an operation of an MBean of a JVM.
    JmxInvoke(JmxInvokeAction),
}

impl ActionKind {
    /// The type's name in documents.
    pub fn as_str(&self) -> &'static str {
        match self {
            ActionKind::Command(_) => "command",
            ActionKind::Pause(_) => "pause",
            ActionKind::JmxInvoke(_) => "jmx-invoke",
        }
    }

    /// Whether each of its tasks is about a node. One that is about none is one task, whatever its step's target.
    pub fn needs_node(&self) -> bool {
        match self {
            ActionKind::Command(_) | ActionKind::JmxInvoke(_) => true,
            ActionKind::Pause(_) => false,
        }
    }
}

/// A script for a node. Arguments and environment reach it as data; nothing is spliced into a shell line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommandAction {
    /// POSIX shell.
    pub script: Value,
    /// `$1`, `$2`, ...
    pub args: Vec<Value>,
    /// Added to the environment.
    pub env: BTreeMap<String, Value>,
    /// What the script reads from its standard input; empty where absent.
    pub stdin: Option<Value>,
    /// Whether it runs as root through sudo, with the SSH profile's `sudo_password` where sudo asks.
    pub sudo: bool,
}

/// Time that passes between two steps: for what was started to settle, or none, as a mark that a run has come so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PauseAction {
    /// How long: at most 12 h.
    pub time: Duration,
}

/// An operation of an MBean. Its result becomes the task's output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JmxInvokeAction {
    /// The JVM profile of the node's JVM; its only one where absent.
    pub jvm: Option<Name>,
    /// The MBean's object name; no pattern.
    pub mbean: String,
    /// The operation's name.
    pub operation: String,
    /// As texts; each is made what the operation takes.
    pub args: Vec<Value>,
    /// Types of the arguments as Java names them; needed only where operations of one name and as many arguments differ.
    pub signature: Vec<String>,
}

/// When a task that ended badly is tried again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, the first included: 1 to 100.
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each further one, up to an hour.
    pub backoff: Duration,
    /// Which endings are tried again.
    pub on: Vec<RetryOn>,
}

/// An ending that may be tried again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum RetryOn {
    /// The attempt failed.
    Failed,
    /// The attempt ran out of time.
    TimedOut,
    /// The executor died. Says the same as [`OnExecutorLoss::Retry`].
    Lost,
}

impl RetryOn {
    /// Whether a task in `state` ended this way.
    pub fn matches(self, state: TaskState) -> bool {
        matches!(
            (self, state),
            (RetryOn::Failed, TaskState::Failed)
                | (RetryOn::TimedOut, TaskState::TimedOut)
                | (RetryOn::Lost, TaskState::Lost)
        )
    }
}

/// What becomes of a task whose executor died in the middle of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OnExecutorLoss {
    /// Another peer runs it again.
    Retry,
    /// It stays lost: the host may have been changed, and only a person can say.
    Fail,
}

/// How a step over many nodes proceeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// At most this many tasks of the step at once; 0: no bound but the peers'.
    pub parallelism: u32,
    /// Tasks are started in groups of this size, each when the one before has ended; 0: one group.
    pub batch: u32,
    /// The step stops starting tasks once more than this share of them, in percent, has failed. 0: at the first.
    pub max_failures_percent: u8,
}

impl Default for Spread {
    fn default() -> Self {
        Spread { parallelism: 0, batch: 0, max_failures_percent: 100 }
    }
}
