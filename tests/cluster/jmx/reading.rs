//! What attributes hold becomes samples.

use super::*;
use crate::jvms::Jvm;

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
