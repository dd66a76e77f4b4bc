//! `rscaler demo`: three real peers as processes of this program, simulated hosts for them to watch, and a log of
//! what happens, all in one terminal.
//!
//! The peers are what `rscaler server` starts; the demo speaks to them through the public API only. It needs
//! nothing but this program and `/bin/sh`, and leaves no process behind, even when it is killed.
//!
//! ```text
//! DIR/demo.lock       locked while a demo runs here
//! DIR/demo.json       what the next start in the same directory must know: addresses, hosts
//! DIR/admin.token     the first admin token
//! DIR/key             the private key that opens the simulated hosts
//! DIR/peers/p1        a peer's data directory; DIR/peers/p1.log is what it printed
//! DIR/hosts/web01     a simulated host's directory
//! ```
//!
//! Without a directory of the user's a temporary one is made and removed at the end. Running demos are listed in a
//! place of the user's ([`registry`]), by which `rscaler demo load` and the like find them and talk to them
//! ([`control`]).
//!
//! Start reading at [`run`].

mod run;

mod control;
mod directory;
mod jvm;
mod registry;

mod peers;
mod seed;

mod screen;
mod story;
mod view;
mod watch;
mod welcome;

pub mod hosts;

use std::path::{Path, PathBuf};

pub use self::control::{HostStatus, PeerStatus, Status};
pub use self::run::run;

use self::control::{Answer, Request};

/// What a demo is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its data is, to be kept at the end; `None`: in a temporary directory. A directory of an earlier demo
    /// is taken up again as it was left.
    pub dir: Option<PathBuf>,
    /// How many simulated hosts: 1 to 200.
    pub nodes: usize,
    /// How many peers: 1 to 7.
    pub peers: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { dir: None, nodes: 3, peers: 3 }
    }
}

/// Sets the load per core, 0.0 to 1.0, of a simulated host of the running demo; `dir` says which, where several
/// run. Answers what was done, in words.
///
/// # Errors
/// When no demo runs, or several, or there is no such host, or `level` is no load.
pub async fn set_load(dir: Option<&Path>, host: &str, level: f64) -> anyhow::Result<String> {
    done(control::ask(dir, &Request::Load { host: host.to_owned(), level }).await?)
}

/// Starts a peer of the running demo again, and waits until it serves, some seconds at most. Answers what was done, in words.
///
/// # Errors
/// When no demo runs, or several, or there is no such peer, or it runs, or ends again.
pub async fn restart_peer(dir: Option<&Path>, name: &str) -> anyhow::Result<String> {
    let message = done(control::ask(dir, &Request::Restart { peer: name.to_owned() }).await?)?;
    Ok(match run::wait_for_restarted(dir, name).await? {
        None => message,
        Some(missing) => format!("{message}; it does not serve yet: {missing}"),
    })
}

/// What the running demo is made of, and how its parts are.
///
/// # Errors
/// When no demo runs, or several.
pub async fn status(dir: Option<&Path>) -> anyhow::Result<Status> {
    match control::ask(dir, &Request::Status).await? {
        Answer::Status(status) => Ok(status),
        other => {
            done(other)?;
            anyhow::bail!("the demo answered something else than how it is")
        }
    }
}

fn done(answer: Answer) -> anyhow::Result<String> {
    match answer {
        Answer::Done { message } => Ok(message),
        Answer::Failed { message } => anyhow::bail!(message),
        Answer::Status(_) => anyhow::bail!("the demo answered how it is, and was not asked"),
    }
}
