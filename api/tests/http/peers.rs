use futures::StreamExt;
use reqwest::Method;
use rscaler_api::types::{JoinToken, PeerRole};
use rscaler_raft::network::join::JoinToken as Token;
use serde_json::json;

use crate::support::{ADMIN, Answer, VIEWER, start};

#[tokio::test]
async fn peers_are_listed_with_what_they_do() {
    let fixture = start().await;
    fixture.seed().await;
    let peers = fixture.client(VIEWER).peers().await.unwrap();
    let peer = &peers.items[0];
    assert_eq!((peers.items.len(), peer.id, peer.name.as_str(), peer.role), (1, 1, "solo", PeerRole::Leader));
    assert_eq!((peer.alive, peer.nodes, peer.lag, peer.term), (true, 2, Some(0), 1));
    assert_eq!(peer.applied, Some(fixture.handle.applied()));
}

#[tokio::test]
async fn a_join_token_is_one_of_this_control_plane() {
    let fixture = start().await;
    let client = fixture.client(ADMIN);
    let issued = client.join_token(&JoinToken::default()).await.unwrap();
    assert!(issued.token.parse::<Token>().is_ok());
    assert!(issued.expires > jiff_now());
    // A retry gives the same one.
    let ask = || async {
        let request =
            fixture.request(Method::POST, "/api/v1/peers/join-tokens", ADMIN).header("idempotency-key", "j");
        Answer::read(request.json(&json!({"role": "learner", "ttl": "5m"})).send().await.unwrap()).await
    };
    let (first, second) = (ask().await, ask().await);
    assert_eq!((first.status, &first.json()["token"]), (201, &second.json()["token"]));
    assert_ne!(first.json()["token"], json!(issued.token));
}

fn jiff_now() -> rscaler_api::types::Time {
    rscaler_api::types::Time(rscaler_raft::model::Timestamp(jiff::Timestamp::now().as_millisecond()))
}

#[tokio::test]
async fn leadership_stays_where_nobody_else_is() {
    let fixture = start().await;
    let client = fixture.client(ADMIN);
    client.transfer_leader(1).await.unwrap();
    assert_eq!(client.transfer_leader(2).await.unwrap_err().status(), Some(422));
}

#[tokio::test]
async fn a_backup_is_streamed() {
    let fixture = start().await;
    let pieces: Vec<_> = fixture.client(ADMIN).backup().await.unwrap().collect().await;
    let whole: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect();
    assert_eq!(whole, b"a copy in two pieces");
}

#[tokio::test]
async fn health_is_told_without_a_token() {
    let fixture = start().await;
    let ask = |path: &'static str| async move {
        crate::support::http().get(format!("http://{}{path}", fixture.address)).send().await.unwrap()
    };
    let ask = &ask;
    let alive = Answer::read(ask("/healthz").await).await;
    assert_eq!((alive.status, alive.text().as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn readiness_names_what_is_not_ready() {
    let fixture = start().await;
    let ready = fixture.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
}

#[tokio::test]
async fn metrics_count_requests_by_route() {
    let fixture = start().await;
    fixture.seed().await;
    fixture.get("/api/v1/clusters/web").await;
    fixture.get("/api/v1/clusters/none").await;
    let text = fixture.get("/metrics").await.text();
    for line in [
        "rscaler_api_requests_total{method=\"GET\",route=\"/api/v1/clusters/{name}\",status=\"200\"} 1",
        "rscaler_api_requests_total{method=\"GET\",route=\"/api/v1/clusters/{name}\",status=\"404\"} 1",
        "rscaler_raft_is_leader 1",
        "rscaler_objects{kind=\"node\"} 2",
        "rscaler_peers_alive 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn events_say_who_did_what() {
    let fixture = start().await;
    fixture.seed().await;
    let events = fixture.get("/api/v1/events?object=node&name=web01").await.json();
    let event = &events["items"][0];
    assert_eq!((&event["type"], &event["actor"]), (&json!("created"), &json!("token/admin")));
    let some = fixture.get("/api/v1/events?limit=3&actor=token/admin").await.json();
    assert_eq!(some["items"].as_array().unwrap().len(), 3);
    let next = some["next"].as_str().unwrap();
    let more = fixture.get(&format!("/api/v1/events?limit=3&actor=token/admin&cursor={next}")).await.json();
    assert_ne!(some["items"][2]["id"], more["items"][0]["id"]);
    assert_eq!(fixture.get("/api/v1/events?actor=user/ada").await.json()["items"], json!([]));
}
