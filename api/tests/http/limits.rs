use std::time::Duration;

use reqwest::Method;
use rscaler_api::context::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ADMIN, Answer, PATIENCE, VIEWER, start, start_with};

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let fixture =
        start_with(Limits { body_bytes_max: 1000, document_bytes_max: 3000, ..Limits::default() }).await;
    let with = |bytes: usize| json!({"name": "a", "description": "x".repeat(bytes)});
    let refused = fixture.post("/api/v1/clusters", with(1000)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"));
    assert!(refused.text().contains("1000 bytes"), "{}", refused.text());
    assert_eq!(fixture.post("/api/v1/clusters", with(500)).await.status, 201);
    assert_eq!(
        fixture.post("/api/v1/files", json!({"name": "a", "content": "x".repeat(2000)})).await.status,
        201
    );
    assert_eq!(
        fixture.post("/api/v1/files", json!({"name": "b", "content": "x".repeat(4000)})).await.status,
        413
    );
    // Without a declared length too.
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = (0..40).map(|_| Ok(vec![b' '; 100])).collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let sent = fixture
        .request(Method::POST, "/api/v1/clusters", ADMIN)
        .header("content-type", "application/json")
        .body(body);
    assert_eq!(Answer::read(sent.send().await.unwrap()).await.status, 413);
}

#[tokio::test]
async fn one_token_cannot_ask_without_end() {
    let limits = Limits { requests_per_second: 1, requests_burst: 5, ..Limits::default() };
    let fixture = start_with(limits).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(fixture.get("/api/v1/whoami").await.status);
    }
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let limited = fixture.get("/api/v1/whoami").await;
    if limited.status == 429 {
        assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        assert_eq!(limited.code(), "rate_limited");
    }
    // Another token is not concerned.
    let other = fixture.request(Method::GET, "/api/v1/whoami", VIEWER).send().await.unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn guessing_tokens_and_passwords_is_slowed_down() {
    let fixture = start_with(Limits { attempts_per_minute: 5, ..Limits::default() }).await;
    let mut statuses = Vec::new();
    for guess in 0..7 {
        let answer = fixture
            .request(Method::GET, "/api/v1/whoami", &format!("rsc_guess{guess}"))
            .send()
            .await
            .unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    let login = fixture.post("/api/v1/login", json!({"user": "ada", "password": "guess guess"})).await;
    assert_eq!(login.status, 429);
    // Who has a token is not shut out.
    assert_eq!(fixture.get("/api/v1/whoami").await.status, 200);
}

#[tokio::test]
async fn streams_are_counted() {
    let fixture = start_with(Limits { streams_max: 1, ..Limits::default() }).await;
    let watch = || fixture.request(Method::GET, "/api/v1/watch", VIEWER).send();
    let first = watch().await.unwrap();
    assert_eq!(first.status(), 200);
    let second = watch().await.unwrap();
    assert_eq!((second.status().as_u16(), second.headers().contains_key("retry-after")), (503, true));
    drop(first);
    let begun = tokio::time::Instant::now();
    while watch().await.unwrap().status() != 200 {
        assert!(begun.elapsed() < PATIENCE, "the place is free again once the watcher is gone");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_dawdles_is_dropped() {
    let limits = Limits {
        head_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let fixture = start_with(limits).await;
    // A head that never ends.
    let mut slow = TcpStream::connect(fixture.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("it is dropped").ok();
    // A body that never comes.
    let mut slow = TcpStream::connect(fixture.address).await.unwrap();
    let head = format!(
        "POST /api/v1/clusters HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, slow.read(&mut answer)).await.expect("it is answered").unwrap();
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("took too long to arrive"), "{text}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_cut() {
    let fixture = start_with(Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() }).await;
    // Nothing at all, and what could still become HTTP/2.
    for sent in [&b""[..], b"PR"] {
        let mut idle = TcpStream::connect(fixture.address).await.unwrap();
        idle.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("it is cut").ok();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn idle_connections_make_room_for_those_who_ask() {
    let fixture = start_with(Limits { connections_max: 8, ..Limits::default() }).await;
    let watcher = fixture.request(Method::GET, "/api/v1/watch", VIEWER).send().await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(TcpStream::connect(fixture.address).await.unwrap());
    }
    assert_eq!(fixture.get("/api/v1/whoami").await.status, 200);
    // The first that came are gone; who is served is not.
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, idle[0].read_to_end(&mut rest)).await.expect("it is cut").ok();
    assert_eq!(fixture.post("/api/v1/clusters", json!({"name": "a"})).await.status, 201);
    let mut changes = watcher.bytes_stream();
    let change = async {
        while let Some(Ok(bytes)) = futures::StreamExt::next(&mut changes).await {
            if String::from_utf8_lossy(&bytes).contains("cluster") {
                return;
            }
        }
        panic!("the watcher was cut");
    };
    tokio::time::timeout(PATIENCE, change).await.expect("the watcher hears of the change");
}

#[tokio::test]
async fn a_huge_body_is_refused_before_it_comes() {
    let fixture = start().await;
    let mut client = TcpStream::connect(fixture.address).await.unwrap();
    let head = format!(
        "POST /api/v1/apply HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\ncontent-length: {}\r\n\r\n",
        1u64 << 30
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer))
        .await
        .expect("and the connection ends")
        .ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.starts_with("HTTP/1.1 413") && text.contains("too_large"), "{text}");
}

#[tokio::test]
async fn what_takes_no_token_is_limited_by_address_and_probes_are_not() {
    let fixture = start_with(Limits { visits_per_second: 1, ..Limits::default() }).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(fixture.get("/api/openapi.json").await.status);
    }
    assert_eq!(statuses[..2], [200; 2]);
    assert!(statuses.contains(&429), "{statuses:?}");
    for _ in 0..6 {
        assert_eq!(fixture.get("/healthz").await.status, 200);
    }
    assert_eq!(fixture.get("/api/v1/whoami").await.status, 200);
}

#[tokio::test]
async fn garbage_is_answered_or_dropped_and_harms_nobody() {
    let fixture = start().await;
    let garbage: [&[u8]; 4] =
        [b"\x16\x03\x01\x02\x00\x01", b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", &[0xff; 100_000]];
    for bytes in garbage {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends").ok();
    }
    assert_eq!(fixture.get("/api/v1/whoami").await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let fixture = start_with(Limits { connections_max: 2, ..Limits::default() }).await;
    let idle = TcpStream::connect(fixture.address).await.unwrap();
    let request = fixture.get("/api/v1/whoami").await;
    assert_eq!(request.status, 200);
    drop(idle);
    assert_eq!(fixture.get("/api/v1/whoami").await.status, 200);
}

#[tokio::test]
async fn a_linearizable_read_and_the_applied_index_are_told() {
    let fixture = start().await;
    let answer = fixture.get("/api/v1/clusters?consistency=linearizable").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-rscaler-applied"), Some(fixture.handle.applied().to_string().as_str()));
    let created = fixture.post("/api/v1/clusters", json!({"name": "a"})).await;
    assert_eq!(created.header("x-rscaler-applied"), Some(fixture.handle.applied().to_string().as_str()));
    assert!(fixture.get("/nowhere").await.header("x-rscaler-applied").is_some());
}

#[tokio::test]
async fn a_body_that_is_packed_is_refused_and_not_unpacked() {
    let fixture = start().await;
    for encoding in ["gzip", "deflate, br"] {
        let sent = fixture
            .request(Method::POST, "/api/v1/apply", ADMIN)
            .header("content-encoding", encoding)
            .body(vec![0x1f, 0x8b, 8, 0]);
        let answer = Answer::read(sent.send().await.unwrap()).await;
        assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"));
        assert!(answer.text().contains(encoding), "{}", answer.text());
    }
    let plain = fixture.request(Method::POST, "/api/v1/apply", ADMIN).header("content-encoding", "identity");
    let answer = plain.body("kind: cluster\nname: a\n").send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn bodies_on_their_way_are_bounded_together() {
    let fixture = start_with(Limits { bodies_bytes_max: 100 << 10, ..Limits::default() }).await;
    let mut slow = TcpStream::connect(fixture.address).await.unwrap();
    let head = format!(
        "POST /api/v1/apply HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\ncontent-length: {}\r\n\r\n",
        90 << 10
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&vec![b' '; 80 << 10]).await.unwrap();
    let file = || json!({"name": "a", "content": "x".repeat(50 << 10)});
    let begun = tokio::time::Instant::now();
    // It takes a moment until the slow one's bytes are there.
    let refused = loop {
        let answer = fixture.put("/api/v1/files/a", file()).await;
        if answer.status == 503 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", answer.text());
    };
    assert_eq!(refused.code(), "unavailable");
    assert!(
        refused.header("retry-after").is_some() && refused.text().contains("bodies"),
        "{}",
        refused.text()
    );
    assert_eq!(fixture.get("/api/v1/whoami").await.status, 200);
    assert_eq!(fixture.post("/api/v1/clusters", json!({"name": "small"})).await.status, 201);
    drop(slow);
    let begun = tokio::time::Instant::now();
    while !(200..300).contains(&fixture.put("/api/v1/files/a", file()).await.status) {
        assert!(begun.elapsed() < PATIENCE, "there is room again once it is gone");
    }
}

#[tokio::test]
async fn one_address_has_its_share_of_connections() {
    let fixture = start_with(Limits { connections_per_address_max: 4, ..Limits::default() }).await;
    // Idle ones make room for the same client's requests.
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(TcpStream::connect(fixture.address).await.unwrap());
    }
    assert_eq!(fixture.get("/api/v1/whoami").await.status, 200);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, idle[0].read_to_end(&mut rest)).await.expect("it is cut").ok();
    // Busy ones do not: who comes then is told.
    let mut watchers = Vec::new();
    let refused = loop {
        let answer = fixture.request(Method::GET, "/api/v1/watch", VIEWER).send().await.unwrap();
        if answer.status() != 200 {
            break Answer::read(answer).await;
        }
        watchers.push(answer);
        assert!(watchers.len() <= 4, "{} watchers", watchers.len());
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.text().contains("too many connections"), "{}", refused.text());
    drop(watchers);
    let begun = tokio::time::Instant::now();
    while fixture.get("/api/v1/whoami").await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "there is room again once they are gone");
    }
}
