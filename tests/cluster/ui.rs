//! The web UI in a real browser, served by real peers and with real hosts: `ui/web/e2e` says what people do there. This
//! side sets up what they find, and hands over the peers' process ids, so that one can be killed in mid-page, and the
//! programme, so that one can join as the page says.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};

use crate::first_path::nodes;
use crate::hosts::Host;
use crate::jvms::{Jvm, free_port};
use crate::plane::{Plane, binary};
use crate::wait::until;

/// Series of the large graph, and how many samples each has: a day at 10 s.
const SERIES: usize = 50;
const SAMPLES: u64 = 8640;
const EVERY_MS: u64 = 10_000;
const PUSHED_AT_ONCE: usize = 4000;

/// A JVM that answers on the first host, and one that does not.
fn jvms(jvm: &Jvm) -> String {
    let profile = |name: &str, port: u16| {
        let url = format!("service:jmx:rmi:///jndi/rmi://127.0.0.1:{port}/jmxrmi");
        format!("---\n{{kind: jvm-profile, name: {name}, url: \"{url}\"}}\n")
    };
    profile("shop", jvm.port) + &profile("gone", free_port())
}

fn fleet(hosts: &[Host]) -> String {
    nodes(hosts)
        + r#"---
{kind: counter, name: load, type: ssh, script: 'cat "$RSCALER_DIR/load"', interval: 1s, timeout: 5s, unit: load, clusters: [web]}
---
{kind: counter, name: memory, type: ssh, script: "free -m | grep Mem | awk '{print $3}'", interval: 2s, unit: MiB, clusters: [web]}
---
{kind: counter, name: broken, type: ssh, script: "echo '<img src=x onerror=alert(1)> is no number' ; exit 3", interval: 5s, clusters: [web]}
---
{kind: counter, name: threads, type: jmx, mbean: "java.lang:type=Threading", attribute: ThreadCount, interval: 1s, unit: threads, clusters: [web]}
---
{kind: counter, name: wave, type: push, interval: 10s, clusters: [web]}
---
kind: action
name: relieve
type: command
script: 'sleep 4; echo relieved; echo 0.5 > "$RSCALER_DIR/load"'
---
kind: trigger
name: busy
cluster: web
description: Load that stays high is relieved
when: [{counter: load, op: ">", threshold: 2, recover: 1}]
for: 3s
per: node
cooldown: 5s
steps: [{action: relieve, target: firing-node}]
---
{kind: user, name: ada, role: admin, password: "correct horse battery"}
---
{kind: user, name: otto, role: operator, password: "correct horse battery"}
---
{kind: user, name: vera, role: viewer, password: "correct horse battery"}
"#
}

/// A day of samples of many series, as a program of the user's would push them.
async fn push_day(plane: &Plane) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let end = u64::try_from(now).unwrap() / EVERY_MS * EVERY_MS;
    let mut batch = Vec::with_capacity(PUSHED_AT_ONCE);
    for at in 0..SAMPLES {
        for series in 0..SERIES {
            #[expect(clippy::cast_precision_loss)]
            let value = (at as f64 / 300.0 + series as f64).sin() * (series as f64 + 5.0) + 100.0;
            let t = end - (SAMPLES - at) * EVERY_MS;
            batch.push(json!({"counter": "wave", "node": "web00", "instance": format!("w{series:02}"), "t": t, "v": value}));
        }
        if batch.len() + SERIES > PUSHED_AT_ONCE || at + 1 == SAMPLES {
            let pushed = plane.post("samples", json!({"samples": std::mem::take(&mut batch)})).await.unwrap();
            assert_eq!(pushed["dropped"], 0, "{pushed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_do_their_work_in_a_browser() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui/web");
    let hosts: Vec<Host> = (0..3).map(|_| Host::start()).collect();
    for host in &hosts {
        host.write("load", "0.4\n");
    }
    let plane = Plane::start(3).await;
    let jvm = Jvm::start();
    plane.apply(&(fleet(&hosts) + &jvms(&jvm)));
    plane.send(Method::PATCH, "nodes/web00", Some(json!({"jvms": ["shop", "gone"]}))).await.unwrap();
    until("hosts to be watched", Duration::from_secs(60), || async {
        let checks: Value = plane.get("checks?counter=load").await.map_err(|(_, body)| body)?;
        let watched = checks["items"].as_array().into_iter().flatten().filter(|check| check["ok"] == true);
        if watched.count() == 3 { Ok(()) } else { Err(checks) }
    })
    .await;
    push_day(&plane).await;
    let peers: Vec<Value> = plane
        .peers
        .iter()
        .map(|peer| json!({"name": peer.name, "api": format!("http://{}", peer.api), "pid": peer.pid()}))
        .collect();
    let plan = json!({"peers": peers, "token": plane.token, "binary": binary()});
    let output = tokio::task::spawn_blocking(move || {
        Command::new("npx")
            .args(["playwright", "test"])
            .current_dir(web)
            .env("RSCALER_UI_TEST", plan.to_string())
            .output()
            .expect("Node.js is there")
    })
    .await
    .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
