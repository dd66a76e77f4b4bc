//! A backup begins a new control plane that knows the same.

use std::time::Duration;

use serde_json::json;

use crate::plane::Plane;
use crate::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_control_plane_knows_what_was_backed_up() {
    let mut plane = Plane::start(1).await;
    // Terms of the old control plane must not weigh on the new one, whose first is 1.
    for _ in 0..2 {
        plane.peers[0].kill();
        plane.peers[0].restart();
        plane.ready(0).await;
    }
    plane.post("clusters", json!({"name": "web", "labels": {"a": "b"}})).await.unwrap();
    plane.post("secrets", json!({"name": "s", "value": "swordfish"})).await.unwrap();
    let file = plane.path("backup");
    plane.cli_ok(&["backup", file.to_str().unwrap()]);
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"swordfish"), "no secret stands in a backup");

    let restored = Plane::restore(&plane, &file).await;
    let cluster = restored.get("clusters/web").await.unwrap();
    assert_eq!(cluster["labels"]["a"], "b");
    restored.get("secrets/s").await.unwrap();
    restored.post("clusters", json!({"name": "more"})).await.unwrap();
    // Its clock goes on, or no session would ever end: an event of now is not older than one of before.
    let newest = || async {
        restored.get("events?limit=1").await.unwrap()["items"][0]["at"].as_str().unwrap().to_string()
    };
    let before = newest().await;
    let mut number = 0;
    until("the clock to go on", Duration::from_secs(10), || {
        number += 1;
        let restored = &restored;
        let before = before.clone();
        async move {
            restored.post("clusters", json!({"name": format!("c{number}")})).await.unwrap();
            let now =
                restored.get("events?limit=1").await.unwrap()["items"][0]["at"].as_str().unwrap().to_string();
            if now > before { Ok(()) } else { Err(now) }
        }
    })
    .await;
}
