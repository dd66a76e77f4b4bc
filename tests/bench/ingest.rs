//! Row B: samples. 500 hosts with 20 push counters each make 10,000 series, with a sample every 10 s, each host with an
//! offset of its own. The first 50 hosts' earlier samples go in first and are not timed; then all as fast as they are
//! taken, prepared beforehand, over two connections.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Asked;
use crate::fleet_data::{HOST, Source};
use crate::http::Http1;
use crate::plane::Plane;
use crate::process::{Usage, disk_bytes, load_average, settle};
use crate::table::{Table, quantile};

const HOSTS: usize = 500;
const OLD_HOSTS: usize = 50;
const STEP_MS: i64 = 10_000;
const SAMPLES_A_REQUEST: usize = 2000;
const CONNECTIONS: usize = 2;
const HOUR_MS: i64 = 3_600_000;
const QUERIES: usize = 30;

/// Requests of a piece of time, ready to be sent, and how many samples they hold.
struct Piece {
    bodies: Vec<Vec<u8>>,
    samples: usize,
}

/// Makes samples of some hosts in the order of time: requests hold whole steps of whole hosts.
struct Fleet {
    sources: Vec<Vec<Source>>,
    hosts: std::ops::Range<usize>,
}

impl Fleet {
    fn new(hosts: std::ops::Range<usize>, seed: u64) -> Fleet {
        let sources = hosts
            .clone()
            .map(|host| {
                let place = |c: usize| seed + (host * HOST.len() + c) as u64;
                HOST.iter().enumerate().map(|(c, kind)| Source::new(*kind, place(c))).collect()
            })
            .collect();
        Fleet { sources, hosts }
    }

    fn piece(&mut self, from: i64, steps: i64) -> Piece {
        let mut bodies = Vec::new();
        let mut body = String::new();
        let (mut held, mut samples) = (0, 0);
        for step in 0..steps {
            for (place, host) in self.hosts.clone().enumerate() {
                // Each host has its own moment within the step.
                let t = from + step * STEP_MS + (host as i64 * 7919) % STEP_MS;
                for (c, source) in self.sources[place].iter_mut().enumerate() {
                    body.push_str(if held == 0 { "{\"samples\":[" } else { "," });
                    let value = source.next();
                    let _ = write!(
                        body,
                        "{{\"counter\":\"c{c:02}\",\"node\":\"h{host:03}\",\"t\":{t},\"v\":{value}}}"
                    );
                    held += 1;
                    samples += 1;
                }
                if held >= SAMPLES_A_REQUEST {
                    body.push_str("]}");
                    bodies.push(std::mem::take(&mut body).into_bytes());
                    held = 0;
                }
            }
        }
        if held > 0 {
            body.push_str("]}");
            bodies.push(body.into_bytes());
        }
        Piece { bodies, samples }
    }
}

async fn send(plane: &Plane, addr: &str, piece: Piece) {
    let bodies = Arc::new(piece.bodies);
    // Two connections with their own halves of the hosts would drift apart: both take the next request instead.
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (bodies, next) = (Arc::clone(&bodies), Arc::clone(&next));
            let (addr, token) = (addr.to_string(), plane.token.clone());
            tokio::spawn(async move {
                let mut http = Http1::connect(&addr, &token).await.unwrap();
                let (mut accepted, mut dropped) = (0, 0);
                loop {
                    let place = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(body) = bodies.get(place) else { return (accepted, dropped) };
                    let answer =
                        http.call("POST", "/api/v1/samples", "application/json", body).await.unwrap();
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
                    accepted += answer["accepted"].as_u64().unwrap() as usize;
                    dropped += answer["dropped"].as_u64().unwrap() as usize;
                }
            })
        })
        .collect();
    let (mut accepted, mut dropped) = (0, 0);
    for sender in senders {
        let (a, d) = sender.await.unwrap();
        accepted += a;
        dropped += d;
    }
    assert_eq!((accepted, dropped), (piece.samples, 0), "every sample is taken");
}

pub(crate) async fn measure(asked: &Asked, table: &mut Table) {
    let plane = Plane::start(3).await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    define(&plane).await;
    let addr = plane.peers[plane.leader().await].api.clone();
    let now = jiff::Timestamp::now().as_millisecond();
    let hours = asked.hours as i64;
    let begin = now - hours * HOUR_MS - STEP_MS;

    let mut total = 0;
    let mut old = Fleet::new(0..OLD_HOSTS, 1);
    for hour in 0..3 * hours {
        let piece = old.piece(begin - (3 * hours - hour) * HOUR_MS, HOUR_MS / STEP_MS);
        total += piece.samples;
        send(&plane, &addr, piece).await;
    }
    let mut all = Fleet::new(0..HOSTS, 2);
    let mut usage = Usage::default();
    let (mut seconds, mut timed) = (0.0, 0);
    for quarter in 0..4 * hours {
        let piece = all.piece(begin + quarter * HOUR_MS / 4, HOUR_MS / 4 / STEP_MS);
        timed += piece.samples;
        let (before, began) = (Usage::of(&pids), Instant::now());
        send(&plane, &addr, piece).await;
        seconds += began.elapsed().as_secs_f64();
        let used = Usage::of(&pids).since(before);
        usage.cpu += used.cpu;
        usage.written += used.written;
        usage.rss_mb = used.rss_mb;
    }
    total += timed;
    let millions = timed as f64 / 1e6;
    table.at_most("B", "ingest: CPU per million samples", &[usage.cpu / millions], "s", 0.9);
    table.note("B", "ingest: samples", &[timed as f64 / seconds], "/s");
    table.note(
        "B",
        "ingest: written to disk by all three",
        &[usage.written as f64 / timed as f64],
        "B a sample",
    );
    table.at_most("I", "memory of a peer at 10,000 series, after ingest", &[usage.rss_mb / 3.0], "MB", 60.0);

    settle(&pids).await;
    queries(&plane, &addr, begin, hours, &pids, table).await;
    let of = |part: &str| -> Vec<f64> {
        plane.peers.iter().map(|peer| disk_bytes(&peer.data.join(part)) as f64 / total as f64).collect()
    };
    let (rows, blocks) = (of("state"), of("blocks"));
    let both: Vec<f64> = rows.iter().zip(&blocks).map(|(rows, blocks)| rows + blocks).collect();
    table.at_most("B", "disk: data and index, a copy", &both, "B a sample", 1.0);
    table.note("B", "disk: of that the sealed blocks", &blocks, "B a sample");
    table.note("B", "disk: log kept beside", &of("log"), "B a sample");
    let rss = Usage::of(&pids).rss_mb / 3.0;
    table.note("I", "memory of a peer at 10,000 series, settled", &[rss], "MB");
    println!("   load average {}", load_average());
}

async fn define(plane: &Plane) {
    let mut documents = vec![json!({"kind": "cluster", "name": "fleet"})];
    for c in 0..HOST.len() {
        let name = format!("c{c:02}");
        documents.push(json!({"kind": "counter", "name": name, "type": "push", "interval": "10s", "clusters": ["fleet"]}));
    }
    for host in 0..HOSTS {
        let name = format!("h{host:03}");
        documents.push(json!({"kind": "node", "name": name, "cluster": "fleet", "hostname": "127.0.0.1"}));
    }
    plane.post("apply", Value::Array(documents)).await.unwrap();
}

async fn queries(plane: &Plane, addr: &str, begin: i64, hours: i64, pids: &[u32], table: &mut Table) {
    let mut http = Http1::connect(addr, &plane.token).await.unwrap();
    let (first, end) = (begin - 3 * hours * HOUR_MS, begin + hours * HOUR_MS);
    let mut ask =
        async |name: &str, paths: &[String], points_min: usize, table: &mut Table, aim: Option<f64>| {
            let before = Usage::of(pids);
            let mut times = Vec::new();
            for round in paths.chunks(paths.len() / QUERIES) {
                let began = Instant::now();
                for path in round {
                    let answer = http.call("GET", path, "", &[]).await.unwrap();
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
                    let points = answer["series"][0]["points"].as_array().map_or(0, Vec::len);
                    assert!(points >= points_min, "{path}: {points} points");
                }
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            let cpu = Usage::of(pids).since(before).cpu * 1e3 / QUERIES as f64;
            times.sort_by(f64::total_cmp);
            let work = format!("query {name}: CPU");
            match aim {
                Some(aim) => table.at_most("B", &work, &[cpu], "ms", aim),
                None => table.note("B", &work, &[cpu], "ms"),
            }
            table.note("B", &format!("query {name}: p50"), &[quantile(&times, 0.5)], "ms");
            table.note("B", &format!("query {name}: p99"), &[quantile(&times, 0.99)], "ms");
        };
    // Each query is shifted by a second, so that no answer can be kept.
    let one: Vec<String> = (0..QUERIES as i64)
        .map(|q| {
            let (from, to) = (first + q * 1000, end + q * 1000);
            format!("/api/v1/nodes/h{q:03}/counters/c00/samples?from={from}&to={to}&step=1m")
        })
        .collect();
    ask("of one series, all its time", &one, (4 * hours * 60 - 2) as usize, table, None).await;
    let many: Vec<String> = (0..QUERIES as i64)
        .flat_map(|q| {
            ["c00", "c10"].map(|counter| {
                let (from, to) = (begin + q * 1000, end + q * 1000);
                format!("/api/v1/clusters/fleet/counters/{counter}/samples?from={from}&to={to}&step=60s&across=avg")
            })
        })
        .collect();
    ask("of 1,000 series", &many, (hours * 60 - 2) as usize, table, Some(12.0)).await;
}
