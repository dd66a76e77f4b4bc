//! JVMs: who speaks to them, and what may be said of them.
#![allow(clippy::unwrap_used)]

use super::testing::*;
use crate::command::RejectionKind;
use crate::model::*;

fn jvm(transport: JvmTransport) -> Spec {
    Spec::JvmProfile(Box::new(JvmProfile {
        port: Some(9010),
        url: None,
        user: None,
        password: None,
        tls: false,
        trust_store: None,
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
