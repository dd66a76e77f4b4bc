//! What nodes have beside the routes of all kinds: host keys, and what became of their readings.

use std::sync::Arc;

use rscaler_raft::command::{Command, Reply};
use rscaler_raft::model::{CheckStatus, CounterSource, FailureKind, Kind, Name};
use rscaler_raft::state::State;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use super::resources::cursor;
use crate::auth::Access;
use crate::error::Problem;
use crate::request::{Request, missing};
use crate::types::{Check, FieldError, HostKeys, List};

/// Readings looked at for one page of a search.
const SEARCHED_MAX: usize = 50_000;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/nodes/{name}/host-keys", Access::VIEWER, "Shows the keys recorded for a host", host_keys)
            .answers::<HostKeys>(200, "In OpenSSH's public form."),
        Endpoint::put("/api/v1/nodes/{name}/host-keys", Access::ADMIN, "Sets the keys recorded for a host", set_host_keys)
            .body::<HostKeys>()
            .answers::<HostKeys>(200, "As they are now."),
        Endpoint::delete("/api/v1/nodes/{name}/host-keys", Access::ADMIN, "Forgets the keys recorded for a host", forget_host_keys)
            .describe("With `host_key: accept-new` the next key seen is recorded: do this after a host was installed anew.")
            .answers_nothing(204, "None is recorded now."),
        Endpoint::get("/api/v1/nodes/{name}/checks", Access::VIEWER, "Shows what became of a node's last readings", checks)
            .describe("One for each counter that is collected on the node: whether it yields samples, why not or not all, and what its script printed.")
            .pages()
            .answers::<List<Check>>(200, "By counter."),
        Endpoint::get("/api/v1/checks", Access::VIEWER, "Searches the last readings of all nodes", search)
            .pages()
            .query("search", "Only where the script's output or the failure's reason holds this text.")
            .query("failing", "`true`: only readings that failed.")
            .query("cluster", "Only on nodes of this cluster.")
            .query("counter", "Only of this counter.")
            .answers::<List<Check>>(200, "By node and counter. A page may be short while `next` is there."),
    ]
}

fn node_exists(request: &Request) -> Result<Name, Problem> {
    let name = request.name(0, Kind::Node)?;
    let there = request.ctx.handle().read(|state| state.node(&name).is_some());
    if there { Ok(name) } else { Err(missing(Kind::Node, &name)) }
}

async fn host_keys(request: Request) -> Answer {
    let name = node_exists(&request)?;
    request.query()?.finish()?;
    reply::ok(&HostKeys { keys: request.ctx.handle().read(|state| state.host_keys(&name)) })
}

async fn set_host_keys(mut request: Request) -> Answer {
    let name = node_exists(&request)?;
    request.query()?.finish()?;
    let body: HostKeys = request.json().await?;
    let mut errors = Vec::new();
    let mut keys = Vec::new();
    for (position, key) in body.keys.iter().enumerate() {
        match public_key(key) {
            Some(key) => keys.push(key),
            None => errors.push(FieldError::new(
                format!("/keys/{position}"),
                "a key as in a .pub file: `ssh-ed25519 AAAA...`",
            )),
        }
    }
    if keys.is_empty() && errors.is_empty() {
        errors.push(FieldError::new("/keys", "at least one; to forget them all, DELETE"));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    match request.submit(0, Command::SetHostKeys { node: name, keys }).await? {
        Reply::HostKeys(keys) => reply::ok(&HostKeys { keys }),
        other => Err(Problem::internal(&format!("an unexpected reply: {other:?}"))),
    }
}

/// Type and key without the comment.
fn public_key(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let kind_fits = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
    let key_fits = key.len() > 16 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    (kind_fits && key_fits).then(|| format!("{kind} {key}"))
}

async fn forget_host_keys(request: Request) -> Answer {
    let name = node_exists(&request)?;
    request.query()?.finish()?;
    request.submit(0, Command::SetHostKeys { node: name, keys: Vec::new() }).await?;
    reply::no_content()
}

fn collector(state: &State, node: &Name) -> Option<u64> {
    state.assignment(node).map(|assignment| assignment.peer.0)
}

async fn checks(request: Request) -> Answer {
    let name = node_exists(&request)?;
    let query = request.query()?;
    let items: Vec<Check> = request.ctx.handle().read(|state| {
        let Some(node) = state.node(&name) else { return Vec::new() };
        let collector = collector(state, &name);
        let mut checks: std::collections::BTreeMap<Name, Check> = state
            .counters_of(&node.cluster)
            .filter(|(_, counter)| is_read(&counter.source, !node.jvms.is_empty()))
            .map(|(counter, _)| (counter.clone(), Check::unknown(name.clone(), counter.clone(), collector)))
            .collect();
        for (counter, status) in state.checks_of(&name) {
            let check = Check::new(name.clone(), counter.clone(), status, collector);
            checks.insert(counter.clone(), check);
        }
        checks.into_values().collect()
    });
    reply::paged(query, items)
}

/// Whether a counter is read on a node, with or without JVMs.
fn is_read(source: &CounterSource, has_jvms: bool) -> bool {
    match source {
        CounterSource::Ssh(_) => true,
        CounterSource::Jmx(_) => has_jvms,
        CounterSource::Push => false,
    }
}

type Row = (Name, Name, Arc<CheckStatus>);

async fn search(request: Request) -> Answer {
    let mut query = request.query()?;
    let limit = query.limit()?;
    let after = cursor::<String>(&mut query)?;
    let text = query.text("search").filter(|text| !text.is_empty());
    let failing = query.flag("failing")?;
    let cluster = query.value::<Name>("cluster")?;
    let counter = query.value::<Name>("counter")?;
    query.finish()?;
    let after = match after.as_deref().map(|after| after.split_once('/')) {
        None => None,
        Some(Some((node, counter))) => match (Name::new(node), Name::new(counter)) {
            (Ok(node), Ok(counter)) => Some((node, counter)),
            _ => return Err(Problem::malformed("parameter `cursor` is the `next` of the last page")),
        },
        Some(None) => return Err(Problem::malformed("parameter `cursor` is the `next` of the last page")),
    };
    // Rows are shared: taking them is cheap, reading their text is not, and is done without the state's lock.
    let (rows, more): (Vec<Row>, bool) = request.ctx.handle().read(|state| {
        let mut rows: Vec<Row> = state
            .checks()
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .filter(|((node, _), _)| {
                cluster
                    .as_ref()
                    .is_none_or(|wanted| state.node(node).is_some_and(|node| node.cluster == *wanted))
            })
            .filter(|((_, of), _)| counter.as_ref().is_none_or(|wanted| of == wanted))
            .filter(|(_, status)| !failing || has_failed(status))
            .take(SEARCHED_MAX + 1)
            .map(|((node, counter), status)| (node.clone(), counter.clone(), Arc::clone(status)))
            .collect();
        let more = rows.len() > SEARCHED_MAX;
        rows.truncate(SEARCHED_MAX);
        (rows, more)
    });
    let last_row = rows.last().map(|(node, counter, _)| format!("{node}/{counter}"));
    let mut found: Vec<Row> = rows
        .into_iter()
        .filter(|row| text.as_ref().is_none_or(|text| holds(&row.2, text)))
        .take(limit + 1)
        .collect();
    let next = if found.len() > limit {
        found.truncate(limit);
        found.last().map(|(node, counter, _)| format!("{node}/{counter}"))
    } else if more {
        last_row
    } else {
        None
    };
    let items = request.ctx.handle().read(|state| {
        found
            .into_iter()
            .map(|(node, counter, status)| {
                let collector = collector(state, &node);
                Check::new(node, counter, &status, collector)
            })
            .collect()
    });
    reply::ok(&List { items, next })
}

fn has_failed(status: &CheckStatus) -> bool {
    status.failure.as_ref().is_some_and(|(kind, _)| *kind != FailureKind::Partly)
}

fn holds(status: &CheckStatus, text: &str) -> bool {
    let in_bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
    status.failure.as_ref().is_some_and(|(_, reason)| reason.contains(text))
        || status.output.as_ref().is_some_and(|output| in_bytes(&output.stdout) || in_bytes(&output.stderr))
}
