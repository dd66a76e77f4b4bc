#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::testing::*;
use crate::command::{Command, EndingResult, Proposal};
use crate::decide::replay::replay;
use crate::decide::watch::Sample;
use crate::model::*;

fn fired(kind: &EventKind) -> bool {
    matches!(kind, EventKind::TriggerFired { .. })
}

fn about_triggers(driver: &Driver) -> Vec<String> {
    driver.events(|kind| {
        matches!(
            kind,
            EventKind::TriggerFired { .. } | EventKind::TriggerSilenced(_) | EventKind::TriggerRecovered(_)
        )
    })
}

fn watched(change: impl FnOnce(&mut Trigger)) -> Driver {
    let mut driver = Driver::with_peers(1);
    driver.fleet(&["web01", "web02"]);
    driver.put("busy", trigger(change));
    driver
}

/// A sample now.
fn now(driver: &mut Driver, at: i64, node: &str, value: f64) {
    driver.until(at);
    assert_eq!(driver.push(&[(node, at, value)]), 1);
}

#[test]
fn a_firing_and_its_run_are_one_entry() {
    let mut driver = watched(|t| t.hold = secs(20));
    for at in [10, 20] {
        now(&mut driver, at, "web02", 5.0);
    }
    assert!(driver.state.runs_before(None).next().is_none());
    driver.until(30);
    let index = driver.index;
    driver.push(&[("web02", 30, 7.0)]);
    assert_eq!(driver.index, index + 1);
    let run = driver.state.run(RunId(1)).unwrap();
    assert_eq!(run.scope, Scope { cluster: Some(name("web")), node: Some(name("web02")) });
    let Cause::Trigger { trigger, evidence } = &run.cause else { panic!("{:?}", run.cause) };
    assert_eq!((trigger, evidence.len()), (&name("busy"), 3));
    assert_eq!(evidence[2].value, Some(7.0));
    assert_eq!(driver.task(1).state, TaskState::Assigned, "given to a peer by the same entry");
    assert_eq!(driver.events(fired), ["trigger `busy` fired on node `web02`: load1 is 7; run 1"]);
    let report = driver.state.trigger_state(&name("busy")).unwrap();
    assert_eq!(report.phase.as_str(), "firing");
    assert_eq!(report.bells[0].bell.run, Some(RunId(1)));
    assert_eq!(report.subjects[0].node, Some(name("web02")));
    assert_eq!(report.subjects[0].series.as_ref().unwrap().counter.as_ref(), "load1");
}

#[test]
fn a_hold_goes_on_across_restarts_and_a_change_of_leader() {
    let mut driver = watched(|t| t.hold = secs(50));
    for at in (10..=50).step_by(10) {
        now(&mut driver, at, "web01", 5.0);
        driver.restart();
        let wall = driver.state.clock().wall;
        driver.apply(Command::Tick { term: 1, first: true, delta_ms: 0, wall }).unwrap();
    }
    assert!(driver.events(fired).is_empty());
    now(&mut driver, 60, "web01", 5.0);
    assert_eq!(driver.events(fired).len(), 1);
    driver.restart();
    now(&mut driver, 70, "web01", 5.0);
    assert_eq!(driver.events(fired).len(), 1);
}

#[test]
fn samples_that_move_nothing_change_no_row_of_triggers() {
    let mut driver = watched(|t| t.hold = secs(50));
    for at in [10, 20] {
        now(&mut driver, at, "web01", 5.0);
        now(&mut driver, at + 1, "web02", 1.0);
    }
    driver.restart();
    now(&mut driver, 30, "web01", 5.0);
    now(&mut driver, 31, "web02", 1.0);
    let rows = driver.state.drain().rows;
    let touched: Vec<u8> = rows.iter().map(|row| row.key[0]).filter(|p| b"GVB".contains(p)).collect();
    assert!(touched.is_empty(), "{touched:?}");
}

#[test]
fn a_disabled_trigger_keeps_no_state_and_begins_anew() {
    let mut driver = watched(|t| t.cooldown = secs(3600));
    now(&mut driver, 10, "web01", 5.0);
    driver.put(
        "busy",
        trigger(|t| {
            t.cooldown = secs(3600);
            t.enabled = false;
        }),
    );
    now(&mut driver, 20, "web01", 5.0);
    let report = driver.state.trigger_state(&name("busy")).unwrap();
    assert!(!report.enabled && report.subjects.is_empty() && report.bells.is_empty());
    driver.put("busy", trigger(|t| t.cooldown = secs(3600)));
    driver.restart();
    now(&mut driver, 30, "web01", 5.0);
    assert_eq!(driver.events(fired).len(), 2, "not even the cooldown is left");
}

#[test]
fn a_changed_trigger_begins_anew_within_its_cooldown() {
    let mut driver = watched(|t| t.cooldown = secs(60));
    now(&mut driver, 10, "web01", 5.0);
    driver.put(
        "busy",
        trigger(|t| {
            t.cooldown = secs(60);
            t.conditions[0].threshold = 3.0;
        }),
    );
    assert_eq!(driver.state.trigger_state(&name("busy")).unwrap().phase, Phase::Ok);
    now(&mut driver, 20, "web01", 5.0);
    assert_eq!(driver.events(fired).len(), 1);
    now(&mut driver, 70, "web01", 5.0);
    assert_eq!(driver.events(fired).len(), 2);
}

#[test]
fn new_steps_or_labels_reset_nothing() {
    let mut driver = watched(|t| t.hold = secs(20));
    now(&mut driver, 10, "web01", 5.0);
    driver.put(
        "busy",
        trigger(|t| {
            t.hold = secs(20);
            t.steps[0].target = Target::Cluster;
        }),
    );
    now(&mut driver, 30, "web01", 5.0);
    assert_eq!(driver.events(fired).len(), 1);
    assert_eq!(driver.task_states().len(), 2, "with the steps of now");
}

#[test]
fn a_node_that_leaves_takes_what_it_held_with_it() {
    for (case, leave) in
        [("deleted", vec![delete(Kind::Node, "web01")]), ("moved", vec![put("web01", node("db"))])]
    {
        let mut driver = watched(|_| ());
        driver.put("db", cluster());
        now(&mut driver, 10, "web01", 5.0);
        driver.configure(leave).unwrap();
        assert_eq!(about_triggers(&driver)[1..], ["trigger `busy` recovered"], "{case}");
        driver.restart();
        now(&mut driver, 20, "web02", 5.0);
        assert_eq!(driver.events(fired).len(), 2, "{case}");
    }
}

#[test]
fn a_node_that_joins_is_watched_at_once() {
    let mut driver = watched(|_| ());
    driver.put("web03", node("web"));
    now(&mut driver, 10, "web03", 5.0);
    assert_eq!(driver.events(fired), ["trigger `busy` fired on node `web03`: load1 is 5; run 1"]);
}

#[test]
fn a_counter_that_measures_something_else_is_judged_anew() {
    let mut driver = watched(|t| t.hold = secs(20));
    now(&mut driver, 10, "web01", 5.0);
    let Spec::Counter(mut other) = counter(10) else { unreachable!() };
    other.unit = "procs".to_string();
    driver.put("load1", Spec::Counter(other.clone()));
    assert_eq!(driver.state.trigger_state(&name("busy")).unwrap().phase.as_str(), "pending");
    other.source =
        CounterSource::Ssh(SshCounter { script: Value::Inline("nproc".to_string()), parse: Parse::Number });
    driver.put("load1", Spec::Counter(other));
    assert_eq!(driver.state.trigger_state(&name("busy")).unwrap().phase.as_str(), "ok");
}

#[test]
fn a_deleted_trigger_leaves_no_rows() {
    let mut driver = watched(|_| ());
    now(&mut driver, 10, "web01", 5.0);
    driver.restart();
    driver.try_delete(Kind::Trigger, "busy").unwrap();
    assert!(driver.state.trigger_state(&name("busy")).is_none());
    assert!(
        driver.state.watched.is_empty() && driver.state.tracked.is_empty() && driver.state.bells.is_empty()
    );
    driver.restart();
}

#[test]
fn maintenance_holds_back_until_it_ends() {
    let mut driver = watched(|_| ());
    driver.put("upgrade", window(WindowScope::Cluster(name("web")), 5, 30));
    now(&mut driver, 10, "web01", 5.0);
    assert_eq!(
        about_triggers(&driver),
        ["trigger `busy` would fire on node `web01`, but for maintenance `upgrade`"]
    );
    let report = driver.state.trigger_state(&name("busy")).unwrap();
    assert_eq!(report.bells[0].bell.held, Some(Held::Maintenance(name("upgrade"))));
    driver.until(29);
    assert!(driver.events(fired).is_empty());
    driver.restart();
    driver.until(30);
    assert_eq!(driver.events(fired).len(), 1);
    assert_eq!(driver.task(1).state, TaskState::Assigned);
}

#[test]
fn a_window_that_is_deleted_lets_it_fire_at_once() {
    let mut driver = watched(|_| ());
    driver.put("upgrade", window(WindowScope::Node(name("web01")), 0, 3600));
    now(&mut driver, 10, "web01", 5.0);
    driver.try_delete(Kind::MaintenanceWindow, "upgrade").unwrap();
    assert_eq!(driver.events(fired).len(), 1);
    assert_eq!(driver.task(1).state, TaskState::Assigned);
}

#[test]
fn missing_data_is_found_by_ticks_alone() {
    let mut driver = watched(|t| {
        t.no_data = NoData::FireAfter(secs(60));
        t.per = Per::Node;
    });
    now(&mut driver, 10, "web01", 1.0);
    driver.until(59);
    assert!(driver.events(fired).is_empty());
    driver.restart();
    driver.until(71);
    assert_eq!(
        driver.events(fired),
        [
            "trigger `busy` fired on node `web02`: load1 has no data; run 1",
            "trigger `busy` fired on node `web01`: load1 has no data; run 2",
        ]
    );
}

#[test]
fn a_control_plane_that_stood_still_does_not_take_that_for_silence() {
    let mut driver = watched(|t| t.no_data = NoData::FireAfter(secs(60)));
    now(&mut driver, 10, "web01", 1.0);
    now(&mut driver, 11, "web02", 1.0);
    let wall = Timestamp((BEGIN + 5000) * 1000);
    driver.apply(Command::Tick { term: 1, first: true, delta_ms: 0, wall }).unwrap();
    driver.restart();
    driver.until(5059);
    assert!(driver.events(fired).is_empty());
    driver.until(5060);
    assert_eq!(driver.events(fired).len(), 1);
}

#[test]
fn a_run_that_cannot_be_started_is_said_with_the_firing() {
    let mut driver = Driver::new();
    driver.fleet(&["web01"]);
    driver.put("busy", trigger(|_| ()));
    for _ in 0..10_000 {
        driver.run_on_web(command(|_| ()));
    }
    now(&mut driver, 10, "web01", 5.0);
    let said = driver.events(fired);
    assert!(said[0].contains("no run was started: 10000 runs are going on"), "{said:?}");
    let bell = &driver.state.trigger_state(&name("busy")).unwrap().bells[0].bell;
    assert!(bell.rung && bell.run.is_none() && bell.refused.is_some());
}

#[test]
fn the_mean_over_a_cluster_is_judged_with_all_that_reported_in_the_second() {
    let mut driver = watched(|t| {
        t.aggregate = Aggregate::Avg;
        t.steps[0].target = Target::Cluster;
    });
    for at in [10, 20, 30] {
        driver.until(at);
        // Alone the first would be enough.
        driver.push(&[("web01", at, 7.0)]);
        driver.push(&[("web02", at, if at == 30 { 1.1 } else { 0.9 })]);
    }
    driver.until(31);
    let said = driver.events(fired);
    assert_eq!(said, ["trigger `busy` fired: load1 of `web01` is 7; run 1"]);
    assert_eq!(driver.task_states().len(), 2);
    let report = driver.state.trigger_state(&name("busy")).unwrap();
    assert_eq!(report.subjects[0].value, Some(8.1 / 2.0));
}

#[test]
fn a_thousand_nodes_cost_a_sample_no_walk_over_them() {
    let mut driver = Driver::new();
    let nodes: Vec<String> = (0..1000).map(|n| format!("web{n:04}")).collect();
    driver.fleet(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    driver.put(
        "busy",
        trigger(|t| {
            t.aggregate = Aggregate::Sum;
            t.steps[0].target = Target::LastNode;
            t.conditions[0].threshold = 1999.0;
        }),
    );
    for at in [10, 20] {
        driver.until(at);
        let samples: Vec<_> = nodes.iter().map(|node| (node.as_str(), at, 2.0)).collect();
        for some in samples.chunks(50) {
            driver.push(some);
        }
        driver.until(at + 1);
    }
    assert_eq!(driver.events(fired).len(), 1);
    let EventKind::TriggerFired { evidence, .. } =
        &driver.state.events_before(None).find(|e| fired(&e.kind)).unwrap().kind
    else {
        unreachable!()
    };
    assert_eq!(evidence.len(), 16);
}

#[test]
fn a_replay_of_stored_samples_finds_what_fired() {
    let mut driver = watched(|t| {
        t.hold = secs(20);
        t.conditions[0].recover = Some(2.0);
    });
    for (at, value) in (10..).step_by(10).zip([5.0, 5.0, 5.0, 3.0, 1.0, 5.0, 5.0, 5.0]) {
        now(&mut driver, at, "web01", value);
    }
    let state = &driver.state;
    let busy = state.trigger(&name("busy")).unwrap();
    let stored = state.series().of_counter("load1").into_iter().map(|id| {
        let samples = state.series().window(id, 0, i64::MAX);
        let samples = samples.into_iter().map(|(at, value)| Sample { at: Timestamp(at), value });
        ((**state.series().key(id).unwrap()).clone(), secs(10), samples.collect::<Vec<_>>())
    });
    let found = replay(busy, stored, Timestamp(BEGIN * 1000), Timestamp((BEGIN + 100) * 1000));
    let after = |at: Timestamp| at.0 / 1000 - BEGIN;
    let found: Vec<_> = found.iter().map(|f| (after(f.at), f.recovered_at.map(after))).collect();
    assert_eq!(found, [(30, Some(50)), (80, None)]);
    assert_eq!(driver.events(fired).len(), 2);
}

/// One of the things that happen to a control plane with triggers.
#[derive(Clone, Debug)]
enum Event {
    Samples(Vec<(usize, u8)>),
    Tick(u16),
    Trigger(u8),
    Window(bool),
    Node(bool),
    Finish(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => prop::collection::vec((0usize..3, 0u8..8), 1..5).prop_map(Event::Samples),
        8 => (1u16..4000).prop_map(Event::Tick),
        1 => any::<u8>().prop_map(Event::Trigger),
        1 => any::<bool>().prop_map(Event::Window),
        1 => any::<bool>().prop_map(Event::Node),
        1 => any::<u8>().prop_map(Event::Finish),
    ]
}

fn play(events: &[Event], restarts: &std::collections::BTreeSet<usize>) -> Driver {
    const NODES: [&str; 3] = ["web01", "web02", "web03"];
    let mut driver = Driver::with_peers(1);
    driver.fleet(&NODES);
    let kinds: [fn(&mut Trigger); 4] = [
        |t| t.hold = secs(4),
        |t| t.aggregate = Aggregate::Avg,
        |t| {
            t.per = Per::Node;
            t.cooldown = secs(9);
            t.conditions[0].recover = Some(2.0);
        },
        |t| {
            t.no_data = NoData::FireAfter(secs(12));
            t.matching = Matching::All;
            let more = t.conditions[0].clone();
            t.conditions.push(Condition { threshold: 5.0, ..more });
        },
    ];
    let spec = |kind: usize, enabled: bool| {
        trigger(|t| {
            kinds[kind](t);
            t.enabled = enabled;
            t.steps[0].target = Target::LastNode;
        })
    };
    for kind in 0..kinds.len() {
        driver.put(&format!("t{kind}"), spec(kind, true));
    }
    for (position, event) in events.iter().enumerate() {
        if restarts.contains(&position) {
            driver.restart();
        }
        match event {
            Event::Samples(samples) => {
                let at = driver.state.clock().wall.0 / 1000 - BEGIN;
                let samples: Vec<_> =
                    samples.iter().map(|(n, value)| (NODES[*n], at, f64::from(*value))).collect();
                driver.push(&samples);
            }
            Event::Tick(ms) => driver.pass(i64::from(*ms)),
            Event::Trigger(which) => {
                let kind = usize::from(*which) % kinds.len();
                driver.put(&format!("t{kind}"), spec(kind, which % 3 != 0));
            }
            Event::Window(open) => {
                let at = driver.state.clock().wall.0 / 1000 - BEGIN;
                let to = if *open { at + 20 } else { at };
                driver.put("upgrade", window(WindowScope::Node(name("web01")), -100, to));
            }
            Event::Node(here) => {
                let _ = if *here {
                    driver.try_put("web03", node("web"))
                } else {
                    driver.try_delete(Kind::Node, "web03")
                };
            }
            Event::Finish(which) => {
                let task = driver.state.open_tasks().nth(usize::from(*which) % 4).map(|task| task.id.0);
                if let Some(task) = task
                    && driver.task(task).executor.is_some()
                {
                    driver.finish(task, EndingResult::Succeeded);
                }
            }
        }
    }
    driver
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_restart_anywhere_leaves_the_same_state(
        events in prop::collection::vec(event(), 1..60),
        restarts in prop::collection::btree_set(0usize..60, 0..60),
    ) {
        let straight = play(&events, &Default::default());
        let restarted = play(&events, &restarts);
        prop_assert_eq!(about_triggers(&straight), about_triggers(&restarted));
        prop_assert_eq!(straight.state.digest(), restarted.state.digest());
    }

    #[test]
    fn any_batching_of_the_same_samples_fires_the_same(
        values in prop::collection::vec((0usize..2, 0u8..8), 1..60), cuts in prop::collection::vec(1usize..7, 60),
        aggregate in prop_oneof![Just(Aggregate::Each), Just(Aggregate::Avg), Just(Aggregate::Max)],
    ) {
        let run = |cuts: &[usize]| {
            let mut driver = watched(|t| {
                t.aggregate = aggregate;
                t.hold = secs(3);
                t.steps[0].target = Target::LastNode;
            });
            // They were measured one a second and are delivered late, after an outage.
            driver.until(1);
            let samples: Vec<_> = (1..)
                .zip(&values)
                .map(|(at, (n, value))| (["web01", "web02"][*n], at, f64::from(*value)))
                .collect();
            let mut rest = samples.as_slice();
            for cut in cuts {
                let (some, others) = rest.split_at((*cut).min(rest.len()));
                if !some.is_empty() {
                    driver.push(some);
                }
                rest = others;
            }
            driver.pass(2_000);
            driver
        };
        let (one, other) = (run(&[60]), run(&cuts));
        prop_assert_eq!(about_triggers(&one), about_triggers(&other));
        prop_assert_eq!(one.state.runs_before(None).count(), other.state.runs_before(None).count());
    }
}

#[test]
fn an_entry_that_is_proposed_twice_fires_once() {
    let mut driver = watched(|_| ());
    driver.until(10);
    let proposal = Proposal {
        request: Some(RequestId(5)),
        actor: Actor::System,
        command: pushed(&[("web01", 10, 5.0)]),
    };
    let first = driver.propose(proposal.clone());
    assert_eq!(driver.propose(proposal), first);
    assert_eq!(driver.events(fired).len(), 1);
}
