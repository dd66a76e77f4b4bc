//! A data directory of an earlier version opens, and serves what it held.
//!
//! `tests/fixtures/data-directory.tar.gz` is the first of them: a checkpoint, and entries behind it in a log that was not closed.
//! `UPDATE_GOLDEN=1` makes it anew from the present version; that is for a format that was never released alone
//! (`raft/DESIGN.md`, "How to change a format").

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::plane::Plane;

fn archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-directory.tar.gz")
}

fn tar(arguments: &[&str]) {
    let done = Command::new("tar").args(arguments).output().unwrap();
    assert!(done.status.success(), "tar {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

const DOCUMENTS: &str = r#"
{kind: cluster, name: web, labels: {app: web}, description: the web}
---
{kind: secret, name: password, value: correct horse}
---
{kind: ssh-profile, name: ops, user: ops, password: {secret: password}, host_key: accept-new}
---
{kind: node, name: web01, cluster: web, hostname: 127.0.0.1, port: 1, ssh_profile: ops}
---
{kind: counter, name: pushed, type: push, interval: 1s, clusters: [web], unit: things}
---
{kind: counter, name: load1, type: ssh, script: cat /proc/loadavg, parse: pairs, interval: 60s, clusters: [web]}
---
{kind: file, name: tidy.sh, content: "true\n"}
---
{kind: action, name: tidy, type: command, script: {file: tidy.sh}, timeout: 5s}
---
{kind: trigger, name: hot, cluster: web, when: [{counter: pushed, op: ">", threshold: 1000}], steps: [{action: tidy, target: firing-node}]}
---
{kind: user, name: ada, role: operator, password: correct horse}
---
{kind: token, name: ci, role: viewer}
---
{kind: maintenance-window, name: night, cluster: web, from: 2100-01-01T00:00:00Z, to: 2100-01-02T00:00:00Z, reason: sleep}
"#;

/// When the samples of the fixture begin, in ms: in its own time, which the control plane has to have lived through.
const SAMPLES: i64 = 500;

async fn push(plane: &Plane, from: i64) {
    let begin = jiff::Timestamp::now().as_millisecond() - SAMPLES * 1000;
    let sample = |at: i64| json!({"counter": "pushed", "node": "web01", "t": begin + at * 1000, "v": at});
    let samples: Vec<Value> = (from..from + SAMPLES / 2).map(sample).collect();
    let pushed = plane.post("samples", json!({"samples": samples})).await.unwrap();
    assert_eq!(pushed["accepted"], json!(SAMPLES / 2));
}

/// Makes the fixture: what is there is in the checkpoint, what comes then only in the log.
async fn make() {
    let mut plane = Plane::start(1).await;
    plane.apply(DOCUMENTS);
    push(&plane, 0).await;
    plane.post("nodes/web01/run", json!({"action": "tidy"})).await.unwrap();
    let keys =
        json!({"keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"]});
    plane.send(reqwest::Method::PUT, "nodes/web01/host-keys", Some(keys)).await.unwrap();
    assert_eq!(plane.peers[0].stop(), Some(0));
    plane.peers[0].restart();
    plane.ready(0).await;
    plane.apply("{kind: cluster, name: later}\n---\n{kind: file, name: tidy.sh, content: \"false\\n\"}\n");
    push(&plane, SAMPLES / 2).await;
    plane.peers[0].kill();
    let data = &plane.peers[0].data;
    std::fs::create_dir_all(archive().parent().unwrap()).unwrap();
    let (from, to) = (data.parent().unwrap(), archive());
    tar(&["-C", from.to_str().unwrap(), "--exclude", "lock", "-czf", to.to_str().unwrap(), "p1"]);
    let size = std::fs::metadata(&to).unwrap().len();
    assert!(size < 200 << 10, "{size} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_the_first_version_opens_and_serves_what_it_held() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        make().await;
    }
    let unpack =
        |directory: &Path| tar(&["-C", directory.to_str().unwrap(), "-xzf", archive().to_str().unwrap()]);
    let mut plane = Plane::of_directory(unpack).await;
    for _ in 0..2 {
        for (path, name, wanted) in [
            ("clusters", "web", json!({"labels": {"app": "web"}, "description": "the web", "version": 1})),
            ("clusters", "later", json!({"version": 1})),
            ("secrets", "password", json!({})),
            ("ssh-profiles", "ops", json!({"user": "ops", "password": {"secret": "password"}})),
            (
                "nodes",
                "web01",
                json!({"cluster": "web", "hostname": "127.0.0.1", "port": 1, "ssh_profile": "ops"}),
            ),
            ("counters", "pushed", json!({"type": "push", "unit": "things"})),
            ("counters", "load1", json!({"type": "ssh", "parse": "pairs", "interval": "1m"})),
            ("files", "tidy.sh", json!({"content": "false\n", "version": 2})),
            ("actions", "tidy", json!({"type": "command", "script": {"file": "tidy.sh"}})),
            ("triggers", "hot", json!({"cluster": "web"})),
            ("users", "ada", json!({"role": "operator"})),
            ("tokens", "ci", json!({"role": "viewer"})),
            ("maintenance-windows", "night", json!({"reason": "sleep"})),
        ] {
            let found = plane.get(&format!("{path}/{name}")).await.unwrap();
            for (field, value) in wanted.as_object().unwrap() {
                assert_eq!(&found[field], value, "{path}/{name}: {field} in {found}");
            }
        }
        let versions = plane.get("files/tidy.sh/versions").await.unwrap();
        assert_eq!(versions["items"].as_array().unwrap().len(), 2, "{versions}");
        let samples = plane.get("nodes/web01/counters/pushed/samples?from=0").await.unwrap();
        let points = samples["series"][0]["points"].as_array().unwrap();
        let values: Vec<f64> = points.iter().map(|point| point[1].as_f64().unwrap()).collect();
        assert_eq!(values, (0..SAMPLES).map(|at| at as f64).collect::<Vec<_>>());
        let keys = plane.get("nodes/web01/host-keys").await.unwrap();
        assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
        let runs = plane.get("runs").await.unwrap();
        assert_eq!(runs["items"].as_array().map(Vec::len), Some(1), "{runs}");
        let events = plane.get("events?limit=100").await.unwrap();
        assert!(events["items"].as_array().unwrap().len() >= 12, "{events}");
        let login = plane.post("login", json!({"user": "ada", "password": "correct horse"})).await.unwrap();
        assert!(login["token"].is_string(), "its passwords are still right");
        // What this version writes, it reads too.
        plane.peers[0].kill();
        plane.peers[0].restart();
        plane.ready(0).await;
    }
}
