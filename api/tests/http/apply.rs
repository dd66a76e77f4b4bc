use reqwest::Method;
use rscaler_api::types::{ApplyOptions, Kind};
use serde_json::json;

use crate::support::{ADMIN, Answer, Fixture, SEED, start};

async fn apply(fixture: &Fixture, query: &str, body: &str) -> Answer {
    let request = fixture
        .request(Method::POST, &format!("/api/v1/apply{query}"), ADMIN)
        .header("content-type", "application/yaml")
        .body(body.to_string());
    Answer::read(request.send().await.unwrap()).await
}

fn effects(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let changes = body["changes"].as_array().unwrap();
    changes
        .iter()
        .map(|change| {
            (change["name"].as_str().unwrap().to_string(), change["effect"].as_str().unwrap().to_string())
        })
        .collect()
}

#[tokio::test]
async fn applying_the_same_again_changes_nothing() {
    let fixture = start().await;
    assert!(effects(&apply(&fixture, "", SEED).await).iter().all(|(_, effect)| effect == "created"));
    let applied = fixture.handle.applied();
    let again = apply(&fixture, "", SEED).await;
    assert!(effects(&again).iter().all(|(_, effect)| effect == "unchanged"), "{}", again.text());
    assert_eq!(fixture.handle.applied(), applied + 1, "all in one entry");
}

#[tokio::test]
async fn a_dry_run_tells_the_difference_and_does_nothing() {
    let fixture = start().await;
    fixture.seed().await;
    let body = "
- {kind: node, name: web01, cluster: web, hostname: 10.0.0.99, ssh_profile: ops, labels: {app: shop}}
- {kind: cluster, name: db}
- {kind: cluster, name: web, labels: {app: shop}}
- {kind: secret, name: ops-key, value: changed}
";
    let applied = fixture.handle.applied();
    let answer = apply(&fixture, "?dry_run=true", body).await;
    let expected = [("web01", "updated"), ("db", "created"), ("web", "unchanged"), ("ops-key", "updated")];
    assert_eq!(effects(&answer), expected.map(|(name, effect)| (name.to_string(), effect.to_string())));
    let answer = answer.json();
    assert_eq!(answer["dry_run"], json!(true));
    assert_eq!(
        answer["changes"][0]["diff"],
        json!([{"pointer": "/hostname", "before": "10.0.0.11", "after": "10.0.0.99"}])
    );
    assert_eq!(answer["changes"][3]["diff"], json!([{"pointer": "/value", "before": "***", "after": "***"}]));
    assert_eq!(fixture.handle.applied(), applied);
    assert_eq!(fixture.get("/api/v1/clusters/db").await.status, 404);
}

#[tokio::test]
async fn all_documents_or_none_and_each_mistake_with_its_position() {
    let fixture = start().await;
    let body = "
- {kind: cluster, name: web}
- {kind: node, name: web01, cluster: db, hostname: h}
- {kind: counter, name: c, type: push, clusters: [web], interval: 0s}
";
    let answer = apply(&fixture, "", body).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let errors = answer.json()["errors"].clone();
    let pointers: Vec<&str> =
        errors.as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/1/cluster", "/2/interval"]);
    assert_eq!(fixture.get("/api/v1/clusters/web").await.status, 404);
    for (body, pointer, says) in [
        ("- {name: web}", "/0/kind", "one of cluster, node"),
        ("- {kind: cluster}", "/0/name", "needed"),
        ("- {kind: clutser, name: web}", "/0/kind", "no kind `clutser`"),
        ("- {kind: cluster, name: 7}", "/0/name", "put it in quotes"),
        ("- {kind: cluster, name: a}\n- {kind: cluster, name: a}", "/1/name", "given twice"),
        ("- {kind: cluster, name: a}\n- {kind: cluster, name: b, x: 1}", "/1/x", "unknown field"),
        ("- {kind: user, name: a, role: admin}", "/0/password", "needs a password"),
        ("- text", "/0", "an object"),
    ] {
        let answer = apply(&fixture, "?dry_run=true", body).await;
        let error = answer.json()["errors"][0].clone();
        assert_eq!((answer.status, &error["pointer"]), (422, &json!(pointer)), "{body}: {}", answer.text());
        assert!(error["detail"].as_str().unwrap().contains(says), "{body}: {error}");
    }
}

#[tokio::test]
async fn pruning_removes_what_is_absent_but_nobodys_access() {
    let fixture = start().await;
    fixture.seed().await;
    let keep = "
- {kind: cluster, name: web}
- {kind: node, name: web01, cluster: web, hostname: h}
";
    let dry = apply(&fixture, "?prune=true&dry_run=true", keep).await;
    let deleted: Vec<String> =
        effects(&dry).into_iter().filter(|(_, effect)| effect == "deleted").map(|(name, _)| name).collect();
    assert_eq!(
        deleted,
        ["web02", "ops", "load1", "queue", "used", "busy", "tidy", "trim", "load.sh", "upgrade", "tomcat"]
    );
    let narrowed = apply(&fixture, "?prune=true&selector=old&dry_run=true", keep).await;
    assert_eq!(narrowed.status, 409, "a window still names the node: {}", narrowed.text());
    let client = fixture.client(ADMIN);
    let options = ApplyOptions { prune: true, ..ApplyOptions::default() };
    client.apply(keep, &options).await.unwrap();
    for (kind, count) in [
        (Kind::Node, 1),
        (Kind::Trigger, 0),
        (Kind::Action, 0),
        (Kind::File, 0),
        (Kind::Secret, 1),
        (Kind::User, 1),
        (Kind::Token, 3),
    ] {
        assert_eq!(client.list_all(kind, &Default::default()).await.unwrap().len(), count, "{kind}");
    }
    assert_eq!(apply(&fixture, "?selector=old", keep).await.status, 400);
}

#[tokio::test]
async fn tokens_are_created_by_apply_and_stay() {
    let fixture = start().await;
    let body = "{kind: token, name: ci, role: operator, expires: 90d}";
    let first = apply(&fixture, "", body).await;
    let text = first.json()["changes"][0]["token"].as_str().unwrap().to_string();
    assert_eq!(fixture.client(&text).whoami().await.unwrap().actor, "token/ci");
    let again = apply(&fixture, "", body).await;
    assert_eq!(effects(&again), [("ci".to_string(), "unchanged".to_string())]);
    assert_eq!(again.json()["changes"][0].get("token"), None);
    assert!(fixture.client(&text).whoami().await.is_ok());
}

#[tokio::test]
async fn json_documents_are_applied_too() {
    let fixture = start().await;
    let stream = "{\"kind\": \"cluster\", \"name\": \"a\"}\n{\"kind\": \"cluster\", \"name\": \"b\"}";
    let request = fixture
        .request(Method::POST, "/api/v1/apply", ADMIN)
        .header("content-type", "application/json")
        .body(stream);
    let answer = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(effects(&answer).len(), 2);
}
