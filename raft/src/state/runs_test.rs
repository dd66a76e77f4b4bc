#![allow(clippy::unwrap_used)]

use super::testing::*;
use crate::command::{Command, EndingResult, RejectionKind, Reply, StartRun, StartStep, What};
use crate::model::*;

fn with_nodes(nodes: &[&str]) -> Driver {
    let mut driver = Driver::with_peers(1);
    driver.fleet(nodes);
    driver
}

fn spread(parallelism: u32, batch: u32, max_failures_percent: u8) -> Action {
    command(|action| action.spread = Spread { parallelism, batch, max_failures_percent })
}

fn on_web() -> Scope {
    Scope { cluster: Some(name("web")), node: None }
}

fn step(target: Target, on_failure: OnFailure) -> StartStep {
    StartStep { what: What::Named(name("tidy")), target, on_failure }
}

/// Tasks that a peer has, by number.
fn going(driver: &Driver) -> Vec<u64> {
    driver.state.open_tasks().filter(|task| task.state != TaskState::Queued).map(|task| task.id.0).collect()
}

const SIX: [&str; 6] = ["web01", "web02", "web03", "web04", "web05", "web06"];

#[test]
fn steps_follow_one_another_and_stop_at_a_failure() {
    let mut driver = with_nodes(&["web01", "web02"]);
    let steps = vec![
        step(Target::Cluster, OnFailure::Stop),
        step(Target::LastNode, OnFailure::Continue),
        step(Target::Named(name("web01")), OnFailure::Stop),
        step(Target::Cluster, OnFailure::Stop),
    ];
    let run = driver.start(on_web(), steps);
    assert_eq!(driver.task_states().len(), 2, "the second step waits");
    driver.carry_out(1, EndingResult::Succeeded);
    driver.carry_out(2, EndingResult::Succeeded);
    assert_eq!(driver.task(3).node, Some(name("web02")), "the node that joined last");
    driver.carry_out(3, EndingResult::Failed);
    driver.carry_out(4, EndingResult::Failed);
    assert_eq!(driver.run_state(run), RunState::Failed);
    let states: Vec<_> = driver.state.run(run).unwrap().steps.iter().map(|step| step.state).collect();
    use StepState::{Failed, Skipped, Succeeded};
    assert_eq!(states, [Succeeded, Failed, Failed, Skipped]);
    assert_eq!(driver.state.run(run).unwrap().reason.as_deref(), Some("`tidy` failed on 1 of 1"));
}

#[test]
fn a_pause_is_one_task_on_no_node_whatever_its_target() {
    let mut driver = with_nodes(&["web01", "web02"]);
    driver.put("settle", Spec::Action(Box::new(pause(secs(30)))));
    let settle =
        |target| StartStep { what: What::Named(name("settle")), target, on_failure: OnFailure::Stop };
    let run = driver.start(on_web(), vec![settle(Target::Cluster), settle(Target::Nowhere)]);
    for task in [1, 2] {
        assert_eq!(driver.task_states().len(), task);
        assert_eq!(driver.task(task as u64).node, None);
        driver.carry_out(task as u64, EndingResult::Succeeded);
    }
    assert_eq!(driver.run_state(run), RunState::Succeeded);
}

#[test]
fn a_pause_has_bounds() {
    let mut driver = with_nodes(&["web01"]);
    let mut refused = |action: Action| {
        let fields = driver.try_put("settle", Spec::Action(Box::new(action))).unwrap_err().fields;
        fields.into_iter().map(|field| field.pointer).collect::<Vec<_>>()
    };
    assert_eq!(refused(Action { timeout: secs(24 * 3600), ..pause(secs(12 * 3600 + 1)) }), ["/for"]);
    assert_eq!(refused(Action { timeout: secs(30), ..pause(secs(30)) }), ["/timeout"]);
}

#[test]
fn a_run_keeps_the_actions_it_began_with() {
    let mut driver = with_nodes(&["web01"]);
    let run = driver.start(on_web(), vec![step(Target::Cluster, OnFailure::Stop)]);
    driver.put("tidy", Spec::Action(Box::new(command(|action| action.timeout = secs(1)))));
    assert_eq!(driver.state.action_of(TaskId(1)).unwrap().timeout, secs(60));
    driver.carry_out(1, EndingResult::Succeeded);
    driver.try_delete(Kind::Action, "tidy").unwrap();
    let Ok(Reply::Run(again)) = driver.apply(Command::RetryRun(run)) else { panic!() };
    assert_eq!(driver.state.action_of(TaskId(2)).unwrap().timeout, secs(60));
    assert_eq!(driver.state.run(again).unwrap().retry_of, Some(run));
    assert_eq!(driver.apply(Command::RetryRun(again)).unwrap_err().kind, RejectionKind::Conflict);
}

#[test]
fn what_cannot_be_started_is_refused() {
    let mut driver = with_nodes(&["web01"]);
    let start = |scope, steps| Command::StartRun(StartRun { scope, steps });
    let one = || vec![step(Target::Cluster, OnFailure::Stop)];
    let nowhere = Scope { cluster: Some(name("db")), node: None };
    let nobody = Scope { cluster: None, node: Some(name("db01")) };
    let missing = StartStep {
        what: What::Named(name("nothing")),
        target: Target::Cluster,
        on_failure: OnFailure::Stop,
    };
    let table = [
        (start(on_web(), Vec::new()), RejectionKind::Invalid),
        (start(on_web(), vec![one()[0].clone(); 65]), RejectionKind::Invalid),
        (start(nowhere, one()), RejectionKind::NotFound),
        (start(nobody, one()), RejectionKind::NotFound),
        (start(on_web(), vec![missing]), RejectionKind::NotFound),
        (Command::CancelRun(RunId(99)), RejectionKind::NotFound),
        (Command::CancelTask(TaskId(99)), RejectionKind::NotFound),
        (Command::RetryRun(RunId(99)), RejectionKind::NotFound),
        (Command::ExecuteTrigger { trigger: name("none"), node: None }, RejectionKind::NotFound),
    ];
    for (command, kind) in table {
        assert_eq!(driver.apply(command.clone()).unwrap_err().kind, kind, "{command:?}");
    }
}

#[test]
fn a_step_without_a_target_fails_with_the_reason() {
    let mut driver = with_nodes(&[]);
    let run = driver.start(on_web(), vec![step(Target::Cluster, OnFailure::Stop)]);
    let run = driver.state.run(run).unwrap();
    assert_eq!(run.state, RunState::Failed);
    assert!(run.reason.as_ref().unwrap().contains("cluster `web` has no nodes"), "{:?}", run.reason);
}

#[test]
fn no_more_than_parallelism_go_at_once() {
    let mut driver = with_nodes(&SIX);
    let run = driver.run_on_web(spread(2, 0, 100));
    assert_eq!(going(&driver), [1, 2]);
    driver.carry_out(1, EndingResult::Succeeded);
    assert_eq!(going(&driver), [2, 3]);
    driver.restart();
    driver.carry_out(3, EndingResult::Failed);
    driver.carry_out(2, EndingResult::Succeeded);
    assert_eq!(going(&driver), [4, 5]);
    for task in 4..=6 {
        driver.carry_out(task, EndingResult::Succeeded);
    }
    assert_eq!(driver.run_state(run), RunState::Failed);
}

#[test]
fn a_batch_begins_when_the_one_before_has_ended() {
    let mut driver = with_nodes(&SIX);
    let run = driver.run_on_web(spread(0, 2, 100));
    assert_eq!(going(&driver), [1, 2]);
    driver.carry_out(1, EndingResult::Succeeded);
    assert_eq!(going(&driver), [2]);
    driver.carry_out(2, EndingResult::Succeeded);
    assert_eq!(going(&driver), [3, 4]);
    for task in 3..=6 {
        driver.carry_out(task, EndingResult::Succeeded);
    }
    assert_eq!(driver.run_state(run), RunState::Succeeded);
}

#[test]
fn a_step_stops_after_more_than_its_share_of_failures() {
    // Of six, at most 33 % may fail: the second failure (33.3 %) is too much.
    let mut driver = with_nodes(&SIX);
    let run = driver.run_on_web(spread(1, 0, 33));
    driver.carry_out(1, EndingResult::Failed);
    assert_eq!(going(&driver), [2]);
    driver.carry_out(2, EndingResult::Failed);
    assert_eq!(driver.run_state(run), RunState::Failed);
    assert_eq!(driver.task_states()[2..], [TaskState::Cancelled; 4]);
    assert!(driver.task(3).reason.as_ref().unwrap().contains("too many others failed"));

    let mut driver = with_nodes(&SIX);
    driver.run_on_web(spread(1, 0, 34));
    driver.carry_out(1, EndingResult::Failed);
    driver.carry_out(2, EndingResult::Failed);
    assert_eq!(going(&driver), [3]);
}

#[test]
fn what_is_going_on_is_finished_after_too_many_failures() {
    let mut driver = with_nodes(&SIX);
    let run = driver.run_on_web(spread(3, 0, 0));
    driver.carry_out(2, EndingResult::Failed);
    assert_eq!(going(&driver), [1, 3]);
    assert_eq!(driver.run_state(run), RunState::Running);
    driver.carry_out(1, EndingResult::Succeeded);
    driver.carry_out(3, EndingResult::Succeeded);
    assert_eq!(driver.run_state(run), RunState::Failed);
}

#[test]
fn a_task_that_is_cancelled_before_its_turn_is_never_given_out() {
    let mut driver = with_nodes(&SIX);
    let run = driver.run_on_web(spread(1, 0, 100));
    for task in [2, 3, 6] {
        driver.apply(Command::CancelTask(TaskId(task))).unwrap();
        assert_eq!(going(&driver), [1]);
    }
    driver.restart();
    driver.carry_out(1, EndingResult::Succeeded);
    assert_eq!(going(&driver), [4]);
    driver.carry_out(4, EndingResult::Succeeded);
    driver.carry_out(5, EndingResult::Succeeded);
    assert_eq!(driver.run_state(run), RunState::Failed, "three were cancelled");
    assert_eq!(driver.state.run(run).unwrap().steps[0].failed, 3);
}

#[test]
fn cancelled_ones_and_too_many_failures_together_end_the_run() {
    let mut driver = with_nodes(&SIX);
    let run = driver.run_on_web(spread(2, 0, 17));
    for task in [4, 6] {
        driver.apply(Command::CancelTask(TaskId(task))).unwrap();
    }
    driver.carry_out(1, EndingResult::Failed);
    assert_eq!(going(&driver), [2, 3], "one of six is 16.7 %; the cancelled ones have not had their turn");
    driver.carry_out(3, EndingResult::Succeeded);
    assert_eq!(going(&driver), [2], "at its turn the fourth counts");
    driver.carry_out(2, EndingResult::Succeeded);
    assert_eq!(driver.run_state(run), RunState::Failed);
    assert_eq!(driver.state.run(run).unwrap().steps[0].ended, 6);
}

#[test]
fn a_cancelled_run_starts_nothing_more() {
    let mut driver = with_nodes(&SIX);
    let run = driver.run_on_web(spread(2, 0, 100));
    driver.begin(1);
    driver.apply(Command::CancelRun(run)).unwrap();
    assert_eq!(going(&driver), [1, 2]);
    driver.finish(1, EndingResult::Cancelled);
    driver.finish(2, EndingResult::Cancelled);
    assert_eq!(driver.run_state(run), RunState::Cancelled);
    assert!(driver.task_states().iter().all(|state| *state == TaskState::Cancelled));
    assert_eq!(driver.apply(Command::CancelRun(run)).unwrap_err().kind, RejectionKind::Conflict);
}

#[test]
fn executing_a_trigger_by_hand_runs_its_steps() {
    let mut driver = with_nodes(&["web01"]);
    driver.put("busy", trigger(|_| ()));
    let execute =
        |node: Option<&str>| Command::ExecuteTrigger { trigger: name("busy"), node: node.map(name) };
    driver.apply(execute(Some("web01"))).unwrap();
    assert_eq!(driver.task(1).node, Some(name("web01")));
    driver.apply(execute(None)).unwrap();
    let run = driver.state.run(RunId(2)).unwrap();
    assert!(run.reason.as_ref().unwrap().contains("about no node"), "{:?}", run.reason);
}

#[test]
fn a_deleted_node_fails_the_step_that_comes_to_it() {
    let mut driver = with_nodes(&["web01", "web02"]);
    let steps =
        vec![step(Target::Cluster, OnFailure::Stop), step(Target::Named(name("web02")), OnFailure::Stop)];
    let run = driver.start(on_web(), steps);
    driver.try_delete(Kind::Node, "web02").unwrap();
    driver.carry_out(1, EndingResult::Succeeded);
    driver.carry_out(2, EndingResult::Succeeded);
    let run = driver.state.run(run).unwrap();
    assert_eq!(run.state, RunState::Failed);
    assert!(run.reason.as_ref().unwrap().contains("there is no node `web02`"));
}

#[test]
fn tasks_are_bounded_over_all_runs() {
    const NODES: usize = 5000;
    let nodes: Vec<String> = (0..NODES).map(|number| format!("web{number:04}")).collect();
    // Without a peer none of them begins.
    let mut driver = Driver::new();
    driver.fleet(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    let ask = |driver: &mut Driver| {
        let steps = vec![step(Target::Cluster, OnFailure::Stop)];
        driver.apply(Command::StartRun(StartRun { scope: on_web(), steps }))
    };
    let runs: Vec<RunId> = std::iter::from_fn(|| match ask(&mut driver) {
        Ok(Reply::Run(run)) => Some(run),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => {
            assert_eq!(rejection.kind, RejectionKind::TooMany);
            assert!(rejection.to_string().contains("200000 tasks"), "{rejection}");
            None
        }
    })
    .collect();
    assert_eq!(runs.len() * NODES, 200_000);
    for run in &runs {
        driver.apply(Command::CancelRun(*run)).unwrap();
    }
    let kept: Vec<RunId> = driver.state.runs_before(None).map(|run| run.id).collect();
    assert_eq!(kept.len() * NODES, 100_000, "of finished ones the newest are kept");
    assert_eq!(kept[0], *runs.last().unwrap());
    assert_eq!(driver.state.tasks_before(None).count(), 100_000);
    ask(&mut driver).unwrap();
}
