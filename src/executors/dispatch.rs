//! Starts attempts as tasks are given to this peer, and ends them as they are taken away.

use std::collections::HashMap;
use std::sync::Arc;

use rscaler_raft::command::{EndingResult, Progress};
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{Action, Task, TaskId, TaskState};
use rscaler_raft::replica::Committed;
use rscaler_raft::state::{Notice, State};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::attempt::{Attempt, Signals};
use super::report::{ReportLoop, Reporter, reporter};
use super::{Executors, ending};
use crate::lease::Lease;
use crate::metrics::Metrics;

/// Bounds of a [`Dispatcher`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Attempts that run at once. The same number stands in the session's capabilities, so that no more are given.
    pub tasks_max: u32,
}

/// The loop that starts and ends attempts.
pub struct Dispatcher {
    handle: Handle,
    lease: Lease,
    executors: Executors,
    metrics: Arc<Metrics>,
    reporter: Reporter,
    reports: Option<ReportLoop>,
    places: Arc<Semaphore>,
    known: HashMap<TaskId, Known>,
    attempts: JoinSet<()>,
    /// Which attempt each future makes.
    made_by: HashMap<tokio::task::Id, (Arc<Task>, u64)>,
}

/// An attempt that goes on here.
struct Known {
    attempt: u32,
    session: u64,
    signals: Signals,
}

/// A task's place in the state, as far as it concerns us.
struct Seen {
    task: Arc<Task>,
    action: Option<Arc<Action>>,
}

impl Dispatcher {
    /// A dispatcher for the tasks of this peer.
    pub fn new(
        handle: Handle,
        lease: Lease,
        executors: Executors,
        options: &Options,
        metrics: Arc<Metrics>,
    ) -> Dispatcher {
        let (reporter, reports) = reporter(handle.clone(), lease.clone(), Arc::clone(&metrics));
        Dispatcher {
            handle,
            lease,
            executors,
            metrics,
            reporter,
            reports: Some(reports),
            places: Arc::new(Semaphore::new(options.tasks_max as usize)),
            known: HashMap::new(),
            attempts: JoinSet::new(),
            made_by: HashMap::new(),
        }
    }

    /// Runs until `drain` is cancelled and no attempt is left. After `drain` nothing new begins and what has not begun
    /// is handed back; after `stop` what has begun is ended.
    pub async fn run(mut self, drain: CancellationToken, stop: CancellationToken) {
        let Some(reports) = self.reports.take() else { return };
        let reporting = reports.run();
        let dispatching = async move {
            self.dispatch(&drain, &stop).await;
            // With us goes the last reporter, and the loop beside us ends.
            drop(self);
        };
        tokio::join!(dispatching, reporting);
    }

    async fn dispatch(&mut self, drain: &CancellationToken, stop: &CancellationToken) {
        let mut notices = self.handle.subscribe_to_work();
        let mut session = None;
        let mut drains = false;
        loop {
            if drain.is_cancelled() {
                if !drains {
                    // Once more, so that what was just given to us is handed back now and not with the session.
                    drains = true;
                    session = self.lease.session();
                    self.rescan(session, drain, stop);
                }
                if self.attempts.is_empty() {
                    return;
                }
            }
            tokio::select! {
                biased;
                now = self.lease.changed_from(session) => {
                    session = now;
                    self.rescan(session, drain, stop);
                }
                ended = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => self.ended(ended),
                notice = notices.recv() => match notice {
                    Ok(committed) => self.look(&committed, session, drain, stop),
                    Err(RecvError::Lagged(_)) => self.rescan(session, drain, stop),
                    Err(RecvError::Closed) => return,
                },
                // Only to look at the condition above once more.
                () = drain.cancelled(), if !drain.is_cancelled() => {}
            }
        }
    }

    fn ended(&mut self, ended: Option<Result<(tokio::task::Id, ()), JoinError>>) {
        match ended {
            Some(Ok((id, ()))) => {
                self.made_by.remove(&id);
            }
            Some(Err(error)) => {
                error!(%error, "an attempt broke down");
                if let Some((task, session)) = self.made_by.remove(&error.id()) {
                    self.disown(&task, session, "its executor broke down");
                }
            }
            None => {}
        }
    }

    fn look(
        &mut self,
        committed: &Committed,
        session: Option<u64>,
        drain: &CancellationToken,
        stop: &CancellationToken,
    ) {
        if committed.notices.contains(&Notice::Everything) {
            return self.rescan(session, drain, stop);
        }
        let ids = committed.notices.iter().filter_map(|notice| match notice {
            Notice::Task(id) => Some(*id),
            _ => None,
        });
        let ids: Vec<TaskId> = ids.collect();
        if ids.is_empty() {
            return;
        }
        let seen: Vec<(TaskId, Option<Seen>)> = self.handle.read(|state| {
            ids.into_iter().map(|id| (id, state.task(id).map(|task| see(state, task)))).collect()
        });
        for (id, seen) in seen {
            self.settle(id, seen, session, drain, stop);
        }
    }

    /// Looks at everything: at the start, with a new session, or where notices were missed.
    fn rescan(&mut self, session: Option<u64>, drain: &CancellationToken, stop: &CancellationToken) {
        let local = self.handle.local();
        let ours: HashMap<TaskId, Seen> = self.handle.read(|state| {
            let ours = state.open_tasks().filter(|task| task.executor.is_some_and(|e| e.peer == local));
            ours.map(|task| (task.id, see(state, task))).collect()
        });
        let gone: Vec<TaskId> = self.known.keys().filter(|id| !ours.contains_key(id)).copied().collect();
        for id in gone {
            self.settle(id, None, session, drain, stop);
        }
        for (id, seen) in ours {
            self.settle(id, Some(seen), session, drain, stop);
        }
    }

    /// Brings what goes on here in line with what the state says of one task.
    fn settle(
        &mut self,
        id: TaskId,
        seen: Option<Seen>,
        session: Option<u64>,
        drain: &CancellationToken,
        stop: &CancellationToken,
    ) {
        let current = seen.filter(|seen| {
            session.is_some() && seen.task.executor.map(|executor| executor.session) == session
        });
        if let Some(known) = self.known.get(&id) {
            let is_current = current
                .as_ref()
                .is_some_and(|seen| known.attempt == seen.task.attempt && Some(known.session) == session);
            if !is_current {
                // Where we reported the end ourselves, nothing is left to be stopped.
                known.signals.revoke.cancel();
                self.known.remove(&id);
            }
        }
        let (Some(seen), Some(session)) = (current, session) else { return };
        if let Some(known) = self.known.get(&id) {
            if seen.task.cancel_requested {
                known.signals.cancel.cancel();
            }
            return;
        }
        let Some(action) = seen.action else { return };
        let signals = Signals { drain: drain.clone(), stop: stop.clone(), ..Signals::default() };
        if seen.task.cancel_requested {
            signals.cancel.cancel();
        }
        let known = Known { attempt: seen.task.attempt, session, signals: signals.clone() };
        if seen.task.state == TaskState::Running {
            error!(task = id.0, "the state says that this peer runs it, but it does not");
            self.disown(&seen.task, session, "its executor lost track of it");
            return;
        }
        info!(task = id.0, attempt = seen.task.attempt, "task taken");
        self.known.insert(id, known);
        let attempt = Attempt {
            executor: self.executors.for_action(&action),
            task: seen.task,
            action,
            session,
            reporter: self.reporter.clone(),
            lease: self.lease.clone(),
            signals,
            places: Arc::clone(&self.places),
            metrics: Arc::clone(&self.metrics),
        };
        let task = Arc::clone(&attempt.task);
        let future = self.attempts.spawn(attempt.run());
        self.made_by.insert(future.id(), (task, session));
    }

    /// Ends a task that nobody carries out here, so that nobody has to wait for its deadline.
    fn disown(&mut self, task: &Arc<Task>, session: u64, why: &'static str) {
        let (reporter, task) = (self.reporter.clone(), Arc::clone(task));
        self.attempts.spawn(async move {
            let unknown = ending(EndingResult::Unknown, None, why);
            reporter.report(task.id, task.attempt, session, [Progress::Finished(unknown)]).await;
        });
    }
}

fn see(state: &State, task: &Arc<Task>) -> Seen {
    Seen { task: Arc::clone(task), action: state.action_of(task.id) }
}
