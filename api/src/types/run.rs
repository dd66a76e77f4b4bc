use std::collections::BTreeMap;

use rscaler_raft::model::{self, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::event::actor_text;
use super::step::target_of;
use super::variants::same_variants;
use super::{Evidence, OnFailure, Percent, Span, Target, Text, Time};

/// What to run on a cluster or a node: `{"command": "..."}` or `{"action": "name"}`. All other fields go with
/// `command`, and mean what they mean in an action.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunRequest {
    /// A script, POSIX shell. Give this, `action` or `invoke`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Text>,
    /// A named action.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub action: Option<Name>,
    /// An operation of an MBean. It takes `args`, and its result is the task's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoke: Option<Invoke>,
    /// `$1`, `$2`, ...: passed as data, never spliced into a shell line. With `invoke`, the operation's arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Text>,
    /// Added to the environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
    /// What the script reads from its standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Text>,
    /// Whether it runs as root through sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo: Option<bool>,
    /// How long it may take on one node; 60 s where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// On a cluster: at most this many nodes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// On a cluster: nodes are done in groups of this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// On a cluster: no more nodes are begun once more than this share has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<Percent>,
}

/// An operation of an MBean of a node's JVM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// Which of the node's JVMs; needed where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jvm: Option<Name>,
    /// Its object name.
    #[schema(example = "java.lang:type=Memory")]
    pub mbean: String,
    /// Its name.
    #[schema(example = "gc")]
    pub operation: String,
    /// The types of its arguments, as Java names them; needed where several operations of this name take as many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signature: Vec<String>,
}

/// A run that was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunStarted {
    /// Its number.
    pub run: u64,
}

/// One execution of ordered steps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// Where it stands.
    pub state: RunState,
    /// Why it was started.
    pub cause: Cause,
    /// The cluster it is about.
    #[schema(value_type = Option<String>)]
    pub cluster: Option<Name>,
    /// The node it is about.
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
    /// In order.
    pub steps: Vec<RunStep>,
    /// Index of the step that is going on, or was last.
    pub current: u32,
    /// Why it failed, in words.
    pub reason: Option<String>,
    /// Somebody asked for it to end.
    pub cancel_requested: bool,
    /// The run this one repeats.
    pub retry_of: Option<u64>,
    /// When it was created.
    pub created: Time,
    /// When it ended.
    pub finished: Option<Time>,
}

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
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

/// Where a step stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
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

same_variants! {
    RunState { Running, Succeeded, Failed, Cancelled }
    StepState { Waiting, Running, Succeeded, Failed, Skipped, Cancelled }
}

/// Why a run was started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// `person`, `trigger` (it fired) or `execute` (a trigger's steps, by hand).
    #[serde(rename = "type")]
    pub kind: String,
    /// Who asked: `user/NAME`, `token/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub trigger: Option<Name>,
    /// What it saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// One step of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunStep {
    /// The action's name; absent for a command given with the request.
    #[schema(value_type = Option<String>)]
    pub action: Option<Name>,
    /// What it does: `command`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where.
    pub target: Option<Target>,
    /// What a failure means for the steps after it.
    pub on_failure: OnFailure,
    /// Where it stands.
    pub state: StepState,
    /// Its tasks, one per node, once it has started.
    pub tasks: Vec<u64>,
    /// How many of them have ended.
    pub ended: u32,
    /// How many of them have ended otherwise than well.
    pub failed: u32,
}

impl From<&model::Cause> for Cause {
    fn from(cause: &model::Cause) -> Self {
        let (kind, actor, trigger, evidence) = match cause {
            model::Cause::Person(actor) => ("person", Some(actor), None, Vec::new()),
            model::Cause::Trigger { trigger, evidence } => {
                ("trigger", None, Some(trigger.clone()), evidence.iter().map(Into::into).collect())
            }
            model::Cause::Execute { trigger, actor } => {
                ("execute", Some(actor), Some(trigger.clone()), Vec::new())
            }
        };
        Cause { kind: kind.to_string(), actor: actor.map(actor_text), trigger, evidence }
    }
}

impl From<&model::Run> for Run {
    fn from(run: &model::Run) -> Self {
        let step = |step: &model::RunStep| RunStep {
            action: step.action.clone(),
            kind: step.plan.kind.as_str().to_string(),
            target: target_of(&step.target),
            on_failure: step.on_failure.into(),
            state: step.state.into(),
            tasks: step.tasks.iter().map(|task| task.0).collect(),
            ended: step.ended,
            failed: step.failed,
        };
        Run {
            id: run.id.0,
            state: run.state.into(),
            cause: (&run.cause).into(),
            cluster: run.scope.cluster.clone(),
            node: run.scope.node.clone(),
            steps: run.steps.iter().map(step).collect(),
            current: run.current,
            reason: run.reason.clone(),
            cancel_requested: run.cancel_requested,
            retry_of: run.retry_of.map(|run| run.0),
            created: run.created.into(),
            finished: run.finished.map(Into::into),
        }
    }
}
