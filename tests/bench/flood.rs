//! The flood: 100,000 commands on hosts asked for at once, and what they print, while another client goes on working.
//! What counts is that the peers' memory stays bounded, that the other client is served, and that every task ends well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Asked;
use crate::hosts::Host;
use crate::http::Http1;
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::{Table, quantile};
use crate::tasks::{fleet, run_over};

const HOSTS: usize = 100;
const SSHDS: usize = 20;
const RUNS: usize = 1000;
/// Bytes that a command prints, and what each hundredth run prints in their place.
const PRINTED: usize = 2000;
const PRINTED_BY_SOME: usize = 1_000_000;
const OVER: Duration = Duration::from_secs(45 * 60);
/// Between two requests of the other client.
const PAUSE: Duration = Duration::from_millis(20);

fn printed(run: usize) -> usize {
    if run % 100 == 50 { PRINTED_BY_SOME } else { PRINTED }
}

pub(crate) async fn measure(_: &Asked, table: &mut Table) {
    let hosts: Vec<Host> = (0..SSHDS).map(|_| Host::start()).collect();
    let plane = Plane::start(3).await;
    fleet(&plane, &hosts, HOSTS).await;
    let warm = plane.post("clusters/fleet/run", json!({"command": "true"})).await.unwrap();
    run_over(&plane, warm["run"].as_u64().unwrap()).await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    let largest = || pids.iter().map(|pid| Usage::of(&[*pid]).rss_mb).fold(0.0, f64::max);
    table.note("flood", "memory of the largest peer before", &[largest()], "MB");

    let api = &plane.peers[plane.leader().await].api;
    let mut http = Http1::connect(api, &plane.token).await.unwrap();
    let (before, began) = (Usage::of(&pids), Instant::now());
    let mut runs = Vec::new();
    for run in 0..RUNS {
        let command = json!({"command": format!("printf '%{}s' {run}", printed(run))}).to_string();
        let path = "/api/v1/clusters/fleet/run";
        let answer = http.call("POST", path, "application/json", command.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        runs.push(answer["run"].as_u64().unwrap());
    }
    table.note("flood", "100,000 tasks asked for and accepted", &[began.elapsed().as_secs_f64()], "s");

    let is_over = Arc::new(AtomicBool::new(false));
    let other = tokio::spawn(another_client(api.clone(), plane.token.clone(), is_over.clone()));
    let (mut memory, mut failed, mut told) = (0f64, 0, Instant::now());
    for (place, run) in runs.iter().enumerate() {
        loop {
            memory = memory.max(largest());
            let answer = http.call("GET", &format!("/api/v1/runs/{run}"), "", &[]).await.unwrap();
            let seen: Value = serde_json::from_slice(&answer.body).unwrap();
            match seen["state"].as_str() {
                Some("queued" | "running") => tokio::time::sleep(Duration::from_millis(250)).await,
                Some("succeeded") => break,
                _ => {
                    failed += explain(&mut http, *run).await;
                    break;
                }
            }
            assert!(began.elapsed() < OVER, "{seen}");
            if told.elapsed() > Duration::from_secs(30) {
                println!("   {place} of {RUNS} runs after {:.0} s", began.elapsed().as_secs_f64());
                told = Instant::now();
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    let tasks = (RUNS * HOSTS) as f64;
    table.note("flood", "tasks that ended", &[tasks / took], "/s");
    table.note("flood", "of them badly", &[failed as f64], "");
    table.note("flood", "CPU of peers a task", &[Usage::of(&pids).since(before).cpu * 1e3 / tasks], "ms");
    table.note("flood", "memory of the largest peer at its peak", &[memory], "MB");
    let (reads, writes) = other.await.unwrap();
    for (what, mut times) in [("reads", reads), ("writes", writes)] {
        times.sort_by(f64::total_cmp);
        table.note("flood", &format!("{what} of another client: p50"), &[quantile(&times, 0.5)], "ms");
        table.note("flood", &format!("{what} of another client: p99"), &[quantile(&times, 0.99)], "ms");
        table.note("flood", &format!("{what} of another client: longest"), &[quantile(&times, 1.0)], "ms");
    }
    let kept = outputs(&mut http, &runs).await;
    table.note("flood", "runs whose output is kept whole", &[kept as f64], &format!("of {RUNS}"));
    println!("   load average {}", load_average());
}

/// One request after the other, reads and writes in turns; how long each took, in ms.
async fn another_client(api: String, token: String, is_over: Arc<AtomicBool>) -> (Vec<f64>, Vec<f64>) {
    let mut http = Http1::connect(&api, &token).await.unwrap();
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = http.call("GET", "/api/v1/nodes/n007", "", &[]).await.unwrap();
        assert_eq!(answer.status, 200);
        reads.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        let path = "/api/v1/files/beside/content";
        let answer = http.call("PUT", path, "application/octet-stream", b"beside").await.unwrap();
        assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
        writes.push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    (reads, writes)
}

/// Tells why tasks of a run did not end well; how many did not.
async fn explain(http: &mut Http1, run: u64) -> usize {
    let answer = http.call("GET", &format!("/api/v1/tasks?run={run}&limit={HOSTS}"), "", &[]).await.unwrap();
    let tasks: Value = serde_json::from_slice(&answer.body).unwrap();
    let badly = tasks["items"].as_array().unwrap().iter().filter(|task| task["state"] != "succeeded");
    badly.inspect(|task| println!("   {} {} {}", task["node"], task["state"], task["reason"])).count()
}

/// Reads what one task of each run printed: all of it, or nothing where it is so long ago that it is no longer kept.
async fn outputs(http: &mut Http1, runs: &[u64]) -> usize {
    let mut whole = 0;
    for (number, run) in runs.iter().enumerate() {
        let answer = http.call("GET", &format!("/api/v1/tasks?run={run}&limit=1"), "", &[]).await.unwrap();
        let tasks: Value = serde_json::from_slice(&answer.body).unwrap();
        let path = format!("/api/v1/tasks/{}/output", tasks["items"][0]["id"]);
        let answer = http.call("GET", &path, "", &[]).await.unwrap();
        let text = String::from_utf8_lossy(&answer.body);
        if text.len() == printed(number) {
            assert_eq!(text.trim(), number.to_string());
            whole += 1;
        } else {
            let gone = format!("[rscaler: {} bytes are cut here]\n", printed(number));
            let is_told = answer.status != 200 || text.is_empty() || text == gone;
            assert!(is_told, "run {run}: {} bytes", text.len());
        }
    }
    whole
}
