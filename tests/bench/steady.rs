//! Row A, once more: whether a leader stays while all cores are busy with something else; and what an idle control plane costs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Asked;
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::Table;

const IDLE: Duration = Duration::from_secs(20);

/// Programs that do nothing but use a core each, until dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start(count: usize) -> Busy {
        let spin =
            || Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
        Busy((0..count).map(|_| spin()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) async fn measure(asked: &Asked, table: &mut Table) {
    let plane = Plane::start(3).await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = Usage::of(&pids);
    tokio::time::sleep(IDLE).await;
    let used = Usage::of(&pids).since(before);
    table.note("steady", "three idle peers: CPU a second", &[used.cpu * 1e3 / IDLE.as_secs_f64()], "ms");
    table.note(
        "steady",
        "three idle peers: written a second",
        &[used.written as f64 / 1e3 / IDLE.as_secs_f64()],
        "kB",
    );

    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let _busy = Busy::start(cores);
    let (from, began) = (term(&plane).await, Instant::now());
    let time = Duration::from_secs(asked.minutes * 60);
    while began.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(5).min(time)).await;
    }
    let elections = term(&plane).await - from;
    let work = format!("elections in {} min with every core busy", asked.minutes);
    table.at_most("steady", &work, &[elections as f64], "", 0.0);
    println!("   load average {}", load_average());
}

async fn term(plane: &Plane) -> u64 {
    let peers = plane.get("peers").await.unwrap();
    peers["items"].as_array().unwrap().iter().filter_map(|peer| peer["term"].as_u64()).max().unwrap()
}
