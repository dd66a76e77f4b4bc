//! `user`, `token`, `secret`. Passwords and secrets come from standard input, never from the command line, where
//! everybody on the machine could read them.

use std::io::{IsTerminal, Read, Write};

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::confirm;
use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Column, Format, ago, field};

/// What somebody may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Read
    Viewer,
    /// Read, run, scale
    Operator,
    /// Everything
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// What can be done with users.
#[derive(Subcommand, Debug)]
pub(crate) enum UserCommand {
    /// List users
    List,
    /// Create a user; the password is asked for, or read from standard input
    Create {
        /// The name to log in with
        name: String,
        /// What they may do
        #[arg(long, value_enum)]
        role: Role,
    },
    /// Change a password; it is asked for, or read from standard input
    Password {
        /// The user
        name: String,
    },
    /// Delete a user
    Delete {
        /// The user
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What can be done with tokens.
#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// List tokens
    List,
    /// Create a token, and print it: it is not shown again
    Create {
        /// What it is for
        name: String,
        /// What its bearer may do
        #[arg(long, value_enum)]
        role: Role,
        /// How long it works, such as 90d; for ever where absent
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
    },
    /// Delete a token; it stops working at once
    Delete {
        /// The token's name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What can be done with secrets.
#[derive(Subcommand, Debug)]
pub(crate) enum SecretCommand {
    /// List secrets; values are never shown
    List,
    /// Set a secret to what standard input says
    Set {
        /// Its name
        name: String,
    },
    /// Delete a secret
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const WITH_ROLE: &[Column] = &[
    ("name", |i| field(i, "name")),
    ("role", |i| field(i, "role")),
    ("expires", |i| field(i, "expires")),
    ("age", |i| ago(&i["created"])),
];

/// Standard input, without the line end that terminals and `echo` add; asked for on a terminal, without echo.
pub(crate) fn read_secret(what: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut text = String::new();
        stdin.lock().read_to_string(&mut text)?;
        return Ok(text
            .strip_suffix('\n')
            .map_or(text.clone(), |line| line.trim_end_matches('\r').to_string()));
    }
    eprint!("{what}: ");
    std::io::stderr().flush()?;
    let shown = rustix::termios::tcgetattr(&stdin).map_err(std::io::Error::from)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, &hidden)
        .map_err(std::io::Error::from)?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, &shown)
        .map_err(std::io::Error::from)?;
    eprintln!();
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_string())
}

async fn delete(connection: &Connection, kind: &str, name: &str, yes: bool) -> Done {
    confirm(yes, &format!("delete {} `{name}`", kind.trim_end_matches('s')))?;
    connection.send(Method::DELETE, &format!("{kind}/{name}"), None).await?;
    eprintln!("{} `{name}` deleted", kind.trim_end_matches('s'));
    Ok(())
}

/// Runs `rscaler user`.
pub(crate) async fn users(connection: &Connection, format: Format, command: UserCommand) -> Done {
    match command {
        UserCommand::List => output::items(format, &connection.list("users").await?, WITH_ROLE),
        UserCommand::Create { name, role } => {
            let password = read_secret("password")?;
            let body = json!({"name": name, "role": role.as_str(), "password": password});
            connection.send(Method::POST, "users", Some(body)).await?;
            eprintln!("user `{name}` created");
            Ok(())
        }
        UserCommand::Password { name } => {
            let password = read_secret("new password")?;
            connection
                .send(Method::PATCH, &format!("users/{name}"), Some(json!({"password": password})))
                .await?;
            eprintln!("password of `{name}` changed");
            Ok(())
        }
        UserCommand::Delete { name, yes } => delete(connection, "users", &name, yes).await,
    }
}

/// Runs `rscaler token`.
pub(crate) async fn tokens(connection: &Connection, format: Format, command: TokenCommand) -> Done {
    match command {
        TokenCommand::List => output::items(format, &connection.list("tokens").await?, WITH_ROLE),
        TokenCommand::Create { name, role, expires } => {
            let mut body = json!({"name": name, "role": role.as_str()});
            if let Some(expires) = expires {
                body["expires"] = Value::String(expires);
            }
            let made = connection.send(Method::POST, "tokens", Some(body)).await?;
            if format != Format::Table {
                return output::object(format, &made);
            }
            eprintln!("keep it: it is not shown again");
            output::say(&field(&made, "token"))
        }
        TokenCommand::Delete { name, yes } => delete(connection, "tokens", &name, yes).await,
    }
}

/// Runs `rscaler secret`.
pub(crate) async fn secrets(connection: &Connection, format: Format, command: SecretCommand) -> Done {
    match command {
        SecretCommand::List => {
            let columns: &[Column] = &[
                ("name", |i| field(i, "name")),
                ("version", |i| field(i, "version")),
                ("changed", |i| ago(&i["updated"])),
            ];
            output::items(format, &connection.list("secrets").await?, columns)
        }
        SecretCommand::Set { name } => {
            let value = read_secret("value")?;
            connection.put(&format!("secrets/{name}"), json!({"name": name, "value": value}), None).await?;
            eprintln!("secret `{name}` is set");
            Ok(())
        }
        SecretCommand::Delete { name, yes } => delete(connection, "secrets", &name, yes).await,
    }
}
