//! The command line as people use it: contexts and logins, edits, documents that go round, certificates.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::plane::{Plane, STARTING, binary, free_address};
use crate::wait::until;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command with this on its standard input.
fn with_input(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

const FLEET: &str = r##"
{kind: cluster, name: web, labels: {app: shop}}
---
{kind: cluster, name: db}
---
{kind: secret, name: ops-key, value: "not shown"}
---
{kind: ssh-profile, name: ops, user: ops, key: {secret: ops-key}, host_key: accept-new}
---
{kind: node, name: web01, cluster: web, hostname: 10.0.0.11, ssh_profile: ops}
---
{kind: counter, name: load1, type: ssh, script: "cut -d' ' -f1 /proc/loadavg", interval: 10s, clusters: [web]}
---
{kind: action, name: tidy, type: command, script: "true", args: [a], env: {A: b}, timeout: 60s}
---
kind: trigger
name: web-busy
cluster: web
when: [{counter: load1, op: ">", threshold: 4, recover: 3}]
for: 5m
no_data: {fire_after: 3m}
steps: [{action: tidy, target: firing-node}]
---
{kind: file, name: load.sh, content: "#!/bin/sh\necho 1\n"}
---
{kind: file, name: bytes, content_base64: "/wD/"}
---
{kind: maintenance-window, name: upgrade, cluster: web, from: 2026-12-01T00:00:00Z, to: 2026-12-01T02:00:00Z}
---
{kind: user, name: ada, role: operator, password: "correct horse battery"}
---
{kind: token, name: ci, role: operator, expires: 90d}
"##;

const KINDS: [&str; 11] = [
    "cluster",
    "secret",
    "ssh-profile",
    "node",
    "counter",
    "action",
    "trigger",
    "file",
    "maintenance-window",
    "user",
    "token",
];

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_every_kind_go_round() {
    let plane = Plane::start(1).await;
    plane.apply(FLEET);
    for kind in KINDS {
        for format in ["yaml", "json"] {
            let documents = plane.cli_ok(&["get", kind, "-o", format]);
            let applied = with_input(plane.cli_command(&["apply", "-f", "-"]), &documents);
            assert!(applied.status.success(), "{kind} {format}: {}\n{documents}", stderr(&applied));
            let changes = stdout(&applied);
            assert!(
                !changes.is_empty() && changes.lines().all(|line| line.ends_with(" unchanged")),
                "{changes}"
            );
        }
    }
    let one = plane.cli_ok(&["get", "cluster", "web"]);
    assert!(one.starts_with("kind: cluster\nname: web\n"), "{one}");
    let labelled = plane.cli_ok(&["get", "clusters", "-l", "app=shop"]);
    assert!(labelled.contains("web") && !labelled.contains("db"), "{labelled}");
}

/// A program that edits as the script says; `$1` is the file.
fn editor(plane: &Plane, name: &str, script: &str) -> PathBuf {
    let path = plane.path(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn edit(plane: &Plane, script: &str) -> Output {
    let editor = editor(plane, "editor", script);
    let mut command = plane.cli_command(&["edit", "cluster", "web"]);
    command.env("EDITOR", editor).env_remove("VISUAL").env("RSCALER", binary()).env("TMPDIR", plane.path(""));
    command.output().unwrap()
}

/// What was written and not taken, by what is said of it.
fn kept(said: &str) -> String {
    let path = said.split("what you wrote is in ").nth(1).and_then(|rest| rest.split(';').next());
    std::fs::read_to_string(path.unwrap_or_else(|| panic!("no file is named: {said}"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_taken_or_kept_in_a_file() {
    let plane = Plane::start(1).await;
    plane.apply("{kind: cluster, name: web}");
    let same = edit(&plane, "true");
    assert_eq!((same.status.code(), stderr(&same).as_str()), (Some(0), "nothing was changed\n"));
    let changed = edit(&plane, "echo 'description: of the shop' >> \"$1\"");
    assert_eq!(changed.status.code(), Some(0), "{}", stderr(&changed));
    assert!(plane.cli_ok(&["get", "cluster", "web"]).contains("description: of the shop"));

    let broken = edit(&plane, "echo 'description: [' >> \"$1\"");
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("not YAML"), "{}", stderr(&broken));
    assert!(kept(&stderr(&broken)).contains("description: ["));

    let unknown = edit(&plane, "echo 'colour: red' >> \"$1\"");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("colour"), "{}", stderr(&unknown));
    assert!(kept(&stderr(&unknown)).contains("colour: red"));

    // Somebody else is quicker.
    let moved = edit(
        &plane,
        "echo '{kind: cluster, name: web, description: theirs}' | \"$RSCALER\" apply -f - >&2\n\
         sed -i 's/of the shop/mine/' \"$1\"",
    );
    assert_eq!(moved.status.code(), Some(1), "{}", stderr(&moved));
    assert!(plane.cli_ok(&["get", "cluster", "web"]).contains("theirs"));
    let mine = kept(&stderr(&moved));
    assert!(mine.contains("description: mine"), "{mine}");
    // What was kept can be applied as it is.
    let applied = with_input(plane.cli_command(&["apply", "-f", "-"]), &mine);
    assert!(applied.status.success(), "{}", stderr(&applied));
    assert!(plane.cli_ok(&["get", "cluster", "web"]).contains("mine"));

    let failed = edit(&plane, "exit 3");
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("$EDITOR"), "{}", stderr(&failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_kept_in_a_context_until_logout() {
    let plane = Plane::start(1).await;
    plane.apply("{kind: user, name: ada, role: operator, password: 'correct horse battery'}");
    let home = plane.path("home");
    let as_ada = |arguments: &[&str]| {
        let mut command = plane.cli_command(arguments);
        command.env_remove("RSCALER_TOKEN").env_remove("RSCALER_API").env("HOME", &home);
        command.env_remove("XDG_CONFIG_HOME");
        command
    };
    let api = format!("http://{}", plane.peers[0].api);
    let wrong = with_input(as_ada(&["login", "ada", "--api", &api]), "wrong wrong\n");
    assert_eq!(wrong.status.code(), Some(1), "{}", stderr(&wrong));
    let login = with_input(as_ada(&["login", "ada", "--api", &api]), "correct horse battery\n");
    assert!(login.status.success(), "{}", stderr(&login));
    // Neither --api nor a token is needed now.
    let who = as_ada(&["whoami", "-o", "json"]).output().unwrap();
    assert!(stdout(&who).contains("user/ada"), "{}{}", stdout(&who), stderr(&who));
    let file = home.join(".config/rscaler/contexts.yaml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(as_ada(&["logout"]).output().unwrap().status.success());
    let after = as_ada(&["whoami"]).output().unwrap();
    assert_eq!(after.status.code(), Some(1), "{}", stderr(&after));
    assert!(stderr(&after).contains("rscaler login"), "{}", stderr(&after));
}

/// A peer that is no part of a [`Plane`]: it ends with this.
struct Alone(Child);

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn alone(data: &Path, api: &str, more: &[&str]) -> Alone {
    let log = std::fs::File::create(data.with_extension("log")).unwrap();
    let child = Command::new(binary())
        .args(["server", "--data-dir", data.to_str().unwrap(), "--api", api, "--peer", &free_address()])
        .args(["--bootstrap"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Alone(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn away_from_loopback_the_api_has_a_certificate_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("p1");
    let port = free_address().rsplit(':').next().unwrap().to_string();
    let _peer = alone(&data, &format!("0.0.0.0:{port}"), &[]);
    let certificate = data.join("api.crt");
    let status = |ca: Option<&Path>, scheme: &str| {
        let mut command = Command::new(binary());
        command
            .args(["get", "clusters", "--api", &format!("{scheme}://127.0.0.1:{port}")])
            .env("HOME", dir.path());
        command.env("RSCALER_TOKEN", std::fs::read_to_string(data.join("admin.token")).unwrap_or_default());
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        command.output().unwrap()
    };
    until("the peer to answer over TLS", STARTING, || async {
        let there = certificate.exists() && data.join("admin.token").exists();
        let output =
            if there { status(Some(&certificate), "https") } else { return Err("no files".to_string()) };
        if output.status.success() { Ok(()) } else { Err(stderr(&output)) }
    })
    .await;
    let begun = std::time::Instant::now();
    let untrusted = status(None, "https");
    assert_eq!(untrusted.status.code(), Some(3));
    let said = stderr(&untrusted);
    assert!(said.contains("certificate") && said.contains("--ca") && said.contains("api.crt"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10), "it is told at once");
    let plain = status(None, "http");
    assert!(stderr(&plain).contains("write https://"), "{}", stderr(&plain));
    let missing = status(Some(Path::new("/does/not/exist")), "https");
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
    let no_certificate = status(Some(&data.join("admin.token")), "https");
    assert_eq!(no_certificate.status.code(), Some(2));
    assert!(stderr(&no_certificate).contains("no certificate"), "{}", stderr(&no_certificate));
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(binary()).args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && stdout(&output).contains("rscaler"), "{shell}");
    }
}
