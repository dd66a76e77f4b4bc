use std::time::Duration;

use rscaler_api::types::{Agg, Pushed, Sample, SampleQuery, Span, TestTrigger};
use rscaler_raft::solo::Solo;

use crate::support::{ADMIN, Fixture, OPERATOR, VIEWER, start};

fn sample(node: &str, t: i64, v: f64) -> Sample {
    Sample { counter: "queue".into(), node: node.into(), jvm: None, instance: None, t: Some(t), v }
}

fn now(fixture: &Fixture) -> i64 {
    fixture.handle.read(|state| state.clock().wall.0)
}

#[tokio::test]
async fn written_samples_are_read_back() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let base = now(&fixture) / 60_000 * 60_000 - 120_000;
    let mut samples = Vec::new();
    for step in 0..6 {
        samples.push(sample("web01", base + step * 10_000, step as f64));
        samples.push(sample("web02", base + step * 10_000, 10.0));
    }
    let taken = client.push_samples(&Pushed { samples: samples.clone() }).await.unwrap();
    assert_eq!((taken.accepted, taken.dropped), (12, 0));
    let again = client.push_samples(&Pushed { samples }).await.unwrap();
    assert_eq!((again.accepted, again.dropped), (0, 12));
    let raw = client.node_samples("web01", None, "queue", &SampleQuery::default()).await.unwrap();
    assert_eq!(raw.series.len(), 1);
    assert_eq!((raw.series[0].unit.as_str(), raw.series[0].node.as_deref()), ("jobs", Some("web01")));
    assert_eq!(raw.series[0].points.len(), 6);
    assert_eq!(raw.series[0].points[1], (base + 10_000, 1.0));
    let stepped = SampleQuery { step: Some("1m".into()), agg: Some(Agg::Max), ..Default::default() };
    let stepped = client.cluster_samples("web", "queue", &stepped).await.unwrap();
    let points: Vec<_> = stepped.series.iter().map(|series| series.points.clone()).collect();
    assert_eq!(points, [[(base, 5.0)], [(base, 10.0)]]);
    let across = SampleQuery { step: Some("1m".into()), across: Some(Agg::Sum), ..Default::default() };
    let across = client.cluster_samples("web", "queue", &across).await.unwrap();
    assert_eq!((across.series[0].node.clone(), across.series[0].points[0]), (None, (base, 12.5)));
    let from = SampleQuery {
        from: Some((base + 30_000).to_string()),
        to: Some((base + 50_000).to_string()),
        ..Default::default()
    };
    let some = client.node_samples("web01", None, "queue", &from).await.unwrap();
    assert_eq!(some.series[0].points.len(), 2);
    let none = client.node_samples("web01", Some("tomcat"), "queue", &SampleQuery::default()).await.unwrap();
    assert!(none.series.is_empty());
}

#[tokio::test]
async fn known_series_are_listed_in_pages() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let at = now(&fixture);
    let mut samples = vec![sample("web02", at, 1.0), sample("web01", at, 2.0)];
    samples.push(Sample { instance: Some("/".into()), ..sample("web01", at, 3.0) });
    client.push_samples(&Pushed { samples }).await.unwrap();
    let all = client.series(None, None, None, None, None).await.unwrap();
    let places: Vec<_> =
        all.items.iter().map(|series| (series.node.as_str(), series.instance.as_deref())).collect();
    assert_eq!(places, [("web01", None), ("web01", Some("/")), ("web02", None)]);
    assert_eq!(all.items[1].last, Some((at, 3.0)));
    let one = fixture.get("/api/v1/series?limit=2").await.json();
    let next = one["next"].as_str().unwrap();
    let rest = fixture.get(&format!("/api/v1/series?limit=2&cursor={next}")).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), rest["next"].is_null()), (1, true));
    for (query, count) in [
        ("node=web01", 2),
        ("cluster=web", 3),
        ("cluster=db", 0),
        ("counter=queue&node=web02", 1),
        ("counter=load1", 0),
        ("jvm=tomcat", 0),
        ("node=web09", 0),
    ] {
        let found = fixture.get(&format!("/api/v1/series?{query}")).await.json();
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn a_trigger_fires_on_written_samples_and_says_so() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let ok = client.trigger_state("busy").await.unwrap();
    assert_eq!((ok.state.as_str(), ok.enabled, ok.firings.len()), ("ok", true, 0));
    for _ in 0..4 {
        Solo::advance(&fixture.handle, Duration::from_secs(10)).await.unwrap();
        let at = now(&fixture);
        client.push_samples(&Pushed { samples: vec![sample("web01", at, 9.0)] }).await.unwrap();
    }
    let firing = client.trigger_state("busy").await.unwrap();
    assert_eq!(firing.state, "firing");
    assert_eq!((firing.firings[0].active, firing.firings[0].run), (true, Some(1)));
    let subject = &firing.subjects[0];
    assert_eq!((subject.counter.as_deref(), subject.value), (Some("queue"), Some(9.0)));
    assert_eq!(subject.node.as_ref().unwrap().as_str(), "web01");
    let events = client.events(Some("trigger-fired"), None, None).await.unwrap();
    assert_eq!((events.items.len(), events.items[0].run), (1, Some(1)));
    assert_eq!(events.items[0].evidence[0].counter, "queue");
    // The same evaluator over the same samples: it would have fired once.
    let asked = TestTrigger { since: Some(Span::secs(3600)), trigger: None };
    let test = fixture.client(VIEWER).test_trigger("busy", &asked).await.unwrap();
    assert_eq!((test.firings.len(), test.samples, test.truncated), (1, 4, false));
    assert_eq!(test.firings[0].recovered, None);
    // Another definition would not.
    let mut other = client.get_value(rscaler_api::types::Kind::Trigger, "busy").await.unwrap();
    other["when"][0]["threshold"] = serde_json::json!(90);
    let test = client.test_trigger("busy", &TestTrigger { since: None, trigger: Some(other) }).await.unwrap();
    assert_eq!(test.firings.len(), 0);
    assert_eq!(client.test_trigger("none", &TestTrigger::default()).await.unwrap_err().status(), Some(404));
    assert_eq!(client.trigger_state("none").await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn a_full_batch_is_taken_and_a_larger_one_is_not() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(ADMIN);
    let base = now(&fixture) - 5_000_000;
    let samples: Vec<Sample> = (0..4097).map(|n| sample("web01", base + n * 1000, 1.0)).collect();
    let refused = client.push_samples(&Pushed { samples: samples.clone() }).await.unwrap_err();
    assert_eq!(refused.status(), Some(422));
    let taken = client.push_samples(&Pushed { samples: samples[1..].to_vec() }).await.unwrap();
    assert_eq!(taken.accepted, 4096);
}
