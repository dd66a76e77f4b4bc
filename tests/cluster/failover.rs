//! Peers are killed; what was acknowledged stays.

use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::first_path::{nodes, points};
use crate::hosts::Host;
use crate::plane::{Plane, STARTING};
use crate::wait::until;
use crate::writer::{Writer, assert_has};

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_without_a_follower_and_it_catches_up() {
    let mut plane = Plane::start(3).await;
    let leader = plane.leader().await;
    let follower = (0..3).find(|place| *place != leader).unwrap();
    plane.peers[follower].kill();
    for number in 0..20 {
        plane.post("clusters", json!({"name": format!("c{number}")})).await.unwrap();
    }
    plane.peers[follower].restart();
    plane.ready(follower).await;
    until("the follower to have caught up", STARTING, || async {
        let clusters =
            plane.ask(follower, Method::GET, "clusters?limit=100", None).await.map_err(|(_, b)| b)?;
        if clusters["items"].as_array().is_some_and(|items| items.len() == 20) {
            Ok(())
        } else {
            Err(clusters)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_peer_leads_soon_after_the_leader_is_killed() {
    let mut plane = Plane::start(3).await;
    let leader = plane.leader().await;
    plane.peers[leader].kill();
    let began = Instant::now();
    until("a write to be taken", Duration::from_secs(20), || async {
        plane.post("clusters", json!({"name": "after"})).await.map_err(|(_, body)| body)
    })
    .await;
    println!("the first write after the kill was acknowledged after {:?}", began.elapsed());
    assert_ne!(plane.leader().await, leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_all_peers_are_killed() {
    let mut plane = Plane::start(3).await;
    let mut acknowledged = Vec::new();
    for number in 0..50 {
        let name = format!("c{number}");
        if plane.post("clusters", json!({"name": name})).await.is_ok() {
            acknowledged.push(name);
        }
    }
    assert_eq!(acknowledged.len(), 50);
    for peer in &mut plane.peers {
        peer.kill();
    }
    for peer in &mut plane.peers {
        peer.restart();
    }
    for place in 0..3 {
        plane.ready(place).await;
    }
    for place in 0..3 {
        let path = "clusters?limit=100&consistency=linearizable";
        let clusters = plane.ask(place, Method::GET, path, None).await.unwrap();
        let mut names: Vec<String> = clusters["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cluster| cluster["name"].as_str().unwrap().to_string())
            .collect();
        names.sort();
        let mut expected = acknowledged.clone();
        expected.sort();
        assert_eq!(names, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_asked_to_stop_hands_over_and_ends_well() {
    let mut plane = Plane::start(3).await;
    let leader = plane.leader().await;
    assert_eq!(plane.peers[leader].stop(), Some(0), "{}", plane.peers[leader].log());
    until("a write to be taken", Duration::from_secs(20), || async {
        plane.post("clusters", json!({"name": "after"})).await.map_err(|(_, body)| body)
    })
    .await;
}

/// What peers that are asked to stop at the same time may take: far below the steps of an orderly stop.
#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_all_asked_to_stop_do_not_wait_for_one_another() {
    let mut plane = Plane::start(3).await;
    plane.post("clusters", json!({"name": "before"})).await.unwrap();
    let began = Instant::now();
    for peer in &plane.peers {
        peer.signal(Signal::TERM);
    }
    for place in 0..3 {
        until("a peer to end", STARTING, || {
            let ended = plane.peers[place].exit_code();
            async move { ended.ok_or(()) }
        })
        .await;
        assert_eq!(plane.peers[place].exit_code(), Some(0), "{}", plane.peers[place].log());
        println!("peer {place} had ended {:?} after all were asked to", began.elapsed());
    }
    for peer in &mut plane.peers {
        peer.kill();
        peer.restart();
    }
    for place in 0..3 {
        plane.ready(place).await;
        assert_has(&plane, place, &["before".to_string()]).await;
    }
}

async fn times(plane: &Plane, node: &str) -> Vec<i64> {
    let path = format!("nodes/{node}/counters/load/samples?from=-2m");
    let samples = plane.get(&path).await.unwrap_or_default();
    points(&samples).into_iter().map(|(at, _)| at).collect()
}

/// Who collects each node.
async fn collectors(plane: &Plane, count: usize) -> Vec<u64> {
    let mut collectors = Vec::new();
    for node in 0..count {
        let path = format!("nodes/web{node:02}/checks");
        let collector = until("a collector", STARTING, || async {
            let checks = plane.get(&path).await.map_err(|(_, body)| body)?;
            checks["items"][0]["collector"].as_u64().ok_or(checks)
        })
        .await;
        collectors.push(collector);
    }
    collectors
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_dead_peer_are_soon_collected_by_others() {
    let hosts: Vec<Host> = (0..6).map(|_| Host::start()).collect();
    let mut plane = Plane::start(3).await;
    plane.apply(&(nodes(&hosts) + "---\nkind: counter\nname: load\ntype: ssh\nscript: cat /proc/loadavg | cut -d' ' -f1\ninterval: 1s\nclusters: [web]\n"));
    let leader = plane.leader().await;
    for dies in [(leader + 1) % 3, leader] {
        let id = plane.id(dies).await;
        let mut of_the_dead = Vec::new();
        for (node, collector) in collectors(&plane, hosts.len()).await.into_iter().enumerate() {
            if collector == id {
                of_the_dead.push(format!("web{node:02}"));
            }
        }
        assert_eq!(of_the_dead.len(), 2, "nodes are spread over all peers");
        for node in &of_the_dead {
            until("samples to flow", STARTING, || async {
                let times = times(&plane, node).await;
                if times.len() > 5 { Ok(()) } else { Err(times) }
            })
            .await;
        }
        plane.peers[dies].kill();
        let killed = jiff::Timestamp::now().as_millisecond();
        for node in &of_the_dead {
            // Several more, so that nothing that was read before can come late into the gap.
            let times = until("others to collect", STARTING, || async {
                let times = times(&plane, node).await;
                if times.iter().filter(|at| **at > killed).count() > 5 { Ok(times) } else { Err(times) }
            })
            .await;
            let around: Vec<i64> = times.into_iter().filter(|at| *at > killed - 10_000).collect();
            let gap = around.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            let what = if dies == leader { "leader" } else { "follower" };
            println!("{node} of the {what}: {gap} ms between samples around its death");
            // Three seconds and an interval on a machine that is not busy.
            assert!(gap <= 10_000, "{gap} ms without samples of {node}");
        }
        plane.peers[dies].restart();
        plane.ready(dies).await;
        until("nodes to be spread again", STARTING, || async {
            let now = collectors(&plane, hosts.len()).await;
            if now.iter().filter(|collector| **collector == id).count() == 2 { Ok(()) } else { Err(now) }
        })
        .await;
    }
}

const SLOW: &str = r#"---
kind: action
name: slow
type: command
script: |
  exec 9>"$RSCALER_DIR/lock"
  flock -n 9 || echo overlap >> "$RSCALER_DIR/ran"
  echo begun >> "$RSCALER_DIR/ran"
  sleep 8
  echo done >> "$RSCALER_DIR/ran"
timeout: 60s
on_executor_loss: retry
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stands_still_is_replaced_and_does_no_harm_when_it_goes_on() {
    let hosts: Vec<Host> = (0..3).map(|_| Host::start()).collect();
    let mut plane = Plane::start(3).await;
    plane.apply(&(nodes(&hosts) + SLOW));
    let leader = plane.leader().await;
    for (round, still) in [(leader + 1) % 3, leader].into_iter().enumerate() {
        let asked = (still + 1) % 3;
        let id = plane.id(still).await;
        let writer = Writer::start_as(&plane, asked, if round == 0 { "a" } else { "b" });
        let body = Some(json!({"action": "slow"}));
        let run = plane.ask(asked, Method::POST, "clusters/web/run", body).await.unwrap();
        let run = run["run"].as_u64().unwrap();
        let task = until("all tasks to run, one of them there", STARTING, || async {
            let tasks = tasks_of(&plane, asked, run).await?;
            let runs = tasks.iter().filter(|task| task["state"] == "running").count() == 3;
            let there = tasks.iter().find(|task| task["peer"] == json!(id)).cloned();
            there.filter(|_| runs).ok_or(json!(tasks))
        })
        .await;
        until("the scripts to have begun", STARTING, || async {
            let begun: Vec<_> = hosts.iter().map(|host| times_said(host, "begun")).collect();
            if begun.iter().all(|times| *times > round) { Ok(()) } else { Err(begun) }
        })
        .await;

        plane.peers[still].signal(Signal::STOP);
        let began = Instant::now();
        writer.goes_on(20).await;
        println!("20 writes after {:?} of standing still", began.elapsed());
        let taken = until("its task to be taken over", STARTING, || async {
            let tasks = tasks_of(&plane, asked, run).await?;
            let now = tasks.into_iter().find(|now| now["id"] == task["id"]).unwrap_or_default();
            if now["peer"] != json!(id) && now["attempt"] != task["attempt"] { Ok(now) } else { Err(now) }
        })
        .await;
        println!("taken over by peer {} after {:?}", taken["peer"], began.elapsed());

        plane.peers[still].signal(Signal::CONT);
        plane.ready(still).await;
        let ended = until("the run to end", STARTING, || async {
            let shown = plane.ask(asked, Method::GET, &format!("runs/{run}"), None).await;
            let shown = shown.map_err(|(_, body)| body)?;
            if shown["state"] == "succeeded" { Ok(shown) } else { Err(shown) }
        })
        .await;
        assert_eq!(ended["steps"][0]["failed"], 0, "{ended}");
        let last = tasks_of(&plane, asked, run).await.unwrap();
        let last = last.iter().find(|last| last["id"] == task["id"]).unwrap();
        assert_eq!(last["attempt"], taken["attempt"], "it was taken over once: {last}");
        for host in &hosts {
            // Who goes on without a session ends what it began; the next one then begins anew, for the action says
            // that it may. Never both at a time.
            let ran = host.read("ran");
            assert_eq!(times_said(host, "done"), round + 1, "each script ended well once: {ran:?}");
            assert_eq!(times_said(host, "overlap"), 0, "{ran:?}");
        }
        let acknowledged = writer.stop().await;
        for place in 0..3 {
            assert_has(&plane, place, &acknowledged).await;
        }
        until("it to have a session again", STARTING, || async {
            let peers = plane.ask(asked, Method::GET, "peers", None).await.map_err(|(_, body)| body)?;
            let alive = peers["items"].as_array().unwrap().iter().all(|peer| peer["alive"] == json!(true));
            if alive { Ok(()) } else { Err(peers) }
        })
        .await;
    }
}

async fn tasks_of(plane: &Plane, asked: usize, run: u64) -> Result<Vec<Value>, Value> {
    let tasks = plane.ask(asked, Method::GET, &format!("tasks?run={run}"), None).await;
    tasks.map_err(|(_, body)| body)?["items"].as_array().cloned().ok_or(Value::Null)
}

/// How often a line stands in what the scripts of a host have written.
fn times_said(host: &Host, what: &str) -> usize {
    host.read("ran").unwrap_or_default().lines().filter(|line| *line == what).count()
}
