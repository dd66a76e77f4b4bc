//! What JVMs offer is found, made counters, and invoked.

use super::*;
use crate::jvms::Jvm;

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
