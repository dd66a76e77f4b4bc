//! Peers join, leave and change roles, under load.

use reqwest::Method;
use serde_json::json;

use crate::plane::{Plane, STARTING};
use crate::wait::until;
use crate::writer::{Writer, assert_has};

#[tokio::test(flavor = "multi_thread")]
async fn peers_join_are_removed_and_leadership_moves_while_writes_go_on() {
    let mut plane = Plane::start(3).await;
    let writer = Writer::start(&plane, 0);

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

    let written = writer.stop().await;
    assert!(written.len() > 20, "only {} writes", written.len());
    assert_has(&plane, 0, &written).await;
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
