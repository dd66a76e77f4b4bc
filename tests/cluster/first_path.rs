//! The first whole path: hosts are watched, a trigger acts, and the death of a peer changes nothing.

use std::time::Duration;

use serde_json::Value;

use crate::hosts::{Host, node, secret};
use crate::plane::Plane;
use crate::wait::until;

/// Hosts as nodes of a cluster `web`, named `web00` and so on.
pub(crate) fn nodes(hosts: &[Host]) -> String {
    let mut yaml = format!(
        "kind: ssh-profile\nname: ops\nuser: {}\nkey: {{secret: key}}\nhost_key: accept-new\n---\nkind: cluster\nname: web\n",
        hosts[0].user(),
    );
    yaml += &secret("key", &hosts[0].private_key());
    for (place, host) in hosts.iter().enumerate() {
        yaml += &node(&format!("web{place:02}"), host, "ops");
    }
    yaml
}

/// Two hosts, each with a counter that reads a file of the host's own; a trigger on it writes another.
fn fleet(hosts: &[Host]) -> String {
    nodes(hosts)
        + r#"---
kind: counter
name: load
type: ssh
script: 'cat "$RSCALER_DIR/load"'
interval: 1s
timeout: 2s
unit: load
clusters: [web]
---
kind: counter
name: memory
type: ssh
script: "free -m | grep Mem | awk '{print $3}'"
interval: 1s
unit: MB
clusters: [web]
---
kind: counter
name: broken
type: ssh
script: 'echo nothing that counts; exit 3'
interval: 1s
clusters: [web]
---
kind: action
name: relieve
type: command
script: 'echo "$1 on $WHO" >> "$RSCALER_DIR/relieved"; echo 0.5 > "$RSCALER_DIR/load"'
args: [relieved]
env: {WHO: rscaler}
---
kind: trigger
name: busy
cluster: web
when: [{counter: load, op: ">", threshold: 4}]
for: 2s
per: node
steps: [{action: relieve, target: firing-node}]
"#
}

/// Times in ms and values, oldest first.
pub(crate) fn points(samples: &Value) -> Vec<(i64, f64)> {
    let series = samples["series"].as_array().cloned().unwrap_or_default();
    series
        .iter()
        .flat_map(|series| series["points"].as_array().cloned().unwrap_or_default())
        .filter_map(|point| Some((point[0].as_i64()?, point[1].as_f64()?)))
        .collect()
}

async fn newest(plane: &Plane, node: &str, counter: &str) -> Option<i64> {
    let samples = plane.get(&format!("nodes/{node}/counters/{counter}/samples?from=-1m")).await.ok()?;
    points(&samples).last().map(|(at, _)| *at)
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_watched_and_relieved_whichever_peer_dies() {
    let hosts = [Host::start(), Host::start()];
    for host in &hosts {
        host.write("load", "1.0\n");
    }
    let mut plane = Plane::start(3).await;
    plane.apply(&fleet(&hosts));

    for node in ["web00", "web01"] {
        for counter in ["load", "memory"] {
            until("samples to flow", Duration::from_secs(30), || async {
                newest(&plane, node, counter).await.ok_or(())
            })
            .await;
        }
    }
    until("the reason of the broken counter", Duration::from_secs(30), || async {
        let checks = plane.get("nodes/web00/checks").await.map_err(|(_, body)| body)?;
        let broken = checks["items"].as_array().unwrap().iter().find(|c| c["counter"] == "broken").cloned();
        if broken.is_some_and(|check| check["failure"]["code"] == "exit") { Ok(()) } else { Err(checks) }
    })
    .await;

    hosts[0].write("load", "9.0\n");
    until("the trigger to relieve the host", Duration::from_secs(30), || async {
        hosts[0].read("relieved").filter(|text| !text.is_empty()).ok_or(())
    })
    .await;
    assert_eq!(hosts[0].read("relieved").as_deref(), Some("relieved on rscaler\n"));
    assert_eq!(hosts[1].read("relieved"), None);

    let leader = plane.leader().await;
    plane.peers[leader].kill();
    let killed = jiff::Timestamp::now().as_millisecond();
    for node in ["web00", "web01"] {
        until("collection to go on", Duration::from_secs(15), || async {
            newest(&plane, node, "load").await.filter(|at| *at > killed).ok_or(())
        })
        .await;
    }
    hosts[1].write("load", "9.0\n");
    until("the trigger to act without the old leader", Duration::from_secs(30), || async {
        hosts[1].read("relieved").filter(|text| !text.is_empty()).ok_or(())
    })
    .await;
    assert_eq!(hosts[1].read("relieved").as_deref(), Some("relieved on rscaler\n"), "it acted once");
    assert_eq!(hosts[0].read("relieved").as_deref(), Some("relieved on rscaler\n"), "and not again here");

    plane.peers[leader].restart();
    plane.ready(leader).await;
    plane.voters(3).await;
}
