//! Row I: what a peer takes, and how long it starts with a long log behind it.

use std::time::Instant;

use crate::Asked;
use crate::http::Http2;
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::Table;

const ENTRIES: usize = 1_000_000;
const IN_FLIGHT: usize = 512;
const CONNECTIONS: usize = 8;

pub(crate) async fn measure(_: &Asked, table: &mut Table) {
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
    println!("   load average {}", load_average());
}
