//! Row E: one command on many hosts, which are addresses of a few real sshds: one alone takes only a few logins at a time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Asked;
use crate::hosts::Host;
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::Table;
use crate::tasks::{fleet, run_over};

const HOSTS: usize = 100;
const SSHDS: usize = 20;
const WARM_RUNS: usize = 3;
/// Between two runs, so that each finds connections as they are at rest.
const REST: Duration = Duration::from_secs(3);

pub(crate) async fn measure(_: &Asked, table: &mut Table) {
    let hosts: Vec<Host> = (0..SSHDS).map(|_| Host::start()).collect();
    let mut plane = Plane::start(3).await;
    fleet(&plane, &hosts, HOSTS).await;
    // Once, so that the hosts' keys are known, and then without the connections that it left.
    let first = plane.post("clusters/fleet/run", json!({"command": "true"})).await.unwrap();
    run_over(&plane, first["run"].as_u64().unwrap()).await;
    for place in 0..plane.peers.len() {
        plane.peers[place].stop();
        plane.peers[place].restart();
        plane.ready(place).await;
    }
    plane.voters(3).await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    let hosts_cpu = || {
        Usage::of(
            &hosts.iter().flat_map(|host| host.pid().into_iter().chain(host.processes())).collect::<Vec<_>>(),
        )
        .cpu
    };
    let (mut ours, mut theirs, mut walls, mut resting) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..=WARM_RUNS {
        let theirs_before = hosts_cpu();
        let (before, began) = (Usage::of(&pids), Instant::now());
        let started = plane.post("clusters/fleet/run", json!({"command": "uptime"})).await.unwrap();
        let seen = run_over(&plane, started["run"].as_u64().unwrap()).await;
        let wall = began.elapsed().as_secs_f64();
        let cpu = Usage::of(&pids).since(before).cpu * 1e3 / HOSTS as f64;
        assert_eq!(seen["state"], "succeeded", "{seen}");
        if run == 0 {
            table.at_most("E", "uptime on 100 hosts, cold: CPU a host", &[cpu], "ms", 1.0);
            table.note("E", "uptime on 100 hosts, cold: until all are done", &[wall], "s");
        } else {
            ours.push(cpu);
            walls.push(wall);
        }
        // What is made ready for the next run counts with the hosts' share.
        let before = Usage::of(&pids);
        tokio::time::sleep(REST).await;
        resting.push(Usage::of(&pids).since(before).cpu * 1e3 / HOSTS as f64);
        if run > 0 {
            theirs.push((hosts_cpu() - theirs_before) * 1e3 / HOSTS as f64);
        }
    }
    table.note("E", "uptime on 100 hosts, kept connections: CPU a host", &ours, "ms");
    table.note("E", "the same in the 3 s after each run, idling included", &resting, "ms");
    table.note("E", "uptime on 100 hosts, kept connections: the hosts' CPU, one host", &theirs, "ms");
    table.at_most("E", "uptime on 100 hosts, kept connections: until all are done", &walls, "s", 0.15);
    println!("   load average {}", load_average());
}
