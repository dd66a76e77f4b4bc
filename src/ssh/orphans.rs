//! What could not be ended on a node when it had to be.
//!
//! When a connection breaks, a check that hangs at that moment goes on at the node for ever, and with every break one more; and a
//! command that is cancelled just then goes on until its own time limit. So what was not ended is remembered beyond the connection,
//! and ended on the next one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::debug;

use super::connection::Inner;
use super::exec::{self, Sudo};
use super::shell::Identity;

/// Beyond this the oldest are forgotten.
const ORPHANS_MAX: usize = 64;

/// A command that is to be ended wherever its marker says that it runs ([`exec::Fence`]).
#[derive(Clone, Debug)]
pub struct Marked {
    /// The effect.
    pub token: String,
    /// The attempt.
    pub epoch: u64,
    /// As the command was started.
    pub sudo: Option<Sudo>,
    /// How long it has to end after SIGTERM until SIGKILL comes.
    pub grace: Duration,
    /// When the node itself will have ended it, so that nothing is left to do.
    pub until: Instant,
}

/// What still has to be ended on one node.
#[derive(Default)]
pub(super) struct Orphans {
    shells: Mutex<Vec<Identity>>,
    commands: Mutex<Vec<Marked>>,
}

impl Orphans {
    pub(super) fn add_shell(&self, orphan: Identity) {
        push(&mut self.shells.lock(), orphan);
    }

    pub(super) fn remove_shell(&self, orphan: Identity) {
        self.shells.lock().retain(|other| *other != orphan);
    }

    pub(super) fn add_command(&self, orphan: Marked) {
        push(&mut self.commands.lock(), orphan);
    }

    /// Whether a command waits here for a connection. Those that have ended by themselves are forgotten.
    pub(super) fn has_commands(&self) -> bool {
        let mut commands = self.commands.lock();
        commands.retain(|orphan| Instant::now() < orphan.until);
        !commands.is_empty()
    }

    /// Ends all of them on `connection`, in the background.
    pub(super) fn reap(connection: &Arc<Inner>) {
        let commands = std::mem::take(&mut *connection.orphans.commands.lock());
        for orphan in commands.into_iter().filter(|orphan| Instant::now() < orphan.until) {
            let connection = connection.clone();
            tokio::spawn(async move {
                if let Err(error) = exec::end(&connection, &orphan).await {
                    debug!(host = %connection.endpoint.address(), token = orphan.token, %error, "not ended yet");
                    connection.orphans.add_command(orphan);
                }
            });
        }
        let shells = std::mem::take(&mut *connection.orphans.shells.lock());
        let script: String = shells.iter().map(Identity::kill_if_same).collect();
        if script.is_empty() {
            return;
        }
        let connection = connection.clone();
        tokio::spawn(async move {
            if !connection.run_aside(&script).await {
                for orphan in shells {
                    connection.orphans.add_shell(orphan);
                }
            }
        });
    }
}

fn push<T>(all: &mut Vec<T>, one: T) {
    if all.len() >= ORPHANS_MAX {
        all.remove(0);
    }
    all.push(one);
}
