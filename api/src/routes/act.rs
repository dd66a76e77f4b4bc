//! Running commands and actions, now.

use rscaler_raft::command::{Change, Command, Expect, Reply, StartRun, StartStep, What};
use rscaler_raft::model::{
    self, ActionKind, CommandAction, JmxInvokeAction, Kind, Name, OnExecutorLoss, OnFailure, Role, RunId,
    Scope, Spec, Spread, Target, Value,
};
use warp::http::StatusCode;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::{self, Access};
use crate::error::Problem;
use crate::request::{Request, missing};
use crate::types::{FieldError, Percent, RunRequest, RunStarted, Span, Text};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let describe = "Give `command`, `action` or `invoke`. A command's own `{secret: NAME}` takes role admin, for whoever runs \
                    a script can print what it is given; actions with secrets may be run by any operator.";
    vec![
        Endpoint::post(
            "/api/v1/clusters/{name}/run",
            Access::OPERATOR,
            "Runs a command, an action or an MBean's operation on a cluster's nodes",
            on_cluster,
        )
        .describe(describe)
        .body::<RunRequest>()
        .answers::<RunStarted>(202, "It goes on; `Location` says where to look."),
        Endpoint::post(
            "/api/v1/nodes/{name}/run",
            Access::OPERATOR,
            "Runs a command, an action or an MBean's operation on a node",
            on_node,
        )
        .describe(describe)
        .body::<RunRequest>()
        .answers::<RunStarted>(202, "It goes on; `Location` says where to look."),
    ]
}

async fn on_cluster(mut request: Request) -> Answer {
    request.query()?.finish()?;
    let name = existing(&request, Kind::Cluster)?;
    let what = what(&mut request).await?;
    let scope = Scope { cluster: Some(name), node: None };
    start(&request, StartRun { scope, steps: vec![step(what, Target::Cluster)] }).await
}

async fn on_node(mut request: Request) -> Answer {
    request.query()?.finish()?;
    let name = existing(&request, Kind::Node)?;
    let what = what(&mut request).await?;
    let scope = Scope { cluster: None, node: Some(name) };
    start(&request, StartRun { scope, steps: vec![step(what, Target::Node)] }).await
}

fn existing(request: &Request, kind: Kind) -> Result<Name, Problem> {
    let name = request.name(0, kind)?;
    let there = request.ctx.handle().read(|state| state.object(kind, &name).is_some());
    if there { Ok(name) } else { Err(missing(kind, &name)) }
}

fn step(what: What, target: Target) -> StartStep {
    StartStep { what, target, on_failure: OnFailure::Stop }
}

async fn start(request: &Request, run: StartRun) -> Answer {
    let reply = request.submit(0, Command::StartRun(run)).await?;
    started(request, &reply).await
}

/// Says which run was started, once this peer knows it too.
pub(crate) async fn started(request: &Request, reply: &Reply) -> Answer {
    let Reply::Run(run) = reply else {
        return Err(Problem::internal(&format!("an unexpected reply: {reply:?}")));
    };
    let run: RunId = *run;
    request.ctx.wait_for(|state| state.run(run).map(|_| ())).await;
    let response = reply::json(StatusCode::ACCEPTED, &RunStarted { run: run.0 })?;
    Ok(reply::located(response, &format!("/api/v1/runs/{run}")))
}

async fn what(request: &mut Request) -> Result<What, Problem> {
    let mut body: RunRequest = request.json().await?;
    match (body.command.take(), body.action.take(), body.invoke.take()) {
        (Some(script), None, None) => {
            let kind = ActionKind::Command(CommandAction {
                script: script.into(),
                args: values(std::mem::take(&mut body.args)),
                env: std::mem::take(&mut body.env)
                    .into_iter()
                    .map(|(name, value)| (name, value.into()))
                    .collect(),
                stdin: body.stdin.take().map(Into::into),
                sudo: body.sudo.unwrap_or(false),
            });
            inline(request, kind, &body)
        }
        (None, Some(action), None) => {
            refuse(only_with_command(&body).chain(only_inline(&body)), "an action says it itself")?;
            Ok(What::Named(action))
        }
        (None, None, Some(invoke)) => {
            refuse(only_with_command(&body), "an operation is no script")?;
            let kind = ActionKind::JmxInvoke(JmxInvokeAction {
                jvm: invoke.jvm,
                mbean: invoke.mbean,
                operation: invoke.operation,
                args: values(std::mem::take(&mut body.args)),
                signature: invoke.signature,
            });
            inline(request, kind, &body)
        }
        (None, None, None) => {
            Err(Problem::field("/command", "give the `command`, the `action` or the operation to run"))
        }
        _ => Err(Problem::field("/action", "give one of `command`, `action` and `invoke`")),
    }
}

fn values(texts: Vec<Text>) -> Vec<Value> {
    texts.into_iter().map(Into::into).collect()
}

fn refuse(given: impl Iterator<Item = (&'static str, bool)>, why: &str) -> Result<(), Problem> {
    let errors: Vec<FieldError> = given
        .filter(|(_, is_given)| *is_given)
        .map(|(field, _)| FieldError::new(field, format!("this goes with `command`; {why}")))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

fn only_with_command(body: &RunRequest) -> impl Iterator<Item = (&'static str, bool)> {
    [("/env", !body.env.is_empty()), ("/stdin", body.stdin.is_some()), ("/sudo", body.sudo.is_some())]
        .into_iter()
}

fn only_inline(body: &RunRequest) -> impl Iterator<Item = (&'static str, bool)> {
    [
        ("/args", !body.args.is_empty()),
        ("/timeout", body.timeout.is_some()),
        ("/parallelism", body.parallelism.is_some()),
        ("/batch", body.batch.is_some()),
        ("/max_failures", body.max_failures.is_some()),
    ]
    .into_iter()
}

/// An action given with the request: held to the same rules as a stored one.
fn inline(request: &Request, kind: ActionKind, body: &RunRequest) -> Result<What, Problem> {
    if holds_secret(&kind) {
        auth::authorize(request.caller()?, Role::Admin).map_err(|problem| {
            Problem::forbidden(format!("a command with secrets of its own: {}", problem.detail))
        })?;
    }
    let retry = crate::types::Retry::default();
    let action = model::Action {
        kind,
        timeout: body.timeout.unwrap_or(Span::secs(60)).into(),
        retry: model::Retry { attempts: 1, backoff: retry.backoff.into(), on: Vec::new() },
        on_executor_loss: OnExecutorLoss::Fail,
        spread: Spread {
            parallelism: body.parallelism.unwrap_or(0),
            batch: body.batch.unwrap_or(0),
            max_failures_percent: body.max_failures.unwrap_or(Percent(100)).0,
        },
    };
    check(request, &action)?;
    Ok(What::Inline(Box::new(action)))
}

fn holds_secret(kind: &ActionKind) -> bool {
    let is_secret = |value: &Value| matches!(value, Value::Secret(_));
    match kind {
        ActionKind::Command(command) => {
            let texts = [Some(&command.script), command.stdin.as_ref()];
            let mut all = texts.into_iter().flatten().chain(&command.args).chain(command.env.values());
            all.any(is_secret)
        }
        ActionKind::JmxInvoke(invoke) => invoke.args.iter().any(is_secret),
        ActionKind::Pause(_) => false,
    }
}

/// The state judges stored actions; what it would say of this one holds for it too.
fn check(request: &Request, action: &model::Action) -> Result<(), Problem> {
    let name = Name::new("command").map_err(|error| Problem::internal(&error))?;
    let change = Change::Put {
        name,
        spec: Spec::Action(Box::new(action.clone())),
        labels: Default::default(),
        description: String::new(),
        expect: Expect::Any,
    };
    let Err(rejection) = request.ctx.handle().read(|state| state.preview(&[change])) else { return Ok(()) };
    let errors = rejection.fields.into_iter().map(|field| {
        let pointer = match field.pointer.as_str() {
            "/script" => "/command".to_string(),
            field @ ("/jvm" | "/mbean" | "/operation" | "/signature") => format!("/invoke{field}"),
            other => other.to_string(),
        };
        FieldError::new(pointer, field.detail)
    });
    Err(Problem::invalid(errors.collect()))
}
