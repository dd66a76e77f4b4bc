//! Strangers at the ports of a peer: thousands of connections, garbage, and clients that dawdle. They cost a bounded piece of
//! memory, and everybody else is served.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::hosts::{Host, node, secret};
use crate::plane::{Plane, STARTING};
use crate::wait::until;
use crate::writer::Writer;

const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS: u64 = 10_000;
/// What strangers may cost a peer, in KiB: far more than they do, and far less than it would be without a bound.
const GROWTH_KIB_MAX: u64 = 128 << 10;

/// Lets this process have so many connections, or as many as the system allows: half of them, for the peers are its children.
fn many_connections() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let count = CONNECTIONS.min(most.saturating_sub(500));
    println!("{count} connections, as {most} files may be open");
    usize::try_from(count).unwrap()
}

/// Memory of a process that is in use, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a stranger says, by its number: nothing, the beginning of a handshake, garbage, or HTTP.
fn said(number: usize) -> &'static [u8] {
    match number % 4 {
        0 => b"",
        1 => b"\x16\x03\x01\x02",
        2 => &[0xff; 512],
        _ => b"GET / HTTP/1.1\r\nhost: x\r\n",
    }
}

async fn connect(address: &str, number: usize) -> Option<TcpStream> {
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await.ok()?;
    let mut stream = connected.ok()?;
    let _ = stream.write_all(said(number)).await;
    Some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_strangers_at_the_peer_port_keep_no_peer_out() {
    let mut plane = Plane::start(3).await;
    let leader = plane.leader().await;
    let writer = Writer::start(&plane, leader);
    writer.goes_on(20).await;
    let pid = plane.peers[leader].pid().unwrap();
    let (before, address) = (memory(pid), plane.peers[leader].peer_addr().to_string());

    let count = many_connections();
    let began = Instant::now();
    let mut strangers = Vec::new();
    for number in 0..count {
        strangers.extend(connect(&address, number).await);
    }
    println!("{} connections in {:?}", strangers.len(), began.elapsed());
    assert!(strangers.len() >= count * 9 / 10, "{} of {count} were accepted by the system", strangers.len());
    writer.goes_on(20).await;
    let grown = memory(pid).saturating_sub(before);
    println!("the peer grew by {grown} KiB");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");

    // A peer that connects anew, in the middle of them, finds its way in.
    let follower = (leader + 1) % 3;
    plane.peers[follower].kill();
    plane.peers[follower].restart();
    plane.ready(follower).await;
    writer.goes_on(20).await;
    assert_eq!(plane.leader().await, leader, "nobody had to be elected");

    // Nobody who says nothing stays for long.
    for mut stranger in strangers.drain(..).rev().take(100) {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stranger.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "it is closed");
    }
    writer.goes_on(20).await;
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_speaks_one_byte_at_a_time_is_closed() {
    let plane = Plane::start(1).await;
    let mut slow = TcpStream::connect(plane.peers[0].peer_addr()).await.unwrap();
    let began = Instant::now();
    // A record of a handshake that would take a minute to arrive.
    let record = [&[0x16, 3, 1, 2, 0, 1][..], &[0; 300]].concat();
    let (mut reading, mut writing) = slow.split();
    let mut rest = Vec::new();
    let speaks = async {
        for byte in &record {
            if writing.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = speaks => panic!("it was listened to for {:?}", began.elapsed()),
        _ = reading.read_to_end(&mut rest) => println!("closed after {:?}", began.elapsed()),
    }
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_of_one_client_leave_room_for_others() {
    let plane = Plane::start(1).await;
    let pid = plane.peers[0].pid().unwrap();
    let before = memory(pid);
    let count = many_connections();
    let mut all = Vec::new();
    for number in 0..count {
        all.extend(connect(&plane.peers[0].api, number).await);
        if number % 1000 == 0 {
            plane.post("clusters", json!({"name": format!("c{number}")})).await.unwrap();
        }
    }
    plane.post("clusters", json!({"name": "after"})).await.unwrap();
    let grown = memory(pid).saturating_sub(before);
    println!("{} connections; the peer grew by {grown} KiB", all.len());
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_print_all_at_once_are_bounded_and_leave_room_for_others() {
    let host = Host::start();
    let plane = Plane::start(1).await;
    let user = host.user();
    let mut yaml = "kind: cluster\nname: web\n".to_string() + &secret("key", &host.private_key());
    yaml += &format!(
        "---\nkind: ssh-profile\nname: ops\nuser: {user}\nkey: {{secret: key}}\nhost_key: accept-new\n"
    );
    let nodes = 8;
    for number in 0..nodes {
        yaml += &node(&format!("web{number:02}"), &host, "ops");
    }
    plane.apply(&yaml);
    let pid = plane.peers[0].pid().unwrap();
    let before = memory(pid);
    // Much at once; and a byte here and a byte there, each a piece of its own.
    let flood = "head -c 20000000 /dev/zero | tr '\\0' x; i=0; while [ $i -lt 5000 ]; do printf a; printf b >&2; i=$((i+1)); done";
    let mut runs = Vec::new();
    for _ in 0..2 {
        let run = plane.post("clusters/web/run", json!({"command": flood, "timeout": "120s"})).await.unwrap();
        runs.push(run["run"].as_u64().unwrap());
    }
    let mut most = 0;
    let mut number = 0;
    until("the runs to end", STARTING * 3, || {
        number += 1;
        most = most.max(memory(pid));
        let (plane, runs) = (&plane, &runs);
        async move {
            // Meanwhile others are served.
            let began = Instant::now();
            plane.post("clusters", json!({"name": format!("c{number}")})).await.map_err(|(_, body)| body)?;
            assert!(began.elapsed() < PATIENCE);
            let list = plane.get("runs?state=running").await.map_err(|(_, body)| body)?;
            let left = list["items"].as_array().map_or(0, Vec::len);
            if left == 0 { Ok(()) } else { Err(json!({"runs": runs, "left": left})) }
        }
    })
    .await;
    let grown = most.saturating_sub(before);
    println!("{} tasks; the peer grew by {grown} KiB", 2 * nodes);
    assert!(grown < 768 << 10, "{grown} KiB");
    let tasks = plane.get("tasks?limit=100").await.unwrap();
    for task in tasks["items"].as_array().unwrap() {
        let totals = &task["output"];
        let kept = totals["kept"].as_u64().unwrap();
        assert!(kept <= 4 << 20, "{task}");
    }
}
