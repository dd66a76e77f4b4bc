//! One kept shell: started, given one check at a time, killed when in doubt.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::channel::{Event, Session, Writer};
use super::super::connection::Inner;
use super::super::error::Error;
use super::super::quote;
use super::bootstrap::{self, Isolation};
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
    pub(super) isolation: Isolation,
    pid: u32,
    /// Whether a check runs in it, or may have left something behind.
    in_doubt: bool,
}

/// What came of starting a shell.
pub(super) enum Started {
    Shell(Kept),
    /// The node does not give us a POSIX shell; what it said instead.
    NoShell(String),
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
                return Ok(parse_hello(value).ok_or_else(|| "an answer we do not understand".to_owned()));
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
            Ok((isolation, pid)) => Started::Shell(Self {
                connection: connection.clone(),
                session: Some(session),
                writer,
                isolation,
                pid,
                in_doubt: false,
            }),
            Err(said) => Started::NoShell(said),
        })
    }

    /// Whether nothing has happened to it since the last check. Output in between means that somebody else writes to it.
    pub(super) fn is_quiet(&mut self) -> bool {
        let quiet = match &mut self.session {
            Some(session) => session.next().now_or_never().is_none(),
            None => false,
        };
        self.in_doubt |= !quiet;
        quiet
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
        let text = bootstrap::check(self.isolation, script, &nonce);
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
                || self.isolation == Isolation::None;
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

fn parse_hello(value: &[u8]) -> Option<(Isolation, u32)> {
    let (letter, pid) = value.split_at_checked(1)?;
    let isolation = Isolation::from_letter(letter)?;
    let pid = std::str::from_utf8(pid.strip_prefix(b":")?).ok()?.parse().ok()?;
    // `kill` means everybody by 1 and less.
    (pid > 1).then_some((isolation, pid))
}

impl Drop for Kept {
    fn drop(&mut self) {
        let (true, Some(session)) = (self.in_doubt, self.session.take()) else { return };
        // Dropped first: what still floods in is then read while we wait for the kill.
        drop(session);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, kill) = (self.connection.clone(), bootstrap::kill(self.isolation, self.pid));
        if !connection.is_ended() {
            runtime.spawn(async move { connection.run_aside(&kill).await });
        }
    }
}
