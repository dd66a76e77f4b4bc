//! What earlier attempts at a task mean for the next one. Pure.
//!
//! A script may have changed its host, so an attempt is made only where it is known what became of those before it.
//! The control plane knows the end of most of them. Where an executor died, or was silent until its task's deadline,
//! the node's marker is asked.

use rscaler_raft::model::{Action, Attempt, OnExecutorLoss, RetryOn, Task, TaskState};

use crate::ssh::Probe;
use crate::ssh::exec::Fence;

/// Marker numbers of one attempt: it may start several times before its script has begun once.
const STARTS: u64 = 16;

/// Tasks that were made within so much time have their markers in one place.
const PLACE_MS: i64 = 3_600_000;

/// What the control plane knows of a task's attempts.
pub(super) struct History {
    token: String,
    attempt: u64,
    /// The last marker number whose end is known, or may be passed over.
    known: Option<u64>,
    attempts: Vec<Attempt>,
    /// Whether the action may be carried out again although it is not known what became of it.
    may_repeat: bool,
}

/// What to do about a marker that stands in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Start, and pass that marker over.
    Start,
    /// It still runs: ask again later.
    Wait,
    /// It ran to its end with this exit code, and nobody has counted that yet.
    Adopt(i32),
    /// Nobody can tell, and it may not be repeated.
    GiveUp,
}

impl History {
    pub(super) fn new(task: &Task, action: &Action) -> History {
        let known = task.history.iter().filter(|attempt| is_end_known(attempt)).map(|a| a.attempt).max();
        let created = task.created.as_millis();
        History {
            // The time tells this task from one of the same number in another control plane.
            token: format!("{}/task-{}-{created}", created / PLACE_MS, task.id),
            attempt: u64::from(task.attempt),
            known: known.map(|attempt| last_of(u64::from(attempt))),
            attempts: task.history.clone(),
            may_repeat: action.on_executor_loss == OnExecutorLoss::Retry
                || action.retry.on.contains(&RetryOn::Lost),
        }
    }

    /// Names the effect: derived from the task alone, so that any later attempt finds its markers.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The marker number of this attempt's start number `start`, from 0.
    pub(super) fn epoch(&self, start: u64) -> u64 {
        self.attempt * STARTS + start.min(STARTS - 1)
    }

    pub(super) fn fence(&self, start: u64) -> Fence {
        Fence { token: self.token.clone(), epoch: self.epoch(start), known: self.known }
    }

    /// What `probe` means after a start was refused.
    pub(super) fn after_fence(&mut self, probe: Probe) -> Next {
        match probe {
            Probe::NeverStarted => Next::Start,
            Probe::Running { .. } => Next::Wait,
            Probe::Finished { epoch, code } => {
                let is_counted = epoch / STARTS < self.attempt && !self.is_lost(epoch);
                if is_counted || (self.may_repeat && was_ended(code)) {
                    return self.pass(epoch);
                }
                Next::Adopt(code)
            }
            Probe::Unknown { epoch } if self.may_repeat || !self.is_lost(epoch) => self.pass(epoch),
            Probe::Unknown { .. } => Next::GiveUp,
        }
    }

    fn pass(&mut self, epoch: u64) -> Next {
        self.known = self.known.max(Some(epoch));
        Next::Start
    }

    /// Whether the control plane lost the attempt with this marker, so that its end has not been counted.
    fn is_lost(&self, epoch: u64) -> bool {
        let attempt = epoch / STARTS;
        // An attempt that is too old to be remembered counts as lost: the careful side.
        let remembered = self.attempts.iter().find(|a| u64::from(a.attempt) == attempt);
        remembered.is_none_or(|attempt| attempt.state == TaskState::Lost)
    }
}

/// Whether nothing of an attempt can still be going on, as far as the control plane was told.
fn is_end_known(attempt: &Attempt) -> bool {
    match attempt.state {
        TaskState::Succeeded | TaskState::Failed => true,
        // Given by a silent executor's deadline, too: the marker knows better.
        TaskState::TimedOut | TaskState::Cancelled => attempt.exit_code.is_some(),
        _ => attempt.started.is_none(),
    }
}

/// Whether a script with this exit code was ended from outside: by us when a lease was over, by the node's own time
/// limit, or by going on to print (SIGPIPE, SIGHUP) when the connection was lost. It did not run to its end, so there is
/// no result to adopt.
pub(super) fn was_ended(code: i32) -> bool {
    matches!(code, 124 | 129 | 137 | 141 | 143)
}

fn last_of(attempt: u64) -> u64 {
    attempt * STARTS + STARTS - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rscaler_raft::model::{
        ActionKind, CommandAction, Elapsed, OutputTotals, PeerId, Retry, RunId, Spread, TaskId, Timestamp,
        Value,
    };

    use super::*;

    fn action(on_executor_loss: OnExecutorLoss) -> Action {
        let script = Value::Inline("true".to_string());
        let command =
            CommandAction { script, args: Vec::new(), env: Default::default(), stdin: None, sudo: false };
        Action {
            kind: ActionKind::Command(command),
            timeout: Duration::from_secs(60),
            retry: Retry { attempts: 3, backoff: Duration::from_secs(1), on: vec![RetryOn::Failed] },
            on_executor_loss,
            spread: Spread::default(),
        }
    }

    fn task(history: &[(u32, TaskState, bool)]) -> Task {
        let past = |(attempt, state, began): &(u32, TaskState, bool)| Attempt {
            attempt: *attempt,
            peer: PeerId(1),
            started: began.then_some(Timestamp(1)),
            finished: Timestamp(2),
            state: *state,
            exit_code: (*state == TaskState::Failed).then_some(1),
            reason: None,
        };
        Task {
            id: TaskId(7),
            run: RunId(1),
            step: 0,
            node: None,
            state: TaskState::Assigned,
            executor: None,
            attempt: history.len() as u32 + 1,
            tries: 0,
            losses: 0,
            not_before: Elapsed(0),
            deadline: None,
            cancel_requested: false,
            awaiting_input: false,
            exit_code: None,
            reason: None,
            history: history.iter().map(past).collect(),
            output: OutputTotals::default(),
            created: Timestamp(1234),
            started: None,
            finished: None,
        }
    }

    #[test]
    fn the_token_is_the_tasks_and_numbers_grow_with_attempts_and_starts() {
        let first = History::new(&task(&[]), &action(OnExecutorLoss::Fail));
        let second = History::new(&task(&[(1, TaskState::Failed, true)]), &action(OnExecutorLoss::Fail));
        assert_eq!(first.token(), "0/task-7-1234");
        assert_eq!(first.token(), second.token());
        assert!(first.epoch(0) < first.epoch(1) && first.epoch(99) < second.epoch(0));
    }

    #[test]
    fn attempts_whose_end_is_known_are_passed_over_and_others_are_not() {
        let known = |history: &[(u32, TaskState, bool)]| {
            History::new(&task(history), &action(OnExecutorLoss::Fail)).fence(0).known
        };
        assert_eq!(known(&[]), None);
        assert_eq!(known(&[(1, TaskState::Failed, true)]), Some(31));
        assert_eq!(known(&[(1, TaskState::Queued, false)]), Some(31), "handed back");
        assert_eq!(known(&[(1, TaskState::Lost, true)]), None);
        assert_eq!(known(&[(1, TaskState::TimedOut, true)]), None, "perhaps by a silent executor");
        assert_eq!(known(&[(1, TaskState::Lost, true), (2, TaskState::Failed, true)]), Some(47));
    }

    #[test]
    fn a_marker_in_the_way_is_waited_for_adopted_or_passed() {
        let lost = [(1, TaskState::Lost, true)];
        let timed_out = [(1, TaskState::TimedOut, true)];
        let (retry, fail) = (OnExecutorLoss::Retry, OnExecutorLoss::Fail);
        type Row<'a> = (&'a str, &'a [(u32, TaskState, bool)], OnExecutorLoss, Probe, Next);
        let table: [Row<'_>; 10] = [
            ("runs", &lost, retry, Probe::Running { epoch: 16, group: None }, Next::Wait),
            ("ran, not counted", &lost, retry, Probe::Finished { epoch: 16, code: 3 }, Next::Adopt(3)),
            ("ended by us, may repeat", &lost, retry, Probe::Finished { epoch: 16, code: 143 }, Next::Start),
            ("ended by us, may not", &lost, fail, Probe::Finished { epoch: 16, code: 143 }, Next::Adopt(143)),
            (
                "ran, counted as timed out",
                &timed_out,
                fail,
                Probe::Finished { epoch: 16, code: 124 },
                Next::Start,
            ),
            ("broke off, may repeat", &lost, retry, Probe::Unknown { epoch: 16 }, Next::Start),
            ("broke off, may not", &lost, fail, Probe::Unknown { epoch: 16 }, Next::GiveUp),
            ("broke off, timed out", &timed_out, fail, Probe::Unknown { epoch: 16 }, Next::Start),
            ("never began", &lost, fail, Probe::NeverStarted, Next::Start),
            ("this attempt's own", &lost, fail, Probe::Finished { epoch: 32, code: 0 }, Next::Adopt(0)),
        ];
        for (name, past, on_loss, probe, expected) in table {
            let mut history = History::new(&task(past), &action(on_loss));
            assert_eq!(history.after_fence(probe), expected, "{name}");
            if expected == Next::Start && probe != Probe::NeverStarted {
                assert_eq!(history.fence(1).known, probe.epoch(), "{name}");
            }
        }
    }
}
