//! The child that embeds Java runs out of memory, for real.

use super::*;
use crate::jvms::{Door, Jvm};

/// JVMs that fill the child's memory.
const BAD: usize = 4;

/// What a process has of the machine's memory, in MB; 0 where there is none.
fn resident_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
}

/// The longest pause between two samples of a counter, in seconds.
async fn longest_pause(plane: &Plane, counter: &str) -> f64 {
    let answer = plane.get(&format!("clusters/web/counters/{counter}/samples?step=1s")).await.unwrap();
    let points = answer["series"][0]["points"].as_array().unwrap();
    let times: Vec<f64> = points.iter().map(|point| point[0].as_f64().unwrap() / 1000.0).collect();
    times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_fill_the_childs_memory_cost_only_who_gives_them() {
    let good = Jvm::start();
    let (_bad, ports) = Jvm::start_many(&Door::default(), BAD);
    let plane = Plane::start(1).await;
    let peer = plane.peers[0].pid().unwrap();
    let mut yaml = web("web01", "app") + &profile("app", good.port, "");
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    plane.apply(&yaml);
    value(&plane, "heap").await;
    let before_mb = resident_mb(peer);

    let mut yaml = "---\n{kind: cluster, name: bad}\n".to_string();
    for port in &ports {
        yaml += &profile(&format!("p{port}"), *port, "");
        yaml += &format!(
            "---\n{{kind: node, name: n{port}, cluster: bad, hostname: 127.0.0.1, jvms: [p{port}]}}\n"
        );
    }
    let of_bad = |name: &str, mbean: &str, attribute: &str| {
        counter(name, mbean, attribute, "").replace("[web]", "[bad]").replace("timeout: 4s", "timeout: 10s")
    };
    yaml += &of_bad("linked", "fixture:type=Odd", "Linked");
    yaml += &of_bad("count", THING, "Count");
    yaml += "---\n{kind: action, name: hoard, type: jmx-invoke, mbean: \"fixture:type=Odd\", operation: hoard, timeout: 20s}\n";
    plane.apply(&yaml);

    // As much as is read of attributes does no harm, whatever it is.
    let node = format!("n{}", ports[0]);
    let failed = |counter: &'static str, says: &'static str| {
        let (plane, node) = (&plane, &node);
        async move {
            until(&format!("{counter}: {says}"), PATIENCE, || async {
                let check = check(plane, node, counter).await;
                let detail = check["failure"]["detail"].as_str().unwrap_or_default();
                if detail.contains(says) { Ok(()) } else { Err(check) }
            })
            .await;
        }
    };
    failed("linked", "java.util.LinkedList").await;

    // What an operation gives may be more than there is memory for.
    let mut child_mb = 0;
    for _ in 0..2 {
        let run = plane.cli_command(&["run", "--cluster", "bad", "--action", "hoard"]).output();
        let said = tokio::task::block_in_place(|| run.unwrap());
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("takes more memory than there is"), "{said}");
        let child = failing::child_of(peer).expect("there is a child");
        child_mb = child_mb.max(resident_mb(child.cast_unsigned()));
    }
    fresh(&plane, "heap").await;
    until("the bad ones' other counters", PATIENCE, || async {
        let check = check(&plane, &node, "count").await;
        if check["ok"] == json!(true) { Ok(()) } else { Err(check) }
    })
    .await;
    let pause = longest_pause(&plane, "heap").await;
    let peer_mb = resident_mb(peer);
    println!(
        "the longest pause {pause} s; the peer had {before_mb} MB and has {peer_mb}, the child {child_mb}"
    );
    assert!(pause <= 8.0, "only for seconds: {pause}");
    assert!(peer_mb < before_mb + 64, "{before_mb} MB before, {peer_mb} after");
    assert!(child_mb < 300, "{child_mb} MB");
    assert_eq!(plane.peers[0].pid().unwrap(), peer);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_keeps_no_counter_of_the_same_jvm_waiting() {
    let jvm = Jvm::start();
    let plane = Plane::start(1).await;
    let mut yaml = web("web01", "app") + &profile("app", jvm.port, "");
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    yaml += &format!(
        "---\n{{kind: action, name: sleep, type: jmx-invoke, mbean: \"{THING}\", operation: sleep, args: [\"15000\"], timeout: 30s}}\n"
    );
    plane.apply(&yaml);
    value(&plane, "heap").await;
    let child = failing::child_of(plane.peers[0].pid().unwrap());
    let said = plane.cli_command(&["run", "--node", "web01", "--action", "sleep"]).output();
    let said = tokio::task::block_in_place(|| said.unwrap());
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("15000"), "{said:?}");
    fresh(&plane, "heap").await;
    let pause = longest_pause(&plane, "heap").await;
    assert!(pause <= 4.0, "{pause}");
    assert_eq!(failing::child_of(plane.peers[0].pid().unwrap()), child, "the same child");
}
