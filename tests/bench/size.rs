//! Row I: what a peer takes, how long it starts with a long log behind it, and how fast an empty one gets all there is.

use std::time::Instant;

use crate::Asked;
use crate::http::Http2;
use crate::plane::Plane;
use crate::process::{Usage, load_average, settle};
use crate::table::Table;

const ENTRIES: usize = 1_000_000;
const IN_FLIGHT: usize = 512;
const CONNECTIONS: usize = 8;

/// What an empty peer is given: files of so many bytes.
const FILES: usize = 1024;
const FILE_BYTES: usize = 1 << 20;
const FILES_IN_FLIGHT: usize = 4;

pub(crate) async fn measure(asked: &Asked, table: &mut Table) {
    start(asked, table).await;
    snapshot(table).await;
    println!("   load average {}", load_average());
}

/// A gigabyte of files at one peer, then a second one joins, which can only take a snapshot: the log does not reach back.
async fn snapshot(table: &mut Table) {
    let mut plane = Plane::start(1).await;
    let writers: Vec<_> = (0..FILES_IN_FLIGHT)
        .map(|writer| {
            let (addr, token) = (plane.peers[0].api.clone(), plane.token.clone());
            tokio::spawn(async move {
                let mut http = Http2::connect(&addr, &token).await.unwrap();
                for file in (writer..FILES).step_by(FILES_IN_FLIGHT) {
                    let mut content = vec![0; FILE_BYTES];
                    rand::fill(&mut content[..]);
                    let path = format!("/api/v1/files/file-{file:04}/content");
                    let answer = http.call("PUT", &path, "", content).await.unwrap();
                    assert!(answer.status < 300, "{answer:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    // What was written is still being put in order.
    settle(&pids).await;
    let (before, began) = (Usage::of(&pids), Instant::now());
    plane.join().await;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = Usage::of(&pids).since(before).cpu;
    let megabytes = (FILES * FILE_BYTES) as f64 / 1e6;
    table.at_least(
        "I",
        "1 GB to an empty peer, from its start to ready",
        &[megabytes / seconds],
        "MB/s",
        100.0,
    );
    table.note("I", "1 GB to an empty peer: CPU of the one that gives it", &[cpu], "s");
}

async fn start(_: &Asked, table: &mut Table) {
    let mut plane = Plane::start(3).await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    table.note("I", "memory of an empty peer", &[Usage::of(&pids).rss_mb / 3.0], "MB");

    let leader = plane.leader().await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Http2::connect(&plane.peers[leader].api, &plane.token).await.unwrap());
    }
    let writers: Vec<_> = (0..IN_FLIGHT)
        .map(|writer| {
            let mut http = connections[writer % CONNECTIONS].clone();
            tokio::spawn(async move {
                for write in (writer..ENTRIES).step_by(IN_FLIGHT) {
                    let path = format!("/api/v1/files/key-{:05}/content", write % 10_000);
                    let answer = http.call("PUT", &path, "", write.to_be_bytes().repeat(25)).await.unwrap();
                    assert!(answer.status < 300, "{answer:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    // As after a crash: what is not in the last checkpoint is read from the log again.
    let place = (leader + 1) % 3;
    plane.peers[place].kill();
    let began = Instant::now();
    plane.peers[place].restart();
    plane.ready(place).await;
    let seconds = began.elapsed().as_secs_f64();
    table.at_most("I", "start after a million entries, to ready", &[seconds], "s", 2.0);
}
