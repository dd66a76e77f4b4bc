//! A check in a session of its own, for a node without a POSIX shell: its command interpreter gets the script as it is.
//!
//! Nothing is known of such a node, so all that can be done about a script that hangs is to close its session.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::super::channel::{Event, Session};
use super::super::connection::Inner;
use super::super::error::Error;
use super::super::quote;
use super::frame::Frame;
use super::{CheckEnd, CheckLimits, CheckOutput};

/// How long output may go on after the script has ended, as a process that it left behind makes it.
const LINGER: Duration = Duration::from_millis(500);

pub(super) async fn run(
    inner: &Arc<Inner>,
    script: &str,
    limit: Duration,
    limits: CheckLimits,
    permits: Vec<OwnedSemaphorePermit>,
) -> Result<CheckOutput, Error> {
    let started = Instant::now();
    let deadline = started + limit;
    let mut session = inner.open_when_free(script, deadline).await?;
    for permit in permits {
        session.hold(permit);
    }
    // No stdin; if this fails the connection is gone, which the reading below finds out.
    let _ = session.writer().eof().await;
    // A frame whose end never comes just keeps and counts.
    let mut stdout = Frame::new(&quote::nonce(), limits.kept_bytes);
    let mut stderr = Frame::new(&quote::nonce(), limits.kept_bytes);
    let mut code = None;
    let mut until = deadline;
    let seen = loop {
        match timeout_at(until, next(&mut session, &mut stdout, &mut stderr)).await {
            Ok(Event::Exit(exit)) => code = Some(i32::try_from(exit).unwrap_or(i32::MAX)),
            Ok(Event::Signal(_)) => code = Some(128),
            Ok(Event::Failure) => return Err(inner.refused("it does not run commands")),
            Ok(Event::Closed) => break true,
            Ok(_) => {}
            Err(_) => break false,
        }
        if code.is_some() {
            until = until.min(Instant::now() + LINGER);
        }
        if stdout.total().max(stderr.total()) > limits.output_bytes_max {
            break false;
        }
    };
    let too_much = stdout.total().max(stderr.total()) > limits.output_bytes_max;
    let end = match code {
        _ if too_much => CheckEnd::TooMuchOutput,
        Some(code) => CheckEnd::Exited(code),
        None if seen => return Err(inner.lost()),
        None => CheckEnd::TimedOut,
    };
    if !seen {
        session.cut();
    }
    let (stdout, more_stdout) = stdout.finish();
    let (stderr, more_stderr) = stderr.finish();
    Ok(CheckOutput {
        stdout,
        stderr,
        end,
        duration: started.elapsed(),
        truncated: more_stdout || more_stderr,
        left_processes: code.is_some() && !seen,
    })
}

async fn next(session: &mut Session, stdout: &mut Frame, stderr: &mut Frame) -> Event {
    let event = session.next().await;
    match &event {
        Event::Stdout(data) => stdout.push(data),
        Event::Stderr(data) => stderr.push(data),
        _ => {}
    }
    event
}
