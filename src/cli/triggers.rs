//! `trigger`: state, execution by hand, test against the past.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::connection::Connection;
use super::failure::Done;
use super::output::{self, Column, Format, ago, cell, coloured, field};

/// What can be done with triggers.
#[derive(Subcommand, Debug)]
pub(crate) enum TriggerCommand {
    /// List triggers with their state
    List,
    /// Show where a trigger stands, series by series
    Show {
        /// The trigger
        name: String,
    },
    /// Run a trigger's steps now
    Execute {
        /// The trigger
        name: String,
        /// The node that `firing-node` means
        #[arg(long)]
        node: Option<String>,
    },
    /// Replay stored samples, and say when the trigger would have fired
    Test {
        /// The trigger
        name: String,
        /// How far back, such as 7d
        #[arg(long, default_value = "1d", value_name = "DURATION")]
        since: String,
    },
}

const SUBJECTS: &[Column] = &[
    ("node", |i| field(i, "node")),
    ("instance", |i| field(i, "instance")),
    ("condition", |i| field(i, "condition")),
    ("state", state),
    ("since", |i| ago(&i["since"])),
    ("held", |i| field(i, "held")),
    ("value", |i| cell(&i["value"])),
];

fn state(item: &Value) -> String {
    let text = field(item, "state");
    match text.as_str() {
        "firing" => coloured(&text, 31),
        "pending" => coloured(&text, 33),
        "ok" => coloured(&text, 32),
        _ => text,
    }
}

/// Runs `rscaler trigger`.
pub(crate) async fn run(connection: &Connection, format: Format, command: TriggerCommand) -> Done {
    match command {
        TriggerCommand::List => {
            let mut items = Vec::new();
            for trigger in connection.list("triggers").await? {
                let name = field(&trigger, "name");
                let mut state = connection.get(&format!("triggers/{name}/state")).await?;
                state["name"] = trigger["name"].clone();
                state["cluster"] = trigger["cluster"].clone();
                items.push(state);
            }
            let columns: &[Column] = &[
                ("name", |i| field(i, "name")),
                ("cluster", |i| field(i, "cluster")),
                ("state", state),
                ("since", |i| ago(&i["since"])),
                ("enabled", |i| field(i, "enabled")),
            ];
            output::items(format, &items, columns)
        }
        TriggerCommand::Show { name } => {
            let state_of = connection.get(&format!("triggers/{name}/state")).await?;
            if format != Format::Table {
                return output::object(format, &state_of);
            }
            output::say(&format!("{name}: {}", state(&state_of)))?;
            for firing in state_of["firings"].as_array().into_iter().flatten() {
                let node = firing["node"].as_str().map(|node| format!(" on {node}")).unwrap_or_default();
                let held =
                    firing["held_back"].as_str().map(|why| format!("; held back: {why}")).unwrap_or_default();
                let run = firing["run"].as_u64().map(|run| format!(", run {run}")).unwrap_or_default();
                output::say(&format!("  last fired{node} {} ago{run}{held}", ago(&firing["fired"])))?;
            }
            let subjects = state_of["subjects"].as_array().cloned().unwrap_or_default();
            output::items(format, &subjects, SUBJECTS)
        }
        TriggerCommand::Execute { name, node } => {
            let body = node.map_or_else(|| json!({}), |node| json!({"node": node}));
            let started =
                connection.send(Method::POST, &format!("triggers/{name}/execute"), Some(body)).await?;
            if format == Format::Table {
                output::say(&format!("run {}", field(&started, "run")))
            } else {
                output::object(format, &started)
            }
        }
        TriggerCommand::Test { name, since } => {
            let body = json!({"since": since});
            let test = connection.send(Method::POST, &format!("triggers/{name}/test"), Some(body)).await?;
            if format != Format::Table {
                return output::object(format, &test);
            }
            let firings = test["firings"].as_array().cloned().unwrap_or_default();
            eprintln!("{} samples since {}", field(&test, "samples"), field(&test, "from"));
            if firings.is_empty() {
                return output::say(&format!("`{name}` would not have fired"));
            }
            let columns: &[Column] = &[
                ("would have fired", |i| field(i, "at")),
                ("node", |i| field(i, "node")),
                ("recovered", |i| field(i, "recovered")),
            ];
            output::items(format, &firings, columns)
        }
    }
}
