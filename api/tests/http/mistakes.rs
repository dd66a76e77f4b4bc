//! What a user can get wrong, and what they are told.

use reqwest::Method;
use serde_json::json;

use crate::support::{ADMIN, Answer, start};

#[tokio::test]
async fn a_wrong_field_is_pointed_at() {
    let fixture = start().await;
    fixture.seed().await;
    for (path, body, pointer, says) in [
        ("clusters", json!({}), "/name", "needed"),
        ("clusters", json!({"name": "Web"}), "/name", "is not a name"),
        ("clusters", json!({"name": "x", "colour": 1}), "/colour", "unknown field"),
        ("clusters", json!({"name": "x", "labels": {"rscaler/login": "ada"}}), "/labels", "by rscaler alone"),
        ("clusters", json!({"name": "x", "labels": {"": "y"}}), "/labels", "1 to 63 bytes"),
        ("clusters", json!([]), "", "an object"),
        (
            "nodes",
            json!({"name": "x", "cluster": "db", "hostname": "h"}),
            "/cluster",
            "there is no cluster `db`",
        ),
        ("nodes", json!({"name": "x", "cluster": "web", "hostname": "a b"}), "/hostname", "host name"),
        ("nodes", json!({"name": "x", "cluster": "web", "hostname": "h", "port": 0}), "/port", "1 to 65535"),
        (
            "nodes",
            json!({"name": "x", "cluster": "web", "hostname": "h", "jvms": ["none"]}),
            "/jvms/0",
            "jvm-profile",
        ),
        ("ssh-profiles", json!({"name": "x", "user": "u"}), "/key", "nobody can log in"),
        (
            "ssh-profiles",
            json!({"name": "x", "user": "u", "key": {"secret": "no"}}),
            "/key",
            "there is no secret `no`",
        ),
        (
            "ssh-profiles",
            json!({"name": "x", "user": "u", "password": "p", "host_key": {"pinned": "nonsense"}}),
            "/host_key/pinned",
            "ssh-ed25519",
        ),
        ("counters", json!({"name": "x", "type": "ssh", "clusters": ["web"]}), "/script", "needs the script"),
        (
            "counters",
            json!({"name": "x", "type": "push", "script": "x", "clusters": ["web"]}),
            "/script",
            "runs nothing",
        ),
        ("counters", json!({"name": "x", "type": "jmx", "clusters": ["web"]}), "/mbean", "needs it"),
        (
            "counters",
            json!({"name": "x", "type": "jmx", "mbean": "a:b=c", "clusters": ["web"]}),
            "/attribute",
            "needs it",
        ),
        (
            "counters",
            json!({"name": "x", "type": "jmx", "mbean": "memory", "attribute": "A", "clusters": ["web"]}),
            "/mbean",
            "object name",
        ),
        (
            "counters",
            json!({"name": "x", "type": "push", "rate": true, "clusters": ["web"]}),
            "/rate",
            "type jmx",
        ),
        ("jvm-profiles", json!({"name": "x"}), "/port", "give `port`"),
        ("jvm-profiles", json!({"name": "x", "port": 0}), "/port", "1 to 65535"),
        ("jvm-profiles", json!({"name": "x", "port": 1, "url": "u"}), "/url", "not both"),
        ("jvm-profiles", json!({"name": "x", "url": "http://h:1/"}), "/url", "service:jmx:rmi"),
        (
            "jvm-profiles",
            json!({"name": "x", "url": "https://h:1/", "transport": "jolokia"}),
            "/url",
            "http://HOST",
        ),
        ("jvm-profiles", json!({"name": "x", "port": 1, "user": "u"}), "/password", "go together"),
        ("jvm-profiles", json!({"name": "x", "port": 1, "trust_store": "x"}), "/trust_store", "tls: true"),
        (
            "jvm-profiles",
            json!({"name": "x", "port": 1, "tls": true, "trust_store_password": "x"}),
            "/trust_store_password",
            "no trust_store",
        ),
        (
            "jvm-profiles",
            json!({"name": "x", "port": 1, "tls": true, "trust_store": "x", "trust_store_password": {"secret": "no"}}),
            "/trust_store_password",
            "there is no secret `no`",
        ),
        (
            "jvm-profiles",
            json!({"name": "x", "port": 1, "user": "u", "password": {"secret": "no"}}),
            "/password",
            "there is no secret `no`",
        ),
        ("jvm-profiles", json!({"name": "x", "port": 1, "transport": "telnet"}), "/transport", "telnet"),
        (
            "actions",
            json!({"name": "x", "type": "jmx-invoke", "mbean": "a:b=*", "operation": "gc"}),
            "/mbean",
            "pattern",
        ),
        (
            "actions",
            json!({"name": "x", "type": "jmx-invoke", "mbean": "a:b=c", "operation": "o", "signature": ["int"]}),
            "/signature",
            "one type for each",
        ),
        (
            "actions",
            json!({"name": "x", "type": "command", "script": "x", "mbean": "a:b=c"}),
            "/mbean",
            "jmx-invoke",
        ),
        (
            "counters",
            json!({"name": "x", "type": "push", "clusters": ["db"]}),
            "/clusters/0",
            "no cluster `db`",
        ),
        (
            "counters",
            json!({"name": "x", "type": "push", "clusters": ["A b"]}),
            "/clusters/0",
            "is not a name",
        ),
        (
            "counters",
            json!({"name": "x", "type": "ssh", "script": "x", "clusters": ["web"], "interval": "100ms"}),
            "/interval",
            "out of bounds",
        ),
        (
            "counters",
            json!({"name": "x", "type": "ssh", "script": "x", "clusters": ["web"], "parse": {"regex": "("}}),
            "/parse/regex",
            "not a regular expression",
        ),
        ("actions", json!({"name": "x", "type": "command", "script": " "}), "/script", "not empty"),
        ("actions", json!({"name": "x", "type": "command"}), "/script", "needs the script"),
        (
            "actions",
            json!({"name": "x", "type": "command", "script": "true", "for": "1s"}),
            "/for",
            "only a pause",
        ),
        (
            "actions",
            json!({"name": "x", "type": "pause", "for": "1s", "script": "true"}),
            "/script",
            "runs nothing",
        ),
        ("actions", json!({"name": "x", "type": "pause", "for": "13h"}), "/for", "out of bounds"),
        (
            "actions",
            json!({"name": "x", "type": "command", "script": "x", "timeout": "0s"}),
            "/timeout",
            "out of bounds",
        ),
        (
            "actions",
            json!({"name": "x", "type": "command", "script": "x", "env": {"1A": "x"}}),
            "/env",
            "no name of a variable",
        ),
        (
            "actions",
            json!({"name": "x", "type": "command", "script": "x", "max_failures": "150%"}),
            "/max_failures",
            "percentage",
        ),
        (
            "triggers",
            json!({"name": "x", "cluster": "web", "when": [], "steps": [{"action": "tidy", "target": "cluster"}]}),
            "/when",
            "1 to 16",
        ),
        (
            "triggers",
            json!({"name": "x", "cluster": "web", "when": [{"counter": "load1", "op": ">", "threshold": "4"}],
                "steps": [{"action": "tidy", "target": "cluster"}]}),
            "/when/0/threshold",
            "invalid type",
        ),
        (
            "triggers",
            json!({"name": "x", "cluster": "web", "when": [{"counter": "none", "op": ">", "threshold": 4}],
                "steps": [{"action": "tidy", "target": "cluster"}]}),
            "/when/0/counter",
            "no counter `none`",
        ),
        (
            "triggers",
            json!({"name": "x", "cluster": "web", "when": [{"counter": "load1", "op": ">", "threshold": 4}],
                "steps": [{"action": "tidy"}]}),
            "/steps/0/target",
            "needs a target",
        ),
        (
            "triggers",
            json!({"name": "x", "cluster": "web", "when": [{"counter": "load1", "op": ">", "threshold": 4}],
                "steps": [{"action": "none", "target": {"node": "web09"}}]}),
            "/steps/0/action",
            "no action `none`",
        ),
        ("files", json!({"name": "x"}), "/content", "content_base64"),
        ("files", json!({"name": "x", "content_base64": "%"}), "/content_base64", "not base64"),
        ("files", json!({"name": "x", "content": "", "content_base64": ""}), "/content_base64", "not both"),
        ("secrets", json!({"name": "x"}), "/value", "needs its value"),
        ("users", json!({"name": "x", "role": "admin"}), "/password", "needs a password"),
        ("users", json!({"name": "x", "role": "admin", "password": "short"}), "/password", "8 to 1024"),
        ("users", json!({"name": "x", "role": "root", "password": "long enough"}), "/role", "`root`"),
        ("tokens", json!({"name": "x", "role": "admin", "expires": "soon"}), "/expires", "90d"),
        (
            "tokens",
            json!({"name": "x", "role": "admin", "expires": "2020-01-01T00:00:00Z"}),
            "/expires",
            "over already",
        ),
        (
            "maintenance-windows",
            json!({"name": "x", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}),
            "/cluster",
            "give the `cluster` or the `node`",
        ),
        (
            "maintenance-windows",
            json!({"name": "x", "cluster": "web", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
            "/to",
            "after `from`",
        ),
        (
            "clusters/web/run",
            json!({}),
            "/command",
            "give the `command`, the `action` or the operation to run",
        ),
        ("clusters/web/run", json!({"command": "x", "action": "tidy"}), "/action", "give one of"),
        ("clusters/web/run", json!({"action": "tidy", "sudo": true}), "/sudo", "goes with `command`"),
        ("clusters/web/run", json!({"command": ""}), "/command", "not empty"),
        ("nodes/web01/run", json!({"command": "x", "timeout": "2d"}), "/timeout", "out of bounds"),
        ("nodes/web01/run", json!({"command": {"file": "none"}}), "/command", "no file `none`"),
        ("samples", json!({"samples": []}), "/samples", "1 to 4096"),
        (
            "samples",
            json!({"samples": [{"counter": "none", "node": "web01", "v": 1}]}),
            "/samples/0/counter",
            "no counter `none`",
        ),
        (
            "samples",
            json!({"samples": [{"counter": "queue", "node": "web09", "v": 1}]}),
            "/samples/0/node",
            "no node `web09`",
        ),
        (
            "samples",
            json!({"samples": [{"counter": "load1", "node": "web01", "v": 1}]}),
            "/samples/0/counter",
            "type push",
        ),
        (
            "samples",
            json!({"samples": [{"counter": "queue", "node": "web01", "v": null}]}),
            "/samples/0/v",
            "invalid type",
        ),
        (
            "samples",
            json!({"samples": [{"counter": "queue", "node": "web01", "instance": "", "v": 1}]}),
            "/samples/0/instance",
            "bytes",
        ),
        ("triggers/busy/test", json!({"since": "0s"}), "/since", "longer than zero"),
        ("triggers/busy/test", json!({"trigger": {"cluster": "web"}}), "/trigger/when", "needed"),
        ("peers/join-tokens", json!({"ttl": "2h"}), "/ttl", "1s to 1h"),
        ("peers/join-tokens", json!({"role": "leader"}), "/role", "elected"),
        ("peers/leader", json!({"to": 9}), "/to", "no peer 9"),
        ("login", json!({"user": "ada", "password": "x", "ttl": "1y"}), "/ttl", "not a duration"),
        ("login", json!({"user": "ada", "password": "x", "ttl": "60d"}), "/ttl", "1m to 30d"),
    ] {
        let answer = fixture.post(&format!("/api/v1/{path}"), body.clone()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "invalid"),
            "{path} {body}: {}",
            answer.text()
        );
        let errors = answer.json()["errors"].clone();
        let found = errors.as_array().unwrap().iter().find(|error| error["pointer"] == pointer);
        let found = found.unwrap_or_else(|| panic!("{path} {body}: no {pointer} in {errors}"));
        assert!(found["detail"].as_str().unwrap().contains(says), "{path} {body}: {found}");
    }
}

/// Holds an answer against what is expected of it: its status, its code, and a part of its detail.
fn assert_problem(answer: &Answer, what: &str, status: u16, code: &str, says: &str) {
    let problem = answer.json();
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {detail}");
    assert!(detail.contains(says), "{what}: {detail}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{what}");
    assert_eq!(problem["status"], answer.status, "{what}");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_so() {
    let fixture = start().await;
    fixture.seed().await;
    for (path, status, code, says) in [
        ("/api/v1/clusters?limit=0", 400, "malformed", "1 to 1000"),
        ("/api/v1/clusters?color=red", 400, "malformed", "no parameter `color`"),
        ("/api/v1/clusters?cursor=A", 400, "malformed", "`next` of the last page"),
        ("/api/v1/clusters?selector==", 400, "malformed", "key=value"),
        ("/api/v1/clusters?consistency=strong", 400, "malformed", "linearizable"),
        ("/api/v1/clusters/web%zz", 400, "malformed", "not well escaped"),
        ("/api/v1/clusters/Web", 404, "not_found", "no cluster `Web`"),
        ("/api/v1/runs/seven", 404, "not_found", "no run `seven`"),
        ("/api/v1/runs?state=odd", 400, "malformed", "`state`"),
        ("/api/v1/tasks?state=odd", 400, "malformed", "or `open`"),
        ("/api/v1/tasks/7", 404, "not_found", "no task `7`"),
        ("/api/v1/tasks/7/output", 404, "not_found", "no task `7`"),
        ("/api/v1/watch?kinds=nodes", 400, "malformed", "there is no `nodes`"),
        ("/api/v1/clusters/web/counters/none/samples", 404, "not_found", "no counter `none`"),
        ("/api/v1/clusters/db/counters/load1/samples", 404, "not_found", "no cluster `db`"),
        ("/api/v1/nodes/web01/counters/load1/samples?from=soon", 400, "malformed", "-1h"),
        ("/api/v1/nodes/web01/counters/load1/samples?step=5", 400, "malformed", "not a duration"),
        ("/api/v1/nodes/web01/counters/load1/samples?agg=median", 400, "malformed", "`agg`"),
        ("/api/v1/nodes/web01/counters/load1/samples?from=5&to=4", 422, "invalid", "ends before"),
        ("/api/v1/nodes/web01/counters/load1/samples?across=sum", 422, "invalid", "needs a step"),
        ("/api/v2/clusters", 404, "not_found", "/api/docs"),
    ] {
        assert_problem(&fixture.get(path).await, path, status, code, says);
    }
}

#[tokio::test]
async fn what_is_not_well_formed_is_told_so() {
    let fixture = start().await;
    fixture.seed().await;
    let send = |method: Method, path: &'static str, media: Option<&'static str>, body: &'static str| {
        let mut request = fixture.request(method, path, ADMIN).body(body);
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        async move { Answer::read(request.send().await.unwrap()).await }
    };
    let json = Some("application/json");
    for (method, path, media, body, status, code, says) in [
        (Method::POST, "/api/v1/clusters", json, "{", 400, "malformed", "not JSON"),
        (Method::POST, "/api/v1/clusters", json, "", 400, "malformed", "there is none"),
        (
            Method::POST,
            "/api/v1/clusters",
            Some("text/plain"),
            "{}",
            415,
            "unsupported_media_type",
            "application/json",
        ),
        (
            Method::POST,
            "/api/v1/apply",
            Some("text/csv"),
            "{}",
            415,
            "unsupported_media_type",
            "application/yaml",
        ),
        (Method::POST, "/api/v1/apply", None, "a: [", 400, "malformed", "not YAML"),
        (Method::PATCH, "/api/v1/clusters/web", json, "[]", 422, "invalid", "a merge patch is an object"),
        (
            Method::PUT,
            "/api/v1/clusters/web",
            json,
            "{\"name\": \"db\"}",
            422,
            "invalid",
            "a name does not change",
        ),
        (Method::POST, "/api/v1/runs/7/cancel", None, "", 404, "not_found", "no run `7`"),
        (Method::POST, "/api/v1/peers/9/promote", None, "", 404, "not_found", "no peer `9`"),
        (Method::POST, "/api/v1/peers/1/demote", None, "", 409, "conflict", "without peer 1"),
        (Method::DELETE, "/api/v1/peers/1", None, "", 409, "conflict", "without peer 1"),
        (Method::PATCH, "/api/v1/clusters", json, "{}", 405, "method_not_allowed", "GET, POST"),
        (Method::DELETE, "/api/v1/peers/leader/x", None, "", 404, "not_found", "there is nothing at"),
    ] {
        let answer = send(method.clone(), path, media, body).await;
        assert_problem(&answer, &format!("{method} {path} {body}"), status, code, says);
    }
}
