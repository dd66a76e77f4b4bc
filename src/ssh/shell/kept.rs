//! One kept shell: started, given one check at a time, killed when in doubt.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::channel::{Event, Session, Writer};
use super::super::connection::Inner;
use super::super::error::Error;
use super::super::quote;
use super::bootstrap::{self, Identity, Isolation};
use super::frame::Frame;
use super::{CheckEnd, CheckLimits, CheckOutput};

/// How long the login and its start-up files may take to bring us to a shell.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// What start-up files may print before it.
const NOISE_MAX: u64 = 256 * 1024;
/// How long after a check's end the word may take that nothing was left behind.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Kept {
    connection: Arc<Inner>,
    /// Taken only when it ends.
    session: Option<Session>,
    writer: Arc<Writer>,
    pub(super) identity: Identity,
    /// Whether a check runs in it, or may have left something behind.
    in_doubt: bool,
}

/// What came of starting a shell.
pub(super) enum Started {
    Shell(Kept),
    /// The node does not give us a POSIX shell; what it said instead.
    NoShell(String),
}

async fn wait_for_claim(mut kept: Kept, mut claimed: oneshot::Receiver<oneshot::Sender<Kept>>) {
    let event = match &mut kept.session {
        None => return,
        Some(session) => tokio::select! {
            biased;
            by = &mut claimed => Err(by),
            event = session.next() => Ok(event),
        },
    };
    match event {
        Ok(event) => kept.in_doubt = matches!(event, Event::Stdout(_) | Event::Stderr(_)),
        Err(Ok(by)) => drop(by.send(kept)),
        // Nobody wants it any more: it ends with its session.
        Err(Err(_)) => {}
    }
}

/// A shell that waits for its next check. Dropped, it ends.
pub(super) struct Parked {
    claim: oneshot::Sender<oneshot::Sender<Kept>>,
    pub(super) since: Instant,
}

impl Parked {
    /// The shell, unless something has happened to it meanwhile. Cancel safe: the shell ends then.
    pub(super) async fn claim(self) -> Option<Kept> {
        let (send, receive) = oneshot::channel();
        self.claim.send(send).ok()?;
        receive.await.ok()
    }
}

/// A check's output and, if it can serve another check, the shell.
pub(super) type Ran = (Result<CheckOutput, Error>, Option<Kept>);

impl Kept {
    /// Makes the login shell on `session` a kept shell. Takes at most [`START_TIMEOUT`].
    pub(super) async fn start(connection: &Arc<Inner>, mut session: Session) -> Result<Started, Error> {
        let nonce = quote::nonce();
        let writer = session.writer();
        let starting = async {
            writer
                .data_bytes(bootstrap::hello(&nonce))
                .await
                .map_err(|_| connection.unreachable("closed"))?;
            let mut stdout = Frame::new(&nonce, 1024);
            let mut stderr = Frame::new(&nonce, 1024);
            while stdout.value().is_none() && stdout.total() + stderr.total() <= NOISE_MAX {
                match session.next().await {
                    Event::Stdout(data) => stdout.push(&data),
                    Event::Stderr(data) => stderr.push(&data),
                    Event::Closed | Event::Failure if connection.is_ended() => {
                        return Err(connection.unreachable("closed"));
                    }
                    Event::Closed | Event::Failure => break,
                    Event::Exit(_) | Event::Signal(_) | Event::Eof => {}
                }
            }
            if let Some(value) = stdout.value() {
                return Ok(Identity::parse(value).ok_or_else(|| "an answer we do not understand".to_owned()));
            }
            let (said, _) = if stdout.total() > 0 { stdout.finish() } else { stderr.finish() };
            let said: String = String::from_utf8_lossy(&said).trim().chars().take(200).collect();
            Ok(Err(if said.is_empty() { "nothing".to_owned() } else { said }))
        };
        let hello = match timeout(START_TIMEOUT, starting).await {
            Ok(hello) => hello?,
            Err(_) => {
                let what = "starting a shell (nothing was started)";
                return Err(connection.took_too_long(what, START_TIMEOUT));
            }
        };
        Ok(match hello {
            Ok(identity) => Started::Shell(Self {
                connection: connection.clone(),
                session: Some(session),
                writer,
                identity,
                in_doubt: false,
            }),
            Err(said) => Started::NoShell(said),
        })
    }

    /// Lets it wait for its next check. What it says meanwhile is read, or it would hold up the whole connection; and it puts the
    /// shell in doubt, since somebody else must be writing on its output.
    pub(super) fn park(self) -> Parked {
        let (claim, claimed) = oneshot::channel();
        tokio::spawn(wait_for_claim(self, claimed));
        Parked { claim, since: Instant::now() }
    }

    /// Runs one check. `permits` are given back when it is over; if it has to be killed, when that is done.
    pub(super) async fn run(
        mut self,
        script: &str,
        limit: Duration,
        limits: CheckLimits,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> Ran {
        let Some(mut session) = self.session.take() else {
            return (Err(self.connection.lost()), None);
        };
        for permit in permits {
            session.hold(permit);
        }
        // From here on a drop kills.
        self.in_doubt = true;
        let session = self.session.insert(session);

        let started = Instant::now();
        let deadline = started + limit;
        let nonce = quote::nonce();
        let mut stdout = Frame::new(&nonce, limits.kept_bytes);
        let mut stderr = Frame::new(&nonce, limits.kept_bytes);
        let text = bootstrap::check(script, &nonce);
        let sent = async {
            if self.writer.data_bytes(text).await.is_err() {
                return CheckWatch::Died;
            }
            watch(session, &mut stdout, &mut stderr, limits.output_bytes_max).await
        };
        let seen = timeout_at(deadline, sent).await;
        let duration = started.elapsed();
        let end = match seen {
            Ok(CheckWatch::Ended(code)) => CheckEnd::Exited(code),
            Ok(CheckWatch::TooMuch) => CheckEnd::TooMuchOutput,
            Ok(CheckWatch::Died) if self.connection.is_ended() => return (Err(self.connection.lost()), None),
            Ok(CheckWatch::Died) => {
                let detail = "the shell that ran the check ended before it".to_owned();
                return (
                    Err(Error::ConnectionLost { host: self.connection.endpoint.address(), detail }),
                    None,
                );
            }
            Err(_) => CheckEnd::TimedOut,
        };
        let mut left_processes = false;
        if matches!(end, CheckEnd::Exited(_)) {
            let settled = timeout(SETTLE_TIMEOUT, settle(session, &mut stdout, &mut stderr)).await;
            left_processes = !matches!(settled, Ok(true));
            self.in_doubt = left_processes
                || stdout.has_stray()
                || stderr.has_stray()
                || self.identity.isolation == Isolation::None;
        }
        let (stdout, more_stdout) = stdout.finish();
        let (stderr, more_stderr) = stderr.finish();
        let truncated = more_stdout || more_stderr;
        let output = CheckOutput { stdout, stderr, end, duration, truncated, left_processes };
        if self.in_doubt {
            return (Ok(output), None);
        }
        session.release();
        (Ok(output), Some(self))
    }
}

enum CheckWatch {
    Ended(i32),
    TooMuch,
    Died,
}

/// Reads until the check has ended or has to be ended.
async fn watch(session: &mut Session, stdout: &mut Frame, stderr: &mut Frame, max: u64) -> CheckWatch {
    loop {
        match session.next().await {
            Event::Stdout(data) => stdout.push(&data),
            Event::Stderr(data) => stderr.push(&data),
            Event::Closed | Event::Failure | Event::Exit(_) | Event::Signal(_) => return CheckWatch::Died,
            Event::Eof => {}
        }
        if let Some(value) = stdout.value() {
            let code = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            return code.map_or(CheckWatch::Died, CheckWatch::Ended);
        }
        if stdout.total() > max || stderr.total() > max {
            return CheckWatch::TooMuch;
        }
    }
}

/// Reads until the shell says whether processes were left behind; answers true if none were.
async fn settle(session: &mut Session, stdout: &mut Frame, stderr: &mut Frame) -> bool {
    loop {
        if let Some(value) = stderr.value() {
            return value == b"0";
        }
        match session.next().await {
            Event::Stdout(data) => stdout.push(&data),
            Event::Stderr(data) => stderr.push(&data),
            Event::Eof => {}
            _ => return false,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let (true, Some(session)) = (self.in_doubt, self.session.take()) else { return };
        // Dropped first: what still floods in is then read while we wait for the kill.
        drop(session);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, identity) = (self.connection.clone(), self.identity);
        connection.orphans.add_shell(identity);
        if connection.is_ended() {
            return;
        }
        runtime.spawn(async move {
            if connection.run_aside(&identity.kill()).await {
                connection.orphans.remove_shell(identity);
            }
        });
    }
}
