//! A backup begins a new control plane that knows the same.

use serde_json::json;

use crate::plane::Plane;

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_control_plane_knows_what_was_backed_up() {
    let plane = Plane::start(1).await;
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
}
