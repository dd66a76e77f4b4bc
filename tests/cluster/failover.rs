//! Peers are killed; what was acknowledged stays.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::plane::{Plane, STARTING};
use crate::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_without_a_follower_and_it_catches_up() {
    let mut plane = Plane::start(3).await;
    let leader = plane.leader().await;
    let follower = (0..3).find(|place| *place != leader).unwrap();
    plane.peers[follower].kill();
    for number in 0..20 {
        plane.post("clusters", json!({"name": format!("c{number}")})).await.unwrap();
    }
    plane.peers[follower].restart();
    plane.ready(follower).await;
    until("the follower to have caught up", STARTING, || async {
        let clusters =
            plane.ask(follower, Method::GET, "clusters?limit=100", None).await.map_err(|(_, b)| b)?;
        if clusters["items"].as_array().is_some_and(|items| items.len() == 20) {
            Ok(())
        } else {
            Err(clusters)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_peer_leads_soon_after_the_leader_is_killed() {
    let mut plane = Plane::start(3).await;
    let leader = plane.leader().await;
    plane.peers[leader].kill();
    let began = Instant::now();
    until("a write to be taken", Duration::from_secs(20), || async {
        plane.post("clusters", json!({"name": "after"})).await.map_err(|(_, body)| body)
    })
    .await;
    println!("the first write after the kill was acknowledged after {:?}", began.elapsed());
    assert_ne!(plane.leader().await, leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_all_peers_are_killed() {
    let mut plane = Plane::start(3).await;
    let mut acknowledged = Vec::new();
    for number in 0..50 {
        let name = format!("c{number}");
        if plane.post("clusters", json!({"name": name})).await.is_ok() {
            acknowledged.push(name);
        }
    }
    assert_eq!(acknowledged.len(), 50);
    for peer in &mut plane.peers {
        peer.kill();
    }
    for peer in &mut plane.peers {
        peer.restart();
    }
    for place in 0..3 {
        plane.ready(place).await;
    }
    for place in 0..3 {
        let path = "clusters?limit=100&consistency=linearizable";
        let clusters = plane.ask(place, Method::GET, path, None).await.unwrap();
        let mut names: Vec<String> = clusters["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cluster| cluster["name"].as_str().unwrap().to_string())
            .collect();
        names.sort();
        let mut expected = acknowledged.clone();
        expected.sort();
        assert_eq!(names, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_asked_to_stop_hands_over_and_ends_well() {
    let mut plane = Plane::start(3).await;
    let leader = plane.leader().await;
    assert_eq!(plane.peers[leader].stop(), Some(0), "{}", plane.peers[leader].log());
    until("a write to be taken", Duration::from_secs(20), || async {
        plane.post("clusters", json!({"name": "after"})).await.map_err(|(_, body)| body)
    })
    .await;
}
