//! What fails is told apart, and costs only itself.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::hosts::secret;
use crate::jvms::{Door, Jvm, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn a_jvm_that_fails_is_told_apart_and_delays_no_other() {
    let (good, frozen) = (Jvm::start(), Jvm::start());
    let door = Door { credentials: Some(("monitor".into(), "right-word".into())), ..Door::default() };
    let guarded = Jvm::start_as(&door);
    // Takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plane = Plane::start(1).await;
    let mut yaml = web("web01", "good") + "---\n{kind: cluster, name: other}\n";
    yaml += &secret("right", "right-word");
    yaml += &secret("wrong", "wrong-word");
    let closed = free_port();
    let login = |secret: &str| format!("user: monitor\npassword: {{secret: {secret}}}\n");
    for (name, port, more) in [
        ("good", good.port, String::new()),
        ("frozen", frozen.port, String::new()),
        ("closed", closed, String::new()),
        ("silent", silent.local_addr().unwrap().port(), String::new()),
        ("guarded", guarded.port, login("right")),
        ("nobody", guarded.port, String::new()),
        ("refused", guarded.port, login("wrong")),
        ("tls", good.port, "tls: true\n".to_string()),
    ] {
        yaml += &profile(name, port, &more);
        if name != "good" {
            yaml += &format!(
                "---\nkind: node\nname: {name}\ncluster: web\nhostname: 127.0.0.1\njvms: [{name}]\n"
            );
        }
    }
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    plane.apply(&yaml);
    let of = |node: &'static str, code: &'static str| {
        let plane = &plane;
        async move {
            until(&format!("{node}: {code}"), PATIENCE, || async {
                let check = check(plane, node, "heap").await;
                let found = check["failure"]["code"].as_str().unwrap_or(if check["ok"] == json!(true) {
                    "ok"
                } else {
                    ""
                });
                if found == code { Ok(check["failure"]["detail"].to_string()) } else { Err(check) }
            })
            .await
        }
    };
    of("web01", "ok").await;
    of("frozen", "ok").await;
    of("guarded", "ok").await;
    assert!(of("closed", "jvm-unreachable").await.contains("refused"));
    assert!(of("nobody", "jvm-authentication").await.contains("user and password"));
    assert!(of("refused", "jvm-authentication").await.contains("refuses"));
    of("tls", "jvm-unreachable").await;
    of("silent", "timed-out").await;

    frozen.freeze(true);
    of("frozen", "timed-out").await;
    fresh(&plane, "heap").await;
    frozen.freeze(false);
    of("frozen", "ok").await;

    // Started again on the same port: the connection is made again.
    let port = good.port;
    good.kill();
    of("web01", "jvm-unreachable").await;
    let _good = Jvm::start_as(&Door { port, ..Door::default() });
    of("web01", "ok").await;
    // Nothing that was given to it is on a command line.
    let said = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("jvm-worker") && !said.contains("right-word"));
}

/// The child that speaks to JVMs for a peer.
pub(super) fn child_of(peer: u32) -> Option<i32> {
    let said = Command::new("pgrep").args(["-P", &peer.to_string(), "-f", "jvm-worker"]).output().unwrap();
    String::from_utf8_lossy(&said.stdout).trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_child_can_be_killed_and_frozen_and_the_peer_goes_on() {
    let jvm = Jvm::start();
    let mut plane = Plane::start(1).await;
    plane.apply(
        &(web("web01", "app")
            + &profile("app", jvm.port, "")
            + &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n")),
    );
    value(&plane, "heap").await;
    let peer = plane.peers[0].pid().unwrap();
    let signal = |signal| {
        let child = child_of(peer).expect("there is a child");
        rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), signal).unwrap();
        child
    };
    let killed = signal(rustix::process::Signal::KILL);
    fresh(&plane, "heap").await;
    let frozen = signal(rustix::process::Signal::STOP);
    assert_ne!(killed, frozen);
    failure(&plane, "heap", "timed-out").await;
    until("samples by another child", PATIENCE, || async {
        let check = check(&plane, "web01", "heap").await;
        if check["ok"] == json!(true) { Ok(()) } else { Err(check) }
    })
    .await;
    // It ends with its peer, in whatever way that ends.
    let child = child_of(peer).unwrap();
    plane.peers[0].kill();
    until("the child's end", PATIENCE, || async {
        if Path::new(&format!("/proc/{child}")).exists() { Err("it runs") } else { Ok(()) }
    })
    .await;
}
