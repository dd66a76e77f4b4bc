//! Runs: ordered steps, each over its targets.

use std::sync::Arc;

use super::{FINISHED_RUNS_KEPT_MAX, Notice, State};
use crate::command::{Outcome, Rejection, RejectionKind, Reply, StartRun, What};
use crate::model::{
    Action, Actor, Cause, Elapsed, EventKind, Kind, Name, OnFailure, OutputTotals, Run, RunId, RunState,
    RunStep, Scope, Spec, Step, StepState, Target, Task, TaskId, TaskState,
};

/// Steps of one run.
pub(super) const STEPS_MAX: usize = 64;
/// Runs that may be going on at once.
const OPEN_RUNS_MAX: usize = 10_000;
/// No run is begun where so many tasks wait or run.
const OPEN_TASKS_MAX: usize = 200_000;
/// How many tasks of finished runs are kept, but for those of the last run, which may have more.
const FINISHED_TASKS_KEPT_MAX: usize = 100_000;

impl State {
    pub(super) fn start_run(&mut self, actor: &Actor, start: &StartRun) -> Outcome {
        if start.steps.is_empty() || start.steps.len() > STEPS_MAX {
            return Err(Rejection::new(RejectionKind::Invalid, format!("a run has 1 to {STEPS_MAX} steps")));
        }
        let mut steps = Vec::new();
        for step in &start.steps {
            let (action, plan) = match &step.what {
                What::Named(name) => (Some(name.clone()), self.plan(name)?),
                What::Inline(action) => (None, Arc::new((**action).clone())),
            };
            steps.push(waiting_step(action, plan, step.target.clone(), step.on_failure));
        }
        let scope = self.checked_scope(start.scope.clone())?;
        let run = self.create_run(Cause::Person(actor.clone()), scope, steps, None)?;
        self.dispatch();
        Ok(Reply::Run(run))
    }

    pub(super) fn execute_trigger(&mut self, actor: &Actor, name: &Name, node: Option<&Name>) -> Outcome {
        let Some(Spec::Trigger(trigger)) = self.spec(Kind::Trigger, name) else {
            return Err(Rejection::not_found("trigger", name));
        };
        let scope = Scope { cluster: Some(trigger.cluster.clone()), node: node.cloned() };
        let steps = trigger.steps.clone();
        let scope = self.checked_scope(scope)?;
        let steps = self.plan_steps(&steps)?;
        let cause = Cause::Execute { trigger: name.clone(), actor: actor.clone() };
        let run = self.create_run(cause, scope, steps, None)?;
        self.dispatch();
        Ok(Reply::Run(run))
    }

    pub(super) fn retry_run(&mut self, actor: &Actor, id: RunId) -> Outcome {
        let Some(run) = self.runs.get(&id).map(Arc::clone) else {
            return Err(Rejection::not_found("run", id));
        };
        if run.state == RunState::Running {
            return Err(Rejection::conflict(format!("run {id} is still going on: cancel it first")));
        }
        let steps = run
            .steps
            .iter()
            .map(|s| waiting_step(s.action.clone(), Arc::clone(&s.plan), s.target.clone(), s.on_failure))
            .collect();
        let scope = self.checked_scope(run.scope.clone())?;
        let again = self.create_run(Cause::Person(actor.clone()), scope, steps, Some(id))?;
        self.dispatch();
        Ok(Reply::Run(again))
    }

    /// Steps with their actions as they are now.
    pub(super) fn plan_steps(&self, steps: &[Step]) -> Result<Vec<RunStep>, Rejection> {
        steps
            .iter()
            .map(|step| {
                let plan = self.plan(&step.action)?;
                Ok(waiting_step(Some(step.action.clone()), plan, step.target.clone(), step.on_failure))
            })
            .collect()
    }

    fn plan(&self, name: &Name) -> Result<Arc<Action>, Rejection> {
        match self.spec(Kind::Action, name) {
            Some(Spec::Action(action)) => Ok(Arc::new((**action).clone())),
            _ => Err(Rejection::not_found("action", name)),
        }
    }

    fn checked_scope(&self, mut scope: Scope) -> Result<Scope, Rejection> {
        if let Some(name) = &scope.node {
            let Some(node) = self.node(name) else { return Err(Rejection::not_found("node", name)) };
            scope.cluster.get_or_insert_with(|| node.cluster.clone());
        }
        if let Some(name) = &scope.cluster
            && self.object(Kind::Cluster, name).is_none()
        {
            return Err(Rejection::not_found("cluster", name));
        }
        Ok(scope)
    }

    /// Creates a run and starts its first step. Does not assign tasks: the caller dispatches when it is done.
    pub(super) fn create_run(
        &mut self,
        cause: Cause,
        scope: Scope,
        steps: Vec<RunStep>,
        retry_of: Option<RunId>,
    ) -> Result<RunId, Rejection> {
        if self.indexes.open_runs.len() >= OPEN_RUNS_MAX {
            return Err(State::too_many(format!("{OPEN_RUNS_MAX} runs are going on: wait, or cancel some")));
        }
        if self.indexes.open_tasks.len() >= OPEN_TASKS_MAX {
            return Err(State::too_many(format!("{OPEN_TASKS_MAX} tasks wait or run: wait, or cancel runs")));
        }
        self.globals.next_run += 1;
        self.globals_changed.set();
        let id = RunId(self.globals.next_run);
        let actor = match &cause {
            Cause::Person(actor) | Cause::Execute { actor, .. } => actor.clone(),
            Cause::Trigger { .. } => Actor::System,
        };
        let what: Vec<&str> =
            steps.iter().map(|step| step.action.as_ref().map_or("a command", Name::as_str)).collect();
        let message = format!("run {id} started: {}", what.join(", "));
        let run = Run {
            id,
            cause,
            scope,
            steps,
            current: 0,
            state: RunState::Running,
            reason: None,
            cancel_requested: false,
            retry_of,
            created: self.globals.clock.wall,
            finished: None,
        };
        self.runs.insert(id, run);
        self.indexes.open_runs.insert(id);
        self.record(actor, EventKind::RunStarted(id), message);
        self.notify(Notice::Run(id));
        self.start_step(id, 0);
        Ok(id)
    }

    fn start_step(&mut self, id: RunId, index: u32) {
        let Some(run) = self.runs.get(&id).map(Arc::clone) else { return };
        let Some(step) = run.steps.get(index as usize) else {
            self.finish_run(id);
            return;
        };
        let targets = match self.targets(&step.plan, &step.target, &run.scope) {
            Ok(targets) => targets,
            Err(why) => {
                if let Some(run) = self.runs.get_mut(&id) {
                    run.current = index;
                    run.steps[index as usize].state = StepState::Failed;
                    run.reason = Some(format!("step {}: {why}", index + 1));
                }
                self.step_ended(id, index);
                return;
            }
        };
        let mut tasks = Vec::with_capacity(targets.len());
        for node in targets {
            self.globals.next_task += 1;
            let task = TaskId(self.globals.next_task);
            self.tasks.insert(task, new_task(task, id, index, node, self.globals.clock.wall));
            self.indexes.open_tasks.insert(task);
            self.notify(Notice::Task(task));
            tasks.push(task);
        }
        self.globals_changed.set();
        if let Some(run) = self.runs.get_mut(&id) {
            run.current = index;
            let step = &mut run.steps[index as usize];
            step.state = StepState::Running;
            step.tasks = tasks;
        }
        self.notify(Notice::Run(id));
        self.advance_step(id, index);
    }

    /// The nodes a step acts on; one `None` for an action that needs none.
    fn targets(&self, action: &Action, target: &Target, scope: &Scope) -> Result<Vec<Option<Name>>, String> {
        let cluster = || scope.cluster.as_ref().ok_or("the run is about no cluster".to_string());
        let known = |name: &Name| {
            self.node(name).map(|_| vec![Some(name.clone())]).ok_or(format!("there is no node `{name}`"))
        };
        if !action.kind.needs_node() {
            return Ok(vec![None]);
        }
        match target {
            Target::Cluster => {
                let cluster = cluster()?;
                let nodes: Vec<_> = self.nodes_of(cluster).cloned().map(Some).collect();
                if nodes.is_empty() { Err(format!("cluster `{cluster}` has no nodes")) } else { Ok(nodes) }
            }
            Target::LastNode => {
                let cluster = cluster()?;
                let last = self
                    .nodes_of(cluster)
                    .max_by_key(|name| self.object(Kind::Node, name).map_or(0, |object| object.meta.uid));
                last.map(|name| vec![Some(name.clone())]).ok_or(format!("cluster `{cluster}` has no nodes"))
            }
            Target::Node | Target::FiringNode => {
                let node = scope.node.as_ref().ok_or("the run is about no node".to_string())?;
                known(node)
            }
            Target::Named(name) => known(name),
            Target::Nowhere => Err("a command needs a node or a cluster to run on".to_string()),
        }
    }

    /// Lets as many of a step's tasks go as its spread allows, in order; gives up the rest where too many failed;
    /// ends the step when all have ended. A task that ended before its turn (it was cancelled) is counted when its
    /// turn comes: `ended` and `failed` are of released tasks.
    fn advance_step(&mut self, id: RunId, index: u32) {
        let Some(run) = self.runs.get(&id) else { return };
        let step = &run.steps[index as usize];
        let cancelled = run.cancel_requested;
        let spread = step.plan.spread;
        let total = step.tasks.len();
        let share = u64::from(spread.max_failures_percent) * total as u64;
        let too_many = |failed: u32| u64::from(failed) * 100 > share;
        let (mut released, mut ended, mut failed) = (step.released, step.ended, step.failed);
        let mut going = Vec::new();
        while let Some(task) = step.tasks.get(released as usize) {
            let state = self.tasks.get(task).map_or(TaskState::Cancelled, |task| task.state);
            if state.is_final() {
                ended += 1;
                failed += u32::from(state != TaskState::Succeeded);
            } else {
                let group_is_open =
                    spread.batch == 0 || released < (ended / spread.batch + 1).saturating_mul(spread.batch);
                let has_room = spread.parallelism == 0 || released - ended < spread.parallelism;
                if cancelled || too_many(failed) || !group_is_open || !has_room {
                    break;
                }
                going.push(*task);
            }
            released += 1;
        }
        let give_up = too_many(failed) && !cancelled && (released as usize) < total;
        if released != step.released
            && let Some(run) = self.runs.get_mut(&id)
        {
            let step = &mut run.steps[index as usize];
            (step.released, step.ended, step.failed) = (released, ended, failed);
        }
        for task in going {
            self.enqueue(task, Elapsed(0));
        }
        if give_up {
            self.give_up_step(id, index);
        } else if ended as usize == total {
            self.end_step(id, index);
        }
    }

    /// Whether a task that no peer has may be given to one.
    pub(super) fn is_released(&self, task: &Task) -> bool {
        self.runs.get(&task.run).and_then(|run| run.steps.get(task.step as usize)).is_some_and(|step| {
            step.tasks.iter().position(|id| *id == task.id).is_some_and(|at| at < step.released as usize)
        })
    }

    /// Counts a task that ended, and moves its step on.
    pub(super) fn task_ended(&mut self, id: RunId, index: u32, task: TaskId, state: TaskState) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let step = &mut run.steps[index as usize];
        // Ids grow within a step.
        if step.tasks.binary_search(&task).is_ok_and(|at| at < step.released as usize) {
            step.ended += 1;
            step.failed += u32::from(state != TaskState::Succeeded);
        }
        self.notify(Notice::Run(id));
        self.advance_step(id, index);
    }

    /// Ends the tasks of a step that were not begun: too many others failed.
    fn give_up_step(&mut self, id: RunId, index: u32) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let step = &mut run.steps[index as usize];
        let unreleased = step.tasks[step.released as usize..].to_vec();
        step.released = u32::try_from(step.tasks.len()).unwrap_or(u32::MAX);
        let (over, waiting): (Vec<TaskId>, Vec<TaskId>) = unreleased
            .into_iter()
            .partition(|task| self.tasks.get(task).is_none_or(|task| task.state.is_final()));
        // Those over already were cancelled one by one, and not counted yet.
        let over = u32::try_from(over.len()).unwrap_or(u32::MAX);
        step.ended += over;
        step.failed += over;
        let all_ended = step.ended as usize == step.tasks.len();
        for task in waiting {
            if let Some(task) = self.tasks.get_mut(&task) {
                task.reason = Some("it was not begun: too many others failed".to_string());
            }
            self.end_task(task, TaskState::Cancelled);
        }
        if all_ended {
            self.end_step(id, index);
        }
    }

    fn end_step(&mut self, id: RunId, index: u32) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let cancelled = run.cancel_requested;
        let step = &mut run.steps[index as usize];
        let total = step.tasks.len();
        step.state = match (step.failed, cancelled) {
            (0, _) => StepState::Succeeded,
            (_, true) => StepState::Cancelled,
            _ => StepState::Failed,
        };
        if step.state == StepState::Failed {
            let name = step.action.as_ref().map_or("the command".to_string(), |name| format!("`{name}`"));
            run.reason = Some(format!("{name} failed on {} of {total}", run.steps[index as usize].failed));
        }
        self.step_ended(id, index);
    }

    /// Goes to the next step, or ends the run.
    fn step_ended(&mut self, id: RunId, index: u32) {
        let Some(run) = self.runs.get(&id) else { return };
        let step = &run.steps[index as usize];
        let stop =
            run.cancel_requested || (step.state == StepState::Failed && step.on_failure == OnFailure::Stop);
        if stop || index as usize + 1 == run.steps.len() {
            self.finish_run(id);
        } else {
            self.start_step(id, index + 1);
        }
    }

    fn finish_run(&mut self, id: RunId) {
        let now = self.globals.clock.wall;
        let Some(run) = self.runs.get_mut(&id) else { return };
        for step in &mut run.steps {
            if step.state == StepState::Waiting {
                step.state = StepState::Skipped;
            }
        }
        run.state = if run.cancel_requested {
            RunState::Cancelled
        } else if run.steps.iter().any(|step| step.state == StepState::Failed) {
            RunState::Failed
        } else {
            RunState::Succeeded
        };
        run.finished = Some(now);
        let verdict = match run.state {
            RunState::Cancelled => "was cancelled".to_string(),
            RunState::Failed => format!("failed: {}", run.reason.as_deref().unwrap_or("a step failed")),
            _ => "succeeded".to_string(),
        };
        self.indexes.open_runs.remove(&id);
        self.indexes.finished_runs.insert((now, id));
        self.record(Actor::System, EventKind::RunFinished(id), format!("run {id} {verdict}"));
        self.notify(Notice::Run(id));
        while self.has_too_many_finished() {
            let Some((_, oldest)) = self.indexes.finished_runs.pop_first() else { break };
            self.forget_run(oldest);
        }
    }

    fn has_too_many_finished(&self) -> bool {
        let runs = self.indexes.finished_runs.len();
        let tasks = self.tasks.len() - self.indexes.open_tasks.len();
        runs > FINISHED_RUNS_KEPT_MAX || runs > 1 && tasks > FINISHED_TASKS_KEPT_MAX
    }

    fn forget_run(&mut self, id: RunId) {
        for task in self.tasks_of(id) {
            self.forget_output(task);
            self.tasks.remove(&task);
        }
        self.runs.remove(&id);
        self.notify(Notice::Run(id));
    }

    pub(super) fn cancel_run(&mut self, id: RunId) -> Outcome {
        let Some(run) = self.runs.get_mut(&id) else { return Err(Rejection::not_found("run", id)) };
        if run.state != RunState::Running {
            return Err(Rejection::conflict(format!("run {id} has ended already")));
        }
        run.cancel_requested = true;
        let tasks = run.steps[run.current as usize].tasks.clone();
        self.notify(Notice::Run(id));
        // Waiting ones first: none of them may start in the place of one that ends.
        let (waiting, going): (Vec<TaskId>, Vec<TaskId>) = tasks
            .into_iter()
            .filter(|task| self.tasks.get(task).is_some_and(|task| !task.state.is_final()))
            .partition(|task| self.tasks.get(task).is_some_and(|task| task.state == TaskState::Queued));
        for task in waiting.into_iter().chain(going) {
            self.request_cancel(task);
        }
        self.dispatch();
        Ok(Reply::Done)
    }

    /// The tasks of a run, in order.
    pub fn tasks_of(&self, run: RunId) -> Vec<TaskId> {
        self.runs.get(&run).map_or_else(Vec::new, |run| {
            run.steps.iter().flat_map(|step| step.tasks.iter().copied()).collect()
        })
    }

    /// A run.
    pub fn run(&self, id: RunId) -> Option<&Arc<Run>> {
        self.runs.get(&id)
    }

    /// Runs before `before` (all where absent), newest first.
    pub fn runs_before(&self, before: Option<RunId>) -> impl Iterator<Item = &Arc<Run>> {
        let end = before.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.runs.range((std::ops::Bound::Unbounded, end)).rev().map(|(_, run)| run)
    }

    /// Rebuilds what is derived from runs and tasks.
    pub(super) fn index_runs(&mut self) {
        for (id, run) in self.runs.iter() {
            if run.state == RunState::Running {
                self.indexes.open_runs.insert(*id);
            } else {
                self.indexes.finished_runs.insert((run.finished.unwrap_or(run.created), *id));
            }
        }
        self.index_tasks();
    }
}

fn waiting_step(action: Option<Name>, plan: Arc<Action>, target: Target, on_failure: OnFailure) -> RunStep {
    RunStep {
        action,
        plan,
        target,
        on_failure,
        state: StepState::Waiting,
        tasks: Vec::new(),
        released: 0,
        ended: 0,
        failed: 0,
    }
}

fn new_task(id: TaskId, run: RunId, step: u32, node: Option<Name>, now: crate::model::Timestamp) -> Task {
    Task {
        id,
        run,
        step,
        node,
        state: TaskState::Queued,
        executor: None,
        attempt: 0,
        tries: 0,
        losses: 0,
        not_before: Elapsed(0),
        deadline: None,
        cancel_requested: false,
        awaiting_input: false,
        exit_code: None,
        reason: None,
        history: Vec::new(),
        output: OutputTotals::default(),
        created: now,
        started: None,
        finished: None,
    }
}
