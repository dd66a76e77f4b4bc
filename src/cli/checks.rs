//! `checks`: what became of the last reading of each counter on each node.

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::failure::Done;
use super::output::{self, Column, Format, ago, coloured, field};

/// The most readings that are shown.
const SHOWN_MAX: usize = 10_000;

/// Options of `checks`.
#[derive(Args, Debug)]
pub(crate) struct ChecksArgs {
    /// Only on this node
    #[arg(long, conflicts_with = "cluster")]
    node: Option<String>,
    /// Only on nodes of this cluster
    #[arg(long)]
    cluster: Option<String>,
    /// Only of this counter
    #[arg(long)]
    counter: Option<String>,
    /// Only readings that failed
    #[arg(long)]
    failing: bool,
    /// Only where the script's output or the reason holds this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

const COLUMNS: &[Column] = &[
    ("node", |i| field(i, "node")),
    ("counter", |i| field(i, "counter")),
    ("state", state),
    ("age", |i| ago(&i["last"])),
    ("in row", |i| field(i, "failures_in_row")),
    ("reason", reason),
];

fn state(item: &Value) -> String {
    if let Some(code) = item["failure"]["code"].as_str() {
        return coloured(code, 31);
    }
    match (item["last"].is_null(), item["warning"].is_null()) {
        (true, _) => "not read yet".to_string(),
        (false, true) => coloured("ok", 32),
        (false, false) => coloured("ok in part", 33),
    }
}

fn reason(item: &Value) -> String {
    let failure = &item["failure"];
    if failure.is_null() { field(item, "warning") } else { field(failure, "detail") }
}

/// Runs `rscaler checks`.
pub(crate) async fn checks(connection: &Connection, format: Format, args: ChecksArgs) -> Done {
    let filters = [
        ("cluster", args.cluster.as_deref()),
        ("counter", args.counter.as_deref()),
        ("search", args.search.as_deref()),
        ("failing", args.failing.then_some("true")),
    ];
    let given: Vec<(&str, &str)> =
        filters.iter().filter_map(|(name, value)| value.map(|value| (*name, value))).collect();
    let mut items = match &args.node {
        // Also what has not been read yet.
        Some(node) if given.is_empty() => connection.list(&format!("nodes/{node}/checks")).await?,
        _ => connection.find("checks", &given, SHOWN_MAX).await?,
    };
    if let Some(node) = &args.node {
        items.retain(|item| item["node"].as_str() == Some(node));
    }
    output::items(format, &items, COLUMNS)
}
