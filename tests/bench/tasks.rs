//! Row F: tasks. What is asked is what a control plane does for a task whatever it is: the task is taken, given to a peer,
//! begun, reported and ended through Raft. So most are pauses of no time, which nothing outside has a part in; then
//! commands on hosts, which cost what sshd and its shells cost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Asked;
use crate::hosts::Host;
use crate::http::{Http1, Http2};
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::{Table, quantile};
use crate::wait::until;

const TASKS: usize = 4000;
const IN_FLIGHT: usize = 128;
const ON_HOSTS: usize = 500;
const HOSTS: usize = 10;
const SINGLE: usize = 200;
const SINGLE_EVERY: Duration = Duration::from_millis(20);
const TAKEN_OVER: usize = 20;
const OVER: Duration = Duration::from_secs(120);

/// Nodes `n000` and on in the cluster `fleet`, in turns on the hosts.
pub(crate) async fn fleet(plane: &Plane, hosts: &[Host], count: usize) {
    let host = &hosts[0];
    let profile = json!({"kind": "ssh-profile", "name": "ops", "user": host.user(), "key": {"secret": "key"},
        "host_key": "accept-new"});
    let mut documents = vec![
        json!({"kind": "secret", "name": "key", "value": host.private_key()}),
        profile,
        json!({"kind": "cluster", "name": "fleet"}),
    ];
    for node in 0..count {
        let host = &hosts[node % hosts.len()];
        documents.push(json!({
            "kind": "node", "name": format!("n{node:03}"), "cluster": "fleet", "ssh_profile": "ops",
            "hostname": host.address(), "port": host.port(),
        }));
    }
    plane.post("apply", Value::Array(documents)).await.unwrap();
}

pub(crate) async fn run_over(plane: &Plane, run: u64) -> Value {
    until("a run to end", OVER, || async {
        let seen = plane.get(&format!("runs/{run}")).await.map_err(|(_, body)| body)?;
        match seen["state"].as_str() {
            Some("queued" | "running") => Err(seen),
            _ => Ok(seen),
        }
    })
    .await
}

/// The body of a request to run an action or a command.
fn body(what: &str, value: &str) -> Vec<u8> {
    json!({ what: value }).to_string().into_bytes()
}

pub(crate) async fn measure(asked: &Asked, table: &mut Table) {
    let hosts: Vec<Host> = (0..HOSTS).map(|_| Host::start()).collect();
    let plane = Plane::start(3).await;
    fleet(&plane, &hosts, HOSTS).await;
    let actions = [("mark", "0s"), ("moment", "30ms"), ("second", "1s")];
    let actions =
        actions.map(|(name, time)| json!({"kind": "action", "name": name, "type": "pause", "for": time}));
    plane.post("apply", Value::Array(actions.to_vec())).await.unwrap();
    // Connections first: they are not what is measured.
    let warm = plane.post("clusters/fleet/run", json!({"command": "true"})).await.unwrap();
    run_over(&plane, warm["run"].as_u64().unwrap()).await;
    many(&plane, asked, IN_FLIGHT, "tasks that do nothing, 128 under way", true, table).await;
    many(&plane, asked, 1, "the same, each asked when the one before was taken", false, table).await;
    single(&plane, table).await;
    on_hosts(&plane, table).await;
    println!("   load average {}", load_average());
    take_over(plane, asked, table).await;
    println!("   load average {}", load_average());
}

/// One client asks for tasks over one connection, so many requests at a time, and then reads all results.
async fn many(plane: &Plane, asked: &Asked, at_once: usize, work: &str, is_the_aim: bool, table: &mut Table) {
    let addr = &plane.peers[plane.leader().await].api;
    let http = Http2::connect(addr, &plane.token).await.unwrap();
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    let (mut rates, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..asked.runs {
        let (before, began) = (Usage::of(&pids), Instant::now());
        let submitters: Vec<_> = (0..at_once)
            .map(|submitter| {
                let mut http = http.clone();
                tokio::spawn(async move {
                    let mut runs = Vec::new();
                    for _ in (submitter..TASKS).step_by(at_once) {
                        let answer = http
                            .call(
                                "POST",
                                "/api/v1/clusters/fleet/run",
                                "application/json",
                                body("action", "mark"),
                            )
                            .await
                            .unwrap();
                        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
                        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
                        runs.push(answer["run"].as_u64().unwrap());
                    }
                    runs
                })
            })
            .collect();
        let mut runs = Vec::new();
        for submitter in submitters {
            runs.extend(submitter.await.unwrap());
        }
        let (first, last) = (*runs.iter().min().unwrap(), *runs.iter().max().unwrap());
        assert_eq!(last - first + 1, TASKS as u64, "nobody else starts runs");
        let mut http = http.clone();
        let mut left = TASKS;
        while left > 0 {
            left = TASKS - ended(&mut http, first).await;
            assert!(began.elapsed() < OVER, "{left} tasks did not end");
        }
        rates.push(TASKS as f64 / began.elapsed().as_secs_f64());
        cpus.push(Usage::of(&pids).since(before).cpu * 1e3 / TASKS as f64);
    }
    let cpu = format!("{work}: CPU a task");
    if is_the_aim {
        table.at_least("F", work, &rates, "/s", 5000.0);
        table.at_most("F", &cpu, &cpus, "ms", 0.2);
    } else {
        table.note("F", work, &rates, "/s");
        table.note("F", &cpu, &cpus, "ms");
    }
}

/// Reads the runs from `first` on, newest first, page by page, until one has not ended; how many have, all of them well.
async fn ended(http: &mut Http2, first: u64) -> usize {
    let mut cursor = String::new();
    let mut count = 0;
    loop {
        let path = format!("/api/v1/runs?limit=1000{cursor}");
        let answer = http.call("GET", &path, "", Vec::new()).await.unwrap();
        let page: Value = serde_json::from_slice(&answer.body).unwrap();
        for run in page["items"].as_array().unwrap() {
            if run["id"].as_u64().unwrap() < first {
                return count;
            }
            match run["state"].as_str() {
                Some("succeeded") => count += 1,
                Some("running") => return count,
                _ => panic!("{run}"),
            }
        }
        let Some(next) = page["next"].as_str() else { return count };
        cursor = format!("&cursor={next}");
    }
}

/// Starts a run and looks at its task until it is as wanted; what was seen.
async fn watch(
    http: &mut Http1,
    path: &str,
    request: &[u8],
    is_there: impl Fn(&str) -> bool,
) -> (Value, Duration) {
    let began = Instant::now();
    let answer = http.call("POST", path, "application/json", request).await.unwrap();
    let run: Value = serde_json::from_slice(&answer.body).unwrap();
    let look = format!("/api/v1/tasks?run={}", run["run"]);
    loop {
        let answer = http.call("GET", &look, "", &[]).await.unwrap();
        let tasks: Value = serde_json::from_slice(&answer.body).unwrap();
        let task = &tasks["items"][0];
        match task["state"].as_str() {
            Some("failed" | "lost" | "timed-out" | "cancelled") => panic!("{task}"),
            Some(state) if is_there(state) => return (task.clone(), began.elapsed()),
            _ => {}
        }
        assert!(began.elapsed() < OVER, "{tasks}");
    }
}

/// Single tasks at low load, looked at without a pause.
async fn single(plane: &Plane, table: &mut Table) {
    let mut http = Http1::connect(&plane.peers[plane.leader().await].api, &plane.token).await.unwrap();
    let (mut to_running, mut to_result) = (Vec::new(), Vec::new());
    for _ in 0..SINGLE {
        let path = "/api/v1/clusters/fleet/run";
        let (_, took) = watch(&mut http, path, &body("action", "moment"), |state| {
            state != "assigned" && state != "queued"
        })
        .await;
        to_running.push(took.as_secs_f64() * 1e3);
        tokio::time::sleep(SINGLE_EVERY * 2).await;
        let (_, took) = watch(&mut http, path, &body("action", "mark"), |state| state == "succeeded").await;
        to_result.push(took.as_secs_f64() * 1e3);
        tokio::time::sleep(SINGLE_EVERY).await;
    }
    to_running.sort_by(f64::total_cmp);
    to_result.sort_by(f64::total_cmp);
    table.at_most("F", "submitted to running, low load: p50", &[quantile(&to_running, 0.5)], "ms", 1.3);
    table.at_most("F", "submitted to running, low load: p99", &[quantile(&to_running, 0.99)], "ms", 4.0);
    table.note("F", "submitted to result seen: p50", &[quantile(&to_result, 0.5)], "ms");
    table.note("F", "submitted to result seen: p99", &[quantile(&to_result, 0.99)], "ms");
}

/// Commands on hosts, with an sshd for each.
async fn on_hosts(plane: &Plane, table: &mut Table) {
    let addr = &plane.peers[plane.leader().await].api;
    let mut http = Http1::connect(addr, &plane.token).await.unwrap();
    let mut to_script = Vec::new();
    for task in 0..SINGLE / 2 {
        let submitted = jiff::Timestamp::now().as_nanosecond();
        let path = format!("/api/v1/nodes/n{:03}/run", task % HOSTS);
        let (task, _) =
            watch(&mut http, &path, &body("command", "date +%s%N"), |state| state == "succeeded").await;
        let output =
            http.call("GET", &format!("/api/v1/tasks/{}/output", task["id"]), "", &[]).await.unwrap();
        let text = String::from_utf8_lossy(&output.body);
        let ran: i128 = text.trim().parse().unwrap_or_else(|_| panic!("{text}"));
        to_script.push((ran - submitted) as f64 / 1e6);
        tokio::time::sleep(SINGLE_EVERY).await;
    }
    to_script.sort_by(f64::total_cmp);
    table.note("F", "submitted to its command on the host: p50", &[quantile(&to_script, 0.5)], "ms");
    table.note("F", "submitted to its command on the host: p99", &[quantile(&to_script, 0.99)], "ms");

    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    let (before, began) = (Usage::of(&pids), Instant::now());
    let mut last = 0;
    for task in 0..ON_HOSTS {
        let path = format!("/api/v1/nodes/n{:03}/run", task % HOSTS);
        let answer = http.call("POST", &path, "application/json", &body("command", "true")).await.unwrap();
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        last = last.max(answer["run"].as_u64().unwrap());
    }
    let mut http = Http2::connect(addr, &plane.token).await.unwrap();
    let first = last + 1 - ON_HOSTS as u64;
    while ended(&mut http, first).await < ON_HOSTS {
        assert!(began.elapsed() < OVER, "not all commands have ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    table.note("F", "commands `true` on 10 hosts", &[ON_HOSTS as f64 / began.elapsed().as_secs_f64()], "/s");
    let cpu = Usage::of(&pids).since(before).cpu * 1e3 / ON_HOSTS as f64;
    table.note("F", "commands `true`: CPU of peers a command", &[cpu], "ms");
}

/// A peer is killed while it has tasks, followers and leaders in turns: how long until others run them.
async fn take_over(mut plane: Plane, asked: &Asked, table: &mut Table) {
    let mut times = Vec::new();
    for round in 0..asked.runs * 2 {
        let leader = plane.leader().await;
        let victim = if round % 2 == 0 { (leader + 1) % 3 } else { leader };
        let survivor = (victim + 1) % 3;
        let id = plane.id(victim).await;
        let mut http = Http1::connect(&plane.peers[survivor].api, &plane.token).await.unwrap();
        let mut runs = Vec::new();
        for _ in 0..TAKEN_OVER {
            let answer = http
                .call("POST", "/api/v1/clusters/fleet/run", "application/json", &body("action", "second"))
                .await
                .unwrap();
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            runs.push(answer["run"].as_u64().unwrap());
        }
        until("all of them to run", OVER, || async {
            let running = plane.get("tasks?state=running&limit=100").await.map_err(|(_, body)| body)?;
            if running["items"].as_array().is_some_and(|items| items.len() == TAKEN_OVER) {
                Ok(())
            } else {
                Err(running)
            }
        })
        .await;
        let mut had = Vec::new();
        for run in &runs {
            let task = task_of(&mut http, *run).await;
            if task["peer"].as_u64() == Some(id) || task["peer"].as_str() == Some(&id.to_string()) {
                had.push(*run);
            }
        }
        assert!(!had.is_empty(), "peer {id} had nothing");
        let began = Instant::now();
        plane.peers[victim].kill();
        let mut again: BTreeMap<u64, Duration> = BTreeMap::new();
        while again.len() < had.len() {
            for run in &had {
                let task = task_of(&mut http, *run).await;
                let is_again = task["attempt"].as_u64() >= Some(2)
                    && task["state"] != "assigned"
                    && task["state"] != "queued";
                if is_again && !again.contains_key(run) {
                    again.insert(*run, began.elapsed());
                }
            }
            assert!(began.elapsed() < OVER, "tasks of a peer that was killed are not run again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times.push(again.values().max().unwrap().as_secs_f64());
        for run in &runs {
            let task = until_ended(&mut http, *run).await;
            assert_eq!(task["state"], "succeeded", "{task}");
        }
        plane.peers[victim].restart();
        plane.ready(victim).await;
        plane.voters(3).await;
    }
    table.at_most("F", "kill -9 of an executor to the last of its tasks running again", &times, "s", 3.0);
}

async fn task_of(http: &mut Http1, run: u64) -> Value {
    let answer = http.call("GET", &format!("/api/v1/tasks?run={run}"), "", &[]).await.unwrap();
    let tasks: Value = serde_json::from_slice(&answer.body).unwrap();
    tasks["items"][0].clone()
}

async fn until_ended(http: &mut Http1, run: u64) -> Value {
    let began = Instant::now();
    loop {
        let task = task_of(http, run).await;
        if !["queued", "assigned", "running"].contains(&task["state"].as_str().unwrap_or_default()) {
            return task;
        }
        assert!(began.elapsed() < OVER, "{task}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
