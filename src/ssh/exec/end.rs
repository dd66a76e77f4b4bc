//! Ending a command that nobody holds any more, since its connection was lost: its marker says where it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::connection::Inner;
use super::super::error::Error;
use super::super::orphans::Marked;
use super::drive;
use super::probe::{self, Probe};

/// How often the marker is asked whether it has ended.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long a killed command may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// Ends the command if it runs: SIGTERM to its process group, SIGKILL after the grace. Answers whether it has ended; false means
/// that not even SIGKILL helped. Takes somewhat longer than the grace at most, if the node answers.
///
/// # Errors
/// The node could not be asked, or did not take the signal: nothing is known of the command.
pub(in crate::ssh) async fn end(inner: &Arc<Inner>, command: &Marked) -> Result<bool, Error> {
    for (signal, patience) in [("TERM", command.grace), ("KILL", KILL_PATIENCE)] {
        let Some(group) = running(inner, command).await? else { return Ok(true) };
        // Without a group it waits for the script, which does not come any more: it ends by itself.
        if let Some(group) = group {
            drive::send_signal(inner.clone(), signal, group, command.sudo.clone()).await;
        }
        let until = Instant::now() + patience;
        while Instant::now() < until {
            sleep(ASK_EVERY).await;
            if running(inner, command).await?.is_none() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The process group of the command, as far as it has one, or `None` if it does not run.
async fn running(inner: &Arc<Inner>, command: &Marked) -> Result<Option<Option<u32>>, Error> {
    match probe::probe_aside(inner, &command.token).await? {
        Probe::Running { epoch, group } if epoch == command.epoch => Ok(Some(group)),
        _ => Ok(None),
    }
}
