//! Runs that people start, and what must be true of their tasks in the end.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use rscaler_raft::command::{Command, Reply, StartRun, StartStep, What};
use rscaler_raft::model::{Cause, OnFailure, RunId, Scope, Target, TaskState};
use rscaler_raft::state::State;

use super::asking::Asking;
use super::chance;
use super::objects::{self, name, node};
use super::work::Ledger;
use super::world::World;

/// Runs that are being started at a time.
const STARTING_MAX: usize = 2;

/// See the module.
pub(crate) struct Jobs {
    chance: StdRng,
    starting: Vec<(Asking, bool)>,
    /// Runs that were acknowledged, and whether their tasks may be repeated.
    started: BTreeMap<RunId, bool>,
    problem: Option<String>,
}

impl Jobs {
    pub(crate) fn new(seed: u64) -> Jobs {
        Jobs {
            chance: chance::source(seed, "jobs"),
            starting: Vec::new(),
            started: BTreeMap::new(),
            problem: None,
        }
    }

    /// Starts runs, now and then.
    pub(crate) fn step(&mut self, world: &World) {
        self.collect(world);
        if self.starting.len() < STARTING_MAX && self.chance.random_ratio(1, 150) {
            let is_repeatable = self.chance.random_bool(0.5);
            let target = node(self.chance.random_range(0..objects::NODES));
            let start = StartRun {
                scope: Scope { cluster: None, node: Some(name(&target)) },
                steps: vec![StartStep {
                    what: What::Inline(Box::new(objects::action(is_repeatable))),
                    target: Target::Node,
                    on_failure: OnFailure::Stop,
                }],
            };
            self.starting.push((Asking::new(Command::StartRun(start), &mut self.chance), is_repeatable));
        }
    }

    /// Takes answers.
    pub(crate) fn collect(&mut self, world: &World) {
        let starting = std::mem::take(&mut self.starting);
        for (mut asking, is_repeatable) in starting {
            match asking.step(world, &mut self.chance) {
                None => self.starting.push((asking, is_repeatable)),
                Some(Ok(Reply::Run(run))) => {
                    if self.started.insert(run, is_repeatable).is_some() {
                        self.problem = Some(format!("two requests were answered with run {run}"));
                    }
                }
                Some(other) => self.problem = Some(format!("a run was not started: {other:?}")),
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.starting.is_empty()
    }

    /// Whether all tasks have come to an end.
    pub(crate) fn are_done(&self, state: &State) -> bool {
        state.open_tasks().next().is_none()
    }

    /// What is wrong, given what a peer has in the end.
    pub(crate) fn verdict(&self, state: &State, ledger: &Ledger) -> Result<(), String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let by_people: Vec<RunId> = state
            .runs_before(None)
            .filter(|run| matches!(run.cause, Cause::Person(_)))
            .map(|run| run.id)
            .collect();
        if let Some(lost) = self.started.keys().find(|run| !by_people.contains(run)) {
            return Err(format!("run {lost} was acknowledged, and is not there"));
        }
        if let Some(double) = by_people.iter().find(|run| !self.started.contains_key(run)) {
            return Err(format!("run {double} was started by nobody, or twice"));
        }
        for task in state.tasks_before(None) {
            let executions = ledger.of(task.id);
            let may_repeat = self.started.get(&task.run).copied().unwrap_or(true);
            if !may_repeat && executions.len() > 1 {
                return Err(format!("task {} must not be repeated, and was: {executions:?}", task.id));
            }
            if task.state == TaskState::Succeeded
                && !executions.iter().any(|execution| execution.attempt == task.attempt && execution.is_done)
            {
                return Err(format!(
                    "task {} counts as done in attempt {}, which was not: {executions:?}",
                    task.id, task.attempt
                ));
            }
            if may_repeat && task.state != TaskState::Succeeded {
                return Err(format!("task {} ended as {:?}: {:?}", task.id, task.state, task.reason));
            }
            if task.state == TaskState::Failed {
                return Err(format!("task {} failed, which none does: {:?}", task.id, task.reason));
            }
        }
        Ok(())
    }
}
