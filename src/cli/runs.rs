//! `runs` and `tasks`: look back, look on, cancel, repeat.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Column, Format, ago, coloured, field};
use super::{follow, run};

/// What can be done with runs.
#[derive(Subcommand, Debug)]
pub(crate) enum RunsCommand {
    /// List runs, newest first
    List(ListArgs),
    /// Show a run and its tasks
    Show {
        /// The run's number
        id: u64,
    },
    /// Follow a run's output until it ends; exits as its worst task
    Attach {
        /// The run's number
        id: u64,
    },
    /// Print what a run's tasks have printed
    Output {
        /// The run's number
        id: u64,
    },
    /// Ask a run to end
    Cancel {
        /// The run's number
        id: u64,
    },
    /// Do it again
    Retry {
        /// The run's number
        id: u64,
    },
}

/// What can be done with tasks.
#[derive(Subcommand, Debug)]
pub(crate) enum TasksCommand {
    /// List tasks, newest first
    List(ListTasksArgs),
    /// Show a task and its attempts
    Show {
        /// The task's number
        id: u64,
    },
    /// Print what a task has printed
    Output {
        /// The task's number
        id: u64,
        /// Go on until it ends
        #[arg(short, long)]
        follow: bool,
    },
    /// Follow a task's output until it ends
    Attach {
        /// The task's number
        id: u64,
    },
    /// Ask a task to end
    Cancel {
        /// The task's number
        id: u64,
    },
}

/// Filters of `runs list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only those in this state
    #[arg(long)]
    state: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

/// Filters of `tasks list`.
#[derive(Args, Debug)]
pub(crate) struct ListTasksArgs {
    /// Only those of this run
    #[arg(long)]
    run: Option<u64>,
    /// Only those on this node
    #[arg(long)]
    node: Option<String>,
    /// Only those in this state
    #[arg(long)]
    state: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

const RUN_COLUMNS: &[Column] = &[
    ("run", |i| field(i, "id")),
    ("state", state),
    ("cause", cause),
    ("steps", steps),
    ("age", |i| ago(&i["created"])),
    ("reason", |i| field(i, "reason")),
];

const TASK_COLUMNS: &[Column] = &[
    ("task", |i| field(i, "id")),
    ("run", |i| field(i, "run")),
    ("action", |i| field(i, "action")),
    ("node", |i| field(i, "node")),
    ("state", state),
    ("peer", |i| field(i, "peer")),
    ("attempt", |i| field(i, "attempt")),
    ("exit", |i| field(i, "exit_code")),
    ("age", |i| ago(&i["created"])),
    ("reason", |i| field(i, "reason")),
];

/// A state in its colour.
fn state(item: &Value) -> String {
    let text = field(item, "state");
    match text.as_str() {
        "succeeded" => coloured(&text, 32),
        "failed" | "lost" | "timed-out" => coloured(&text, 31),
        "running" | "assigned" => coloured(&text, 36),
        _ => text,
    }
}

/// Why a run was started, in few words.
fn cause(item: &Value) -> String {
    let cause = &item["cause"];
    if let Some(text) = cause.as_str() {
        return text.to_string();
    }
    let word = |name: &str| cause[name].as_str();
    match (word("trigger"), word("actor").or(word("by"))) {
        (Some(trigger), Some(actor)) => format!("{trigger}, by {actor}"),
        (Some(trigger), None) => format!("trigger {trigger}"),
        (None, Some(actor)) => actor.to_string(),
        (None, None) => output::cell(cause),
    }
}

fn steps(item: &Value) -> String {
    let steps = item["steps"].as_array().into_iter().flatten();
    let names: Vec<String> =
        steps.map(|step| step["action"].as_str().unwrap_or("command").to_string()).collect();
    names.join(" > ")
}

/// Runs `rscaler runs`.
pub(crate) async fn runs(connection: &Connection, format: Format, command: RunsCommand) -> Done {
    match command {
        RunsCommand::List(args) => {
            let path = args.state.map_or("runs".to_string(), |state| format!("runs?state={state}"));
            let items = connection.some(&path, args.limit).await?;
            output::items(format, &items, RUN_COLUMNS)
        }
        RunsCommand::Show { id } => {
            let run = connection.get(&format!("runs/{id}")).await?;
            if format != Format::Table {
                return output::object(format, &run);
            }
            output::items(format, std::slice::from_ref(&run), RUN_COLUMNS)?;
            let tasks = connection.list(&format!("tasks?run={id}")).await?;
            output::say("")?;
            output::items(format, &tasks, TASK_COLUMNS)
        }
        RunsCommand::Attach { id } => {
            let run = follow::run(connection, &id.to_string(), true).await?;
            run::verdict(connection, &run).await
        }
        RunsCommand::Output { id } => {
            let tasks = connection.list(&format!("tasks?run={id}")).await?;
            for task in tasks.iter().rev() {
                let Some(number) = task["id"].as_u64() else { continue };
                let node = field(task, "node");
                let prefix = (tasks.len() > 1).then_some(node.as_str());
                follow::task_output(connection, number, prefix, false).await?;
            }
            Ok(())
        }
        RunsCommand::Cancel { id } => {
            connection.send(Method::POST, &format!("runs/{id}/cancel"), Some(json!({}))).await?;
            eprintln!("run {id} is asked to end");
            Ok(())
        }
        RunsCommand::Retry { id } => {
            let started = connection.send(Method::POST, &format!("runs/{id}/retry"), Some(json!({}))).await?;
            if format == Format::Table {
                output::say(&field(&started, "run"))
            } else {
                output::object(format, &started)
            }
        }
    }
}

/// Runs `rscaler tasks`.
pub(crate) async fn tasks(connection: &Connection, format: Format, command: TasksCommand) -> Done {
    match command {
        TasksCommand::List(args) => {
            let mut path = "tasks?".to_string();
            let filters =
                [("run", args.run.map(|run| run.to_string())), ("node", args.node), ("state", args.state)];
            for (name, value) in filters {
                if let Some(value) = value {
                    path += &format!("&{name}={value}");
                }
            }
            let items = connection.some(&path, args.limit).await?;
            output::items(format, &items, TASK_COLUMNS)
        }
        TasksCommand::Show { id } => output::object(format, &connection.get(&format!("tasks/{id}")).await?),
        TasksCommand::Output { id, follow } => follow::task_output(connection, id, None, follow).await,
        TasksCommand::Attach { id } => {
            follow::task_output(connection, id, None, true).await?;
            let task = connection.get(&format!("tasks/{id}")).await?;
            if task["state"] == "succeeded" {
                return Ok(());
            }
            let why = task["reason"].as_str().unwrap_or_default();
            Err(Failure::Failed(format!("task {id}: {} {why}", field(&task, "state"))))
        }
        TasksCommand::Cancel { id } => {
            connection.send(Method::POST, &format!("tasks/{id}/cancel"), Some(json!({}))).await?;
            eprintln!("task {id} is asked to end");
            Ok(())
        }
    }
}
