//! Tasks: reported on, ended.
//!
//! A task is given to a peer's session under an attempt number (see `dispatch.rs`). Reports count only under the current attempt
//! and session, so a peer that was taken for dead changes nothing any more.

use std::sync::Arc;
use std::time::Duration;

use super::{Notice, State};
use crate::command::{Ending, EndingResult, Outcome, Progress, Rejection, Reply, TaskReport};
use crate::model::{
    Action, Actor, Attempt, EventKind, Name, OnExecutorLoss, OutputChunk, OutputTotals, RetryOn, Stream,
    Task, TaskId, TaskState,
};
use crate::planted::{Bug, is_planted};

/// How long past its timeout a task is left to its executor to end.
const END_GRACE: Duration = Duration::from_secs(15);
/// The pause before a task is given away again that was not begun twice in a row; doubles.
const UNBEGUN_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const UNBEGUN_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest pause between attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// Output kept over all tasks; beyond it, that of the runs that ended longest ago goes.
const OUTPUT_BYTES_KEPT_MAX: u64 = if cfg!(test) { 16 << 20 } else { 256 << 20 };
/// What a chunk of output counts beside its bytes: it is a row, however little is in it.
const CHUNK_COST: u64 = 128;
/// The most chunks kept of the beginning of a task's output, and of its end.
const CHUNKS_KEPT_MAX: u64 = 32_768;

impl State {
    /// Takes a task from its executor: the slots it held are free. Gives the task as it was.
    fn release(&mut self, id: TaskId) -> Option<Arc<Task>> {
        let was = Arc::clone(self.tasks.get(&id)?);
        let Some(executor) = was.executor else { return Some(was) };
        if let Some(deadline) = was.deadline {
            self.indexes.deadlines.remove(&(deadline, id));
        }
        if let Some(count) = self.indexes.tasks_by_peer.get_mut(&executor.peer) {
            *count = count.saturating_sub(1);
        }
        if let Some(node) = &was.node {
            self.release_node(node);
        }
        Some(was)
    }

    fn release_node(&mut self, node: &Name) {
        if let Some(count) = self.indexes.tasks_by_node.get_mut(node) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.indexes.tasks_by_node.remove(node);
            }
        }
        self.unblock(node);
    }

    pub(super) fn take_reports(&mut self, reports: &[TaskReport]) -> Outcome {
        let taken = reports.iter().map(|report| self.take_report(report)).collect();
        self.dispatch();
        Ok(Reply::Reports(taken))
    }

    fn take_report(&mut self, report: &TaskReport) -> bool {
        let current = self.tasks.get(&report.task).is_some_and(|task| {
            is_planted(Bug::AnyAttemptReports)
                || task.attempt == report.attempt
                    && task.executor.is_some_and(|executor| executor.session == report.session)
        });
        if !current {
            return false;
        }
        match &report.progress {
            Progress::Started => self.begin(report.task),
            Progress::Output { chunks, missed_bytes } => {
                self.keep_output(report.task, report.attempt, chunks, *missed_bytes);
                true
            }
            Progress::AwaitingInput(waits) => {
                if let Some(task) = self.tasks.get_mut(&report.task) {
                    task.awaiting_input = *waits;
                }
                self.notify(Notice::Task(report.task));
                true
            }
            Progress::Finished(ending) => {
                self.finish_attempt(report.task, ending);
                true
            }
        }
    }

    fn begin(&mut self, id: TaskId) -> bool {
        let Some(action) = self.action_of(id) else { return false };
        let deadline = self.globals.clock.elapsed + action.timeout + END_GRACE;
        let now = self.globals.clock.wall;
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        if task.state != TaskState::Assigned || task.cancel_requested {
            return false;
        }
        task.state = TaskState::Running;
        task.started = Some(now);
        let old = task.deadline.replace(deadline);
        if let Some(old) = old {
            self.indexes.deadlines.remove(&(old, id));
        }
        self.indexes.deadlines.insert((deadline, id));
        self.notify(Notice::Task(id));
        true
    }

    /// The action a task carries out, as it was when its run was created.
    pub fn action_of(&self, id: TaskId) -> Option<Arc<Action>> {
        let task = self.tasks.get(&id)?;
        let run = self.runs.get(&task.run)?;
        run.steps.get(task.step as usize).map(|step| Arc::clone(&step.plan))
    }

    fn finish_attempt(&mut self, id: TaskId, ending: &Ending) {
        let state = match ending.result {
            EndingResult::Succeeded => TaskState::Succeeded,
            EndingResult::Failed => TaskState::Failed,
            EndingResult::Cancelled => TaskState::Cancelled,
            EndingResult::TimedOut => TaskState::TimedOut,
            EndingResult::Unknown => TaskState::Lost,
            EndingResult::HandedBack => TaskState::Queued,
        };
        let reason = ending.reason.as_ref().map(|reason| shorten(reason, 1024));
        self.end_attempt(id, state, ending.exit_code, reason);
    }

    /// Ends a task's attempt: it is over for good, or queued again as its action's retry says.
    fn end_attempt(&mut self, id: TaskId, state: TaskState, exit_code: Option<i32>, reason: Option<String>) {
        let Some(was) = self.release(id) else { return };
        let Some(action) = self.action_of(id) else { return };
        let began = was.state == TaskState::Running;
        let now = self.globals.clock;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if let Some(executor) = was.executor {
            task.history.push(Attempt {
                attempt: was.attempt,
                peer: executor.peer,
                started: was.started,
                finished: now.wall,
                state,
                exit_code,
                reason: reason.clone(),
            });
            if task.history.len() > Task::HISTORY_MAX {
                task.history.remove(0);
            }
        }
        task.executor = None;
        task.deadline = None;
        task.awaiting_input = false;
        task.exit_code = exit_code;
        task.reason = reason;
        let again = match state {
            _ if task.cancel_requested => None,
            // What never began can be begun elsewhere at once; unless that happens again and again.
            TaskState::Queued | TaskState::Lost if !began => Some(now.elapsed + pause(&task.history)),
            TaskState::Lost => {
                task.losses += 1;
                let wanted = action.on_executor_loss == OnExecutorLoss::Retry
                    || action.retry.on.contains(&RetryOn::Lost);
                (wanted && task.losses <= Task::LOSSES_MAX).then_some(now.elapsed)
            }
            TaskState::Failed | TaskState::TimedOut => {
                task.tries += 1;
                let wanted = action.retry.on.iter().any(|on| on.matches(state));
                (wanted && task.tries < action.retry.attempts)
                    .then(|| now.elapsed + backoff(action.retry.backoff, task.tries))
            }
            _ => None,
        };
        match again {
            Some(not_before) => {
                task.state = TaskState::Queued;
                task.not_before = not_before;
                self.enqueue(id, not_before);
                self.notify(Notice::Task(id));
            }
            None => {
                let state = match state {
                    TaskState::Queued | TaskState::Lost if task.cancel_requested && !began => {
                        TaskState::Cancelled
                    }
                    // Handed back after it began: the executor gave up in the middle.
                    TaskState::Queued => TaskState::Lost,
                    other => other,
                };
                self.end_task(id, state);
            }
        }
    }

    /// Ends a task for good, and moves its run on.
    pub(super) fn end_task(&mut self, id: TaskId, state: TaskState) {
        let now = self.globals.clock.wall;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.state = state;
        task.finished = Some(now);
        task.executor = None;
        let (run, step) = (task.run, task.step);
        if state == TaskState::Lost {
            let node = task.node.as_ref().map_or_else(String::new, |node| format!(" on `{node}`"));
            let message = format!("task {id}{node} is lost: what it did is not known");
            self.record(Actor::System, EventKind::TaskLost(id), message);
        }
        self.indexes.open_tasks.remove(&id);
        self.unqueue(id);
        self.notify(Notice::Task(id));
        self.task_ended(run, step, id, state);
    }

    /// Loses what a session held.
    pub(super) fn lose_tasks(&mut self, session: u64, why: &str) {
        let lost: Vec<TaskId> = self
            .indexes
            .open_tasks
            .iter()
            .copied()
            .filter(|id| self.tasks.get(id).and_then(|t| t.executor).is_some_and(|e| e.session == session))
            .collect();
        for id in lost {
            self.note(id, &format!("{why}; the last second of its output may be missing"));
            self.end_attempt(id, TaskState::Lost, None, Some(why.to_string()));
        }
    }

    /// Ends what its executor should have ended long ago, and takes back what it should have begun.
    pub(super) fn expire_tasks(&mut self) {
        let now = self.globals.clock.elapsed;
        while let Some((at, id)) = self.indexes.deadlines.first().copied() {
            if at > now {
                break;
            }
            let Some(task) = self.tasks.get(&id).map(Arc::clone) else {
                self.indexes.deadlines.pop_first();
                continue;
            };
            let (state, reason) = if task.cancel_requested {
                (TaskState::Cancelled, "it was cancelled, and its executor did not confirm")
            } else if task.state == TaskState::Assigned {
                (TaskState::Queued, "its executor did not begin in time")
            } else {
                (TaskState::TimedOut, "it ran out of time, and its executor did not say so")
            };
            self.end_attempt(id, state, None, Some(reason.to_string()));
        }
    }

    pub(super) fn cancel_task(&mut self, id: TaskId) -> Outcome {
        let Some(task) = self.tasks.get(&id) else { return Err(Rejection::not_found("task", id)) };
        if task.state.is_final() {
            return Err(Rejection::conflict(format!("task {id} has ended already")));
        }
        self.request_cancel(id);
        self.dispatch();
        Ok(Reply::Done)
    }

    pub(super) fn request_cancel(&mut self, id: TaskId) {
        let deadline = self.globals.clock.elapsed + END_GRACE;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.cancel_requested || task.state.is_final() {
            return;
        }
        task.cancel_requested = true;
        if task.state == TaskState::Queued {
            task.reason = Some("it was cancelled before it began".to_string());
            self.end_task(id, TaskState::Cancelled);
            return;
        }
        let old = task.deadline.replace(deadline);
        if let Some(old) = old {
            self.indexes.deadlines.remove(&(old, id));
        }
        self.indexes.deadlines.insert((deadline, id));
        self.notify(Notice::Task(id));
    }

    /// Puts a remark of the control plane's own into a task's output.
    fn note(&mut self, id: TaskId, text: &str) {
        let Some(attempt) = self.tasks.get(&id).map(|task| task.attempt) else { return };
        let chunk = OutputChunk { attempt, stream: Stream::Note, bytes: text.as_bytes().into() };
        self.keep_output(id, attempt, &[chunk], 0);
    }

    fn keep_output(&mut self, id: TaskId, attempt: u32, chunks: &[OutputChunk], missed_bytes: u64) {
        let half = Task::OUTPUT_BYTES_MAX / 2;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let mut totals = task.output;
        totals.missed_bytes += missed_bytes;
        for chunk in chunks.iter().filter(|chunk| !chunk.bytes.is_empty()) {
            let mut chunk = chunk.clone();
            chunk.attempt = attempt;
            if chunk.bytes.len() > OutputChunk::BYTES_MAX {
                chunk.bytes = chunk.bytes[..OutputChunk::BYTES_MAX].into();
            }
            let bytes = chunk.bytes.len() as u64;
            let sequence = totals.next;
            totals.next += 1;
            if totals.head_end == sequence && totals.head_bytes + bytes <= half && sequence < CHUNKS_KEPT_MAX
            {
                totals.head_bytes += bytes;
                totals.head_end = totals.next;
                totals.tail_start = totals.next;
            } else {
                totals.tail_bytes += bytes;
            }
            self.outputs.insert((id, sequence), chunk);
            self.indexes.output_bytes += bytes + CHUNK_COST;
            let too_much = |totals: &OutputTotals| {
                totals.tail_bytes > half || totals.next - totals.tail_start > CHUNKS_KEPT_MAX
            };
            while totals.tail_start < totals.next && too_much(&totals) {
                if let Some(chunk) = self.outputs.remove(&(id, totals.tail_start)) {
                    let cut = chunk.bytes.len() as u64;
                    totals.tail_bytes -= cut;
                    totals.cut_bytes += cut;
                    self.indexes.output_bytes -= cut + CHUNK_COST;
                }
                totals.tail_start += 1;
            }
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            task.output = totals;
        }
        self.notify(Notice::Output(id));
        self.bound_output();
    }

    /// While there is too much output, forgets that of tasks that have ended, the oldest first, and then, where only what goes on is
    /// left, that of the oldest. A tenth at once, so that it is not looked for at every report.
    fn bound_output(&mut self) {
        if self.indexes.output_bytes <= OUTPUT_BYTES_KEPT_MAX {
            return;
        }
        for of_ended in [true, false] {
            let mut from = TaskId(0);
            while self.indexes.output_bytes > OUTPUT_BYTES_KEPT_MAX / 10 * 9 {
                let Some(((id, _), _)) = self.outputs.range((from, 0)..).next() else { break };
                let id = *id;
                from = TaskId(id.0.saturating_add(1));
                if !of_ended || self.tasks.get(&id).is_none_or(|task| task.state.is_final()) {
                    self.forget_output(id);
                } else if from == id {
                    break;
                }
            }
        }
    }

    /// Deletes a task's output; what it was stays counted as cut.
    pub(super) fn forget_output(&mut self, id: TaskId) {
        let keys: Vec<_> = self.outputs.range((id, 0)..=(id, u64::MAX)).map(|(key, _)| *key).collect();
        if keys.is_empty() {
            return;
        }
        for key in keys {
            if let Some(chunk) = self.outputs.remove(&key) {
                self.indexes.output_bytes -= chunk.bytes.len() as u64 + CHUNK_COST;
            }
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            let totals = &mut task.output;
            totals.cut_bytes += totals.head_bytes + totals.tail_bytes;
            totals.head_bytes = 0;
            totals.tail_bytes = 0;
            totals.head_end = 0;
            totals.tail_start = totals.next;
        }
    }

    /// A task.
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&id)
    }

    /// Tasks before `before` (all where absent), newest first.
    pub fn tasks_before(&self, before: Option<TaskId>) -> impl Iterator<Item = &Arc<Task>> {
        let end = before.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.tasks.range((std::ops::Bound::Unbounded, end)).rev().map(|(_, task)| task)
    }

    /// Tasks that have not ended, oldest first.
    pub fn open_tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.indexes.open_tasks.iter().filter_map(|id| self.tasks.get(id))
    }

    /// A task's kept output from sequence number `from` on, in order.
    pub fn output(&self, id: TaskId, from: u64) -> impl Iterator<Item = (u64, &Arc<OutputChunk>)> {
        self.outputs.range((id, from)..=(id, u64::MAX)).map(|((_, sequence), chunk)| (*sequence, chunk))
    }

    /// Rebuilds what [`State::dispatch`] decides on.
    pub(super) fn index_tasks(&mut self) {
        let tasks: Vec<Arc<Task>> = self.tasks.iter().map(|(_, task)| Arc::clone(task)).collect();
        for task in tasks {
            if task.state.is_final() {
                continue;
            }
            self.indexes.open_tasks.insert(task.id);
            if let Some(executor) = task.executor {
                *self.indexes.tasks_by_peer.entry(executor.peer).or_default() += 1;
                if let Some(node) = &task.node {
                    *self.indexes.tasks_by_node.entry(node.clone()).or_default() += 1;
                }
                if let Some(deadline) = task.deadline {
                    self.indexes.deadlines.insert((deadline, task.id));
                }
            } else if self.is_released(&task) {
                self.enqueue(task.id, task.not_before);
            }
        }
        self.indexes.output_bytes =
            self.outputs.iter().map(|(_, chunk)| chunk.bytes.len() as u64 + CHUNK_COST).sum();
    }
}

/// The pause before a task that was not begun is given to somebody again: none after the first time, for a peer that is about to
/// stop hands everything back; then doubling, for an executor that begins nothing would get it again and again.
fn pause(history: &[Attempt]) -> Duration {
    let unbegun = history.iter().rev().take_while(|attempt| attempt.started.is_none()).count();
    match u32::try_from(unbegun.saturating_sub(1)).unwrap_or(u32::MAX) {
        0 => Duration::ZERO,
        again => backoff(UNBEGUN_PAUSE, again).min(UNBEGUN_PAUSE_MAX),
    }
}

/// The pause before the attempt after `tries` failed ones: doubles each time.
fn backoff(first: Duration, tries: u32) -> Duration {
    first.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(BACKOFF_MAX)
}

/// At most `bytes` bytes of `text`, cut at a character.
pub(super) fn shorten(text: &str, bytes: usize) -> String {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}
