use futures::StreamExt;
use reqwest::Method;
use rscaler_api::client::{Client, Trust, WatchEvent, WatchStream};
use rscaler_api::context::Limits;
use rscaler_api::types::{Changes, RunRequest, Text};
use serde_json::json;

use crate::support::{ADMIN, Fixture, OPERATOR, PATIENCE, VIEWER, serve, start};

async fn next(stream: &mut WatchStream) -> WatchEvent {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an event comes").unwrap().unwrap()
}

/// The next changes of one of these kinds.
async fn until(stream: &mut WatchStream, kind: &str) -> Changes {
    loop {
        if let WatchEvent::Changes(changes) = next(stream).await
            && changes.changes.iter().any(|change| change.kind == kind)
        {
            return changes;
        }
    }
}

async fn cluster(fixture: &Fixture, name: &str) {
    assert_eq!(fixture.post("/api/v1/clusters", json!({"name": name})).await.status, 201);
}

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(VIEWER);
    let mut all = client.watch(&[], Some(fixture.handle.applied()));
    let mut nodes = client.watch(&["node", "run"], Some(fixture.handle.applied()));
    cluster(&fixture, "db").await;
    let changes = until(&mut all, "cluster").await;
    assert_eq!(
        changes.changes.iter().find(|c| c.kind == "cluster").unwrap().name.as_ref().unwrap().as_str(),
        "db"
    );
    assert!(changes.changes.iter().any(|change| change.kind == "event" && change.id.is_some()));
    assert_eq!(changes.index, fixture.handle.applied());
    let command = RunRequest { command: Some(Text::from("x")), ..Default::default() };
    fixture.client(OPERATOR).run_on_node("web01", &command).await.unwrap();
    let WatchEvent::Changes(changes) = next(&mut nodes).await else { panic!("no reset") };
    assert!(changes.changes.iter().all(|change| change.kind == "run" && change.id == Some(1)), "{changes:?}");
}

#[tokio::test]
async fn a_watcher_that_comes_back_misses_nothing() {
    let fixture = start().await;
    let client = fixture.client(VIEWER);
    cluster(&fixture, "a").await;
    let seen = fixture.handle.applied();
    for name in ["b", "c"] {
        cluster(&fixture, name).await;
    }
    let mut stream = client.watch(&["cluster"], Some(seen));
    for expected in ["b", "c"] {
        let WatchEvent::Changes(changes) = next(&mut stream).await else { panic!("no reset") };
        assert_eq!(changes.changes[0].name.as_ref().unwrap().as_str(), expected);
    }
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_a_reset() {
    let fixture = start().await;
    let mut stream = fixture.client(VIEWER).watch(&[], Some(0));
    let WatchEvent::Reset(index) = next(&mut stream).await else { panic!("a reset comes first") };
    assert_eq!(index, fixture.handle.applied());
    cluster(&fixture, "a").await;
    until(&mut stream, "cluster").await;
}

#[tokio::test]
async fn events_have_the_log_index_as_their_id() {
    let fixture = start().await;
    cluster(&fixture, "a").await;
    let response = fixture
        .request(Method::GET, "/api/v1/watch", VIEWER)
        .header("last-event-id", (fixture.handle.applied() - 1).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.bytes_stream();
    let mut text = String::new();
    while !text.contains("data:") {
        let piece = tokio::time::timeout(PATIENCE, body.next()).await.unwrap().unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&piece));
    }
    let index = fixture.handle.applied();
    assert!(text.contains(&format!("id:{index}\n")) && text.contains("event:changes\n"), "{text}");
    let wrong = fixture
        .request(Method::GET, "/api/v1/watch", ADMIN)
        .header("last-event-id", "x")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
}

#[tokio::test]
async fn a_shutdown_ends_watchers() {
    let fixture = start().await;
    let response = fixture.request(Method::GET, "/api/v1/watch", VIEWER).send().await.unwrap();
    let mut body = response.bytes_stream();
    body.next().await.unwrap().unwrap();
    fixture.stop().await;
    let rest = tokio::time::timeout(PATIENCE, body.next()).await.unwrap();
    assert!(rest.is_none_or(|rest| rest.is_err()));
}

#[tokio::test]
async fn a_watcher_goes_on_with_another_peer() {
    let first = start().await;
    let second = serve(first.handle.clone(), Limits::default()).await;
    let builder = Client::builder().endpoint(first.url()).endpoint(second.url());
    let client = builder.token(VIEWER).trust(Trust::Insecure).build().unwrap();
    let mut stream = client.watch(&["cluster"], Some(first.handle.applied()));
    cluster(&first, "a").await;
    until(&mut stream, "cluster").await;
    first.stop().await;
    cluster(&second, "b").await;
    let changes = until(&mut stream, "cluster").await;
    assert_eq!(changes.changes[0].name.as_ref().unwrap().as_str(), "b");
}
