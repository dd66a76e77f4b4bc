//! What people get wrong, and what they are told.

use reqwest::Method;
use serde_json::json;

use crate::plane::{Plane, binary};

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_with_what_would_be_right() {
    let plane = Plane::start(1).await;
    plane.post("clusters", json!({"name": "web"})).await.unwrap();
    plane.post("nodes", json!({"name": "web01", "cluster": "web", "hostname": "10.0.0.1"})).await.unwrap();

    for (method, path, body, status, said) in [
        (Method::POST, "clusters", json!({"name": "Web"}), 422, "name"),
        (Method::POST, "clusters", json!({"name": "web"}), 409, "web"),
        (Method::POST, "clusters", json!({"name": "x", "colour": "red"}), 422, "colour"),
        (Method::DELETE, "clusters/web", json!(null), 409, "web01"),
        (Method::GET, "clusters/nothing", json!(null), 404, "nothing"),
        (Method::POST, "nodes", json!({"name": "a", "cluster": "nope", "hostname": "h"}), 422, "nope"),
        (Method::POST, "nodes/web01/run", json!({}), 422, "command"),
        (Method::GET, "runs/999", json!(null), 404, "999"),
        (Method::PATCH, "nodes/web01", json!({"port": 99999}), 422, "port"),
    ] {
        let body = (!body.is_null()).then_some(body);
        let (code, problem) = plane.send(method.clone(), path, body.clone()).await.unwrap_err();
        // Unknown fields are malformed or invalid, as the API documents; both name the field.
        let right = code == status || (status == 422 && code == 400);
        assert!(right, "{method} {path} {body:?}: {code} {problem}");
        assert!(problem.to_string().contains(said), "{method} {path}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cli_says_what_is_wrong_and_exits_as_documented() {
    let plane = Plane::start(1).await;
    let file = plane.path("bad.yaml");
    std::fs::write(&file, "kind: node\nname: web01\ncluster: nope\nhostname: h\n").unwrap();
    for (arguments, code, said) in [
        (vec!["apply", "-f", file.to_str().unwrap()], 1, "nope"),
        (vec!["apply", "-f", "/does/not/exist"], 1, "/does/not/exist"),
        (vec!["get", "clusters", "nothing"], 1, "nothing"),
        (vec!["get", "planets"], 2, "planets"),
        (vec!["frobnicate"], 2, "frobnicate"),
        (vec!["run", "--node", "nothing", "--", "true"], 1, "nothing"),
    ] {
        let output = plane.cli(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    // Where clients go to is not where a peer listens.
    let output = std::process::Command::new(binary())
        .arg("server")
        .env("RSCALER_API", "http://10.0.0.1:7700")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--data-dir") && !stderr.contains("--api:"), "{stderr}");
    let output = std::process::Command::new(binary())
        .args(["get", "clusters"])
        .env("RSCALER_API", "http://127.0.0.1:1")
        .env("RSCALER_TOKEN", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}
