//! One execution of ordered steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Action, Actor, Evidence, Name, OnFailure, RunId, Target, TaskId, Timestamp};

/// One execution of ordered steps, with its cause.
///
/// ```text
/// running -> succeeded | failed | cancelled
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Why it was started.
    pub cause: Cause,
    /// What it is about.
    pub scope: Scope,
    /// In order; actions as they were when the run was created.
    pub steps: Vec<RunStep>,
    /// Index of the step that is going on, or was last.
    pub current: u32,
    /// Where it stands.
    pub state: RunState,
    /// Why it failed, in words.
    pub reason: Option<String>,
    /// Somebody asked for it to end.
    pub cancel_requested: bool,
    /// The run this one repeats.
    pub retry_of: Option<RunId>,
    /// When it was created, replicated wall clock.
    pub created: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

/// Why a run was started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// Somebody asked.
    Person(Actor),
    /// A trigger fired; the samples that made it.
    Trigger {
        /// The trigger.
        trigger: Name,
        /// What it saw.
        evidence: Vec<Evidence>,
    },
    /// Somebody executed a trigger's steps by hand.
    Execute {
        /// The trigger.
        trigger: Name,
        /// Who.
        actor: Actor,
    },
}

/// What a run is about: resolves its steps' targets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Scope {
    /// For [`Target::Cluster`] and [`Target::LastNode`].
    pub cluster: Option<Name>,
    /// For [`Target::Node`] and [`Target::FiringNode`].
    pub node: Option<Name>,
}

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum RunState {
    /// Steps are going on.
    Running,
    /// All steps succeeded.
    Succeeded,
    /// A step failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// One step of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunStep {
    /// The action's name; absent for a command given with the request.
    pub action: Option<Name>,
    /// The action as it was when the run was created.
    pub plan: Arc<Action>,
    /// Where.
    pub target: Target,
    /// Whether the steps after it run when it failed.
    pub on_failure: OnFailure,
    /// Where it stands.
    pub state: StepState,
    /// Its tasks, one per target, once it has started.
    pub tasks: Vec<TaskId>,
    /// How many of them, from the first, may be started: the window of [`crate::model::Spread`].
    pub released: u32,
    /// How many of those released have ended.
    pub ended: u32,
    /// How many of those released have ended otherwise than well.
    pub failed: u32,
}

/// Where a step stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Tasks are going on.
    Running,
    /// All its tasks succeeded.
    Succeeded,
    /// Too many of its tasks failed, or it had no target.
    Failed,
    /// It was not run.
    Skipped,
    /// It was cancelled.
    Cancelled,
}
