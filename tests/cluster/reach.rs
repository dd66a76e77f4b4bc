//! Ways to reach a host: through another one, as root, with keys of all sorts; and what is said where it can't be reached.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::hosts::{Host, KeyKind, OWN_PASSWORD, Setup, counter, node, secret};
use crate::plane::Plane;
use crate::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);

fn profile(name: &str, user: &str, more: &str) -> String {
    let host_key = if more.contains("host_key") { "" } else { "host_key: accept-new\n" };
    format!("---\nkind: ssh-profile\nname: {name}\nuser: {user}\n{host_key}{more}\n")
}

async fn check(plane: &Plane, node: &str, counter: &str) -> Result<Value, Value> {
    let checks = plane.get(&format!("nodes/{node}/checks")).await.map_err(|(_, body)| body)?;
    let items = checks["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().find(|item| item["counter"] == counter).ok_or(checks)
}

/// Waits until the last reading was well.
async fn read_well(plane: &Plane, node: &str, counter: &str) {
    until(&format!("{counter} of {node} to be read"), PATIENCE, || async {
        let check = check(plane, node, counter).await?;
        if check["ok"] == true && check["last"].is_string() { Ok(()) } else { Err(check) }
    })
    .await;
}

/// Waits until the last reading failed for this reason, and gives it in words.
async fn refused(plane: &Plane, node: &str, counter: &str, code: &str) -> String {
    until(&format!("{counter} of {node} to fail as {code}"), PATIENCE, || async {
        let check = check(plane, node, counter).await?;
        let detail = check["failure"]["detail"].as_str().map(str::to_string);
        detail.filter(|_| check["failure"]["code"] == code).ok_or(check)
    })
    .await
}

/// Runs a command by the CLI: its exit code, output, and what was said beside it.
fn run(plane: &Plane, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut all = vec!["run"];
    all.extend(arguments);
    let output = plane.cli(&all);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The reason of the newest task.
async fn last_reason(plane: &Plane) -> String {
    let tasks = plane.get("tasks?limit=1").await.unwrap();
    tasks["items"][0]["reason"].as_str().unwrap_or_default().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_a_bastion_is_watched_and_commanded_through_it() {
    let (mut bastion, inner) = (Host::start(), Host::start());
    let plane = Plane::start(1).await;
    let user = inner.user();
    plane.apply(
        &[
            "---\nkind: cluster\nname: web\n---\nkind: cluster\nname: edge\n".to_string(),
            secret("key", &inner.private_key()),
            profile("outer", &user, "key: {secret: key}"),
            profile("inner", &user, "key: {secret: key}\njump: bastion"),
            node("bastion", &bastion, "outer").replace("cluster: web", "cluster: edge"),
            node("web01", &inner, "inner"),
            counter("one", "echo 1"),
        ]
        .concat(),
    );
    read_well(&plane, "web01", "one").await;
    let (code, stdout, stderr) =
        run(&plane, &["--node", "web01", "--", "sh", "-c", "echo \"$RSCALER_DIR $1\"", "x", "a  b"]);
    assert_eq!(
        (code, stdout.trim()),
        (Some(0), format!("{} a  b", inner.dir().display()).as_str()),
        "{stderr}"
    );
    for host in [&bastion, &inner] {
        assert!(host.log().contains("Accepted publickey"), "both let us in");
    }

    bastion.stop();
    until("the host that is gone to be named", PATIENCE, || async {
        let reason = refused(&plane, "web01", "one", "unreachable").await;
        if reason.contains(bastion.address()) { Ok(()) } else { Err(reason) }
    })
    .await;
    let (code, _, _) = run(&plane, &["--node", "web01", "--", "true"]);
    assert_eq!(code, Some(1));
    let reason = last_reason(&plane).await;
    assert!(reason.contains(bastion.address()), "{reason}");
    bastion.listen();
    read_well(&plane, "web01", "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_gets_its_password_from_a_secret_and_nobody_else_does() {
    let Some((host, user)) = Host::with_own_user(Setup::default(), "ALL=(ALL:ALL) ALL") else { return };
    let plane = Plane::start(1).await;
    let wrong = "quite-another-passw0rd";
    plane.apply(
        &[
            "---\nkind: cluster\nname: web\n".to_string(),
            secret("key", &host.private_key()),
            format!(
                "---\nkind: secret\nname: sudo\nvalue: {}\n",
                serde_json::to_string(OWN_PASSWORD).unwrap()
            ),
            profile("own", &user.name, "key: {secret: key}\nsudo_password: {secret: sudo}"),
            node("web01", &host, "own"),
        ]
        .concat(),
    );
    let gate = host.dir().join("gate");
    let script = format!("id -u; env; until [ -e {} ]; do sleep 0.1; done", gate.display());
    let started = plane.cli_ok(&["run", "--detach", "--sudo", "--node", "web01", "--", "sh", "-c", &script]);
    let run_id = started.trim();
    let output = |plane: &Plane| {
        let task = plane.cli_json(&["tasks", "list"])[0]["id"].to_string();
        plane.cli_ok(&["tasks", "output", &task])
    };
    until("the command to run as root", PATIENCE, || async {
        let said = output(&plane);
        if said.starts_with("0\n") { Ok(()) } else { Err(said) }
    })
    .await;
    assert_eq!(seen_in_processes(OWN_PASSWORD), Vec::<String>::new());
    fs::write(&gate, "").unwrap();
    until("the run to end", PATIENCE, || async {
        let run = plane.get(&format!("runs/{run_id}")).await.map_err(|(_, body)| body)?;
        if run["state"] == "succeeded" { Ok(()) } else { Err(run) }
    })
    .await;
    assert!(!output(&plane).contains(OWN_PASSWORD));

    plane.apply(&format!("kind: secret\nname: sudo\nvalue: {wrong}\n"));
    let (code, stdout, stderr) = run(&plane, &["--sudo", "--node", "web01", "--", "id", "-u"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "nothing has run");
    let reason = last_reason(&plane).await;
    assert!(reason.contains("sudo does not accept the password"), "{reason}");
    let everything = format!("{stderr}{}{}", plane.get("events").await.unwrap(), host.log());
    for password in [OWN_PASSWORD, wrong] {
        assert!(!everything.contains(password), "{everything}");
        assert_eq!(holders(&plane.path("p1"), password), Vec::<String>::new(), "what is on the disk");
        assert!(!fs::read_to_string(plane.path("p1.log")).unwrap().contains(password), "the log");
    }
}

/// Command lines and environments that hold this text.
fn seen_in_processes(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let files = entries.flat_map(|entry| [entry.path().join("cmdline"), entry.path().join("environ")]);
    let holds = |file: &Path| {
        let bytes = fs::read(file).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files.filter(|file| holds(file)).map(|file| file.display().to_string()).collect()
}

/// Files below a directory that hold this text.
fn holders(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holders(&path, text));
        } else if fs::read(&path).is_ok_and(|b| b.windows(text.len()).any(|window| window == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_opens_with_its_passphrase_and_says_so_where_it_does_not() {
    let host = Host::start();
    let key = host.add_client_key(KeyKind::Ed25519, "open sesame");
    let plane = Plane::start(1).await;
    let user = host.user();
    let mut documents = vec![
        "---\nkind: cluster\nname: web\n".to_string(),
        secret("key", &key),
        "---\nkind: secret\nname: right\nvalue: open sesame\n---\nkind: secret\nname: wrong\nvalue: closed\n"
            .to_string(),
        counter("one", "echo 1"),
    ];
    for (name, passphrase) in
        [("right", "passphrase: {secret: right}"), ("wrong", "passphrase: {secret: wrong}"), ("none", "")]
    {
        documents.push(profile(name, &user, &format!("key: {{secret: key}}\n{passphrase}")));
        documents.push(node(name, &host, name));
    }
    plane.apply(&documents.concat());
    read_well(&plane, "right", "one").await;
    let reason = refused(&plane, "wrong", "one", "configuration").await;
    assert!(reason.contains("passphrase does not open"), "{reason}");
    let reason = refused(&plane, "none", "one", "configuration").await;
    assert!(reason.contains("encrypted and no passphrase"), "{reason}");
    assert_eq!(run(&plane, &["--node", "right", "--", "echo", "in"]).1, "in\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_keys_are_pinned_strict_or_accepted_once_and_a_changed_one_is_refused_and_reported() {
    let (mut host, stranger) = (Host::start(), Host::start());
    let plane = Plane::start(1).await;
    let user = host.user();
    let pinned = |host: &Host| format!("host_key: {{pinned: \"{}\"}}", host.host_key(KeyKind::Ed25519));
    let mut documents = vec![
        "---\nkind: cluster\nname: web\n".to_string(),
        secret("key", &host.private_key()),
        counter("one", "echo 1"),
    ];
    for (name, policy) in [
        ("pinned", pinned(&host)),
        ("other", pinned(&stranger)),
        ("strict", "host_key: strict".to_string()),
        ("new", "host_key: accept-new".to_string()),
    ] {
        documents.push(profile(name, &user, &format!("key: {{secret: key}}\n{policy}")));
        // One and the same host, under as many addresses as there are policies: keys are recorded by address.
        documents.push(node(name, &host, name));
    }
    plane.apply(
        &documents[..]
            .concat()
            .replace(&node("strict", &host, "strict"), &node("strict", &stranger, "strict")),
    );

    read_well(&plane, "pinned", "one").await;
    let reason = refused(&plane, "other", "one", "host-key").await;
    assert!(reason.contains("not among the pinned"), "{reason}");
    let reason = refused(&plane, "strict", "one", "host-key").await;
    assert!(reason.contains("no host key is recorded and the policy is strict"), "{reason}");
    plane.cli_ok(&["host-keys", "set", "strict", &stranger.host_key(KeyKind::Ed25519)]);
    read_well(&plane, "strict", "one").await;
    read_well(&plane, "new", "one").await;
    assert!(plane.cli_ok(&["host-keys", "show", "new"]).contains(&host.host_key(KeyKind::Ed25519)));

    host.stop();
    host.new_host_keys();
    host.listen();
    for name in ["pinned", "new"] {
        refused(&plane, name, "one", "host-key").await;
    }
    let reason = refused(&plane, "new", "one", "host-key").await;
    assert!(reason.contains("has changed"), "{reason}");
    let (code, stdout, _) = run(&plane, &["--node", "new", "--", "echo", "in"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(last_reason(&plane).await.contains("has changed"));
    let events = plane.get("events").await.unwrap().to_string();
    assert!(events.contains("has changed"), "it is an event: {events}");
    plane.cli_ok(&["host-keys", "forget", "new"]);
    read_well(&plane, "new", "one").await;
}
