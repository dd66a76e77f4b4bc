//! From a request to a running script.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::super::channel::{Event, Session, Writer};
use super::super::connection::{Connection, Inner};
use super::super::error::Error;
use super::super::quote;
use super::script::{self, Sweep, Tools};
use super::{Request, Running, Sudo, drive};

/// What the node may print before the script is ready: a login's messages.
const NOISE_MAX: usize = 64 * 1024;
/// Of what came on stderr before that, so much is told when the start fails.
const COMPLAINT_MAX: usize = 500;

/// See [`Connection::exec`].
pub(super) async fn start(connection: &Connection, request: Request) -> Result<Running, Error> {
    request.validate()?;
    let inner = &connection.inner;
    let deadline = Instant::now() + request.start_within;
    let place = match timeout_at(deadline, inner.commands.clone().acquire_owned()).await {
        Ok(place) => place.map_err(|_| inner.unreachable("closed"))?,
        Err(_) => {
            let what = "waiting for other commands on this node (nothing was started)";
            return Err(inner.took_too_long(what, request.start_within));
        }
    };
    begin(inner.clone(), request, deadline, Some(place)).await
}

/// Starts without waiting for a place among the commands: with the one given, or aside from them. Boxed, since ending a command that
/// runs under sudo takes another command.
pub(super) fn begin(
    inner: Arc<Inner>,
    request: Request,
    deadline: Instant,
    place: Option<OwnedSemaphorePermit>,
) -> Pin<Box<dyn Future<Output = Result<Running, Error>> + Send>> {
    Box::pin(async move {
        let spare = if place.is_some() { inner.spare.take().await } else { None };
        let mut session = match spare {
            Some(session) => session,
            None => inner.open_when_free(&script::command(), deadline).await?,
        };
        if let Some(place) = place {
            session.hold(place);
        }
        let dialogue = Dialogue { inner: &inner, request: &request, writer: session.writer() };
        let group = match timeout_at(deadline, dialogue.run(&mut session)).await {
            Ok(group) => group?,
            Err(_) => {
                let what = "starting a command (nothing was started)";
                return Err(inner.took_too_long(what, request.start_within));
            }
        };
        Ok(drive::spawn(inner, session, request, group))
    })
}

struct Dialogue<'a> {
    inner: &'a Arc<Inner>,
    request: &'a Request,
    writer: Arc<Writer>,
}

impl Dialogue<'_> {
    /// Brings the node to the point where it waits for the script; answers the process group to kill.
    async fn run(&self, session: &mut Session) -> Result<u32, Error> {
        let (nonce, ask) = (quote::nonce(), quote::nonce());
        let sweep = match &self.request.fence {
            Some(_) if !self.inner.swept.swap(true, Ordering::SeqCst) => Sweep::Yes,
            _ => Sweep::No,
        };
        let tools = self.inner.tools.get();
        self.send(script::outer(self.request, &nonce, &ask, tools, sweep)).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut asked = false;
        let mut exit = None;
        loop {
            match session.next().await {
                Event::Stdout(data) => {
                    stdout.extend_from_slice(&data);
                    if let Some(answer) = find_answer(&stdout, nonce.as_bytes()) {
                        return self.understand(&answer);
                    }
                }
                Event::Stderr(data) => {
                    stderr.extend_from_slice(&data);
                    if let Some(at) = find(&stderr, ask.as_bytes()) {
                        stderr.drain(..at + ask.len());
                        self.answer_sudo(asked).await?;
                        asked = true;
                    }
                }
                Event::Exit(code) => exit = Some(code),
                Event::Failure => return Err(self.inner.refused("it does not run commands")),
                Event::Closed if self.inner.is_ended() => return Err(self.inner.unreachable("closed")),
                Event::Closed => return Err(self.complaint(exit, &stdout, &stderr)),
                Event::Eof | Event::Signal(_) => {}
            }
            if stdout.len() + stderr.len() > NOISE_MAX {
                return Err(self.inner.refused("its login prints without end"));
            }
        }
    }

    async fn send(&self, line: String) -> Result<(), Error> {
        self.writer.data_bytes(line).await.map_err(|_| self.inner.unreachable("closed"))
    }

    /// Gives sudo the password; when it asks again, the password was wrong.
    async fn answer_sudo(&self, asked: bool) -> Result<(), Error> {
        match &self.request.sudo {
            Some(Sudo { password: Some(password) }) if !asked => {
                self.send(format!("{}\n", password.expose())).await
            }
            _ => Err(self.inner.refused("sudo does not accept the password")),
        }
    }

    fn understand(&self, answer: &str) -> Result<u32, Error> {
        let words: Vec<&str> = answer.split(' ').collect();
        match (words.as_slice(), &self.request.fence) {
            // `kill` means everybody by 1 and less.
            (["ready", group, found @ ..], _) => {
                if self.inner.tools.get().is_none()
                    && let [found, user] = found
                    && let Some(tools) = Tools::read(found, user)
                {
                    // Another command may have been as fast, and found the same.
                    let _ = self.inner.tools.set(tools);
                }
                group.parse().ok().filter(|group| *group > 1).ok_or_else(|| {
                    let why =
                        "it does not tell the process group of a command, which could not be ended then";
                    self.inner.refused(why)
                })
            }
            (["fenced", other, state], Some(fence)) => Err(Error::Fenced {
                host: self.inner.endpoint.address(),
                token: fence.token.clone(),
                epoch: fence.epoch,
                other: other.parse().unwrap_or(fence.epoch),
                state: (*state).to_owned(),
            }),
            (["unmarked"], Some(_)) => Err(self
                .inner
                .refused("there is no place for the marker: neither the home nor /var/tmp can be written")),
            _ => Err(Error::Protocol {
                host: self.inner.endpoint.address(),
                detail: "an answer we do not understand".into(),
            }),
        }
    }

    fn complaint(&self, exit: Option<u32>, stdout: &[u8], stderr: &[u8]) -> Error {
        let said = if stderr.trim_ascii().is_empty() { stdout } else { stderr };
        let said: String = String::from_utf8_lossy(said).trim().chars().take(COMPLAINT_MAX).collect();
        let exit = exit.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
        self.inner.refused(match (said.as_str(), &self.request.sudo) {
            ("", _) => format!("the command could not be started ({exit})"),
            (said, Some(_)) => format!("sudo: {said} ({exit})"),
            (said, None) => format!("the command could not be started: {said} ({exit})"),
        })
    }
}

/// The rest of the line that starts with `nonce`, once it is complete. What stands before it is noise.
pub(super) fn find_answer(bytes: &[u8], nonce: &[u8]) -> Option<String> {
    let rest = &bytes[find(bytes, nonce)? + nonce.len()..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some(String::from_utf8_lossy(&rest[..end]).trim().to_owned())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
