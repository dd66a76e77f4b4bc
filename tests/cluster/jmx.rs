//! JVMs are watched over JMX: real JVMs, good and bad, by peers with and without Java.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hosts::{Host, node, secret};
use crate::jvms::{Door, Jvm, free_port, key_store};
use crate::plane::{Plane, binary};
use crate::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);
const THING: &str = "fixture:type=Thing";

fn profile(name: &str, port: u16, more: &str) -> String {
    format!("---\nkind: jvm-profile\nname: {name}\nport: {port}\n{more}")
}

fn web(node: &str, jvms: &str) -> String {
    format!(
        "---\nkind: cluster\nname: web\n---\nkind: node\nname: {node}\ncluster: web\nhostname: 127.0.0.1\njvms: [{jvms}]\n"
    )
}

fn counter(name: &str, mbean: &str, attribute: &str, more: &str) -> String {
    format!(
        "---\nkind: counter\nname: {name}\ntype: jmx\nmbean: \"{mbean}\"\nattribute: {attribute}\ninterval: 1s\ntimeout: 4s\nclusters: [web]\n{more}"
    )
}

/// The newest samples of a counter: (jvm, instance, value, number of them).
async fn series(plane: &Plane, counter: &str) -> Vec<(String, String, f64, usize)> {
    series_by(plane, counter, "1s").await
}

/// The same with points so far apart.
async fn series_by(plane: &Plane, counter: &str, step: &str) -> Vec<(String, String, f64, usize)> {
    let answer = plane.get(&format!("clusters/web/counters/{counter}/samples?step={step}")).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    answer["series"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|series| {
            let points = series["points"].as_array()?;
            let last = points.last()?[1].as_f64()?;
            Some((text(&series["jvm"]), text(&series["instance"]), last, points.len()))
        })
        .collect()
}

async fn value(plane: &Plane, counter: &str) -> f64 {
    until(&format!("samples of {counter}"), PATIENCE, || async {
        match series(plane, counter).await.first() {
            Some((_, _, value, _)) => Ok(*value),
            None => Err(check(plane, "web01", counter).await),
        }
    })
    .await
}

async fn check(plane: &Plane, node: &str, counter: &str) -> Value {
    let checks = plane.get(&format!("nodes/{node}/checks")).await.unwrap();
    let items = checks["items"].as_array().unwrap();
    items.iter().find(|check| check["counter"] == json!(counter)).cloned().unwrap_or_default()
}

/// Waits until a counter's last reading failed with this code, and gives the reason.
async fn failure(plane: &Plane, counter: &str, code: &str) -> String {
    until(&format!("{counter} to fail with {code}"), PATIENCE, || async {
        let check = check(plane, "web01", counter).await;
        match check["failure"]["code"] == json!(code) {
            true => Ok(check["failure"]["detail"].as_str().unwrap().to_string()),
            false => Err(check),
        }
    })
    .await
}

/// Waits for a sample newer than those there are.
async fn fresh(plane: &Plane, counter: &str) {
    let count = || async { series(plane, counter).await.iter().map(|series| series.3).sum::<usize>() };
    let before = count().await;
    until(&format!("new samples of {counter}"), PATIENCE, || async {
        let now = count().await;
        if now >= before + 2 { Ok(()) } else { Err((before, now)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_become_samples_and_a_bad_one_costs_only_itself() {
    let jvm = Jvm::start();
    let plane = Plane::start(1).await;
    let mut yaml = web("web01", "app") + &profile("app", jvm.port, "");
    for (name, attribute, more) in [
        ("on", "On", ""),
        ("number-text", "NumberText", ""),
        ("count", "Count", "rate: true\n"),
        ("table", "Table", "key: a.b\n"),
        ("text", "Text", ""),
        ("broken", "Broken", ""),
        ("huge", "Huge", ""),
        ("huge-text", "HugeText", ""),
        ("nothing", "Nothing", ""),
        ("none", "None", ""),
        ("slow", "Slow", ""),
    ] {
        yaml += &counter(name, THING, attribute, more);
    }
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    yaml += &counter("whole", "java.lang:type=Memory", "HeapMemoryUsage", "");
    yaml += &counter("pools", "java.lang:type=MemoryPool,name=*", "Usage", "key: used\n");
    yaml += &counter("own", "fixture:type=Odd", "Own", "");
    yaml += &counter("fine", "fixture:type=Odd", "Fine", "");
    yaml += &counter("gone", "fixture:type=None", "X", "");
    plane.apply(&yaml);

    assert!(value(&plane, "heap").await > 1_000_000.0);
    assert_eq!(value(&plane, "on").await, 1.0);
    assert_eq!(value(&plane, "number-text").await, 42.5);
    assert_eq!(value(&plane, "table").await, 7.0);
    assert_eq!(value(&plane, "fine").await, 3.0, "beside an attribute that can't be read");
    until("pools by name", PATIENCE, || async {
        let pools = series(&plane, "pools").await;
        if pools.len() >= 3 && pools.iter().any(|pool| pool.1 == "Metaspace") { Ok(()) } else { Err(pools) }
    })
    .await;
    // Ten a reading, about one a second, and some more while it is found out which attribute spoils the others.
    let rate = value(&plane, "count").await;
    assert!((1.0..300.0).contains(&rate), "{rate}");
    assert_eq!(series(&plane, "heap").await[0].0, "app", "series are the JVM's");

    for (name, code, says) in [
        ("text", "parse", "some words"),
        ("broken", "threw", "it is broken"),
        ("huge", "too-much-output", "Huge"),
        ("huge-text", "too-much-output", "HugeText"),
        ("nothing", "parse", "null"),
        ("none", "missing", "None"),
        ("slow", "timed-out", "no answer within"),
        ("whole", "parse", "committed"),
        ("own", "parse", "Own"),
        ("gone", "missing", "no MBean"),
    ] {
        let reason = failure(&plane, name, code).await;
        assert!(reason.contains("jvm `app`") && reason.contains(says), "{name}: {reason}");
    }
    fresh(&plane, "heap").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jvm_that_fails_is_told_apart_and_delays_no_other() {
    let (good, frozen) = (Jvm::start(), Jvm::start());
    let door = Door { credentials: Some(("monitor".into(), "right-word".into())), ..Door::default() };
    let guarded = Jvm::start_as(&door);
    // Takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plane = Plane::start(1).await;
    let mut yaml = web("web01", "good") + "---\n{kind: cluster, name: other}\n";
    yaml += &secret("right", "right-word");
    yaml += &secret("wrong", "wrong-word");
    let closed = free_port();
    let login = |secret: &str| format!("user: monitor\npassword: {{secret: {secret}}}\n");
    for (name, port, more) in [
        ("good", good.port, String::new()),
        ("frozen", frozen.port, String::new()),
        ("closed", closed, String::new()),
        ("silent", silent.local_addr().unwrap().port(), String::new()),
        ("guarded", guarded.port, login("right")),
        ("nobody", guarded.port, String::new()),
        ("refused", guarded.port, login("wrong")),
        ("tls", good.port, "tls: true\n".to_string()),
    ] {
        yaml += &profile(name, port, &more);
        if name != "good" {
            yaml += &format!(
                "---\nkind: node\nname: {name}\ncluster: web\nhostname: 127.0.0.1\njvms: [{name}]\n"
            );
        }
    }
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    plane.apply(&yaml);
    let of = |node: &'static str, code: &'static str| {
        let plane = &plane;
        async move {
            until(&format!("{node}: {code}"), PATIENCE, || async {
                let check = check(plane, node, "heap").await;
                let found = check["failure"]["code"].as_str().unwrap_or(if check["ok"] == json!(true) {
                    "ok"
                } else {
                    ""
                });
                if found == code { Ok(check["failure"]["detail"].to_string()) } else { Err(check) }
            })
            .await
        }
    };
    of("web01", "ok").await;
    of("frozen", "ok").await;
    of("guarded", "ok").await;
    assert!(of("closed", "jvm-unreachable").await.contains("refused"));
    assert!(of("nobody", "jvm-authentication").await.contains("user and password"));
    assert!(of("refused", "jvm-authentication").await.contains("refuses"));
    of("tls", "jvm-unreachable").await;
    of("silent", "timed-out").await;

    frozen.freeze(true);
    of("frozen", "timed-out").await;
    fresh(&plane, "heap").await;
    frozen.freeze(false);
    of("frozen", "ok").await;

    // Started again on the same port: the connection is made again.
    let port = good.port;
    good.kill();
    of("web01", "jvm-unreachable").await;
    let _good = Jvm::start_as(&Door { port, ..Door::default() });
    of("web01", "ok").await;
    // Nothing that was given to it is on a command line.
    let said = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("jvm-worker") && !said.contains("right-word"));
}

/// The child that speaks to JVMs for a peer.
fn child_of(peer: u32) -> Option<i32> {
    let said = Command::new("pgrep").args(["-P", &peer.to_string(), "-f", "jvm-worker"]).output().unwrap();
    String::from_utf8_lossy(&said.stdout).trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_child_can_be_killed_and_frozen_and_the_peer_goes_on() {
    let jvm = Jvm::start();
    let mut plane = Plane::start(1).await;
    plane.apply(
        &(web("web01", "app")
            + &profile("app", jvm.port, "")
            + &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n")),
    );
    value(&plane, "heap").await;
    let peer = plane.peers[0].pid().unwrap();
    let signal = |signal| {
        let child = child_of(peer).expect("there is a child");
        rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), signal).unwrap();
        child
    };
    let killed = signal(rustix::process::Signal::KILL);
    fresh(&plane, "heap").await;
    let frozen = signal(rustix::process::Signal::STOP);
    assert_ne!(killed, frozen);
    failure(&plane, "heap", "timed-out").await;
    until("samples by another child", PATIENCE, || async {
        let check = check(&plane, "web01", "heap").await;
        if check["ok"] == json!(true) { Ok(()) } else { Err(check) }
    })
    .await;
    // It ends with its peer, in whatever way that ends.
    let child = child_of(peer).unwrap();
    plane.peers[0].kill();
    until("the child's end", PATIENCE, || async {
        if Path::new(&format!("/proc/{child}")).exists() { Err("it runs") } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_those_that_show_a_trusted_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (store, pem) = key_store(dir.path(), "right");
    let (_, other) = key_store(dir.path(), "other");
    let secured = |registry| Jvm::start_as(&Door { tls: Some((store.clone(), registry)), ..Door::default() });
    let (agent, both) = (secured(false), secured(true));
    let plane = Plane::start(1).await;
    let file = |name: &str, pem: &str| {
        let lines: Vec<String> = pem.lines().map(|line| format!("  {line}")).collect();
        format!("---\nkind: file\nname: {name}\ncontent: |\n{}\n", lines.join("\n"))
    };
    let mut yaml = web("agent", "agent") + &file("right", &pem) + &file("other", &other);
    let trust = |file: &str| format!("tls: true\ntrust_store: {{file: {file}}}\n");
    for (name, port, more) in [
        ("agent", agent.port, trust("right")),
        ("both", both.port, trust("right")),
        ("untrusted", both.port, trust("other")),
        ("unknown", both.port, "tls: true\n".to_string()),
        ("plain", agent.port, String::new()),
    ] {
        yaml += &profile(name, port, &more);
        if name != "agent" {
            yaml += &format!(
                "---\nkind: node\nname: {name}\ncluster: web\nhostname: 127.0.0.1\njvms: [{name}]\n"
            );
        }
    }
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    plane.apply(&yaml);
    for (node, says) in [
        ("agent", ""),
        ("both", ""),
        ("untrusted", "not trusted"),
        ("unknown", "not trusted"),
        ("plain", "tls: true"),
    ] {
        until(node, PATIENCE, || async {
            let check = check(&plane, node, "heap").await;
            let detail = check["failure"]["detail"].as_str().unwrap_or_default();
            let is_right = match says {
                "" => check["ok"] == json!(true),
                says => detail.contains(says),
            };
            if is_right { Ok(()) } else { Err(check) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_peers_with_java_get_rmi_and_any_peer_browses() {
    let jvm = Jvm::start();
    // Peers inherit it: all of them are without Java but for the one that joins later.
    let mut plane = Plane::start_with(2, &[("RSCALER_SERVER_JAVA_HOME", "none")]).await;
    plane.apply(
        &(web("web01", "app")
            + &profile("app", jvm.port, "")
            + &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n")),
    );
    assert!(failure(&plane, "heap", "no-java").await.contains("no peer has a Java runtime"));
    plane.environment.clear();
    let with_java = plane.join().await;
    value(&plane, "heap").await;
    let peers = plane.get("peers").await.unwrap();
    let can: Vec<bool> =
        peers["items"].as_array().unwrap().iter().map(|p| p["jmx"].as_bool().unwrap()).collect();
    assert_eq!(can, [false, false, true]);
    assert_eq!(check(&plane, "web01", "heap").await["collector"], json!(plane.id(with_java).await));
    for place in 0..3 {
        let path = "nodes/web01/jvms/app/mbeans?pattern=java.lang:type%3DMemory";
        let found = plane.ask(place, reqwest::Method::GET, path, None).await.unwrap();
        assert_eq!((&found["matched"], &found["next"]), (&json!(1), &Value::Null), "{found}");
        let attributes = found["items"][0]["attributes"].as_array().unwrap();
        let heap = attributes.iter().find(|one| one["name"] == json!("HeapMemoryUsage")).unwrap();
        assert!(heap["value"]["used"].as_u64().unwrap() > 0);
        assert_eq!(found["items"][0]["operations"][0]["name"], json!("gc"));
    }
    for (path, status) in [
        ("nodes/web01/jvms/none/mbeans", 404),
        ("nodes/none/jvms/app/mbeans", 404),
        ("nodes/web01/jvms/app/mbeans?pattern=no-name", 422),
    ] {
        assert_eq!(plane.get(path).await.unwrap_err().0, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mbeans_are_browsed_made_counters_and_invoked() {
    let jvm = Jvm::start();
    let plane = Plane::start(1).await;
    plane.apply(&(web("web01", "app") + &profile("app", jvm.port, "")));
    let shown = plane.cli_ok(&["jmx", "browse", "web01/app", "fixture:*", "--operations"]);
    for says in ["Count", "a.b", "it is broken", "no answer within", "int sum([I", "some words"] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    plane.cli_ok(&[
        "jmx",
        "add-counter",
        "web01/app",
        "java.lang:type=Memory",
        "HeapMemoryUsage",
        "used",
        "--interval",
        "1s",
        "--unit",
        "bytes",
    ]);
    assert!(value(&plane, "memory-heap-memory-usage-used").await > 0.0);
    for wrong in [
        &["java.lang:type=Memory", "HeapMemoryUsage"][..],
        &["java.lang:type=Memory", "Nothing"],
        &["no:type=Such", "X"],
    ] {
        let said = plane.cli(&[&["jmx", "add-counter", "web01/app"], wrong].concat());
        assert_eq!(said.status.code(), Some(1), "{wrong:?}");
    }
    let starter = plane.cli_ok(&["jmx", "starter-counters", "--interval", "1s"]);
    plane.apply(&starter);
    assert!(value(&plane, "jvm-threads").await > 5.0);
    assert!(value(&plane, "jvm-open-files").await > 5.0);

    let action = |name: &str, operation: &str, args: &str, more: &str| {
        format!(
            "---\nkind: action\nname: {name}\ntype: jmx-invoke\nmbean: \"{THING}\"\noperation: {operation}\nargs: {args}\n{more}"
        )
    };
    plane.apply(
        &(action("greet", "greet", "[world, \"2\"]", "jvm: app\n")
            + &action("sum", "sum", "[\"1, 2, 3\"]", "")
            + &action("fail", "fail", "[]", "")
            + &action("none", "nothing", "[]", "")
            + &action("wrong", "greet", "[a, b]", "")
            + &action("sleep", "sleep", "[\"60000\"]", "timeout: 2s\n")
            + &action("many", "addMany", "[\"100000\"]", "timeout: 60s\n")
            + &action("forget", "removeLate", "[]", "")
            + &counter("late", "fixture:type=Late", "Value", "")
            + "---\n{kind: action, name: gc, type: jmx-invoke, mbean: \"java.lang:type=Memory\", operation: gc}\n"),
    );
    let run = |action: &str| {
        let said = plane.cli(&["run", "--node", "web01", "--action", action]);
        let both = [said.stdout, said.stderr].concat();
        (said.status.success(), String::from_utf8_lossy(&both).into_owned())
    };
    for (action, succeeds, says) in [
        ("greet", true, "hello world\nhello world\n"),
        ("sum", true, "6\n"),
        ("gc", true, ""),
        ("fail", false, "not like this"),
        ("none", false, "no such operation"),
        ("wrong", false, "argument 2"),
        ("sleep", false, "timed-out"),
        ("many", true, ""),
    ] {
        let (succeeded, said) = run(action);
        assert!(succeeded == succeeds && said.contains(says), "{action}: {said}");
    }
    // An MBean that disappears between two readings.
    assert_eq!(value(&plane, "late").await, 1.0);
    assert!(run("forget").0);
    assert!(failure(&plane, "late", "missing").await.contains("no MBean"));

    let events = plane.cli_json(&["get", "actions", "greet"]);
    assert_eq!((&events["type"], &events["args"]), (&json!("jmx-invoke"), &json!(["world", "2"])));

    // There are a hundred thousand more now.
    let page = plane.get("nodes/web01/jvms/app/mbeans?pattern=many:*&values=false&limit=20").await.unwrap();
    assert_eq!((&page["matched"], page["items"].as_array().unwrap().len()), (&json!(100_000), 20), "{page}");
    let next = page["next"].as_str().unwrap();
    let after = plane
        .get(&format!("nodes/web01/jvms/app/mbeans?pattern=many:*&values=false&limit=1&cursor={next}"))
        .await
        .unwrap();
    assert!(after["items"][0]["name"].as_str().unwrap() > next);
    plane.apply(&counter("many", "many:type=Small,number=*", "Value", "").replace("4s", "20s"));
    until("a bounded part of them", PATIENCE, || async {
        let found = series_by(&plane, "many", "1m").await.len();
        let check = check(&plane, "web01", "many").await;
        let said = check["warning"].as_str().unwrap_or_default().contains("99000 more");
        if found == 1000 && said { Ok(()) } else { Err((found, check)) }
    })
    .await;
    fresh(&plane, "jvm-threads").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rmi_goes_over_ssh_whatever_the_jvm_calls_itself() {
    // Both say the same wrong host, as machines do whose name is an address of the loopback.
    let door = Door { hostname: Some("192.0.2.1".to_string()), ..Door::default() };
    let (one, two) = (Jvm::start_as(&door), Jvm::start_as(&door));
    let host = Host::start();
    let plane = Plane::start(1).await;
    let mut yaml = format!(
        "kind: ssh-profile\nname: ops\nuser: {}\nkey: {{secret: key}}\nhost_key: accept-new\n---\n{{kind: cluster, name: web}}\n",
        host.user()
    ) + &secret("key", &host.private_key());
    yaml += &(node("web01", &host, "ops") + "jvms: [one, two]\n");
    yaml += &profile("one", one.port, "transport: rmi-over-ssh\n");
    yaml += &profile("two", two.port, "transport: rmi-over-ssh\n");
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    plane.apply(&yaml);
    until("both JVMs", PATIENCE, || async {
        let mut jvms: Vec<String> = series(&plane, "heap").await.into_iter().map(|series| series.0).collect();
        jvms.sort();
        if jvms == ["one", "two"] { Ok(()) } else { Err((jvms, check(&plane, "web01", "heap").await)) }
    })
    .await;
    // Nobody else gets through: without a token nothing is opened.
    let peer = plane.peers[0].pid().unwrap();
    let ports = Command::new("ss").args(["-Hltnp"]).output().unwrap();
    let ports = String::from_utf8_lossy(&ports.stdout).into_owned();
    let known = [plane.peers[0].api.as_str(), plane.peers[0].peer_addr()];
    let tunnel = ports
        .lines()
        .filter(|line| line.contains(&format!("pid={peer},")))
        .filter_map(|line| line.split_whitespace().nth(3))
        .find(|address| !known.contains(address))
        .expect("a port for tunnels");
    let mut stranger = std::net::TcpStream::connect(tunnel).unwrap();
    std::io::Write::write_all(&mut stranger, &[0; 18]).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stranger.read(&mut [0; 8]).unwrap(), 0, "it is closed without a word");
    // A profile over SSH needs a node that can be logged in to.
    let bare = plane.path("bare.yaml");
    std::fs::write(&bare, "{kind: node, name: bare, cluster: web, hostname: 127.0.0.1, jvms: [one]}\n")
        .unwrap();
    let said = plane.cli(&["apply", "-f", bare.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("no ssh_profile"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jolokia_gives_the_same_without_java() {
    let jvm = Jvm::jolokia();
    let plane = Plane::start_with(1, &[("RSCALER_SERVER_JAVA_HOME", "none")]).await;
    let mut yaml = web("web01", "app, other") + &profile("app", jvm.port, "transport: jolokia\n");
    // What answers there is no Jolokia, and is told so beside the one that is.
    let api: u16 = plane.peers[0].api.rsplit_once(':').unwrap().1.parse().unwrap();
    yaml += &format!(
        "---\n{{kind: jvm-profile, name: other, transport: jolokia, url: \"http://{{host}}:{api}/healthz\"}}\n"
    );
    for (name, attribute, more) in [
        ("on", "On", ""),
        ("number-text", "NumberText", ""),
        ("count", "Count", "rate: true\n"),
        ("table", "Table", "key: a.b\n"),
        ("text", "Text", ""),
        ("broken", "Broken", ""),
        ("none", "None", ""),
    ] {
        yaml += &counter(name, THING, attribute, more);
    }
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    yaml += &counter("small", "fixture:type=Small,name=*", "Value", "");
    yaml += &counter("gone", "fixture:type=None", "X", "");
    plane.apply(&yaml);
    assert!(value(&plane, "heap").await > 1_000_000.0);
    assert_eq!(value(&plane, "on").await, 1.0);
    assert_eq!(value(&plane, "number-text").await, 42.5);
    assert_eq!(value(&plane, "table").await, 7.0);
    assert!(value(&plane, "count").await > 0.0);
    until("both instances", PATIENCE, || async {
        let mut found: Vec<String> =
            series(&plane, "small").await.into_iter().map(|series| series.1).collect();
        found.sort();
        if found == ["a/b", "c"] { Ok(()) } else { Err(found) }
    })
    .await;
    for (name, code, says) in [
        ("text", "parse", "some words"),
        ("broken", "threw", "broken"),
        ("none", "missing", "None"),
        ("gone", "missing", "None"),
    ] {
        let reason = failure(&plane, name, code).await;
        assert!(reason.contains(says), "{name}: {reason}");
    }
    let beside = check(&plane, "web01", "heap").await;
    assert!(beside["warning"].as_str().unwrap().contains("jvm `other`"), "{beside}");

    let shown = plane.cli_ok(&["jmx", "browse", "web01/app", "fixture:*", "--operations"]);
    for says in ["Count", "timed out", "java.lang.String greet(", "fixture:type=Small,name=a/b"] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    let action = |name: &str, operation: &str, args: &str| {
        format!(
            "---\nkind: action\nname: {name}\ntype: jmx-invoke\njvm: app\nmbean: \"{THING}\"\noperation: {operation}\nargs: {args}\n"
        )
    };
    plane.apply(&(action("greet", "greet", "[world, \"2\"]") + &action("fail", "fail", "[]")));
    assert!(
        plane.cli_ok(&["run", "--node", "web01", "--action", "greet"]).contains("hello world\nhello world\n")
    );
    let said = plane.cli(&["run", "--node", "web01", "--action", "fail"]);
    assert!(
        !said.status.success() && String::from_utf8_lossy(&said.stderr).contains("not like this"),
        "{said:?}"
    );
    jvm.kill();
    assert!(failure(&plane, "heap", "jvm-unreachable").await.contains("refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tomcat_is_watched_by_the_starter_counters() {
    let (tomcat, http) = Jvm::tomcat();
    let plane = Plane::start(1).await;
    let starter =
        plane.cli_ok(&["jmx", "starter-counters", "--tomcat", "--interval", "1s", "--cluster", "web"]);
    plane.apply(&(web("web01", "tomcat") + &profile("tomcat", tomcat.port, "") + "---\n" + &starter));
    value(&plane, "tomcat-threads").await;
    let url = format!("http://127.0.0.1:{http}/");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    until("requests and errors to be counted", PATIENCE, || async {
        for path in ["index.html", "none"] {
            let answer =
                client.get(format!("{url}{path}")).send().await.map_err(|error| error.to_string())?;
            assert_eq!(answer.status().as_u16(), if path == "none" { 404 } else { 200 });
        }
        let mut seen = Vec::new();
        for counter in ["tomcat-requests", "tomcat-errors"] {
            seen.extend(series(&plane, counter).await);
        }
        let name = format!("http-nio-127.0.0.1-{http}");
        let counted = seen.iter().filter(|series| series.2 > 0.0 && series.1 == name).count();
        if counted == 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(value(&plane, "tomcat-sessions").await, 0.0);
    assert!(series(&plane, "tomcat-sessions").await[0].1.contains("context=/"));
    assert!(value(&plane, "jvm-classes").await > 1000.0);
}

#[test]
fn the_classes_that_are_kept_are_those_of_the_source() {
    let javac = Command::new("javac").arg("-version").output().expect("the tests need a JDK");
    let version = String::from_utf8_lossy(&javac.stdout).into_owned();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let script = Command::new(root.join("scripts/java-classes")).arg(dir.path()).status().unwrap();
    assert!(script.success(), "they compile");
    // Other compilers write the same in other words.
    if version.starts_with("javac 17.") {
        for name in ["rscaler.bin", "demo.bin"] {
            let kept = std::fs::read(root.join("src/jvm/java").join(name)).unwrap();
            let made = std::fs::read(dir.path().join(name)).unwrap();
            assert!(kept == made, "{name}: run scripts/java-classes, which compiles src/jvm/java");
        }
    }
    assert!(binary().exists());
}
