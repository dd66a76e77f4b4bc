//! `status`: how the control plane is, on one screen.

use serde_json::{Value, json};

use super::connection::Connection;
use super::failure::Done;
use super::output::{self, Column, Format, ago, field};
use super::peers;

/// So many failing checks are counted.
const FAILING_MAX: usize = 1000;

/// Runs `rscaler status`.
pub(crate) async fn show(connection: &Connection, format: Format) -> Done {
    let peers = connection.list("peers").await?;
    let clusters = connection.list("clusters").await?;
    let nodes = connection.list("nodes").await?;
    let events = connection.some("events", 10).await?;
    let failing = connection.find("checks", &[("failing", "true")], FAILING_MAX).await?.len();
    let running = connection.some("runs?state=running", 100).await?;
    let mut triggers = Vec::new();
    for trigger in connection.list("triggers").await? {
        triggers.push(connection.get(&format!("triggers/{}/state", field(&trigger, "name"))).await?);
    }
    let firing: Vec<Value> = triggers.into_iter().filter(|t| t["state"] == "firing").collect();
    if format != Format::Table {
        let all = json!({
            "peers": peers, "clusters": clusters.len(), "nodes": nodes.len(),
            "failing_checks": failing, "runs": running, "firing": firing, "events": events,
        });
        return output::object(format, &all);
    }
    output::items(format, &peers, peers::COLUMNS)?;
    let names: Vec<String> = firing.iter().map(|t| field(t, "trigger")).collect();
    let firing = if names.is_empty() { "none".to_string() } else { names.join(", ") };
    output::say(&format!(
        "\n{} clusters, {} nodes, {} runs going on, triggers firing: {firing}\n",
        clusters.len(),
        nodes.len(),
        running.len()
    ))?;
    if failing > 0 {
        let most = if failing == FAILING_MAX { " or more" } else { "" };
        output::say(&format!(
            "{failing}{most} counters cannot be read: `rscaler checks --failing` says why\n"
        ))?;
    }
    let columns: &[Column] = &[("age", |i| ago(&i["at"])), ("event", |i| field(i, "message"))];
    output::items(format, &events, columns)
}
