//! Runs a script on a node.
//!
//! ```text
//!  connect -> start, with a marker -> output ... -> ended: exit code -> succeeded | failed
//!     |            |                      \-> connection lost -> connect -> ask the marker -> the same, or unknown
//!     |            \-> refused by an earlier attempt's marker -> ask the marker -> wait for it, adopt it or go on
//!     \-> unreachable, not let in: failed, nothing was done
//! ```
//!
//! Markers ([`crate::ssh::exec::Fence`]) are named after the task, so that a later attempt by another peer finds what
//! this one did. What they mean is decided in [`history`], what is sent to the node is put together in [`resolve`].

mod history;
mod resolve;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rscaler_raft::command::{Ending, EndingResult};
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{ActionKind, CommandAction, Name, Stream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info};

use self::history::{History, Next, was_ended};
use super::{Executor, Work, ending};
use crate::inventory::Targets;
use crate::ssh::exec::{Finished, Outcome, Output, Request, Running};
use crate::ssh::{Connection, Endpoint, Error, Marked, Pool, Probe, Urgency};

/// How long a script has to end after SIGTERM until SIGKILL comes.
const GRACE: Duration = Duration::from_secs(4);
/// How long the way from a connection to the script's start may take.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long past its time a command whose connection was lost is looked for.
const SEARCH_OVERTIME: Duration = Duration::from_secs(6);
/// How long a command that is ended by its marker may take to end: less than an executor has after it was asked to.
const END_PATIENCE: Duration = Duration::from_secs(9);
/// How long after our own time limit the node's has surely ended a command.
const NODE_OVERTIME: Duration = Duration::from_secs(60);
/// How often a marker is asked while its script runs, or while the node can't be reached.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Starts of one attempt: each is a marker of its own.
const STARTS_MAX: u64 = 8;

/// Carries out [`ActionKind::Command`].
pub struct CommandExecutor {
    handle: Handle,
    targets: Arc<Targets>,
    pool: Pool,
}

/// One attempt at one node.
struct Attempt<'a> {
    executor: &'a CommandExecutor,
    work: &'a Work,
    node: &'a Name,
    endpoint: Arc<Endpoint>,
    request: Request,
    history: History,
}

#[async_trait]
impl Executor for CommandExecutor {
    async fn execute(&self, work: &Work) -> Ending {
        let ActionKind::Command(action) = &work.action.kind else {
            return ending(EndingResult::Failed, None, "this is no command");
        };
        match self.prepare(work, action) {
            Ok(mut attempt) => attempt.run().await,
            Err(reason) => ending(EndingResult::Failed, None, reason),
        }
    }
}

impl CommandExecutor {
    /// An executor that reaches nodes through `pool`.
    pub fn new(handle: Handle, targets: Arc<Targets>, pool: Pool) -> CommandExecutor {
        CommandExecutor { handle, targets, pool }
    }

    fn prepare<'a>(&'a self, work: &'a Work, action: &CommandAction) -> Result<Attempt<'a>, String> {
        let node = work.task.node.as_ref().ok_or("a command needs a node to run on")?;
        let endpoint = self.targets.endpoint(node).map_err(|error| error.to_string())?;
        let request =
            resolve::request(&self.handle, &self.targets, node, action).map_err(|error| error.to_string())?;
        let history = History::new(&work.task, &work.action);
        Ok(Attempt { executor: self, work, node, endpoint, request, history })
    }
}

/// What came of one start.
enum Started {
    Running(Running),
    Over(Ending),
    /// To be tried again: the marker told something that changes what may be done.
    Again,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Ending {
        for start in 0..STARTS_MAX {
            let running = match self.start(start).await {
                Started::Running(running) => running,
                Started::Over(ending) => return ending,
                Started::Again => continue,
            };
            match self.follow(running).await {
                Ok(finished) => return judge(&finished.outcome, self.work),
                Err(Error::ConnectionLost { detail, .. }) => {
                    info!(node = %self.node, detail, "the connection was lost in the middle of a command");
                    self.work.output.note(&format!("[the connection to the node was lost: {detail}]"));
                    match self.search(start).await {
                        Some(ending) => return ending,
                        None => continue,
                    }
                }
                Err(error) => return ending(EndingResult::Unknown, None, error.to_string()),
            }
        }
        ending(EndingResult::Failed, None, "the node was lost too often before the command began")
    }

    /// Starts the script, unless a marker says that there is something to be respected.
    async fn start(&mut self, start: u64) -> Started {
        let connection = match self.connect().await {
            Ok(connection) => connection,
            Err(ending) => return Started::Over(ending),
        };
        let mut request = self.request.clone();
        request.fence = Some(self.history.fence(start));
        request.timeout = self.work.deadline.saturating_duration_since(Instant::now());
        request.start_within = START_TIMEOUT.min(request.timeout);
        request.grace = GRACE;
        let started = tokio::select! {
            biased;
            () = self.work.cancel.cancelled() => return Started::Over(cancelled()),
            started = connection.exec(request) => started,
        };
        match started {
            Ok(running) => Started::Running(running),
            Err(Error::Fenced { other, state, .. }) => {
                debug!(node = %self.node, other, state, "an earlier attempt's marker stands in the way");
                self.after_fence().await
            }
            Err(Error::ConnectionLost { .. } | Error::Unreachable { .. }) if self.has_time() => {
                sleep(PROBE_EVERY).await;
                Started::Again
            }
            Err(error) => Started::Over(self.not_started(&error)),
        }
    }

    /// An earlier attempt left a marker whose end is not known to the control plane.
    async fn after_fence(&mut self) -> Started {
        loop {
            let probe = match self.probe().await {
                Ok(probe) => probe,
                Err(ending) => return Started::Over(ending),
            };
            match self.history.after_fence(probe) {
                Next::Start => return Started::Again,
                Next::Wait => {
                    let runs = probe.epoch();
                    if !self.has_time() {
                        let reason = "an earlier attempt still runs on the node";
                        return Started::Over(ending(EndingResult::TimedOut, None, reason));
                    }
                    tokio::select! {
                        biased;
                        () = self.work.cancel.cancelled() => {
                            let Some(epoch) = runs else { return Started::Over(cancelled()) };
                            return Started::Over(self.end_over_there(epoch).await);
                        }
                        () = sleep(PROBE_EVERY) => {}
                    }
                }
                Next::Adopt(code) => {
                    self.work.output.note("[an earlier attempt had run to its end; its result counts]");
                    return Started::Over(judge(&Outcome::Exited(code), self.work));
                }
                Next::GiveUp => {
                    let reason = "an earlier attempt began, and how it ended can't be told";
                    return Started::Over(ending(EndingResult::Unknown, None, reason));
                }
            }
        }
    }

    /// Passes output on until the script has ended. Cancels it where asked to.
    async fn follow(&self, mut running: Running) -> Result<Finished, Error> {
        let mut is_cancelled = false;
        loop {
            tokio::select! {
                biased;
                () = self.work.cancel.cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    running.cancel();
                }
                output = running.next() => match output {
                    Some(Output::Stdout(bytes)) => self.work.output.write(Stream::Stdout, &bytes),
                    Some(Output::Stderr(bytes)) => self.work.output.write(Stream::Stderr, &bytes),
                    Some(Output::Gap(bytes)) => self.work.output.gap(bytes),
                    None => return running.wait().await,
                },
            }
        }
    }

    /// The connection was lost while the script ran: finds out what became of it. None where it never began.
    async fn search(&self, start: u64) -> Option<Ending> {
        let until = self.work.deadline + SEARCH_OVERTIME;
        let epoch = self.history.epoch(start);
        let mut last = "the node could not be reached again".to_string();
        let mut is_back = false;
        while Instant::now() < until {
            let asked = tokio::select! {
                biased;
                () = self.work.cancel.cancelled() => return Some(self.end_lost(epoch, is_back).await),
                asked = timeout_at(until, self.ask_marker()) => asked,
            };
            is_back = matches!(asked, Ok(Ok(_)));
            match asked {
                Ok(Ok(Probe::Finished { epoch: at, code })) if at == epoch => {
                    if was_ended(code) {
                        let reason = format!("the connection was lost, and that ended it: exit code {code}");
                        return Some(ending(EndingResult::Failed, Some(code), reason));
                    }
                    self.work.output.note("[it ran to its end on the node; output may be missing]");
                    return Some(judge(&Outcome::Exited(code), self.work));
                }
                Ok(Ok(Probe::NeverStarted)) => return None,
                Ok(Ok(Probe::Running { .. })) => last = "it still ran when its time was over".to_string(),
                Ok(Ok(_)) => {
                    let reason = "the connection was lost, and the node does not know how it ended";
                    return Some(ending(EndingResult::Unknown, None, reason));
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => break,
            }
            let _ = timeout(PROBE_EVERY, self.work.cancel.cancelled()).await;
        }
        let reason = format!("the connection was lost, and whether it ran to its end is not known: {last}");
        Some(ending(EndingResult::Unknown, None, reason))
    }

    /// A command whose connection was lost is to end.
    async fn end_lost(&self, epoch: u64, is_back: bool) -> Ending {
        if is_back { self.end_over_there(epoch).await } else { self.end_when_back(epoch) }
    }

    /// Ends what runs on the node under this marker, which is reachable.
    async fn end_over_there(&self, epoch: u64) -> Ending {
        let command = self.marked(epoch);
        let ended = self.executor.pool.end(self.node.as_str(), &self.endpoint, &command);
        match timeout(END_PATIENCE, ended).await {
            Ok(Ok(true)) => ending(EndingResult::Cancelled, None, "it was ended on request, by its marker"),
            Ok(Ok(false)) => {
                let reason = "it was to be ended on request, but goes on at the node in spite of SIGKILL";
                ending(EndingResult::Unknown, None, reason)
            }
            _ => self.end_when_back(epoch),
        }
    }

    /// The same while the node can't be reached: nobody has to wait for that.
    fn end_when_back(&self, epoch: u64) -> Ending {
        self.executor.pool.end_when_back(self.node.as_str(), &self.endpoint, self.marked(epoch));
        let reason = "it was cancelled while the node can't be reached: the script may go on there, until the node is \
                      back, when it is ended, or until its time is over";
        ending(EndingResult::Cancelled, None, reason)
    }

    fn marked(&self, epoch: u64) -> Marked {
        Marked {
            token: self.history.token().to_string(),
            epoch,
            sudo: self.request.sudo.clone(),
            grace: GRACE,
            until: self.work.deadline + NODE_OVERTIME,
        }
    }

    async fn ask_marker(&self) -> Result<Probe, Error> {
        let token = self.history.token();
        self.executor.pool.probe(self.node.as_str(), &self.endpoint, token).await
    }

    /// Asks the marker until there is an answer.
    async fn probe(&self) -> Result<Probe, Ending> {
        loop {
            match timeout_at(self.work.deadline, self.ask_marker()).await {
                Ok(Ok(probe)) => return Ok(probe),
                Ok(Err(error)) if !self.has_time() => return Err(self.not_started(&error)),
                Ok(Err(_)) => sleep(PROBE_EVERY).await,
                Err(_) => {
                    let reason = "the node did not say in time what became of an earlier attempt";
                    return Err(ending(EndingResult::TimedOut, None, reason));
                }
            }
            if self.work.cancel.is_cancelled() {
                return Err(cancelled());
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Ending> {
        let pool = &self.executor.pool;
        let dial = pool.connection(self.node.as_str(), &self.endpoint, Urgency::Now);
        tokio::select! {
            biased;
            () = self.work.cancel.cancelled() => Err(cancelled()),
            connected = timeout_at(self.work.deadline, dial) => match connected {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(self.not_started(&error)),
                Err(_) => {
                    let reason = "the node could not be reached in time, nothing was started";
                    Err(ending(EndingResult::TimedOut, None, reason))
                }
            },
        }
    }

    fn has_time(&self) -> bool {
        Instant::now() < self.work.deadline
    }

    /// Nothing was started, for this reason.
    fn not_started(&self, error: &Error) -> Ending {
        if !self.has_time() {
            return ending(EndingResult::TimedOut, None, format!("nothing was started in time: {error}"));
        }
        ending(EndingResult::Failed, None, error.to_string())
    }
}

fn cancelled() -> Ending {
    ending(EndingResult::Cancelled, None, "it was cancelled before the script began")
}

/// What an outcome means for the task. Pure.
fn judge(outcome: &Outcome, work: &Work) -> Ending {
    let limit = work.action.timeout;
    match outcome {
        Outcome::Exited(0) => ending(EndingResult::Succeeded, Some(0), ""),
        Outcome::Exited(code) => ending(EndingResult::Failed, Some(*code), format!("exit code {code}")),
        Outcome::Signalled(signal) => {
            ending(EndingResult::Failed, None, format!("a signal ended it: {signal}"))
        }
        Outcome::TimedOut => {
            ending(EndingResult::TimedOut, None, format!("it took longer than {limit:?} and was ended"))
        }
        Outcome::Cancelled => ending(EndingResult::Cancelled, None, "it was ended on request"),
        Outcome::TooMuchOutput => {
            ending(EndingResult::Failed, None, "it printed too much output and was ended")
        }
    }
}
