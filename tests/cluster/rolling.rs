//! Every peer is restarted, one after the other, under load: clients that retry as documented notice nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use rscaler_api::client::{Client, WatchEvent};
use rscaler_api::types::{Kind, Pushed, RunRequest, Sample, SampleQuery, Text};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::plane::{Plane, STARTING};
use crate::wait::until;

/// What every load has in common: when to stop, and how far all have come.
#[derive(Clone)]
struct Load {
    client: Client,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Load {
    fn goes_on(&self) -> bool {
        self.done.fetch_add(1, Ordering::Relaxed);
        !self.stop.load(Ordering::Relaxed)
    }
}

/// A client of its own, as every program has one.
fn client(plane: &Plane, first: usize) -> Client {
    let mut builder = Client::builder().token(plane.token.as_str());
    for place in 0..plane.peers.len() {
        let api = &plane.peers[(first + place) % plane.peers.len()].api;
        builder = builder.endpoint(format!("http://{api}"));
    }
    builder.build().unwrap()
}

/// Creates one cluster after the other.
fn creates(load: Load, prefix: &'static str) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut created = Vec::new();
        while load.goes_on() {
            let name = format!("{prefix}{}", created.len());
            let made = load.client.create_value(Kind::Cluster, &json!({"name": name})).await;
            // A second try that is not answered as the first would be a conflict.
            let made = made.unwrap_or_else(|error| panic!("creating {name}: {error:?}"));
            assert_eq!((&made["name"], &made["version"]), (&json!(name), &json!(1)));
            created.push(name);
        }
        created
    })
}

/// Counts in a label, by compare and set; gives how often.
fn counts(load: Load, name: &'static str) -> JoinHandle<u64> {
    tokio::spawn(async move {
        load.client.create_value(Kind::Cluster, &json!({"name": name})).await.unwrap();
        let mut version = 1;
        while load.goes_on() {
            let patch = json!({"labels": {"count": version.to_string()}});
            let patched = load.client.patch(Kind::Cluster, name, &patch, Some(version)).await;
            let patched = patched.unwrap_or_else(|error| panic!("setting {name} at {version}: {error:?}"));
            version += 1;
            assert_eq!(patched["version"], json!(version));
            let read = load.client.get_value(Kind::Cluster, name).await;
            let read = read.unwrap_or_else(|error| panic!("reading {name}: {error:?}"));
            // Any peer answers, one that lags too; never one that is ahead of what was written.
            assert!(read["version"].as_u64().unwrap() <= version, "{read}");
        }
        version
    })
}

/// Pushes one sample after the other; gives their times.
fn pushes(load: Load) -> JoinHandle<Vec<i64>> {
    tokio::spawn(async move {
        let mut times = Vec::new();
        let mut next = jiff::Timestamp::now().as_millisecond() - 3_600_000;
        while load.goes_on() {
            let v = times.len() as f64;
            let (counter, node) = ("pushed".to_string(), "web01".to_string());
            let sample = Sample { counter, node, jvm: None, instance: None, t: Some(next), v };
            let pushed = load.client.push_samples(&Pushed { samples: vec![sample] }).await;
            let pushed = pushed.unwrap_or_else(|error| panic!("pushing {v}: {error:?}"));
            assert_eq!((pushed.accepted, pushed.dropped), (1, 0), "sample {v}");
            times.push(next);
            next += 100;
        }
        times
    })
}

/// Starts one run after the other; gives their numbers.
fn runs(load: Load) -> JoinHandle<Vec<u64>> {
    tokio::spawn(async move {
        let mut started = Vec::new();
        while load.goes_on() {
            let command = Some(Text::Inline("true".to_string()));
            let request = RunRequest { command, ..RunRequest::default() };
            let run = load.client.run_on_node("web01", &request).await;
            started.push(run.unwrap_or_else(|error| panic!("run {}: {error:?}", started.len())).run);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        started
    })
}

/// Follows changes of clusters; gives the names, and whether it was told that it missed some.
fn watches(load: Load) -> JoinHandle<(BTreeSet<String>, bool)> {
    tokio::spawn(async move {
        let mut changes = load.client.watch(&["cluster"], Some(0));
        let (mut seen, mut reset, mut last) = (BTreeSet::new(), false, 0);
        while load.goes_on() {
            // Silence is well: the writers may have stopped.
            let Ok(next) = tokio::time::timeout(Duration::from_secs(1), changes.next()).await else {
                continue;
            };
            match next.expect("it has no end").unwrap_or_else(|error| panic!("watching: {error:?}")) {
                WatchEvent::Reset(index) => (reset, last) = (true, index),
                WatchEvent::Changes(told) => {
                    assert!(told.index > last, "{} after {last}", told.index);
                    last = told.index;
                    seen.extend(
                        told.changes.into_iter().filter_map(|change| change.name).map(|n| n.to_string()),
                    );
                }
            }
        }
        (seen, reset)
    })
}

/// Until the peers agree that all are alive and nobody lags.
async fn settled(plane: &Plane) {
    until("all peers to be alive and caught up", STARTING, || async {
        let peers = plane.get("peers").await.map_err(|(_, body)| body)?;
        let items = peers["items"].as_array().cloned().unwrap_or_default();
        let well = items
            .iter()
            .filter(|peer| peer["alive"] == true && peer["lag"].as_u64().is_none_or(|lag| lag < 100));
        if well.count() == plane.peers.len() { Ok(()) } else { Err(peers) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_fails_no_request_and_loses_and_doubles_nothing() {
    let mut plane = Plane::start(3).await;
    plane.apply(
        "kind: cluster\nname: web\n---\nkind: node\nname: web01\ncluster: web\nhostname: 127.0.0.1\nport: 1\n---\n\
         kind: counter\nname: pushed\ntype: push\ninterval: 1s\nclusters: [web]\n",
    );
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = |first: usize| Load { client: client(&plane, first), stop: stop.clone(), done: done.clone() };
    let creating = [creates(load(0), "a"), creates(load(1), "b"), creates(load(2), "c")];
    let counting = [(counts(load(0), "count-0"), "count-0"), (counts(load(1), "count-1"), "count-1")];
    let (pushing, running) = (pushes(load(1)), runs(load(2)));
    let watching = [watches(load(0)), watches(load(1)), watches(load(2))];

    for round in 0..2 {
        for place in 0..3 {
            let before = done.load(Ordering::Relaxed);
            until("the load to go on", STARTING, || async {
                let now = done.load(Ordering::Relaxed);
                if now >= before + 200 { Ok(()) } else { Err(now - before) }
            })
            .await;
            println!("round {round}: peer {place} is restarted");
            assert_eq!(plane.peers[place].stop(), Some(0), "{}", plane.peers[place].log());
            plane.peers[place].restart();
            plane.ready(place).await;
            settled(&plane).await;
        }
    }
    stop.store(true, Ordering::Relaxed);

    let mut created = BTreeSet::new();
    for creating in creating {
        created.extend(creating.await.unwrap());
    }
    let mut versions = BTreeMap::new();
    for (counting, name) in counting {
        versions.insert(name, counting.await.unwrap());
    }
    let (times, started) = (pushing.await.unwrap(), running.await.unwrap());
    println!(
        "{} clusters, {versions:?} versions, {} samples, {} runs",
        created.len(),
        times.len(),
        started.len()
    );
    for watching in watching {
        let (seen, reset) = watching.await.unwrap();
        // What was created last may not have been told yet when it stopped.
        let missed = created.iter().filter(|name| !seen.contains(*name)).count();
        assert!(reset || missed <= 30, "{missed} of {} changes were not told", created.len());
    }

    for place in 0..3 {
        let path = "clusters?limit=1&consistency=linearizable";
        plane.ask(place, reqwest::Method::GET, path, None).await.unwrap();
        let one = Client::builder()
            .token(plane.token.as_str())
            .endpoint(format!("http://{}", plane.peers[place].api));
        let one = one.build().unwrap();
        let all = one.list_all(Kind::Cluster, &Default::default()).await.unwrap();
        let names: BTreeSet<String> = all.iter().map(|c| c["name"].as_str().unwrap().to_string()).collect();
        let missing: Vec<_> = created.difference(&names).collect();
        assert!(missing.is_empty(), "peer {place} lacks {missing:?}");
        // `web` and those that count; nothing that nobody asked for.
        assert_eq!(names.len(), created.len() + 1 + versions.len());
        for (name, version) in &versions {
            let read = one.get_value(Kind::Cluster, name).await.unwrap();
            assert_eq!(read["version"], json!(version), "{name} at peer {place}");
        }
        let query = SampleQuery { from: Some("-2h".to_string()), ..SampleQuery::default() };
        let samples = one.node_samples("web01", None, "pushed", &query).await.unwrap();
        let points: Vec<(i64, f64)> =
            samples.series.iter().flat_map(|series| series.points.clone()).collect();
        let wanted: Vec<(i64, f64)> = times.iter().zip(0u32..).map(|(at, v)| (*at, f64::from(v))).collect();
        assert_eq!(points, wanted, "samples at peer {place}");
    }
    let mut distinct = started.clone();
    distinct.dedup();
    assert_eq!(distinct, started, "every request is a run of its own");
    let newest = plane.get("runs?limit=1").await.unwrap()["items"][0]["id"].as_u64();
    assert_eq!(newest, started.last().copied(), "there are no other runs");
    assert_eq!(started.len() as u64, newest.unwrap(), "runs are numbered from 1 without a gap");
}
