//! Runs and tasks: what goes on, and what went.

use std::sync::Arc;

use rscaler_raft::command::Command;
use rscaler_raft::model::{self, Cause, Name, RunId, TaskId};
use rscaler_raft::state::State;

use super::endpoint::{Answer, Endpoint};
use super::resources::cursor;
use super::{act, reply};
use crate::auth::Access;
use crate::error::Problem;
use crate::request::{Query, Request};
use crate::types::{List, Run, RunStarted, RunState, Task, TaskState};

/// Runs or tasks looked at for one page: the state's lock is held meanwhile.
const SCANNED_MAX: usize = 20_000;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/runs", Access::VIEWER, "Lists runs, newest first", list_runs)
            .pages()
            .query("state", "`running`, `succeeded`, `failed` or `cancelled`.")
            .query("cluster", "Only runs about this cluster.")
            .query("node", "Only runs about this node.")
            .query("trigger", "Only runs that this trigger started.")
            .answers::<List<Run>>(200, "A page. It may be short while `next` is there."),
        Endpoint::get("/api/v1/runs/{id}", Access::VIEWER, "Shows a run", show_run)
            .answers::<Run>(200, "The run."),
        Endpoint::post(
            "/api/v1/runs/{id}/cancel",
            Access::OPERATOR,
            "Asks for a run and its tasks to end",
            cancel_run,
        )
        .answers::<Run>(202, "It will end."),
        Endpoint::post(
            "/api/v1/runs/{id}/retry",
            Access::OPERATOR,
            "Starts a run with the same steps",
            retry_run,
        )
        .answers::<RunStarted>(202, "It goes on; `Location` says where to look."),
        Endpoint::get("/api/v1/tasks", Access::VIEWER, "Lists tasks, newest first", list_tasks)
            .pages()
            .query("run", "Only tasks of this run.")
            .query("state", "A state; `open`: all that have not ended.")
            .query("node", "Only tasks on this node.")
            .query("peer", "Only tasks that this peer has or had last.")
            .query("action", "Only tasks of this action.")
            .answers::<List<Task>>(200, "A page. It may be short while `next` is there."),
        Endpoint::get("/api/v1/tasks/{id}", Access::VIEWER, "Shows a task", show_task)
            .answers::<Task>(200, "The task."),
        Endpoint::post("/api/v1/tasks/{id}/cancel", Access::OPERATOR, "Asks for a task to end", cancel_task)
            .answers::<Task>(202, "It will end."),
    ]
}

/// What a list has found, and where it stopped.
struct Page<T> {
    found: Vec<T>,
    next: Option<u64>,
}

/// Takes what passes, a page full, looking at a bounded number.
fn page<T>(rows: impl Iterator<Item = (u64, T)>, limit: usize, passes: impl Fn(&T) -> bool) -> Page<T> {
    let mut found = Vec::new();
    let mut last = None;
    for (scanned, (id, row)) in rows.enumerate() {
        if found.len() == limit || scanned == SCANNED_MAX {
            return Page { found, next: last };
        }
        last = Some(id);
        if passes(&row) {
            found.push(row);
        }
    }
    Page { found, next: None }
}

async fn list_runs(request: Request) -> Answer {
    let mut query = request.query()?;
    let limit = query.limit()?;
    let before = cursor::<u64>(&mut query)?.map(RunId);
    let state = query.word::<RunState>("state")?;
    let cluster = query.value::<Name>("cluster")?;
    let node = query.value::<Name>("node")?;
    let trigger = query.value::<Name>("trigger")?;
    query.finish()?;
    let passes = |run: &Arc<model::Run>| {
        state.is_none_or(|state| RunState::from(run.state) == state)
            && cluster.as_ref().is_none_or(|wanted| run.scope.cluster.as_ref() == Some(wanted))
            && node.as_ref().is_none_or(|wanted| run.scope.node.as_ref() == Some(wanted))
            && trigger.as_ref().is_none_or(|wanted| match &run.cause {
                Cause::Trigger { trigger, .. } | Cause::Execute { trigger, .. } => trigger == wanted,
                Cause::Person(_) => false,
            })
    };
    let page = request
        .ctx
        .handle()
        .read(|state| page(state.runs_before(before).map(|run| (run.id.0, Arc::clone(run))), limit, passes));
    let items: Vec<Run> = page.found.iter().map(|run| Run::from(&**run)).collect();
    reply::ok(&List { items, next: page.next.map(|id| id.to_string()) })
}

async fn show_run(request: Request) -> Answer {
    let id: RunId = request.id(0, "run")?;
    request.query()?.finish()?;
    reply::ok(&find_run(&request, id)?)
}

fn find_run(request: &Request, id: RunId) -> Result<Run, Problem> {
    let run = request.ctx.handle().read(|state| state.run(id).cloned());
    run.map(|run| Run::from(&*run)).ok_or_else(|| Problem::not_found("run", id))
}

async fn cancel_run(mut request: Request) -> Answer {
    let id: RunId = request.id(0, "run")?;
    request.query()?.finish()?;
    nothing(&mut request).await?;
    request.submit(0, Command::CancelRun(id)).await?;
    request.ctx.wait_for(|state| state.run(id).filter(|run| run.cancel_requested).map(|_| ())).await;
    let response = reply::json(warp::http::StatusCode::ACCEPTED, &find_run(&request, id)?)?;
    Ok(reply::located(response, &format!("/api/v1/runs/{id}")))
}

async fn retry_run(mut request: Request) -> Answer {
    let id: RunId = request.id(0, "run")?;
    request.query()?.finish()?;
    nothing(&mut request).await?;
    let reply = request.submit(0, Command::RetryRun(id)).await?;
    act::started(&request, &reply).await
}

/// Reads a body that says nothing.
async fn nothing(request: &mut Request) -> Result<(), Problem> {
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    request.json_or_default::<Nothing>().await.map(|_| ())
}

/// Which states a list of tasks shows.
enum Wanted {
    Any,
    Open,
    In(TaskState),
}

fn wanted_state(query: &mut Query) -> Result<Wanted, Problem> {
    let Some(text) = query.text("state") else { return Ok(Wanted::Any) };
    if text == "open" {
        return Ok(Wanted::Open);
    }
    serde_json::from_value(serde_json::Value::String(text))
        .map(Wanted::In)
        .map_err(|error| Problem::malformed(format!("parameter `state`: {error}, or `open`")))
}

async fn list_tasks(request: Request) -> Answer {
    let mut query = request.query()?;
    let limit = query.limit()?;
    let before = cursor::<u64>(&mut query)?.map(TaskId);
    let run = query.value::<RunId>("run")?;
    let wanted = wanted_state(&mut query)?;
    let node = query.value::<Name>("node")?;
    let peer = query.value::<u64>("peer")?;
    let action = query.value::<Name>("action")?;
    query.finish()?;
    let page = request.ctx.handle().read(|state| {
        let passes = |task: &Task| {
            node.as_ref().is_none_or(|wanted| task.node.as_ref() == Some(wanted))
                && peer.is_none_or(|wanted| task.peer == Some(wanted))
                && action.as_ref().is_none_or(|wanted| task.action.as_ref() == Some(wanted))
                && match wanted {
                    Wanted::Any => true,
                    Wanted::Open => !task.state.is_final(),
                    Wanted::In(state) => task.state == state,
                }
        };
        let shown = |task: &Arc<model::Task>| (task.id.0, show(state, task));
        let earlier = |task: &TaskId| before.is_none_or(|before| *task < before);
        match (run, &wanted) {
            (Some(run), _) => {
                let mut tasks = state.tasks_of(run);
                tasks.sort_unstable();
                let rows = tasks.into_iter().rev().filter(earlier).filter_map(|id| state.task(id)).map(shown);
                page(rows, limit, passes)
            }
            (None, Wanted::Open) => {
                let open: Vec<_> = state.open_tasks().filter(|task| earlier(&task.id)).collect();
                page(open.into_iter().rev().map(shown), limit, passes)
            }
            (None, _) => page(state.tasks_before(before).map(shown), limit, passes),
        }
    });
    reply::ok(&List { items: page.found, next: page.next.map(|id| id.to_string()) })
}

/// A task with what its step does.
pub(crate) fn show(state: &State, task: &model::Task) -> Task {
    let step = state.run(task.run).and_then(|run| run.steps.get(task.step as usize));
    Task::new(task, step)
}

pub(crate) fn find_task(request: &Request, id: TaskId) -> Result<Task, Problem> {
    let task = request.ctx.handle().read(|state| state.task(id).map(|task| show(state, task)));
    task.ok_or_else(|| Problem::not_found("task", id))
}

async fn show_task(request: Request) -> Answer {
    let id: TaskId = request.id(0, "task")?;
    request.query()?.finish()?;
    reply::ok(&find_task(&request, id)?)
}

async fn cancel_task(mut request: Request) -> Answer {
    let id: TaskId = request.id(0, "task")?;
    request.query()?.finish()?;
    nothing(&mut request).await?;
    request.submit(0, Command::CancelTask(id)).await?;
    request.ctx.wait_for(|state| state.task(id).filter(|task| task.cancel_requested).map(|_| ())).await;
    let response = reply::json(warp::http::StatusCode::ACCEPTED, &find_task(&request, id)?)?;
    Ok(reply::located(response, &format!("/api/v1/tasks/{id}")))
}
