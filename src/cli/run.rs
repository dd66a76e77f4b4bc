//! `run`: a command or an action, on a node or a whole cluster.

use std::io::{IsTerminal, Read};

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::follow;
use super::output::{self, Format, coloured, field};

/// Options of `run`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["cluster", "node"]))]
#[command(group = clap::ArgGroup::new("what").required(true).args(["action", "command"]))]
pub(crate) struct RunArgs {
    /// On every node of this cluster
    #[arg(long)]
    cluster: Option<String>,
    /// On this node
    #[arg(long)]
    node: Option<String>,
    /// A named action
    #[arg(long)]
    action: Option<String>,
    /// As root, through sudo
    #[arg(long, conflicts_with = "action")]
    sudo: bool,
    /// How long it may take on one node, such as 30s
    #[arg(long, conflicts_with = "action")]
    timeout: Option<String>,
    /// At most this many nodes at once
    #[arg(long, conflicts_with = "action")]
    parallelism: Option<u32>,
    /// Nodes are done in groups of this size
    #[arg(long, conflicts_with = "action")]
    batch: Option<u32>,
    /// Begin no more nodes once more than this share has failed, such as 25%
    #[arg(long, conflicts_with = "action")]
    max_failures: Option<String>,
    /// Pass standard input on to the command
    #[arg(long, conflicts_with = "action")]
    stdin: bool,
    /// Do not wait: print the run's number
    #[arg(long)]
    detach: bool,
    /// A command and its arguments, after `--`
    #[arg(last = true)]
    command: Vec<String>,
}

impl RunArgs {
    fn body(&self) -> Result<Value, Failure> {
        if let Some(action) = &self.action {
            return Ok(json!({"action": action}));
        }
        let mut body = Map::new();
        match self.command.as_slice() {
            // One word is a script, as with `ssh host 'a | b'`.
            [script] => {
                body.insert("command".to_string(), json!(script));
            }
            // Several are a program and its arguments, which no shell takes apart again.
            words => {
                body.insert("command".to_string(), json!("exec \"$@\""));
                body.insert("args".to_string(), json!(words));
            }
        }
        if self.sudo {
            body.insert("sudo".to_string(), json!(true));
        }
        let given = [
            ("timeout", self.timeout.as_ref().map(|v| json!(v))),
            ("parallelism", self.parallelism.map(|v| json!(v))),
            ("batch", self.batch.map(|v| json!(v))),
            ("max_failures", self.max_failures.as_ref().map(|v| json!(v))),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                body.insert(name.to_string(), value);
            }
        }
        if self.stdin {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            body.insert("stdin".to_string(), json!(text));
        }
        Ok(Value::Object(body))
    }
}

/// Runs `rscaler run`.
pub(crate) async fn run(connection: &Connection, format: Format, args: RunArgs) -> Done {
    let path = match (&args.cluster, &args.node) {
        (Some(cluster), _) => format!("clusters/{cluster}/run"),
        (None, Some(node)) => format!("nodes/{node}/run"),
        (None, None) => return Err(Failure::Usage("say --cluster or --node".to_string())),
    };
    let started = connection.send(Method::POST, &path, Some(args.body()?)).await?;
    let id = field(&started, "run");
    if args.detach {
        return if format == Format::Table { output::say(&id) } else { output::object(format, &started) };
    }
    eprintln!("run {id}");
    let followed = tokio::select! {
        run = follow::run(connection, &id, args.cluster.is_some()) => run?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("cancelling run {id} (once more to leave it alone)");
            connection.send(Method::POST, &format!("runs/{id}/cancel"), Some(json!({}))).await?;
            tokio::select! {
                run = follow::run(connection, &id, args.cluster.is_some()) => run?,
                _ = tokio::signal::ctrl_c() => return Err(Failure::Status(130)),
            }
        }
    };
    verdict(connection, &followed).await
}

/// Says how a run went, and turns its worst task into an exit status.
pub(crate) async fn verdict(connection: &Connection, run: &Value) -> Done {
    let id = field(run, "id");
    let tasks = connection.list(&format!("tasks?run={id}")).await?;
    let mut worst = 0;
    for task in &tasks {
        if task["state"] == "succeeded" {
            continue;
        }
        let code =
            task["exit_code"].as_i64().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
        worst = worst.max(code.unwrap_or(1));
        let why = task["reason"].as_str().unwrap_or_default();
        eprintln!("{}: {} {}", field(task, "node"), field(task, "state"), output::printable(why));
    }
    let state = field(run, "state");
    if state == "succeeded" {
        if tasks.len() > 1 && std::io::stderr().is_terminal() {
            eprintln!("{} on {} nodes", coloured("succeeded", 32), tasks.len());
        }
        return Ok(());
    }
    if let Some(reason) = run["reason"].as_str() {
        eprintln!("run {id} {state}: {}", output::printable(reason));
    }
    Err(Failure::Status(worst.max(1)))
}
