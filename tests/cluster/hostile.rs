//! Hosts and scripts that misbehave: each costs its own samples, the reason is told in words, and everything else goes on.

use std::time::Duration;

use serde_json::Value;

use crate::hosts::{Host, Setup, counter, node, odd_seconds, secret, send_signal, sleepers};
use crate::plane::Plane;
use crate::wait::until;

const PATIENCE: Duration = Duration::from_secs(40);

/// One node of `cluster` on each host, whose login is `user`.
fn fleet(hosts: &[(&str, &Host, &str)]) -> String {
    let mut all = "---\nkind: cluster\nname: web\n".to_string() + &secret("key", &hosts[0].1.private_key());
    for (name, host, user) in hosts {
        all += &format!(
            "---\nkind: ssh-profile\nname: {name}\nuser: {user}\nkey: {{secret: key}}\nhost_key: accept-new\n"
        );
        all += &node(name, host, name);
    }
    all
}

async fn checks(plane: &Plane, node: &str) -> Vec<Value> {
    let checks = plane.get(&format!("nodes/{node}/checks?limit=200")).await;
    checks.map_or_else(|_| Vec::new(), |checks| checks["items"].as_array().cloned().unwrap_or_default())
}

async fn check(plane: &Plane, node: &str, counter: &str) -> Value {
    checks(plane, node).await.into_iter().find(|check| check["counter"] == counter).unwrap_or_default()
}

/// Times of a counter's samples, in ms, and their values.
async fn samples(plane: &Plane, node: &str, counter: &str) -> Vec<(i64, f64)> {
    let path = format!("nodes/{node}/counters/{counter}/samples?from=-10m");
    let Ok(samples) = plane.get(&path).await else { return Vec::new() };
    let points = samples["series"][0]["points"].as_array().cloned().unwrap_or_default();
    points.iter().filter_map(|point| Some((point[0].as_i64()?, point[1].as_f64()?))).collect()
}

/// Waits until the counter has samples that are newer than now.
async fn goes_on(plane: &Plane, node: &str, counter: &str) {
    let now = jiff::Timestamp::now().as_millisecond();
    until(&format!("{counter} of {node} to go on"), PATIENCE, || async {
        let samples = samples(plane, node, counter).await;
        match samples.last() {
            Some((at, _)) if *at > now => Ok(()),
            _ => Err((samples.len(), check(plane, node, counter).await)),
        }
    })
    .await;
}

/// Waits until it fails so, and gives the reason.
async fn fails(plane: &Plane, node: &str, counter: &str, code: &str) -> String {
    until(&format!("{counter} of {node} to fail as {code}"), PATIENCE, || async {
        let check = check(plane, node, counter).await;
        let detail = check["failure"]["detail"].as_str().map(str::to_string);
        detail.filter(|_| check["failure"]["code"] == code).ok_or(check)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_costs_its_own_sample_whatever_it_does() {
    let host = Host::start();
    let plane = Plane::start(1).await;
    let held = odd_seconds();
    let hung = odd_seconds();
    let holds = format!("sleep {held} & echo 1");
    let hangs = format!("sleep {hung}");
    // Name, script, the code of its failure and a word of its reason; none where it is well.
    let bad: &[(&str, &str, &str, &str)] = &[
        ("flood", "head -c 100000000 /dev/zero | tr '\\0' x", "too-much-output", "8 MiB"),
        ("long", "head -c 1000000 /dev/zero | tr '\\0' x", "too-much-output", "512 KiB"),
        ("binary", "head -c 20000 /dev/urandom", "parse", "one number"),
        ("hang", &hangs, "timed-out", "was killed"),
        ("silent", "exec sleep 1000", "timed-out", "was killed"),
        ("suicide", "kill -9 $$", "unreachable", "shell that ran the check ended"),
        ("exit", "echo 1; exit 3", "exit", "3"),
        ("mute", "exit 0", "parse", "printed nothing"),
        ("errexit", "set -e; false; echo 1", "exit", "1"),
        ("nounset", "set -u; echo $nothing_of_the_kind", "exit", "nothing_of_the_kind"),
        ("syntax", "if then fi", "exit", "yntax"),
        ("missing", "no-such-program", "exit", "not found"),
        ("words", "echo one", "parse", "one"),
        ("forged", "printf '\\036%032d:0\\n' 0; sleep 1000", "timed-out", "was killed"),
    ];
    let good: &[(&str, &str)] = &[
        ("stdin", "cat; echo 1"),
        ("background", &holds),
        ("closed", "exec 0<&- 2>&-; echo 1"),
        (
            "change",
            "cd /; umask 777; IFS=x; X=leaked; PATH=/nowhere; alias echo=false; f() { false; }; trap 'echo trapped' EXIT; set -eu; exec 2>/dev/null; ulimit -n 3; trap - EXIT; echo 1",
        ),
        (
            "clean",
            "[ \"$(pwd)\" != / ] && [ -z \"$X\" ] && [ \"$(umask)\" = 0022 ] && [ \"${#IFS}\" = 3 ] && ! type f >/dev/null 2>&1 && [ -z \"$(alias echo 2>/dev/null)\" ] && case $- in *e*|*u*) false;; esac && echo 1 || { pwd; umask; set; }",
        ),
    ];
    let mut yaml = fleet(&[("web01", &host, &host.user())]);
    for (name, script, _, _) in bad {
        yaml += &counter(name, script);
    }
    for (name, script) in good {
        yaml += &counter(name, script);
    }
    yaml += &counter("plain", "echo 7");
    plane.apply(&yaml);

    for (name, _, code, word) in bad {
        let reason = fails(&plane, "web01", name, code).await;
        assert!(reason.contains(word), "{name}: {reason}");
        println!("{name}: {code}: {reason}");
    }
    for (name, _) in good {
        goes_on(&plane, "web01", name).await;
    }
    for _ in 0..3 {
        goes_on(&plane, "web01", "plain").await;
    }
    let plain = samples(&plane, "web01", "plain").await;
    assert!(plain.iter().all(|(_, value)| *value == 7.0), "{plain:?}");
    for (name, ..) in bad {
        assert!(samples(&plane, "web01", name).await.is_empty(), "{name} has no samples");
    }
    plane.cli_ok(&["delete", "counters", "background", "--yes"]);
    plane.cli_ok(&["delete", "counters", "hang", "--yes"]);
    until("what was left behind to be killed", PATIENCE, || async {
        let left = (sleepers(&held), sleepers(&hung));
        if left == (Vec::new(), Vec::new()) { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_in_the_middle_of_a_check_delays_only_itself() {
    let (sick, well) = (Host::start(), Host::start());
    let plane = Plane::start(1).await;
    let user = sick.user();
    plane.apply(
        &(fleet(&[("sick", &sick, &user), ("well", &well, &user)])
            + &counter("one", "echo 1")
            + &counter("pause", "sleep 0.5; echo 1")),
    );
    for node in ["sick", "well"] {
        goes_on(&plane, node, "one").await;
    }

    println!("its shells stop");
    let shells: Vec<u32> =
        sick.processes().into_iter().filter(|pid| !sick.connection_processes().contains(pid)).collect();
    assert!(!shells.is_empty());
    shells.iter().for_each(|pid| send_signal(*pid, "STOP"));
    goes_on(&plane, "well", "one").await;
    // Those that stopped are killed, and others take their place.
    goes_on(&plane, "sick", "one").await;

    println!("all of it stops");
    sick.freeze();
    fails(&plane, "sick", "one", "timed-out").await;
    goes_on(&plane, "well", "one").await;
    sick.thaw();
    goes_on(&plane, "sick", "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_or_allows_one_session_is_read_all_the_same() {
    let mut host = Host::start_as(Setup { max_sessions: 1, ..Setup::default() });
    let plane = Plane::start(1).await;
    let user = host.user();
    plane.apply(
        &(fleet(&[("web01", &host, &user)])
            + &counter("one", "echo 1")
            + &counter("two", "sleep 0.3; echo 2")),
    );
    for counter in ["one", "two"] {
        goes_on(&plane, "web01", counter).await;
    }
    let output = plane.cli_ok(&["run", "--node", "web01", "--", "echo", "a place for commands, too"]);
    assert_eq!(output, "a place for commands, too\n");
    for _ in 0..2 {
        host.restart();
        goes_on(&plane, "web01", "one").await;
    }
    host.stop();
    let reason = fails(&plane, "web01", "one", "unreachable").await;
    assert!(reason.contains(host.address()), "{reason}");
    host.listen();
    goes_on(&plane, "web01", "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_login_shell_and_any_greeting_will_do() {
    let plane = Plane::start(1).await;
    let banner = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(banner.path(), "*** Authorised use only ***\n".repeat(50)).unwrap();
    let mut hosts = Vec::new();
    for shell in
        ["/bin/bash", "/bin/dash", "/bin/tcsh", "/usr/bin/tcsh", "/usr/bin/fish", "/usr/sbin/nologin"]
    {
        if !std::path::Path::new(shell).exists()
            || hosts.iter().any(|(name, ..): &(String, _, _)| shell.ends_with(&format!("/{name}")))
        {
            continue;
        }
        let config = vec![format!("Banner {}", banner.path().display())];
        let setup = Setup { login_shell: shell, config, ..Setup::default() };
        let Some((host, user)) = Host::with_own_user(setup, "ALL=(ALL:ALL) NOPASSWD: ALL") else { return };
        for file in [".bashrc", ".profile", ".tcshrc", ".cshrc"] {
            std::fs::write(user.home.join(file), "echo welcome to this host\n").unwrap();
        }
        let name = shell.rsplit('/').next().unwrap().to_string();
        hosts.push((name, host, user.name));
    }
    let list: Vec<(&str, &Host, &str)> =
        hosts.iter().map(|(name, host, user)| (name.as_str(), host, user.as_str())).collect();
    plane.apply(&(fleet(&list) + &counter("one", "x=1; echo $x")));
    for (name, ..) in &hosts {
        if name == "nologin" {
            let reason = fails(&plane, name, "one", "exit").await;
            assert!(reason.contains("not available"), "{reason}");
            continue;
        }
        goes_on(&plane, name, "one").await;
        let output = plane.cli_ok(&["run", "--node", name, "--", "sh", "-c", "echo $((40 + 2))"]);
        assert_eq!(output, "42\n", "{name}");
    }
}
