//! The hosts as a whole: their keys, their figures, their programs, their end.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::testing::*;
use super::*;
use crate::collectors::parse::{Output, Parse, Parsed, parse};

fn load1(host: &SimulatedHost) -> f64 {
    let text = std::fs::read_to_string(host.home.join("proc/loadavg")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn hosts_differ_in_address_key_and_directory() {
    let world = World::start(&["web01", "web02", "db.example-1"]).await;
    let hosts = world.fleet.hosts();
    assert_eq!(hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["web01", "web02", "db.example-1"]);
    for (i, host) in hosts.iter().enumerate() {
        assert!(host.addr.ip().is_loopback() && host.home.is_absolute());
        let client = connect(host, USER, &world.key).await.unwrap();
        assert_eq!(exec(&client, "echo $RSCALER_DEMO_HOST").await.text().trim(), host.name);
        for other in &hosts[..i] {
            assert_ne!(host.addr, other.addr);
            assert_ne!(host.host_key.key_data(), other.host_key.key_data());
        }
    }
}

#[tokio::test]
async fn names_that_are_no_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = new_key();
    for name in ["", ".", "..", "../x", "a/b", "Web01", "-x", "a b", &"x".repeat(64)] {
        let result = Fleet::start(dir.path(), &[name.to_owned()], key.public_key()).await;
        assert!(matches!(result, Err(Error::Name(_))), "{name:?}");
        assert!(matches!(set_load(dir.path(), name, 0.5), Err(Error::Name(_))), "{name:?}");
    }
    let twice = ["web01".to_owned(), "web01".to_owned()];
    assert!(matches!(Fleet::start(dir.path(), &twice, key.public_key()).await, Err(Error::Duplicate(_))));
}

#[tokio::test]
async fn a_host_is_known_again_after_a_restart() {
    let World { dir, key, fleet } = World::start(&["web01"]).await;
    fleet.set_load("web01", 0.65).unwrap();
    let before = fleet.hosts()[0].host_key.clone();
    fleet.stop().await;
    let fleet = start_fleet(&dir, &["web01"], key.public_key()).await;
    assert_eq!(fleet.hosts()[0].host_key.key_data(), before.key_data());
    assert!((load1(&fleet.hosts()[0]) - 4.0 * 0.65).abs() < 0.4, "it starts where its load is");
}

#[tokio::test]
async fn the_load_moves_to_what_is_set_and_shed_load_lowers_it() {
    let world = World::start(&["web01", "web02"]).await;
    let (web01, web02) = (&world.fleet.hosts()[0], &world.fleet.hosts()[1]);
    set_load(world.dir.path(), "web01", 0.9).unwrap();
    wait_for("a load above 3.3", || load1(web01), |load| *load > 3.3).await;
    assert!(load1(web02) < 1.2, "the other host stays as it is");

    let client = world.client().await;
    let outcome = exec(&client, "shed-load").await;
    assert_eq!((outcome.text(), outcome.code), ("web01: load target 0.9 -> 0.2\n", Some(0)));
    wait_for("a load below 1.1", || load1(web01), |load| *load < 1.1).await;
    let outcome = exec(&client, "shed-load 0.05 && cat load.target && shed-load 7").await;
    assert_eq!((outcome.text(), outcome.code), ("web01: load target 0.2 -> 0.05\n0.05\n", Some(2)));
}

#[tokio::test]
async fn a_load_that_is_none_is_refused() {
    let world = World::start(&["web01"]).await;
    for load in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(world.fleet.set_load("web01", load), Err(Error::Load(_))), "{load}");
    }
    assert!(matches!(world.fleet.set_load("web09", 0.5), Err(Error::NoHost(_))));
}

#[tokio::test]
async fn what_a_script_writes_as_the_target_counts_only_if_it_is_a_load() {
    let world = World::start(&["web01"]).await;
    world.fleet.set_load("web01", 0.9).unwrap();
    wait_for("a load above 3.3", || load1(world.host()), |load| *load > 3.3).await;
    std::fs::write(world.host().home.join("load.target"), "\0garbage").unwrap();
    let before = std::fs::read_to_string(world.host().home.join("proc/uptime")).unwrap();
    let uptime = || std::fs::read_to_string(world.host().home.join("proc/uptime")).unwrap();
    wait_for("the next second", uptime, |now| *now != before).await;
    assert!(load1(world.host()) > 3.0);
}

/// Runs a counter's script as a collector would, and reads it with the parser of its form.
async fn collect(client: &russh::client::Handle<Client>, script: &str, form: &Parse) -> Parsed {
    let outcome = exec(client, script).await;
    let exit_code = outcome.code.map(u32::cast_signed);
    let parsed = parse(form, &Output { stdout: &outcome.stdout, exit_code });
    parsed.unwrap_or_else(|error| panic!("{script}: {error}; {outcome:?}"))
}

#[tokio::test]
async fn every_parse_form_reads_a_counter_of_a_host() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let load_averages = r"load average: (?<one>[\d.]+), (?<five>[\d.]+), (?<fifteen>[\d.]+)";
    for (script, form, instances) in [
        ("cut -d' ' -f1 proc/loadavg", Parse::Number, vec![None]),
        ("free -m | grep Mem | awk '{print $3}'", Parse::Number, vec![None]),
        ("cat proc/cpu", Parse::Number, vec![None]),
        ("nproc", Parse::Number, vec![None]),
        ("cat www/requests", Parse::Pairs, vec![Some("rate"), Some("latency_ms"), Some("errors")]),
        (
            "cat www/status.json",
            Parse::Json,
            vec![
                Some("healthy"),
                Some("latency_ms"),
                Some("requests.rate"),
                Some("requests.total"),
                Some("workers.busy"),
                Some("workers.max"),
            ],
        ),
        ("check_load", Parse::Nagios, vec![Some("exit_code"), Some("load1"), Some("load5"), Some("load15")]),
        (
            "cat www/metrics",
            Parse::Prometheus,
            vec![
                Some(r#"http_requests_total{code="200",handler="/"}"#),
                Some(r#"http_requests_total{code="500",handler="/"}"#),
                Some("http_latency_seconds"),
                Some("cpu_busy_ratio"),
            ],
        ),
        ("uptime", Parse::pattern(load_averages).unwrap(), vec![Some("one"), Some("five"), Some("fifteen")]),
    ] {
        let parsed = collect(&client, script, &form).await;
        let found: Vec<_> = parsed.readings.iter().map(|r| r.instance.as_deref()).collect();
        assert_eq!(found, instances, "{script}");
        assert!(parsed.warnings.is_empty(), "{script}: {:?}", parsed.warnings);
    }
}

#[tokio::test]
async fn memory_and_the_plugin_follow_the_load() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let total =
        collect(&client, "free -m | grep Mem | awk '{print $2}'", &Parse::Number).await.readings[0].value;
    assert_eq!(total, 7974.0);
    assert_eq!(collect(&client, "check_load 3 4", &Parse::Nagios).await.readings[0].value, 0.0);
    world.fleet.set_load("web01", 0.9).unwrap();
    wait_for("a load above 3.3", || load1(world.host()), |load| *load > 3.3).await;
    assert_eq!(collect(&client, "check_load 3 4", &Parse::Nagios).await.readings[0].value, 1.0);
    assert_eq!(collect(&client, "check_load 1 2", &Parse::Nagios).await.readings[0].value, 2.0);
    assert_eq!(collect(&client, "check_load some", &Parse::Nagios).await.readings[0].value, 3.0);
}

#[tokio::test]
async fn the_programs_need_no_other_program() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    for program in ["shed-load", "check_load", "free", "uptime", "nproc"] {
        let outcome = exec(&client, &format!("PATH=$HOME/bin; {program}")).await;
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), &b""[..]), "{program}: {outcome:?}");
        assert!(!outcome.stdout.is_empty(), "{program}");
    }
}

#[tokio::test]
async fn stopping_ends_connections_and_processes_and_frees_the_port() {
    let world = World::start(&["web01", "web02"]).await;
    let (client, idle) = (world.client().await, world.client().await);
    let mut shell = Dialogue::start(&client, "trap '' HUP; sleep 300 & echo $!; echo $$; wait").await;
    let pids = [shell.pid().await, shell.pid().await];
    let addr = world.host().addr;
    let World { dir: _dir, fleet, .. } = world;
    let started = Instant::now();
    fleet.stop().await;
    assert!(started.elapsed().as_secs() < 5, "it took {:?}", started.elapsed());
    for pid in pids {
        wait_for_end_of(pid).await;
    }
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    wait_for("the end of the connections", || client.is_closed() && idle.is_closed(), |closed| *closed).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn stopping_and_starting_end_processes_that_left_their_session() {
    let World { dir, key, fleet } = World::start(&["web01"]).await;
    let client = connect(&fleet.hosts()[0], USER, &key).await.unwrap();
    if exec(&client, "command -v setsid").await.code != Some(0) {
        return;
    }
    let escape = "setsid sh -c 'echo $$; exec sleep 300 >/dev/null 2>&1'";
    let pid = Dialogue::start(&client, escape).await.pid().await;
    fleet.stop().await;
    wait_for_end_of(pid).await;

    // A demo that is killed stops nothing; the next one does.
    let home = dir.path().canonicalize().unwrap().join("hosts/web01");
    let mut orphan = std::process::Command::new("sleep")
        .arg("300")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("RSCALER_DEMO_HOST", "web01")
        .spawn()
        .unwrap();
    let fleet = start_fleet(&dir, &["web01"], key.public_key()).await;
    assert!(!orphan.wait().unwrap().success());
    fleet.stop().await;
}
