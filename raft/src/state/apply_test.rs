//! What holds for every command alike.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::testing::*;
use super::{State, StateDigest};
use crate::command::{Command, EndingResult, Progress, Proposal, RejectionKind, Reply, StartStep, What};
use crate::model::*;

#[test]
fn a_named_request_is_answered_with_its_first_outcome() {
    let mut driver = Driver::with_peers(1);
    driver.fleet(&["web01"]);
    let named = |request: u128, command: Command| Proposal {
        request: Some(RequestId(request)),
        actor: Actor::System,
        command,
    };
    let start = || {
        let what = What::Named(name("tidy"));
        let steps = vec![StartStep { what, target: Target::Cluster, on_failure: OnFailure::Stop }];
        let scope = Scope { cluster: Some(name("web")), node: None };
        Command::StartRun(crate::command::StartRun { scope, steps })
    };
    let first = driver.propose(named(1, start()));
    assert_eq!(first, Ok(Reply::Run(RunId(1))));
    driver.restart();
    assert_eq!(driver.propose(named(1, start())), first);
    assert_eq!(
        driver.propose(named(1, Command::CancelRun(RunId(1)))),
        first,
        "the name counts, not the content"
    );
    assert_eq!(driver.propose(named(2, start())), Ok(Reply::Run(RunId(2))));
    let refused = driver.propose(named(3, Command::CancelRun(RunId(9)))).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::NotFound);
    assert_eq!(driver.propose(named(3, start())).unwrap_err(), refused, "a refusal is an outcome too");
    assert_eq!(driver.state.runs_before(None).count(), 2);
}

#[test]
fn outcomes_are_remembered_for_a_day_of_the_replicated_clock() {
    let mut driver = Driver::new();
    let proposal = |delta_ms| Proposal {
        request: Some(RequestId(7)),
        actor: Actor::System,
        command: Command::ChangeSettings(Settings { keep_raw: secs(delta_ms), ..Settings::default() }),
    };
    driver.propose(proposal(7200)).unwrap();
    let wall = driver.state.clock().wall;
    for _ in 0..86_400 / 2 - 1 {
        driver.apply(Command::Tick { term: 1, first: false, delta_ms: 2000, wall }).unwrap();
    }
    driver.propose(proposal(7300)).unwrap();
    assert_eq!(driver.state.settings().keep_raw, secs(7200));
    driver.apply(Command::Tick { term: 1, first: false, delta_ms: 2000, wall }).unwrap();
    driver.propose(proposal(7300)).unwrap();
    assert_eq!(driver.state.settings().keep_raw, secs(7300));
}

#[test]
fn outcomes_that_nobody_asks_for_later_are_soon_forgotten() {
    let mut driver = Driver::new();
    for request in [RequestId::passing(7), RequestId::named(7)] {
        let command = Command::ChangeSettings(Settings::default());
        driver.propose(Proposal { request: Some(request), actor: Actor::System, command }).unwrap();
    }
    let wall = driver.state.clock().wall;
    for _ in 0..300 / 2 {
        driver.apply(Command::Tick { term: 1, first: false, delta_ms: 2000, wall }).unwrap();
    }
    assert_eq!(driver.state.outcome_of(RequestId::passing(7)), None);
    assert!(driver.state.outcome_of(RequestId::named(7)).is_some());
}

#[test]
fn a_checkpoint_of_an_unknown_table_is_refused() {
    let rows = [(vec![b'z', 1], vec![0])];
    let error = State::load(rows, [], 1).err().unwrap();
    assert!(error.to_string().contains("table `z`"), "{error}");
}

/// Something that is proposed; which objects, tasks and peers it is about is picked among those there are.
#[derive(Clone, Debug)]
enum Event {
    Put(u8, u8),
    Delete(u8, u8),
    Run { parallelism: u32, batch: u32, share: u8, attempts: u32, retry_lost: bool },
    Report(u8, u8),
    CancelTask(u8),
    CancelRun(u8),
    Retry(u8),
    Pass(u16),
    Peer(u8, bool),
    Samples(u8, u8),
    Named(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Put(a, b)),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Delete(a, b)),
        3 => (0u32..3, 0u32..3, prop_oneof![Just(0u8), Just(50), Just(100)], 1u32..3, any::<bool>()).prop_map(
            |(parallelism, batch, share, attempts, retry_lost)| {
                Event::Run { parallelism, batch, share, attempts, retry_lost }
            }
        ),
        10 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Report(a, b)),
        2 => any::<u8>().prop_map(Event::CancelTask),
        1 => any::<u8>().prop_map(Event::CancelRun),
        1 => any::<u8>().prop_map(Event::Retry),
        4 => (1u16..9000).prop_map(Event::Pass),
        2 => any::<(u8, bool)>().prop_map(|(a, b)| Event::Peer(a, b)),
        2 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Samples(a, b)),
        1 => any::<u8>().prop_map(Event::Named),
    ]
}

const NODES: [&str; 5] = ["web01", "web02", "web03", "web04", "web05"];

fn happen(driver: &mut Driver, event: &Event) {
    let task_of = |driver: &Driver, which: u8| {
        let open: Vec<u64> = driver.state.open_tasks().map(|task| task.id.0).collect();
        (!open.is_empty()).then(|| open[usize::from(which) % open.len()])
    };
    match event {
        Event::Put(which, how) => {
            let node_name = NODES[usize::from(*which) % NODES.len()];
            let profile = (how % 3 != 0).then_some("ops");
            let _ = driver.try_put(node_name, node_with("web", profile));
        }
        Event::Delete(which, how) => {
            let (kind, object) = match how % 4 {
                0 => (Kind::Counter, "load1"),
                1 => (Kind::Trigger, "busy"),
                2 => (Kind::Cluster, "web"),
                _ => (Kind::Node, NODES[usize::from(*which) % NODES.len()]),
            };
            let _ = driver.try_delete(kind, object);
        }
        Event::Run { parallelism, batch, share, attempts, retry_lost } => {
            driver.run_on_web(command(|action| {
                action.spread =
                    Spread { parallelism: *parallelism, batch: *batch, max_failures_percent: *share };
                action.retry.attempts = *attempts;
                if *retry_lost {
                    action.on_executor_loss = OnExecutorLoss::Retry;
                }
            }));
        }
        Event::Report(which, how) => {
            let Some(task) = task_of(driver, *which) else { return };
            let progress = match how % 8 {
                0 | 1 => Progress::Started,
                2 => finished(EndingResult::Failed),
                3 => finished(EndingResult::HandedBack),
                4 => finished(EndingResult::TimedOut),
                5 => {
                    let bytes = vec![*how; usize::from(*how) * 100];
                    let chunk = OutputChunk { attempt: 0, stream: Stream::Stdout, bytes: bytes.into() };
                    Progress::Output { chunks: vec![chunk], missed_bytes: 1 }
                }
                _ => finished(EndingResult::Succeeded),
            };
            driver.report(task, progress);
        }
        Event::CancelTask(which) => {
            if let Some(task) = task_of(driver, *which) {
                driver.apply(Command::CancelTask(TaskId(task))).unwrap();
            }
        }
        Event::CancelRun(which) => {
            let _ = driver.apply(Command::CancelRun(RunId(u64::from(*which % 8))));
        }
        Event::Retry(which) => {
            let _ = driver.apply(Command::RetryRun(RunId(u64::from(*which % 8))));
        }
        Event::Pass(ms) => driver.pass(i64::from(*ms)),
        Event::Peer(which, starts) => {
            let peer = u64::from(which % 3) + 1;
            if *starts {
                let tasks_max = u32::from(which % 5) + 1;
                let work = ["ssh".to_string()].into();
                let boot = driver.index.into();
                driver.open_with(peer, boot, Capabilities { work, tasks_max, version: String::new() });
            } else {
                driver.alive.remove(&PeerId(peer));
            }
        }
        Event::Samples(which, value) => {
            let at = driver.state.clock().wall.0 / 1000 - BEGIN;
            driver.push(&[(NODES[usize::from(*which) % NODES.len()], at, f64::from(value % 8))]);
        }
        Event::Named(which) => {
            let request = Some(RequestId(u128::from(which % 4)));
            let command = Command::CancelRun(RunId(u64::from(*which)));
            let _ = driver.propose(Proposal { request, actor: Actor::System, command });
        }
    }
}

fn begin() -> Driver {
    let mut driver = Driver::with_peers(3);
    driver.fleet(&NODES[..3]);
    driver.put("busy", trigger(|t| t.hold = secs(5)));
    driver
}

/// What must be so after every entry.
fn check(driver: &Driver) {
    let state = &driver.state;
    for task in state.tasks_before(None) {
        let held = matches!(task.state, TaskState::Assigned | TaskState::Running);
        assert_eq!(task.executor.is_some(), held, "{task:?}");
        assert_eq!(task.deadline.is_some(), held, "{task:?}");
        if let Some(executor) = task.executor {
            let session = state.session(executor.peer);
            assert_eq!(session.map(|s| s.epoch), Some(executor.session), "a task is held by a live session");
        }
    }
    for run in state.runs_before(None) {
        for step in &run.steps {
            assert!(step.ended <= step.released && step.failed <= step.ended, "{step:?}");
            let over = step.tasks.iter().filter(|id| state.task(**id).unwrap().state.is_final()).count();
            assert!(step.ended as usize <= over, "{step:?}");
            let all_over = over == step.tasks.len();
            assert!(
                step.state != StepState::Running || !all_over,
                "a step whose tasks are over has ended: {step:?}"
            );
            let going = step.tasks.iter().filter(|id| state.task(**id).unwrap().executor.is_some()).count();
            let most = step.plan.spread.parallelism as usize;
            assert!(most == 0 || going <= most, "{going} at once: {step:?}");
        }
    }
    for (_, session) in state.sessions() {
        let held =
            state.open_tasks().filter(|task| task.executor.is_some_and(|e| e.session == session.epoch));
        assert!(held.count() as u32 <= session.capabilities.tasks_max);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The same commands give the same state, whatever the peer's restarts, and however entries are batched: they
    /// are applied one by one in any batch.
    #[test]
    fn the_same_commands_give_the_same_digest_with_a_restart_at_any_index(
        events in prop::collection::vec(event(), 1..80),
        restarts in prop::collection::btree_set(0usize..80, 0..40),
    ) {
        let mut straight = begin();
        for event in &events {
            happen(&mut straight, event);
            check(&straight);
        }
        let mut replayed = Driver::new();
        let restarts: BTreeSet<usize> = restarts.iter().map(|at| at * straight.log.len() / 80).collect();
        for (position, proposal) in straight.log.clone().into_iter().enumerate().skip(1) {
            if restarts.contains(&position) {
                replayed.restart();
            }
            let _ = replayed.propose(proposal);
        }
        prop_assert_eq!(straight.state.digest(), replayed.state.digest());
    }

    /// What two peers compare costs what has changed, and is the same as if everything were encoded.
    #[test]
    fn a_digest_that_follows_the_changes_is_that_of_the_whole_state(
        events in prop::collection::vec(event(), 1..60),
        restart_at in 0usize..60,
    ) {
        let mut driver = begin();
        let mut follows = StateDigest::default();
        for (position, event) in events.iter().enumerate() {
            happen(&mut driver, event);
            if position == restart_at {
                driver.restart();
                follows = StateDigest::default();
            }
            if position % 3 == 0 || position + 1 == events.len() {
                follows.absorb(driver.state.undigested());
                prop_assert_eq!(follows.finish(), driver.state.digest());
            }
        }
    }

    /// Whatever happened, once a peer with room works and time passes, every run ends.
    #[test]
    fn no_run_is_stuck(events in prop::collection::vec(event(), 1..60)) {
        let mut driver = begin();
        for event in &events {
            happen(&mut driver, event);
        }
        driver.open(1, 1 << 100);
        for _ in 0..1000 {
            let held = driver.state.open_tasks().find(|task| task.executor.is_some()).map(|task| task.id.0);
            match held {
                Some(task) => {
                    driver.report(task, Progress::Started);
                    driver.finish(task, EndingResult::Succeeded);
                    check(&driver);
                }
                None if driver.state.open_tasks().next().is_some() => driver.pass(20_000),
                None => break,
            }
        }
        let open: Vec<_> = driver.state.runs_before(None).filter(|r| r.state == RunState::Running).collect();
        prop_assert!(open.is_empty(), "{:?}", open);
    }
}
