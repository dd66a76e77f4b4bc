//! The command line: one binary that is peer, client and demo. Everything but `server`, `restore` and `demo` speaks
//! to peers through the public API.
//!
//! Exit status: 0 done, 1 failed, 2 usage, 3 no answer; `run` gives that of its worst task.

mod backup;
mod checks;
mod connection;
mod context;
mod credentials;
mod edit;
mod failure;
mod follow;
mod jmx;
mod kind;
mod login;
mod objects;
mod output;
mod peers;
mod query;
mod run;
mod runs;
mod server;
mod settings;
mod status;
mod triggers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::connection::Connection;
use self::context::Where;
use self::failure::{Done, Failure};
use self::output::Format;
use crate::demo;

/// The control plane for your fleet: monitor, decide, act
#[derive(Parser, Debug)]
#[command(name = "rscaler", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    at: Where,
    /// How data is printed: table, json or yaml
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true,
        help_heading = "Output"
    )]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a peer
    Server(Box<server::ServerArgs>),
    /// Three peers, simulated hosts and a load to play with, all in this terminal
    Demo(DemoArgs),
    /// Create and change objects from YAML or JSON documents, all at once
    Apply(objects::ApplyArgs),
    /// Show objects of a kind, or one of them
    Get(objects::GetArgs),
    /// Delete an object
    Delete(objects::DeleteArgs),
    /// Change an object in $EDITOR
    Edit(edit::EditArgs),
    /// Run a command or an action on a node or a whole cluster
    Run(run::RunArgs),
    /// Runs: executions of steps
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Tasks: one step on one node
    #[command(subcommand)]
    Tasks(runs::TasksCommand),
    /// How the last readings of counters went, and why some yield nothing
    Checks(checks::ChecksArgs),
    /// Show samples of a counter
    Query(query::QueryArgs),
    /// Triggers: their state, by hand, against the past
    #[command(subcommand)]
    Trigger(triggers::TriggerCommand),
    /// JVMs: what they offer, and counters of it
    #[command(subcommand)]
    Jmx(jmx::JmxCommand),
    /// Peers of the control plane
    #[command(subcommand)]
    Peers(peers::PeersCommand),
    /// How the control plane is
    Status,
    /// Write a consistent backup to a file
    Backup(backup::BackupArgs),
    /// Begin a new control plane from a backup
    Restore(backup::RestoreArgs),
    /// Users, who log in with a password
    #[command(subcommand)]
    User(credentials::UserCommand),
    /// Tokens, for programs
    #[command(subcommand)]
    Token(credentials::TokenCommand),
    /// Secrets, which nobody can read back
    #[command(subcommand)]
    Secret(credentials::SecretCommand),
    /// SSH host keys recorded for nodes
    #[command(subcommand)]
    HostKeys(settings::HostKeysCommand),
    /// Settings of the whole control plane
    #[command(subcommand)]
    Settings(settings::SettingsCommand),
    /// Log in with a user's password; the token is kept in a context
    Login(login::LoginArgs),
    /// End the token that a login gave
    Logout,
    /// Who the token says you are
    Whoami,
    /// Where to and as whom, by name
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// What speaks to JVMs for a peer; started by it
    #[command(name = crate::jvm::WORKER_COMMAND, hide = true)]
    JvmWorker {
        /// Java's library
        libjvm: PathBuf,
    },
    /// A JVM for the demo to watch; started by it
    #[command(name = crate::jvm::SHOP_COMMAND, hide = true)]
    JvmShop {
        /// Java's library
        libjvm: PathBuf,
        /// Where its JMX agent listens
        port: u16,
    },
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Options of the demo, and what can be said to a running one.
#[derive(clap::Args, Debug)]
struct DemoArgs {
    /// Keep the demo's data here, to go on with later; a temporary directory otherwise
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many hosts to simulate
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=200))]
    nodes: u16,
    #[command(subcommand)]
    command: Option<DemoCommand>,
}

#[derive(Subcommand, Debug)]
enum DemoCommand {
    /// Turn a simulated host's load up or down
    Load {
        /// The host, such as web01
        host: String,
        /// 0 (idle) to 1 (all cores busy)
        #[arg(value_parser = load_level)]
        level: f64,
    },
    /// Show where the running demo's parts are, and how they are
    Status,
    /// Start a peer again that was killed
    Restart {
        /// The peer, such as p2
        peer: String,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::JvmWorker { libjvm } = &cli.command {
        return crate::jvm::run_worker(libjvm);
    }
    if let Command::JvmShop { libjvm, port } = &cli.command {
        return crate::jvm::run_shop(libjvm, *port);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rscaler: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    let done = runtime.block_on(dispatch(cli));
    // Blocking reads of standard input must not hold up the end.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("rscaler: {message}");
            }
            ExitCode::from(failure.exit_status())
        }
    }
}

async fn dispatch(cli: Cli) -> Done {
    let Cli { at, format, command } = cli;
    let connect = || Connection::open(&at);
    match command {
        Command::JvmWorker { .. } | Command::JvmShop { .. } => Ok(()),
        Command::Server(args) => server::run(*args).await,
        Command::Demo(args) => run_demo(args, format).await,
        Command::Restore(args) => backup::restore(args).await,
        Command::Login(args) => login::login(&at, args).await,
        Command::Logout => login::logout(&at).await,
        Command::Whoami => login::whoami(&connect()?, format).await,
        Command::Context(command) => context::run(&at, &command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rscaler", &mut script);
            output::say(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Apply(args) => objects::apply(&connect()?, format, args).await,
        Command::Get(args) => objects::get(&connect()?, format, args).await,
        Command::Delete(args) => objects::delete(&connect()?, args).await,
        Command::Edit(args) => edit::edit(&connect()?, args).await,
        Command::Run(args) => run::run(&connect()?, format, args).await,
        Command::Runs(command) => runs::runs(&connect()?, format, command).await,
        Command::Tasks(command) => runs::tasks(&connect()?, format, command).await,
        Command::Checks(args) => checks::checks(&connect()?, format, args).await,
        Command::Query(args) => query::query(&connect()?, format, args).await,
        Command::Trigger(command) => triggers::run(&connect()?, format, command).await,
        Command::Jmx(command) => jmx::run(connect, format, command).await,
        Command::Peers(command) => peers::run(&connect()?, format, command).await,
        Command::Status => status::show(&connect()?, format).await,
        Command::Backup(args) => backup::backup(&connect()?, args).await,
        Command::User(command) => credentials::users(&connect()?, format, command).await,
        Command::Token(command) => credentials::tokens(&connect()?, format, command).await,
        Command::Secret(command) => credentials::secrets(&connect()?, format, command).await,
        Command::HostKeys(command) => settings::host_keys(&connect()?, format, command).await,
        Command::Settings(command) => settings::settings(&connect()?, format, command).await,
    }
}

/// A load of the demo, as it is written on the command line.
fn load_level(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(level) if (0.0..=1.0).contains(&level) => Ok(level),
        _ => Err("a load goes from 0 (idle) to 1 (all cores busy), such as 0.9".to_string()),
    }
}

async fn run_demo(args: DemoArgs, format: Format) -> Done {
    match args.command {
        None => {
            demo::run(demo::Options {
                dir: args.dir,
                nodes: usize::from(args.nodes),
                ..demo::Options::default()
            })
            .await?
        }
        Some(DemoCommand::Load { host, level }) => {
            output::say(&demo::set_load(args.dir.as_deref(), &host, level).await?)?;
        }
        Some(DemoCommand::Status) => {
            let status = demo::status(args.dir.as_deref()).await?;
            match format {
                Format::Table => output::say(status.to_string().trim_end())?,
                _ => output::object(format, &serde_json::to_value(&status).unwrap_or_default())?,
            }
        }
        Some(DemoCommand::Restart { peer }) => {
            output::say(&demo::restart_peer(args.dir.as_deref(), &peer).await?)?
        }
    }
    Ok(())
}

/// Asks for a yes on the terminal before something is destroyed; `--yes` answers it.
fn confirm(yes: bool, what: &str) -> Done {
    use std::io::{IsTerminal, Write};
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{what}: say --yes to do it without being asked")));
    }
    eprint!("{what}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::Failed("nothing done".to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_load_is_a_share_of_the_cores() {
        assert_eq!(load_level("0.9"), Ok(0.9));
        for wrong in ["-0.1", "1.1", "NaN", "inf", "much"] {
            assert!(load_level(wrong).is_err(), "{wrong}");
        }
    }
}
