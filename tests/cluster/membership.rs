//! Peers join, leave and change roles, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::plane::{Plane, STARTING};
use crate::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn peers_join_are_removed_and_leadership_moves_while_writes_go_on() {
    let mut plane = Plane::start(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = Arc::clone(&stop);
        let (api, token) = (plane.peers[0].api.clone(), plane.token.clone());
        tokio::spawn(async move {
            let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
            let mut written = Vec::new();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("w{number}");
                number += 1;
                let answer = http
                    .post(format!("http://{api}/api/v1/clusters"))
                    .bearer_auth(&token)
                    .header("Idempotency-Key", &name)
                    .json(&json!({"name": name}))
                    .send()
                    .await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    written.push(name);
                }
            }
            written
        })
    };

    let fourth = plane.join().await;
    plane.voters(4).await;

    let leader = plane.leader().await;
    let to = (0..3).find(|place| *place != leader).unwrap();
    let to_id = plane.id(to).await;
    plane.cli_ok(&["peers", "transfer-leader", &to_id.to_string()]);
    until("leadership to move", STARTING, || async {
        if plane.leader().await == to { Ok(()) } else { Err(()) }
    })
    .await;

    let fourth_id = plane.id(fourth).await;
    plane.cli_ok(&["peers", "demote", &fourth_id.to_string()]);
    plane.voters(3).await;
    plane.cli_ok(&["peers", "promote", &fourth_id.to_string()]);
    plane.voters(4).await;
    plane.cli_ok(&["peers", "remove", &fourth_id.to_string(), "--yes"]);
    plane.voters(3).await;
    plane.peers[fourth].kill();

    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    assert!(written.len() > 20, "only {} writes", written.len());
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("clusters?limit=500&consistency=linearizable{cursor}");
        let page = plane.ask(0, Method::GET, &path, None).await.unwrap();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_string()),
        );
        match &page["next"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    for name in &written {
        assert!(seen.contains(name), "`{name}` was acknowledged and is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_works_once_and_the_last_voter_stays() {
    let mut plane = Plane::start(1).await;
    let id = plane.id(0).await;
    let refused = plane.send(Method::DELETE, &format!("peers/{id}"), None).await.unwrap_err();
    assert_eq!(refused.0, 409, "{refused:?}");
    let refused = plane.post(&format!("peers/{id}/demote"), json!({})).await.unwrap_err();
    assert_eq!(refused.0, 409, "{refused:?}");

    let token = plane.cli_json(&["peers", "token"])["token"].as_str().unwrap().to_string();
    let second = plane.join_with(&token);
    plane.ready(second).await;
    let third = plane.join_with(&token);
    until("the third to end, for its token is used", STARTING, || {
        let ended = plane.peers[third].exit_code();
        async move { ended.ok_or(()) }
    })
    .await;
    assert!(plane.peers[third].log().contains("token"), "{}", plane.peers[third].log());
}
