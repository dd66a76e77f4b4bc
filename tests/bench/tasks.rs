//! Rows E and F: a command on many hosts, and many small tasks. The hosts are addresses of one real sshd.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Asked;
use crate::hosts::Host;
use crate::http::Http1;
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::{Table, quantile};
use crate::wait::until;

const HOSTS: usize = 100;
const TASKS: usize = 1000;
const SUBMITTERS: usize = 16;
const SINGLE: usize = 200;
const SINGLE_EVERY: Duration = Duration::from_millis(20);
const OVER: Duration = Duration::from_secs(120);

/// Nodes `n000` and on, all behind one sshd.
pub(crate) async fn fleet(plane: &Plane, sshd: &Host, count: usize) {
    let key = sshd.private_key();
    let mut documents = vec![
        json!({"kind": "secret", "name": "key", "value": key}),
        json!({"kind": "ssh-profile", "name": "ops", "user": sshd.user(), "key": {"secret": "key"}, "host_key": "accept-new"}),
        json!({"kind": "cluster", "name": "fleet"}),
    ];
    for node in 0..count {
        documents.push(json!({
            "kind": "node", "name": format!("n{node:03}"), "cluster": "fleet", "ssh_profile": "ops",
            "hostname": sshd.address(), "port": sshd.port(),
        }));
    }
    plane.post("apply", Value::Array(documents)).await.unwrap();
}

async fn run_over(plane: &Plane, run: u64) -> Value {
    until("a run to end", OVER, || async {
        let seen = plane.get(&format!("runs/{run}")).await.map_err(|(_, body)| body)?;
        match seen["state"].as_str() {
            Some("queued" | "running") => Err(seen),
            _ => Ok(seen),
        }
    })
    .await
}

pub(crate) async fn fan_out(_: &Asked, table: &mut Table) {
    let sshd = Host::start();
    let plane = Plane::start(3).await;
    fleet(&plane, &sshd, HOSTS).await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    for (name, cpu_aim, wall_aim) in
        [("cold", Some(1.0), None), ("again, on kept connections", None, Some(0.15))]
    {
        let (before, began) = (Usage::of(&pids), Instant::now());
        let run = plane.post("clusters/fleet/run", json!({"command": "uptime"})).await.unwrap();
        let seen = run_over(&plane, run["run"].as_u64().unwrap()).await;
        let wall = began.elapsed().as_secs_f64();
        let cpu = Usage::of(&pids).since(before).cpu * 1e3 / HOSTS as f64;
        assert_eq!(seen["state"], "succeeded", "{seen}");
        let work = format!("uptime on {HOSTS} hosts, {name}");
        match cpu_aim {
            Some(aim) => table.at_most("E", &format!("{work}: CPU a host"), &[cpu], "ms", aim),
            None => table.note("E", &format!("{work}: CPU a host"), &[cpu], "ms"),
        }
        match wall_aim {
            Some(aim) => table.at_most("E", &format!("{work}: until all are done"), &[wall], "s", aim),
            None => table.note("E", &format!("{work}: until all are done"), &[wall], "s"),
        }
    }
    println!("   load average {}", load_average());
}

pub(crate) async fn measure(_: &Asked, table: &mut Table) {
    let sshd = Host::start();
    let plane = Plane::start(3).await;
    fleet(&plane, &sshd, HOSTS).await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    // Connections first: they are not what is measured.
    let warm = plane.post("clusters/fleet/run", json!({"command": "true"})).await.unwrap();
    run_over(&plane, warm["run"].as_u64().unwrap()).await;

    let addr = plane.peers[plane.leader().await].api.clone();
    let (before, began) = (Usage::of(&pids), Instant::now());
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|submitter| {
            let (addr, token) = (addr.clone(), plane.token.clone());
            tokio::spawn(async move {
                let mut http = Http1::connect(&addr, &token).await.unwrap();
                let mut runs = Vec::new();
                for task in (submitter..TASKS).step_by(SUBMITTERS) {
                    let path = format!("/api/v1/nodes/n{:03}/run", task % HOSTS);
                    let answer =
                        http.call("POST", &path, "application/json", br#"{"command":"true"}"#).await.unwrap();
                    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
                    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
                    runs.push(answer["run"].as_u64().unwrap());
                }
                runs
            })
        })
        .collect();
    let mut last = 0;
    for submitter in submitters {
        last = submitter.await.unwrap().into_iter().max().unwrap_or(0).max(last);
    }
    let submitted = began.elapsed().as_secs_f64();
    until("all tasks to end", OVER, || async {
        let mut open = 0;
        for state in ["queued", "assigned", "running"] {
            let tasks = plane
                .get(&format!("tasks?state={state}&limit=1"))
                .await
                .map_err(|(_, body)| body.to_string())?;
            open += tasks["items"].as_array().map_or(1, Vec::len);
        }
        if open == 0 { Ok(()) } else { Err(format!("{open} states have tasks")) }
    })
    .await;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = Usage::of(&pids).since(before).cpu * 1e3 / TASKS as f64;
    let seen = plane.get(&format!("runs/{last}")).await.unwrap();
    assert_eq!(seen["state"], "succeeded", "{seen}");
    table.note("F", "tasks submitted", &[TASKS as f64 / submitted], "/s");
    table.at_least("F", "tasks `true` on hosts, through one sshd", &[TASKS as f64 / seconds], "/s", 5000.0);
    table.at_most("F", "tasks `true`: CPU a task", &[cpu], "ms", 0.2);
    single(&plane, &addr, table).await;
    println!("   load average {}", load_average());
}

/// Single tasks at low load: what the tasks say of themselves, which is to the millisecond.
async fn single(plane: &Plane, addr: &str, table: &mut Table) {
    let mut http = Http1::connect(addr, &plane.token).await.unwrap();
    let mut to_running = Vec::new();
    let mut to_result = Vec::new();
    for task in 0..SINGLE {
        let began = Instant::now();
        let submitted = jiff::Timestamp::now().as_nanosecond();
        let path = format!("/api/v1/nodes/n{:03}/run", task % HOSTS);
        let answer =
            http.call("POST", &path, "application/json", br#"{"command":"date +%s%N"}"#).await.unwrap();
        let run: Value = serde_json::from_slice(&answer.body).unwrap();
        let run = run["run"].as_u64().unwrap();
        let id = loop {
            let answer = http.call("GET", &format!("/api/v1/tasks?run={run}"), "", &[]).await.unwrap();
            let tasks: Value = serde_json::from_slice(&answer.body).unwrap();
            let task = &tasks["items"][0];
            match task["state"].as_str() {
                Some("succeeded") => break task["id"].as_u64().unwrap(),
                Some("failed" | "lost" | "timed-out") => panic!("{task}"),
                _ => tokio::time::sleep(Duration::from_micros(500)).await,
            }
            assert!(began.elapsed() < OVER, "{tasks}");
        };
        to_result.push(began.elapsed().as_secs_f64() * 1e3);
        let output = http.call("GET", &format!("/api/v1/tasks/{id}/output"), "", &[]).await.unwrap();
        let text = String::from_utf8_lossy(&output.body);
        let ran: i128 = text.trim().parse().unwrap_or_else(|_| panic!("{text}"));
        to_running.push((ran - submitted) as f64 / 1e6);
        tokio::time::sleep(SINGLE_EVERY).await;
    }
    to_running.sort_by(f64::total_cmp);
    to_result.sort_by(f64::total_cmp);
    table.at_most(
        "F",
        "submitted to running on the host, low load: p50",
        &[quantile(&to_running, 0.5)],
        "ms",
        1.3,
    );
    table.at_most(
        "F",
        "submitted to running on the host, low load: p99",
        &[quantile(&to_running, 0.99)],
        "ms",
        4.0,
    );
    table.note("F", "submitted to result seen: p50", &[quantile(&to_result, 0.5)], "ms");
}
