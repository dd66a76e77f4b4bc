use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rscaler_raft::model::{
    self, ActionKind, CommandAction, JmxInvokeAction, Kind, Name, PauseAction, Spread,
};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Document, FieldError, Span, Text};

/// A reusable, named thing to do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// What is done.
    #[serde(rename = "type")]
    pub kind: ActionType,
    /// `command` only: what runs on the node, POSIX shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Text>,
    /// `pause` only: how long, up to 12 h; no time at all where absent.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// `jmx-invoke` only: the JVM profile of the node's JVM; its only one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jvm: Option<Name>,
    /// `jmx-invoke` only: the MBean's object name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "java.lang:type=Memory")]
    pub mbean: Option<String>,
    /// `jmx-invoke` only: the operation's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "gc")]
    pub operation: Option<String>,
    /// `jmx-invoke` only: types of the arguments as Java names them (`int`, `java.lang.String`); needed where operations of one name and as
    /// many arguments differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signature: Vec<String>,
    /// `command`: `$1`, `$2`, ...: passed as data, never spliced into a shell line. `jmx-invoke`: the operation's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Text>,
    /// `command` only: added to the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
    /// `command` only: what the script reads from its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Text>,
    /// `command` only: whether it runs as root through sudo.
    #[serde(default)]
    pub sudo: bool,
    /// How long one attempt may take: 1 s to 24 h. A pause always gets a minute more than it lasts.
    #[serde(default = "default_timeout")]
    #[schema(default = "60s")]
    pub timeout: Span,
    /// When a task that ended badly is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// What becomes of a task whose executor died. A pause is always begun again.
    #[serde(default)]
    pub on_executor_loss: ExecutorLoss,
    /// At most this many tasks of a step at once; 0: no bound but the peers'.
    #[serde(default)]
    pub parallelism: u32,
    /// Tasks are started in groups of this size, each when the one before has ended; 0: one group.
    #[serde(default)]
    pub batch: u32,
    /// A step starts no more tasks once more than this share of them has failed.
    #[serde(default)]
    pub max_failures: Percent,
}

fn default_timeout() -> Span {
    Span::secs(60)
}

impl Document for Action {
    const KIND: Kind = Kind::Action;
}

/// What an action does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionType {
    /// Runs a script on a node.
    Command,
    /// Waits, on no node: for what was started to settle, or for no time, as a mark that a run has come so far. One task,
    /// whatever the step's target.
    Pause,
    /// Invokes an operation of an MBean of a node's JVM; its result is the task's output.
    JmxInvoke,
}

/// When a task that ended badly is tried again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, the first included: 1 to 100.
    #[schema(default = 1)]
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each further one, up to an hour.
    #[schema(default = "5s")]
    pub backoff: Span,
    /// Which endings are tried again.
    pub on: Vec<RetryOn>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 1, backoff: Span::secs(5), on: vec![RetryOn::Failed, RetryOn::TimedOut] }
    }
}

/// An ending that may be tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// The attempt failed.
    Failed,
    /// The attempt ran out of time.
    TimedOut,
    /// The executor died. Says the same as `on_executor_loss: retry`.
    Lost,
}

/// What becomes of a task whose executor died in the middle of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorLoss {
    /// Another peer runs it again.
    Retry,
    /// It stays lost: the host may have been changed.
    #[default]
    Fail,
}

/// A share, written `"25%"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percent(pub u8);

impl Default for Percent {
    fn default() -> Self {
        Percent(100)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
        struct PercentVisitor;
        impl Visitor<'_> for PercentVisitor {
            type Value = Percent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage from \"0%\" to \"100%\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<u8>().ok());
                let number = number.filter(|number| *number <= 100).map(Percent);
                number.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(PercentVisitor)
    }
}

impl PartialSchema for Percent {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9]+ ?%$"))
            .default(Some("100%".into()))
            .description(Some("A share in percent."))
            .examples([serde_json::json!("25%")])
            .into()
    }
}

impl ToSchema for Percent {}

/// What a pause is given beyond its time, until it counts as stuck.
const PAUSE_SLACK: Duration = Duration::from_secs(60);

impl TryFrom<Action> for model::Action {
    type Error = Vec<FieldError>;

    fn try_from(action: Action) -> Result<Self, Self::Error> {
        let on = |on: RetryOn| match on {
            RetryOn::Failed => model::RetryOn::Failed,
            RetryOn::TimedOut => model::RetryOn::TimedOut,
            RetryOn::Lost => model::RetryOn::Lost,
        };
        let mut errors = Vec::new();
        let mut refuse = |is_given: bool, field: &str, why: &str| {
            if is_given {
                errors.push(FieldError::new(field, why));
            }
        };
        let mut timeout: Duration = action.timeout.into();
        let mut again_when_lost =
            action.on_executor_loss == ExecutorLoss::Retry || action.retry.on.contains(&RetryOn::Lost);
        if action.kind != ActionType::JmxInvoke {
            let other = "only an action of type jmx-invoke has this";
            refuse(action.jvm.is_some(), "/jvm", other);
            refuse(action.mbean.is_some(), "/mbean", other);
            refuse(action.operation.is_some(), "/operation", other);
            refuse(!action.signature.is_empty(), "/signature", other);
        }
        let kind = match action.kind {
            ActionType::JmxInvoke => {
                let none = "an operation is not a script";
                refuse(action.script.is_some(), "/script", none);
                refuse(!action.env.is_empty(), "/env", none);
                refuse(action.stdin.is_some(), "/stdin", none);
                refuse(action.sudo, "/sudo", none);
                refuse(action.time.is_some(), "/for", "only a pause lasts for a given time");
                refuse(action.mbean.is_none(), "/mbean", "an action of type jmx-invoke needs it");
                refuse(action.operation.is_none(), "/operation", "an action of type jmx-invoke needs it");
                ActionKind::JmxInvoke(JmxInvokeAction {
                    jvm: action.jvm,
                    mbean: action.mbean.unwrap_or_default(),
                    operation: action.operation.unwrap_or_default(),
                    args: action.args.into_iter().map(Into::into).collect(),
                    signature: action.signature,
                })
            }
            ActionType::Command => {
                refuse(
                    action.script.is_none(),
                    "/script",
                    "an action of type command needs the script that it runs",
                );
                refuse(action.time.is_some(), "/for", "only a pause lasts for a given time");
                ActionKind::Command(CommandAction {
                    script: action.script.map_or(model::Value::Inline(String::new()), Into::into),
                    args: action.args.into_iter().map(Into::into).collect(),
                    env: action.env.into_iter().map(|(name, value)| (name, value.into())).collect(),
                    stdin: action.stdin.map(Into::into),
                    sudo: action.sudo,
                })
            }
            ActionType::Pause => {
                let none = "a pause runs nothing";
                refuse(action.script.is_some(), "/script", none);
                refuse(!action.args.is_empty(), "/args", none);
                refuse(!action.env.is_empty(), "/env", none);
                refuse(action.stdin.is_some(), "/stdin", none);
                refuse(action.sudo, "/sudo", none);
                let time: Duration = action.time.unwrap_or(Span::secs(0)).into();
                timeout = timeout.max(time.saturating_add(PAUSE_SLACK));
                again_when_lost = true;
                ActionKind::Pause(PauseAction { time })
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(model::Action {
            kind,
            timeout,
            retry: model::Retry {
                attempts: action.retry.attempts,
                backoff: action.retry.backoff.into(),
                on: action.retry.on.into_iter().map(on).collect(),
            },
            on_executor_loss: if again_when_lost {
                model::OnExecutorLoss::Retry
            } else {
                model::OnExecutorLoss::Fail
            },
            spread: Spread {
                parallelism: action.parallelism,
                batch: action.batch,
                max_failures_percent: action.max_failures.0,
            },
        })
    }
}

impl From<&model::Action> for Action {
    fn from(action: &model::Action) -> Self {
        let (kind, command, time) = match &action.kind {
            ActionKind::Command(command) => (ActionType::Command, Some(command), None),
            ActionKind::Pause(pause) => (ActionType::Pause, None, Some(pause.time.into())),
            ActionKind::JmxInvoke(_) => (ActionType::JmxInvoke, None, None),
        };
        let invoke = match &action.kind {
            ActionKind::JmxInvoke(invoke) => Some(invoke),
            _ => None,
        };
        let given = match (command, invoke) {
            (Some(command), _) => command.args.as_slice(),
            (None, Some(invoke)) => invoke.args.as_slice(),
            (None, None) => &[],
        };
        let on = |on: &model::RetryOn| match on {
            model::RetryOn::Failed => RetryOn::Failed,
            model::RetryOn::TimedOut => RetryOn::TimedOut,
            model::RetryOn::Lost => RetryOn::Lost,
        };
        Action {
            kind,
            script: command.map(|command| (&command.script).into()),
            time,
            jvm: invoke.and_then(|invoke| invoke.jvm.clone()),
            mbean: invoke.map(|invoke| invoke.mbean.clone()),
            operation: invoke.map(|invoke| invoke.operation.clone()),
            signature: invoke.map(|invoke| invoke.signature.clone()).unwrap_or_default(),
            args: given.iter().map(Into::into).collect(),
            env: command
                .iter()
                .flat_map(|command| &command.env)
                .map(|(name, value)| (name.clone(), value.into()))
                .collect(),
            stdin: command.and_then(|command| command.stdin.as_ref()).map(Into::into),
            sudo: command.is_some_and(|command| command.sudo),
            timeout: action.timeout.into(),
            retry: Retry {
                attempts: action.retry.attempts,
                backoff: action.retry.backoff.into(),
                on: action.retry.on.iter().map(on).collect(),
            },
            on_executor_loss: match action.on_executor_loss {
                model::OnExecutorLoss::Retry => ExecutorLoss::Retry,
                model::OnExecutorLoss::Fail => ExecutorLoss::Fail,
            },
            parallelism: action.spread.parallelism,
            batch: action.spread.batch,
            max_failures: Percent(action.spread.max_failures_percent),
        }
    }
}
