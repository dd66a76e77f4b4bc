//! JMX as JSON over HTTP, without Java at the peer.

use super::*;
use crate::jvms::Jvm;

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
