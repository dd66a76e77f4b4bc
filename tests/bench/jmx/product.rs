//! The same attributes in the whole product: three real peers, sixteen counters of each of five JVMs every second, from the schedule
//! to the replicated samples.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use rscaler::jvm::WORKER_COMMAND;

use super::ATTRIBUTES;
use crate::jvms::Jvm;
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::Table;
use crate::wait::until;

const IDLE: Duration = Duration::from_secs(20);
/// What the Java of the peers has to warm up.
const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn measure(watched: &[Jvm], table: &mut Table) {
    let plane = Plane::start(3).await;
    let peers: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    let theirs: Vec<u32> = watched.iter().map(Jvm::pid).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, before_theirs) = (Usage::of(&peers), Usage::of(&theirs));
    tokio::time::sleep(IDLE).await;
    let a_second = |used: Usage| used.cpu * 1e3 / IDLE.as_secs_f64();
    let idle = a_second(Usage::of(&peers).since(before));
    let idle_theirs = a_second(Usage::of(&theirs).since(before_theirs));

    plane.apply(&documents(watched));
    let all = watched.len() * ATTRIBUTES.len();
    until("samples of every attribute of every JVM", PATIENCE, || async {
        let (series, samples) = sampled(&plane).await;
        if series == all { Ok(()) } else { Err((series, samples)) }
    })
    .await;
    tokio::time::sleep(WARM_UP).await;

    let children = workers(&peers);
    assert!(!children.is_empty(), "no peer has started Java");
    let samples_before = sampled(&plane).await.1;
    let usage = |pids: &[u32]| Usage::of(pids);
    let before = [usage(&peers), usage(&children), usage(&theirs)];
    tokio::time::sleep(MEASURED).await;
    let [peers_used, children_used, theirs_used] =
        [usage(&peers).since(before[0]), usage(&children).since(before[1]), usage(&theirs).since(before[2])];
    assert_eq!(workers(&peers), children, "a child was started again");
    let samples = (sampled(&plane).await.1 - samples_before) as f64;

    let per_sample = |used: Usage| used.cpu * 1e3 / samples;
    let less_idle = |used: Usage, idle: f64| (used.cpu * 1e3 - idle * MEASURED.as_secs_f64()) / samples;
    let mut note = |work: &str, value: f64, unit: &str| {
        table.note("D", &format!("whole product: {work}"), &[value], unit);
    };
    note("samples a second (80 asked for)", samples / MEASURED.as_secs_f64(), "/s");
    note("three idle peers: CPU a second", idle, "ms");
    note("three peers: CPU an attribute", per_sample(peers_used), "ms");
    note("three peers less what idle ones take", less_idle(peers_used, idle), "ms");
    note("their children with Java: CPU an attribute", per_sample(children_used), "ms");
    note("children with Java", children.len() as f64, "");
    let largest = children.iter().map(|pid| Usage::of(&[*pid]).rss_mb).fold(0.0, f64::max);
    note("memory of the largest child", largest, "MB");
    note("memory of the three peers", peers_used.rss_mb, "MB");
    note("five JVMs that nobody asks: CPU a second", idle_theirs, "ms");
    note("the watched JVMs: CPU an attribute", per_sample(theirs_used), "ms");
    note("the watched JVMs less what idle ones take", less_idle(theirs_used, idle_theirs), "ms");
    println!("   load average {}", load_average());
}

/// A node for each JVM, and the sixteen counters.
fn documents(watched: &[Jvm]) -> String {
    let mut yaml = "---\nkind: cluster\nname: web\n".to_string();
    for (at, jvm) in watched.iter().enumerate() {
        write!(
            yaml,
            "---\nkind: jvm-profile\nname: app{at}\nport: {}\n---\nkind: node\nname: web{at}\ncluster: web\nhostname: 127.0.0.1\njvms: [app{at}]\n",
            jvm.port
        )
        .unwrap();
    }
    for (at, (mbean, attribute, key, _)) in ATTRIBUTES.iter().enumerate() {
        let key = if key.is_empty() { String::new() } else { format!("key: {key}\n") };
        write!(
            yaml,
            "---\nkind: counter\nname: a{at}\ntype: jmx\nmbean: \"{mbean}\"\nattribute: {attribute}\n{key}interval: 1s\ntimeout: 4s\nclusters: [web]\n"
        )
        .unwrap();
    }
    yaml
}

/// Series that have samples, and all their samples; the newest of each is checked.
async fn sampled(plane: &Plane) -> (usize, usize) {
    let (mut count, mut samples) = (0, 0);
    for (at, (mbean, attribute, key, least)) in ATTRIBUTES.iter().enumerate() {
        let path = format!("clusters/web/counters/a{at}/samples?step=1s");
        let answer = plane.get(&path).await.unwrap();
        for series in answer["series"].as_array().unwrap() {
            let points = series["points"].as_array().map_or(&[][..], Vec::as_slice);
            let Some(last) = points.iter().rev().find_map(|point| point[1].as_f64()) else { continue };
            assert!(last >= *least, "{mbean} {attribute} {key}: {last}");
            count += 1;
            samples += points.iter().filter(|point| point[1].is_number()).count();
        }
    }
    (count, samples)
}

/// The processes that peers have started for Java, in the order of their ids.
fn workers(peers: &[u32]) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: HashMap<u32, u32> = pids
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let is_worker = |pid: u32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split('\0').any(|word| word == WORKER_COMMAND)
    };
    let of_peers = parents.iter().filter(|(_, parent)| peers.contains(parent)).map(|(pid, _)| *pid);
    let mut found: Vec<u32> = of_peers.filter(|pid| is_worker(*pid)).collect();
    found.sort_unstable();
    found
}
