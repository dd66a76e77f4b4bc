//! Commands: scripts that change something, with arguments, environment, stdin, sudo and streamed output.
//!
//! ```text
//!  us                                   the node
//!  exec "sh -c 'read a line, run it'"   login shell -> outer shell
//!  line 1: the outer program     ---->  outer: takes the marker, prepares time limit and sudo
//!  password, if asked            <--->  sudo
//!                                <----  inner shell, in a process group of its own: "ready, my group is G"
//!  line 2: args, env, script     ---->  inner: runs it
//!  the caller's stdin, end       ---->  the script's stdin
//!                                <----  stdout, stderr, exit code
//! ```
//!
//! Until line 2 is complete nothing of the user's has run, so whatever fails before is known not to have happened. Everything
//! that is data goes over stdin: no limit of a command line holds, and nothing shows in `ps`. The outer shell outlives the script
//! and notes its end in the marker, even when the connection is lost.
//!
//! `script` has the shell text, `start` the way to "ready", `drive` what comes after it, `end` what is left to do when that was lost,
//! `spare` the session that is opened ahead of a command.

mod drive;
mod end;
mod fence;
pub mod probe;
mod script;
mod spare;
mod start;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::Error;
use super::quote;
use super::secret::Secret;

/// For `crate::fuzz`: what programs that wrap commands answer.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz_answers(data: &[u8], nonce: &str) {
    let _ = start::find_answer(data, nonce.as_bytes());
    let _ = probe::read(&String::from_utf8_lossy(data));
}

pub(super) use end::end;
pub use fence::Fence;
pub(super) use script::Tools;
pub(super) use spare::Spare;

/// The longest script, and the longest sum of arguments and environment.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// What to run. Start from [`Request::new`].
#[derive(Clone)]
pub struct Request {
    /// POSIX shell, at most 1 MiB, no NUL.
    pub script: String,
    /// `$1`, `$2`, ... of the script.
    pub args: Vec<String>,
    /// Exported to the script; the names must be names of variables.
    pub env: Vec<(String, String)>,
    /// The script's stdin; then it ends.
    pub stdin: Bytes,
    /// Whether the script runs as root.
    pub sudo: Option<Sudo>,
    /// How long it may run. We end it then; should the node be lost to us, it ends it itself somewhat later.
    pub timeout: Duration,
    /// How long it has to end after SIGTERM until SIGKILL comes.
    pub grace: Duration,
    /// How long the way to its start may take, with the wait for a free place on the connection.
    pub start_within: Duration,
    /// Bytes of stdout and stderr together after which it is ended.
    pub output_bytes_max: u64,
    /// Makes sure that it runs once.
    pub fence: Option<Fence>,
}

/// Run as root by way of sudo.
#[derive(Clone, Debug)]
pub struct Sudo {
    /// Given if sudo asks for it; without one sudo must not ask.
    pub password: Option<Secret>,
}

impl Request {
    /// A script without arguments, environment, stdin, sudo or marker; a minute to run.
    pub fn new(script: impl Into<String>) -> Self {
        Self {
            script: script.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Bytes::new(),
            sudo: None,
            timeout: Duration::from_secs(60),
            grace: Duration::from_secs(5),
            start_within: Duration::from_secs(30),
            output_bytes_max: 1024 * 1024 * 1024,
            fence: None,
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let invalid = |text: String| Err(Error::Invalid(text));
        let texts = || self.args.iter().chain(self.env.iter().map(|(_, value)| value));
        if self.script.len() > TEXT_BYTES_MAX {
            return invalid(format!("a script has at most {TEXT_BYTES_MAX} bytes"));
        }
        if texts().map(String::len).sum::<usize>() > TEXT_BYTES_MAX {
            return invalid(format!(
                "arguments and environment have at most {TEXT_BYTES_MAX} bytes together"
            ));
        }
        if self.script.contains('\0') || texts().any(|text| text.contains('\0')) {
            return invalid("script, arguments and environment can't hold a NUL byte".into());
        }
        if let Some((name, _)) = self.env.iter().find(|(name, _)| !quote::is_variable_name(name)) {
            return invalid(format!("{name:?} can't be the name of an environment variable"));
        }
        if let Some(Sudo { password: Some(password) }) = &self.sudo
            && password.expose().contains(['\n', '\0'])
        {
            return invalid("the sudo password can't hold a newline or a NUL byte".into());
        }
        match &self.fence {
            Some(fence) => fence.validate(),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Request {
    /// Without the values of the environment and without stdin, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("script", &self.script)
            .field("args", &self.args)
            .field("env", &self.env.iter().map(|(name, _)| (name, "***")).collect::<Vec<_>>())
            .field("stdin_bytes", &self.stdin.len())
            .field("sudo", &self.sudo)
            .field("timeout", &self.timeout)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

/// A piece of a command's output, in the order in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output; at most 32 KiB.
    Stdout(Bytes),
    /// Standard error; at most 32 KiB.
    Stderr(Bytes),
    /// So many bytes were dropped here, since they came faster than they were taken: 1 MiB was waiting, and went on waiting. Holding
    /// the command up for longer is not possible without holding up everything on the connection.
    Gap(u64),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this exit code; 128 + n if signal n ended it.
    Exited(i32),
    /// A signal ended the shell around it.
    Signalled(String),
    /// Its time was over and it was ended.
    TimedOut,
    /// [`Running::cancel`] ended it.
    Cancelled,
    /// It wrote more than `output_bytes_max` and was ended.
    TooMuchOutput,
}

/// What is known once a command has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// From its start to its end, as seen from here.
    pub duration: Duration,
    /// Bytes of output in all, those in gaps included.
    pub output_bytes: u64,
    /// Whether processes of it go on and hold its output; they are left alone.
    pub left_processes: bool,
}

/// A command that has been started. Dropped, it is cancelled.
pub struct Running {
    output: mpsc::Receiver<Output>,
    finished: Option<oneshot::Receiver<Result<Finished, Error>>>,
    cancel: CancellationToken,
    address: String,
}

impl Running {
    /// The next piece of output; `None` when there is no more. Cancel safe.
    pub async fn next(&mut self) -> Option<Output> {
        self.output.recv().await
    }

    /// Ends the command: SIGTERM to its process group, SIGKILL after the grace. [`Running::wait`] tells when it has ended.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Cancels the command when cancelled, for who does not hold the `Running`.
    pub fn canceller(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Waits for the end; output that was not taken is dropped. Not cancel safe: dropped, it cancels the command.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`]: it may run on, have ended, or end by its time limit. Also when it could not be ended.
    pub async fn wait(mut self) -> Result<Finished, Error> {
        self.output.close();
        self.end().await
    }

    /// Waits for the end and answers all of its stdout and stderr, the first `max` bytes of each.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub async fn collect(mut self, max: usize) -> Result<(Finished, Vec<u8>, Vec<u8>), Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(output) = self.next().await {
            let (stream, data) = match &output {
                Output::Stdout(data) => (&mut stdout, data),
                Output::Stderr(data) => (&mut stderr, data),
                Output::Gap(_) => continue,
            };
            let room = max - stream.len();
            stream.extend_from_slice(&data[..data.len().min(room)]);
        }
        Ok((self.end().await?, stdout, stderr))
    }

    async fn end(&mut self) -> Result<Finished, Error> {
        let gone =
            || Error::ConnectionLost { host: self.address.clone(), detail: "we are shutting down".into() };
        match self.finished.take() {
            Some(finished) => finished.await.unwrap_or_else(|_| Err(gone())),
            None => Err(gone()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    /// Starts a command and answers once it runs.
    ///
    /// # Errors
    /// Every error means that **nothing was started**, with one exception that can't be told apart by anybody: the connection
    /// breaks after the script has been sent, which is an `Ok` here and [`Error::ConnectionLost`] in [`Running::wait`].
    ///
    /// Cancel safe: dropped, nothing is started, or what was started is ended.
    pub async fn exec(&self, request: Request) -> Result<Running, Error> {
        start::start(self, request).await
    }

    /// What the markers on the node say about the effect `token` ([`Fence`]).
    ///
    /// # Errors
    /// As [`Connection::exec`], and [`Error::ConnectionLost`] when the answer did not arrive; asking again is harmless.
    pub async fn probe(&self, token: &str) -> Result<probe::Probe, Error> {
        probe::probe(self, token).await
    }
}

#[cfg(test)]
mod tests;
