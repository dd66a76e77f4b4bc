//! What the client does when peers do not.

use std::time::Duration;

use rscaler_api::client::{Client, Error, Listing, Trust};
use rscaler_api::types::{Cluster, Kind, Node, Resource};
use tokio::net::TcpListener;

use crate::support::{ADMIN, VIEWER, name, start};

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn another_peer_is_asked_when_one_does_not_answer() {
    let fixture = start().await;
    let client = Client::builder()
        .endpoint(nobody().await)
        .endpoint(fixture.url())
        .token(ADMIN)
        .trust(Trust::Insecure)
        .build()
        .unwrap();
    client.create(&Resource::draft(name("web"), Cluster {})).await.unwrap();
    assert_eq!(client.get::<Cluster>("web").await.unwrap().version, 1);
}

#[tokio::test]
async fn nobody_to_ask_is_told_with_all_that_were_tried() {
    let (one, two) = (nobody().await, nobody().await);
    let client =
        Client::builder().endpoint(&one).endpoint(&two).patience(Duration::from_millis(100)).build().unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(error.is_no_answer());
    let text = error.to_string();
    assert!(text.contains(&one) && text.contains(&two), "{text}");
    assert!(matches!(error, Error::Unreachable(_)));
}

#[tokio::test]
async fn somebody_else_at_the_address_is_told() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
        stream.write_all(b"HTTP/1.1 418 Teapot\r\ncontent-length: 3\r\n\r\ntea").await.unwrap();
    });
    let client = Client::builder().endpoint(url).patience(Duration::from_millis(100)).build().unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { .. }), "{error:?}");
    assert!(error.to_string().contains("does not answer like an rscaler peer"), "{error}");
}

#[tokio::test]
async fn a_client_that_cannot_be_made_says_why() {
    for (builder, says) in [
        (Client::builder(), "no peer is named"),
        (Client::builder().endpoint("ftp://x"), "not the URL of a peer"),
        (Client::builder().endpoint("127.0.0.1:70"), "not the URL of a peer"),
        (Client::builder().endpoint("http://x").token("a\nb"), "the token has characters"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::Config(_)) && error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn objects_are_typed_or_plain() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(ADMIN);
    let mut node = client.get::<Node>("web01").await.unwrap();
    node.spec.port = Some(2222);
    let version = node.version;
    let written = client.put(&node, Some(version)).await.unwrap();
    assert_eq!((written.created, written.object.version), (false, version + 1));
    let moved = client.put(&node, Some(version)).await.unwrap_err();
    assert_eq!(moved.problem().map(|problem| problem.code.as_str()), Some("version_moved"));
    let listed =
        client.list::<Node>(&Listing { selector: Some("old".into()), ..Listing::default() }).await.unwrap();
    assert_eq!(listed.items[0].name.as_str(), "web02");
    assert_eq!(
        client.list_all(Kind::Node, &Listing { limit: Some(1), ..Listing::default() }).await.unwrap().len(),
        2
    );
    assert_eq!(client.get_value(Kind::Node, "../clusters").await.unwrap_err().status(), Some(404));
    let refused = fixture.client(VIEWER).delete(Kind::Node, "web01", None).await.unwrap_err();
    assert_eq!(refused.status(), Some(403));
}
