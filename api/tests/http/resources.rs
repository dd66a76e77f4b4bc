use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Fixture, OPERATOR, SEED, start};

async fn with_header(
    fixture: &Fixture,
    method: Method,
    path: &str,
    header: (&str, &str),
    body: Option<Value>,
) -> Answer {
    let mut request = fixture.request(method, path, ADMIN).header(header.0, header.1);
    if let Some(body) = body {
        request = request.json(&body);
    }
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn every_kind_reads_back_as_it_was_written() {
    let fixture = start().await;
    fixture.seed().await;
    for (path, expected) in [
        ("clusters/web", json!({"name": "web", "labels": {"app": "shop"}, "version": 1})),
        ("nodes/web01", json!({"cluster": "web", "hostname": "10.0.0.11", "ssh_profile": "ops"})),
        (
            "ssh-profiles/ops",
            json!({"user": "ops", "port": 22, "key": {"secret": "ops-key"}, "host_key": "accept-new"}),
        ),
        (
            "counters/load1",
            json!({"type": "ssh", "script": {"file": "load.sh"}, "parse": "number", "interval": "10s", "timeout": "5s",
                "unit": "load", "clusters": ["web"]}),
        ),
        ("counters/queue", json!({"type": "push", "interval": "10s"})),
        (
            "actions/tidy",
            json!({"type": "command", "script": "echo tidy", "args": ["a", "b"], "env": {"MODE": "soft"},
                "timeout": "30s", "retry": {"attempts": 3, "backoff": "5s", "on": ["failed", "timed-out"]},
                "on_executor_loss": "fail", "max_failures": "100%", "sudo": false}),
        ),
        (
            "triggers/busy",
            json!({"cluster": "web", "for": "20s", "match": "any", "aggregate": "each", "per": "trigger",
                "cooldown": "1m", "no_data": "ignore", "enabled": true,
                "when": [{"counter": "queue", "op": ">", "threshold": 4.0, "recover": 3.0}],
                "steps": [{"action": "tidy", "target": "firing-node", "on_failure": "stop"}]}),
        ),
        ("files/load.sh", json!({"content": "cut -d' ' -f1 /proc/loadavg\n", "bytes": 28})),
        ("secrets/ops-key", json!({"name": "ops-key", "version": 1})),
        ("users/ada", json!({"role": "operator"})),
        ("tokens/viewer", json!({"role": "viewer"})),
        (
            "maintenance-windows/upgrade",
            json!({"node": "web02", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z", "reason": "kernel"}),
        ),
    ] {
        let found = fixture.get(&format!("/api/v1/{path}")).await;
        assert_eq!(found.status, 200, "{path}: {}", found.text());
        let body = found.json();
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&body[field], value, "{path}: {field}");
        }
        assert_eq!(found.header("etag"), Some("\"1\""), "{path}");
        // What was read may be written back, and changes nothing.
        let again = fixture.put(&format!("/api/v1/{path}"), body.clone()).await;
        assert_eq!((again.status, &again.json()["version"]), (200, &json!(1)), "{path}: {}", again.text());
    }
}

#[tokio::test]
async fn a_pause_reads_back_as_it_was_written() {
    let fixture = start().await;
    let written = json!({"name": "settle", "type": "pause", "for": "5m"});
    assert_eq!(fixture.post("/api/v1/actions", written).await.status, 201);
    let body = fixture.get("/api/v1/actions/settle").await.json();
    let given = json!([body["type"], body["for"], body["timeout"], body["on_executor_loss"], body["script"]]);
    assert_eq!(given, json!(["pause", "5m", "6m", "retry", null]));
    let again = fixture.put("/api/v1/actions/settle", body).await;
    assert_eq!((again.status, &again.json()["version"]), (200, &json!(1)), "{}", again.text());
}

#[tokio::test]
async fn creating_says_where_and_deleting_takes_away() {
    let fixture = start().await;
    let created = fixture.post("/api/v1/clusters", json!({"name": "web"})).await;
    assert_eq!((created.status, created.header("location")), (201, Some("/api/v1/clusters/web")));
    let again = fixture.post("/api/v1/clusters", json!({"name": "web"})).await;
    assert_eq!((again.status, again.code().as_str()), (409, "conflict"));
    assert_eq!(again.header("content-type"), Some("application/problem+json"));
    let deleted =
        Answer::read(fixture.request(Method::DELETE, "/api/v1/clusters/web", ADMIN).send().await.unwrap())
            .await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(fixture.get("/api/v1/clusters/web").await.status, 404);
    let gone =
        Answer::read(fixture.request(Method::DELETE, "/api/v1/clusters/web", ADMIN).send().await.unwrap())
            .await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn deleting_what_is_in_use_names_its_users() {
    let fixture = start().await;
    fixture.seed().await;
    let answer =
        Answer::read(fixture.request(Method::DELETE, "/api/v1/clusters/web", ADMIN).send().await.unwrap())
            .await;
    assert_eq!(answer.status, 409);
    let detail = answer.json()["detail"].as_str().unwrap().to_string();
    assert!(detail.contains("web01") && detail.contains("web02"), "{detail}");
}

#[tokio::test]
async fn etags_guard_reads_and_writes() {
    let fixture = start().await;
    let path = "/api/v1/clusters/web";
    let put = |header: (&'static str, &'static str), text: &'static str| {
        with_header(&fixture, Method::PUT, path, header, Some(json!({"description": text})))
    };
    assert_eq!(put(("if-match", "\"1\""), "x").await.status, 404);
    assert_eq!(put(("if-match", "*"), "x").await.status, 404);
    assert_eq!(put(("if-none-match", "*"), "one").await.status, 201);
    assert_eq!(put(("if-none-match", "*"), "two").await.status, 412);
    assert_eq!(put(("if-match", "\"1\""), "two").await.header("etag"), Some("\"2\""));
    let moved = put(("if-match", "\"1\""), "three").await;
    assert_eq!((moved.status, moved.code().as_str()), (412, "version_moved"));
    assert!(moved.json()["detail"].as_str().unwrap().contains("version 2"), "{}", moved.text());
    assert_eq!(put(("if-match", "*"), "four").await.header("etag"), Some("\"3\""));
    assert_eq!(put(("if-match", "3"), "five").await.status, 400);
    assert_eq!(put(("if-none-match", "\"3\""), "five").await.status, 400);
    let known = with_header(&fixture, Method::GET, path, ("if-none-match", "\"3\""), None).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let known = with_header(&fixture, Method::GET, path, ("if-none-match", "\"2\""), None).await;
    assert_eq!(known.status, 200);
    let patched =
        with_header(&fixture, Method::PATCH, path, ("if-match", "\"2\""), Some(json!({"description": "x"})))
            .await;
    assert_eq!(patched.status, 412);
    let deleted = with_header(&fixture, Method::DELETE, path, ("if-match", "\"2\""), None).await;
    assert_eq!(deleted.status, 412);
    assert_eq!(with_header(&fixture, Method::DELETE, path, ("if-match", "\"3\""), None).await.status, 204);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let fixture = start().await;
    fixture.seed().await;
    let patched = fixture
        .send(
            Method::PATCH,
            "/api/v1/nodes/web01",
            json!({"port": 2222, "labels": {"app": null, "rack": "7"}}),
        )
        .await;
    let body = patched.json();
    assert_eq!((patched.status, &body["port"], &body["labels"]), (200, &json!(2222), &json!({"rack": "7"})));
    assert_eq!((&body["hostname"], &body["version"]), (&json!("10.0.0.11"), &json!(2)));
    // Removing an optional field sets its default.
    let patched = fixture.send(Method::PATCH, "/api/v1/nodes/web01", json!({"port": null})).await;
    assert_eq!(patched.json().get("port"), None);
    // What nobody can read is kept.
    let before = fixture.handle.read(|state| {
        state
            .object(rscaler_raft::model::Kind::Secret, &crate::support::name("ops-key"))
            .unwrap()
            .spec
            .clone()
    });
    let patched =
        fixture.send(Method::PATCH, "/api/v1/secrets/ops-key", json!({"description": "of ops"})).await;
    assert_eq!((patched.status, &patched.json()["description"]), (200, &json!("of ops")));
    let after = fixture.handle.read(|state| {
        state
            .object(rscaler_raft::model::Kind::Secret, &crate::support::name("ops-key"))
            .unwrap()
            .spec
            .clone()
    });
    assert!(before == after);
    let patched =
        fixture.send(Method::PATCH, "/api/v1/files/load.sh", json!({"content_base64": "/w=="})).await;
    assert_eq!((&patched.json()["content_base64"], &patched.json()["bytes"]), (&json!("/w=="), &json!(1)));
    let missing = fixture.send(Method::PATCH, "/api/v1/nodes/web09", json!({"port": 1})).await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn lists_come_in_pages_and_are_narrowed() {
    let fixture = start().await;
    fixture.seed().await;
    let names = |answer: &Answer| -> Vec<String> {
        answer.json()["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_string())
            .collect()
    };
    let first = fixture.get("/api/v1/counters?limit=1").await;
    assert_eq!((names(&first), &first.json()["next"]), (vec!["load1".to_string()], &json!("load1")));
    let second = fixture.get("/api/v1/counters?limit=1&cursor=load1").await;
    assert_eq!((names(&second), &second.json()["next"]), (vec!["queue".to_string()], &json!("queue")));
    let third = fixture.get("/api/v1/counters?limit=1&cursor=queue").await;
    assert_eq!((names(&third), &third.json()["next"]), (vec!["used".to_string()], &Value::Null));
    for (query, expected) in [
        ("nodes?selector=app=shop", vec!["web01", "web02"]),
        ("nodes?selector=app%3Dshop,!old", vec!["web01"]),
        ("nodes?cluster=web", vec!["web01", "web02"]),
        ("nodes?cluster=db", vec![]),
        ("nodes?ssh_profile=ops&selector=old", vec!["web02"]),
        ("counters?type=push", vec!["queue"]),
        ("counters?type=jmx", vec!["used"]),
        ("nodes?jvm=tomcat", vec!["web02"]),
        ("triggers?counter=queue", vec!["busy"]),
        ("triggers?counter=load1", vec![]),
        ("maintenance-windows?cluster=web", vec!["upgrade"]),
        ("tokens?role=admin", vec!["admin"]),
    ] {
        let answer = fixture.get(&format!("/api/v1/{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(names(&answer), expected, "{query}");
    }
    let files = fixture.get("/api/v1/files").await;
    assert_eq!(files.json()["items"][0].get("content"), None);
}

#[tokio::test]
async fn secrets_and_passwords_are_nowhere_to_be_seen() {
    let fixture = start().await;
    fixture.seed().await;
    let plain = ["not a key", "correct horse", "argon2", "hash"];
    for path in ["secrets", "secrets/ops-key", "users", "users/ada", "tokens", "events", "ssh-profiles/ops"] {
        let text = fixture.get(&format!("/api/v1/{path}")).await.text();
        for secret in plain {
            assert!(!text.contains(secret), "{path}: {text}");
        }
    }
    // The state holds it sealed, for its own place.
    let opened = fixture.handle.read(|state| {
        let Some(rscaler_raft::model::Spec::Secret(secret)) =
            state.spec(rscaler_raft::model::Kind::Secret, &crate::support::name("ops-key"))
        else {
            panic!("it is there")
        };
        fixture.handle.keyring().open("secret/ops-key", &secret.sealed).unwrap()
    });
    assert_eq!(&*opened, b"not a key");
}

#[tokio::test]
async fn a_new_token_works_and_is_shown_once() {
    let fixture = start().await;
    let created =
        fixture.post("/api/v1/tokens", json!({"name": "ci", "role": "viewer", "expires": "90d"})).await;
    let text = created.json()["token"].as_str().unwrap().to_string();
    assert!(text.starts_with("rsc_"));
    let shown = fixture.get("/api/v1/tokens/ci").await;
    assert_eq!(shown.json().get("token"), None);
    assert!(shown.json()["expires"].as_str().unwrap().ends_with('Z'), "{}", shown.text());
    assert_eq!(fixture.client(&text).whoami().await.unwrap().actor, "token/ci");
    // A change keeps it working.
    let changed = fixture.put("/api/v1/tokens/ci", json!({"role": "operator", "expires": "90d"})).await;
    assert_eq!((changed.status, changed.json().get("token")), (200, None));
    assert_eq!(fixture.client(&text).whoami().await.unwrap().role, rscaler_api::types::Role::Operator);
    fixture.client(ADMIN).delete(rscaler_api::types::Kind::Token, "ci", None).await.unwrap();
    assert_eq!(fixture.client(&text).whoami().await.unwrap_err().status(), Some(401));
}

#[tokio::test]
async fn the_same_request_under_one_key_is_done_once() {
    let fixture = start().await;
    let create = |key: &'static str, name: &'static str| {
        let request = fixture.request(Method::POST, "/api/v1/tokens", ADMIN).header("idempotency-key", key);
        async move {
            Answer::read(request.json(&json!({"name": name, "role": "viewer"})).send().await.unwrap()).await
        }
    };
    let (first, second) = (create("k1", "ci").await, create("k1", "ci").await);
    assert_eq!((first.status, second.status), (201, 201), "{}", second.text());
    assert_eq!(first.json(), second.json());
    let other = create("k2", "ci").await;
    assert_eq!(other.status, 409);
    // The key is the client's own: another one may use it too.
    let viewer = fixture
        .request(Method::POST, "/api/v1/clusters/none/run", crate::support::OPERATOR)
        .header("idempotency-key", "k1")
        .json(&json!({"command": "true"}));
    assert_eq!(viewer.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_password_is_checked_and_a_login_ends_with_it() {
    let fixture = start().await;
    fixture.seed().await;
    let login =
        |password: &'static str| fixture.post("/api/v1/login", json!({"user": "ada", "password": password}));
    let wrong = login("wrong horse").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "unauthenticated"));
    let nobody = fixture.post("/api/v1/login", json!({"user": "bob", "password": "correct horse"})).await;
    assert_eq!((nobody.status, &nobody.json()["detail"]), (401, &wrong.json()["detail"]));
    let token = login("correct horse").await.json()["token"].as_str().unwrap().to_string();
    let client = fixture.client(&token);
    let me = client.whoami().await.unwrap();
    assert_eq!((me.actor.as_str(), me.role), ("user/ada", rscaler_api::types::Role::Operator));
    // The role of the user counts, as it is now.
    fixture.send(Method::PATCH, "/api/v1/users/ada", json!({"role": "viewer"})).await;
    assert_eq!(client.whoami().await.unwrap().role, rscaler_api::types::Role::Viewer);
    // Its object may be read and written back, but nobody makes a login of another token.
    let logins = fixture.get("/api/v1/tokens?selector=rscaler/login=ada").await.json();
    let path = format!("/api/v1/tokens/{}", logins["items"][0]["name"].as_str().unwrap());
    assert_eq!(fixture.send(Method::PATCH, &path, json!({"description": "ada's"})).await.status, 200);
    let forged = fixture.send(Method::PATCH, &path, json!({"labels": {"rscaler/login": "bob"}})).await;
    assert_eq!(forged.status, 422, "{}", forged.text());
    let other = login("correct horse").await.json()["token"].as_str().unwrap().to_string();
    let client = fixture.client(&other);
    client.logout().await.unwrap();
    assert_eq!(client.whoami().await.unwrap_err().status(), Some(401));
    fixture.send(Method::PATCH, "/api/v1/users/ada", json!({"password": "a new horse"})).await;
    assert_eq!(fixture.client(&token).whoami().await.unwrap_err().status(), Some(401));
    assert_eq!(login("correct horse").await.status, 401);
    assert_eq!(login("a new horse").await.status, 200);
    let lasting = fixture.client(ADMIN).logout().await.unwrap_err();
    assert_eq!(lasting.status(), Some(409));
}

#[tokio::test]
async fn the_last_admin_stays() {
    let fixture = start().await;
    let answer =
        Answer::read(fixture.request(Method::DELETE, "/api/v1/tokens/admin", ADMIN).send().await.unwrap())
            .await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("nobody could manage"), "{}", answer.text());
}

#[tokio::test]
async fn older_contents_of_a_file_are_kept() {
    let fixture = start().await;
    for content in ["one", "two", "three"] {
        let put = fixture.put("/api/v1/files/motd", json!({"content": content})).await;
        assert!(put.status < 300);
    }
    let client = fixture.client(ADMIN);
    let versions = client.file_versions("motd").await.unwrap();
    let numbers: Vec<u64> = versions.items.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(client.file_content("motd", Some(1)).await.unwrap(), b"one");
    assert_eq!(client.file_content("motd", None).await.unwrap(), b"three");
    assert_eq!(client.file_content("motd", Some(9)).await.unwrap_err().status(), Some(404));
    assert_eq!(client.file_content("none", None).await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn host_keys_are_shown_set_and_forgotten() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(ADMIN);
    assert!(client.host_keys("web01").await.unwrap().keys.is_empty());
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ somebody@somewhere".to_string();
    let keys = rscaler_api::types::HostKeys { keys: vec![key] };
    let set = client.set_host_keys("web01", &keys).await.unwrap();
    assert_eq!(set.keys, ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ"]);
    assert_eq!(client.host_keys("web01").await.unwrap(), set);
    client.forget_host_keys("web01").await.unwrap();
    assert!(client.host_keys("web01").await.unwrap().keys.is_empty());
    assert_eq!(client.host_keys("web09").await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn settings_are_shown_and_changed() {
    let fixture = start().await;
    assert_eq!(
        fixture.get("/api/v1/settings").await.json(),
        json!({"keep_raw": "15d", "keep_five_minutes": "90d", "keep_hours": "730d"})
    );
    let changed = fixture.send(Method::PATCH, "/api/v1/settings", json!({"keep_raw": "30d"})).await;
    assert_eq!((changed.status, &changed.json()["keep_raw"]), (200, &json!("30d")));
    let wrong = fixture.send(Method::PATCH, "/api/v1/settings", json!({"keep_raw": "1s"})).await;
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["pointer"]), (422, &json!("/keep_raw")));
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let fixture = start().await;
    fixture.seed().await;
    let patches = (0..6).map(|n| {
        let label = format!("by{n}");
        fixture.send(Method::PATCH, "/api/v1/secrets/ops-key", json!({"labels": {label: "x"}}))
    });
    for answer in futures::future::join_all(patches).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let labels = fixture.get("/api/v1/secrets/ops-key").await.json()["labels"].clone();
    assert_eq!(labels.as_object().unwrap().len(), 6);
}

#[test]
fn the_seed_is_yaml_of_every_kind() {
    for kind in rscaler_api::types::Kind::ALL {
        let given = SEED.contains(&format!("kind: {kind}"));
        assert_eq!(given, kind != rscaler_api::types::Kind::Token, "{kind}");
    }
}

#[tokio::test]
async fn contents_are_written_as_they_are() {
    let fixture = start().await;
    let path = "/api/v1/files/state/content";
    let put = |body: &'static [u8]| fixture.request(Method::PUT, path, ADMIN).body(body);
    let created = put(b"\x00\xff").send().await.unwrap();
    assert_eq!((created.status().as_u16(), &created.headers()["etag"]), (201, &"\"1\"".parse().unwrap()));
    let replaced = put(b"two").header("if-match", "\"1\"").send().await.unwrap();
    assert_eq!((replaced.status().as_u16(), &replaced.headers()["etag"]), (204, &"\"2\"".parse().unwrap()));
    assert_eq!(put(b"3").header("if-match", "\"1\"").send().await.unwrap().status().as_u16(), 412);
    assert_eq!(put(b"3").header("if-none-match", "*").send().await.unwrap().status().as_u16(), 412);
    for _ in 0..2 {
        let named = put(b"named").header("idempotency-key", "once").send().await.unwrap();
        assert_eq!((named.status().as_u16(), &named.headers()["etag"]), (204, &"\"3\"".parse().unwrap()));
    }
    assert_eq!(fixture.client(ADMIN).file_content("state", None).await.unwrap(), b"named");
    let refused = fixture.request(Method::PUT, path, OPERATOR).body("no").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 403);
}

#[tokio::test]
async fn a_row_of_puts_is_answered_in_its_order() {
    let fixture = start().await;
    let mut body = Vec::new();
    for (name, content) in [("a", "1"), ("b", "2"), ("a", "3"), ("", "cut off after this")] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        body.extend_from_slice(content.as_bytes());
    }
    let answer = fixture.request(Method::POST, "/api/v1/puts", ADMIN).body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let text = answer.text().await.unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let versions: Vec<_> = lines.iter().map(|line| line["version"].as_u64()).collect();
    assert_eq!(versions, [Some(1), Some(1), Some(2), None], "{text}");
    assert_eq!(lines[3]["status"], 400, "{text}");
    assert_eq!(fixture.client(ADMIN).file_content("a", None).await.unwrap(), b"3");
}
