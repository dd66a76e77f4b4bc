//! `settings` and `host-keys`.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Format};

/// What can be done with settings.
#[derive(Subcommand, Debug)]
pub(crate) enum SettingsCommand {
    /// Show them
    Show,
    /// Change some, as NAME=VALUE, such as keep_raw=30d
    Set {
        /// What to change
        #[arg(required = true, value_name = "NAME=VALUE")]
        changes: Vec<String>,
    },
}

/// What can be done with host keys.
#[derive(Subcommand, Debug)]
pub(crate) enum HostKeysCommand {
    /// Show the keys recorded for a node
    Show {
        /// The node
        node: String,
    },
    /// Forget them: after a host was made anew
    Forget {
        /// The node
        node: String,
    },
    /// Record these keys, as in a .pub file
    Set {
        /// The node
        node: String,
        /// The keys
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

/// Runs `rscaler settings`.
pub(crate) async fn settings(connection: &Connection, format: Format, command: SettingsCommand) -> Done {
    match command {
        SettingsCommand::Show => output::object(format, &connection.get("settings").await?),
        SettingsCommand::Set { changes } => {
            let mut body = Map::new();
            for change in changes {
                let (name, value) = change
                    .split_once('=')
                    .ok_or_else(|| Failure::Usage(format!("`{change}` is not NAME=VALUE")))?;
                body.insert(name.to_string(), Value::String(value.to_string()));
            }
            let now = connection.send(Method::PATCH, "settings", Some(Value::Object(body))).await?;
            output::object(format, &now)
        }
    }
}

/// Runs `rscaler host-keys`.
pub(crate) async fn host_keys(connection: &Connection, format: Format, command: HostKeysCommand) -> Done {
    match command {
        HostKeysCommand::Show { node } => {
            let keys = connection.get(&format!("nodes/{node}/host-keys")).await?;
            if format != Format::Table {
                return output::object(format, &keys);
            }
            for key in keys["keys"].as_array().into_iter().flatten() {
                output::say(&output::cell(key))?;
            }
            Ok(())
        }
        HostKeysCommand::Forget { node } => {
            connection.send(Method::DELETE, &format!("nodes/{node}/host-keys"), None).await?;
            eprintln!("host keys of `{node}` are forgotten");
            Ok(())
        }
        HostKeysCommand::Set { node, keys } => {
            let body = json!({"keys": keys});
            connection.send(Method::PUT, &format!("nodes/{node}/host-keys"), Some(body)).await?;
            eprintln!("host keys of `{node}` are set");
            Ok(())
        }
    }
}
