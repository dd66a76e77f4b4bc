//! JVMs: who speaks to them, and what may be said of them.
#![allow(clippy::unwrap_used)]

use super::testing::*;
use crate::command::{Command, EndingResult, Progress, RejectionKind, StartStep, What};
use crate::model::*;

fn jvm(transport: JvmTransport) -> Spec {
    Spec::JvmProfile(Box::new(JvmProfile {
        port: Some(9010),
        url: None,
        user: None,
        password: None,
        tls: false,
        trust_store: None,
        trust_store_password: None,
        transport,
    }))
}

fn node_of(jvms: &[&str], ssh_profile: Option<&str>) -> Spec {
    match node_with("web", ssh_profile) {
        Spec::Node(node) => Spec::Node(Node { jvms: jvms.iter().map(|jvm| name(jvm)).collect(), ..node }),
        other => other,
    }
}

fn with_java(driver: &mut Driver, peer: u64, boot: u128) {
    let work = ["ssh".to_string(), "jmx".to_string()].into();
    driver.open_with(peer, boot, Capabilities { work, tasks_max: 64, version: "0".to_string() });
}

fn home(driver: &Driver, node: &str) -> Option<u64> {
    driver.state.assignment(&name(node)).map(|assignment| assignment.peer.0)
}

fn invoke() -> Action {
    command(|action| {
        action.kind = ActionKind::JmxInvoke(JmxInvokeAction {
            jvm: None,
            mbean: "java.lang:type=Memory".to_string(),
            operation: "gc".to_string(),
            args: Vec::new(),
            signature: Vec::new(),
        });
    })
}

#[test]
fn nodes_with_rmi_go_to_peers_with_java_as_soon_as_there_is_one() {
    let mut driver = Driver::with_peers(3);
    driver.fleet(&["web01", "web02"]);
    driver.put("app", jvm(JvmTransport::Rmi));
    driver.put("bridge", jvm(JvmTransport::Jolokia));
    driver.put("bare", node_of(&["app"], None));
    driver.put("over-http", node_of(&["bridge"], None));
    assert!(home(&driver, "bare").is_some(), "without Java its peer says why nothing is read");
    assert!(!driver.state.has_java());
    with_java(&mut driver, 2, 77);
    assert_eq!(home(&driver, "bare"), Some(2));
    driver.put("bare2", node_of(&["bridge", "app"], None));
    assert_eq!(home(&driver, "bare2"), Some(2));
    let all = driver.state.assignments().count();
    assert_eq!(all, 5, "none is without a peer");
    // What is spoken over HTTP moves like any other.
    driver.put("app", jvm(JvmTransport::Jolokia));
    let homes: std::collections::BTreeSet<u64> =
        driver.state.assignments().map(|(_, assignment)| assignment.peer.0).collect();
    assert_eq!(homes, [1, 2, 3].into());
}

#[test]
fn operations_go_to_peers_with_java_and_without_one_to_whoever_says_so() {
    let mut driver = Driver::with_peers(2);
    driver.fleet(&[]);
    driver.put("app", jvm(JvmTransport::Rmi));
    driver.put("bare", node_of(&["app"], None));
    driver.run_on_web(invoke());
    assert!(driver.task(1).executor.is_some());
    with_java(&mut driver, 2, 77);
    driver.run_on_web(invoke());
    let last = driver.state.open_tasks().map(|task| task.id.0).max().unwrap();
    assert_eq!(driver.task(last).executor.unwrap().peer, PeerId(2));
}

/// Peer 1 without Java and peer 2 with, which takes `java_max` tasks at once; nodes `a` to `c` whose JVMs need Java.
fn one_with_java(java_max: u32) -> Driver {
    let mut driver = Driver::with_peers(2);
    driver.fleet(&[]);
    driver.put("app", jvm(JvmTransport::Rmi));
    for node in ["a", "b", "c"] {
        driver.put(node, node_of(&["app"], Some("ops")));
    }
    let work = ["ssh".to_string(), "jmx".to_string()].into();
    driver.open_with(2, 77, Capabilities { work, tasks_max: java_max, version: "0".to_string() });
    driver
}

fn run_on(driver: &mut Driver, node: &str, what: Action) {
    let step =
        StartStep { what: What::Inline(Box::new(what)), target: Target::Node, on_failure: OnFailure::Stop };
    driver.start(Scope { cluster: None, node: Some(name(node)) }, vec![step]);
}

#[test]
fn tasks_that_wait_for_java_cost_the_others_nothing() {
    let mut driver = one_with_java(1);
    for _ in 0..700 {
        driver.run_on_web(invoke());
    }
    let given = || driver.state.open_tasks().filter(|task| task.executor.is_some()).count();
    assert_eq!(given(), 1, "the peer with Java has its fill");
    assert!(driver.state.indexes.ready_tasks.is_empty(), "none of the others is looked at again");
    let last = driver.state.tasks_before(None).next().unwrap().id.0;
    run_on(&mut driver, "a", command(|_| ()));
    assert_eq!(driver.task(last + 1).executor.unwrap().peer, PeerId(1), "it passes all of them by");
    // One place more is one task more, the oldest.
    driver.carry_out(1, EndingResult::Succeeded);
    let waiting = driver.state.open_tasks().find(|task| task.executor.is_some()).unwrap().id.0;
    assert_eq!(waiting, 2);
    // What its profile says is what counts.
    driver.put("app", jvm(JvmTransport::Jolokia));
    assert!(driver.state.open_tasks().filter(|task| task.executor.is_some()).count() > 4);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]
    #[test]
    fn a_peer_that_started_again_gives_the_same_tasks_to_the_same_peers(
        steps in proptest::collection::vec((0u8..12, 0usize..3, 0usize..20, proptest::bool::weighted(0.3)), 1..80),
    ) {
        let mut steady = one_with_java(2);
        let mut restarted = one_with_java(2);
        for (what, node, at, restarts) in steps {
            if restarts {
                restarted.restart();
            }
            for driver in [&mut steady, &mut restarted] {
                let node = ["a", "b", "c"][node];
                let given: Vec<u64> = driver.state.open_tasks().filter(|t| t.executor.is_some()).map(|t| t.id.0).collect();
                let open: Vec<u64> = driver.state.open_tasks().map(|task| task.id.0).collect();
                match what {
                    0..=2 => run_on(driver, node, invoke()),
                    3..=5 => run_on(driver, node, command(|action| action.retry.attempts = 2)),
                    6..=8 => {
                        if let Some(task) = given.get(at % given.len().max(1)) {
                            let result = if what == 6 { EndingResult::Failed } else { EndingResult::Succeeded };
                            driver.report(*task, Progress::Started);
                            driver.finish(*task, result);
                        }
                    }
                    9 => {
                        if let Some(task) = open.get(at % open.len().max(1)) {
                            let _ = driver.apply(Command::CancelTask(TaskId(*task)));
                        }
                    }
                    10 => {
                        let transport = if at < 10 { JvmTransport::Rmi } else { JvmTransport::Jolokia };
                        driver.put("app", jvm(transport));
                    }
                    _ => driver.pass(4_000),
                }
            }
            proptest::prop_assert_eq!(steady.state.digest(), restarted.state.digest());
        }
    }
}

#[test]
fn a_profile_stays_while_it_is_in_use_and_over_ssh_needs_a_login() {
    let mut driver = Driver::with_peers(1);
    driver.fleet(&["web01"]);
    assert_eq!(driver.refused("bare", node_of(&["app"], None)).fields[0].pointer, "/jvms/0");
    driver.put("app", jvm(JvmTransport::Rmi));
    driver.put("bare", node_of(&["app"], None));
    assert_eq!(driver.try_delete(Kind::JvmProfile, "app").unwrap_err().kind, RejectionKind::Conflict);
    let moved = driver.refused("app", jvm(JvmTransport::RmiOverSsh));
    assert!(moved.kind == RejectionKind::Conflict && moved.message.contains("`bare`"), "{moved}");
    driver.put("tunnel", jvm(JvmTransport::RmiOverSsh));
    assert_eq!(driver.refused("bare", node_of(&["tunnel"], None)).fields[0].pointer, "/jvms/0");
    driver.put("web01", node_of(&["tunnel", "app"], Some("ops")));
    assert_eq!(driver.refused("web01", node_of(&["app", "app"], Some("ops"))).fields[0].pointer, "/jvms/1");
}
