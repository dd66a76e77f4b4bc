//! Live output of tasks, from any peer.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::field;

/// How often a run is looked at for tasks that have begun.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Prints a run's output as it comes, prefixed by node where there are several, until the run ends; gives the run.
pub(crate) async fn run(connection: &Connection, id: &str, several: bool) -> Result<Value, Failure> {
    let mut followed = BTreeSet::new();
    let mut readers: JoinSet<Done> = JoinSet::new();
    loop {
        let run = connection.get(&format!("runs/{id}")).await?;
        let over = run["state"] != "running";
        for task in connection.list(&format!("tasks?run={id}")).await? {
            let begun = !matches!(task["state"].as_str(), Some("queued" | "assigned"));
            let Some(number) = task["id"].as_u64().filter(|_| begun) else { continue };
            if followed.insert(number) {
                let prefix = several.then(|| field(&task, "node"));
                let connection = connection.clone();
                readers.spawn(async move { task_output(&connection, number, prefix.as_deref(), true).await });
            }
        }
        if over {
            while let Some(reader) = readers.join_next().await {
                reader.map_err(|error| Failure::Failed(error.to_string()))??;
            }
            return Ok(run);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Prints a task's output; with `follow` until the task ends. Bytes go out as they are, for they may be binary, but
/// whole lines at a time where they carry a prefix.
pub(crate) async fn task_output(
    connection: &Connection,
    id: u64,
    prefix: Option<&str>,
    follow: bool,
) -> Done {
    let path = format!("tasks/{id}/output{}", if follow { "?follow=true" } else { "" });
    let mut stream = Box::pin(connection.stream(&path).await?);
    let mut pending = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        match prefix {
            None => write_out(&piece)?,
            Some(prefix) => {
                pending.extend_from_slice(&piece);
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    write_line(prefix, &line)?;
                }
            }
        }
    }
    if let Some(prefix) = prefix.filter(|_| !pending.is_empty()) {
        pending.push(b'\n');
        write_line(prefix, &pending)?;
    }
    Ok(())
}

fn write_line(prefix: &str, line: &[u8]) -> Done {
    let mut out = format!("{prefix} | ").into_bytes();
    out.extend_from_slice(line);
    write_out(&out)
}

fn write_out(bytes: &[u8]) -> Done {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::Status(0)),
        other => Ok(other?),
    }
}
