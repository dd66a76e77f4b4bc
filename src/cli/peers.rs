//! `peers`: who belongs to the control plane.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::confirm;
use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Column, Format, coloured, field};

/// What can be done with peers.
#[derive(Subcommand, Debug)]
pub(crate) enum PeersCommand {
    /// List peers
    List,
    /// Make a token with which one new peer can join
    #[command(alias = "add")]
    Token {
        /// How long it works, at most 1h
        #[arg(long, default_value = "1h", value_name = "DURATION")]
        expires: String,
        /// The new peer shall only receive the log, not vote
        #[arg(long)]
        learner: bool,
    },
    /// Let a learner vote, once it has caught up
    Promote {
        /// The peer's number or name
        peer: String,
    },
    /// Take a peer's vote
    Demote {
        /// The peer's number or name
        peer: String,
    },
    /// Remove a peer for good; its certificate is revoked
    Remove {
        /// The peer's number or name
        peer: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Hand leadership to another voter
    TransferLeader {
        /// The peer's number or name
        peer: String,
    },
}

/// Peers as people look at them.
pub(crate) const COLUMNS: &[Column] = &[
    ("id", |i| field(i, "id")),
    ("name", |i| field(i, "name")),
    ("role", role),
    ("alive", alive),
    ("api", |i| field(i, "api")),
    ("peer", |i| field(i, "peer")),
    ("applied", |i| field(i, "applied")),
    ("lag", |i| field(i, "lag")),
    ("nodes", |i| field(i, "nodes")),
    ("tasks", |i| field(i, "tasks")),
    ("version", |i| field(i, "version")),
];

fn role(item: &Value) -> String {
    let text = field(item, "role");
    if text == "leader" { coloured(&text, 36) } else { text }
}

fn alive(item: &Value) -> String {
    if item["alive"] == false { coloured("no", 31) } else { "yes".to_string() }
}

async fn id_of(connection: &Connection, peer: &str) -> Result<u64, Failure> {
    if let Ok(id) = peer.parse() {
        return Ok(id);
    }
    let peers = connection.list("peers").await?;
    let found = peers.iter().find(|item| item["name"].as_str() == Some(peer));
    found
        .and_then(|item| item["id"].as_u64())
        .ok_or_else(|| Failure::Failed(format!("there is no peer `{peer}`: `rscaler peers list` shows them")))
}

/// Runs `rscaler peers`.
pub(crate) async fn run(connection: &Connection, format: Format, command: PeersCommand) -> Done {
    match command {
        PeersCommand::List => output::items(format, &connection.list("peers").await?, COLUMNS),
        PeersCommand::Token { expires, learner } => {
            let body = json!({"ttl": expires, "role": if learner { "learner" } else { "voter" }});
            let token = connection.send(Method::POST, "peers/join-tokens", Some(body)).await?;
            if format != Format::Table {
                return output::object(format, &token);
            }
            let peers = connection.list("peers").await?;
            let through =
                peers.iter().find(|p| p["alive"] != false).map(|p| field(p, "peer")).unwrap_or_default();
            eprintln!("on the new machine, once, before {}:", field(&token, "expires"));
            output::say(&format!(
                "rscaler server --data-dir DIR --api ADDR --peer ADDR --join {through} --join-token {}",
                field(&token, "token")
            ))
        }
        PeersCommand::Promote { peer } => {
            let id = id_of(connection, &peer).await?;
            connection.send(Method::POST, &format!("peers/{id}/promote"), Some(json!({}))).await?;
            eprintln!("peer {id} votes as soon as it has caught up");
            Ok(())
        }
        PeersCommand::Demote { peer } => {
            let id = id_of(connection, &peer).await?;
            connection.send(Method::POST, &format!("peers/{id}/demote"), Some(json!({}))).await?;
            eprintln!("peer {id} votes no more");
            Ok(())
        }
        PeersCommand::Remove { peer, yes } => {
            let id = id_of(connection, &peer).await?;
            confirm(yes, &format!("remove peer {id} for good"))?;
            connection.send(Method::DELETE, &format!("peers/{id}"), None).await?;
            eprintln!("peer {id} is removed");
            Ok(())
        }
        PeersCommand::TransferLeader { peer } => {
            let id = id_of(connection, &peer).await?;
            connection.send(Method::POST, "peers/leader", Some(json!({"to": id}))).await?;
            eprintln!("leadership goes to peer {id}");
            Ok(())
        }
    }
}
