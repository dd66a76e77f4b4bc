#![allow(clippy::unwrap_used)]
use rscaler_api::types::{Peer, SeriesInfo, TriggerState};
use serde_json::{Value, json};

use super::*;

/// A body as the API would send it, with defaults for the fields that don't matter here.
fn body<T: serde::de::DeserializeOwned>(mut defaults: Value, fields: Value) -> T {
    defaults.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(defaults).unwrap()
}

fn time(second: i64) -> String {
    jiff::Timestamp::from_second(1_770_000_000 + second).unwrap().to_string()
}

fn peer(id: u64, role: &str, term: u64, alive: bool) -> Peer {
    let defaults = json!({"api": "", "peer": "", "wanted_role": "voter", "version": "0.1.0", "tasks": 0, "nodes": 0,
        "joined": time(0)});
    body(defaults, json!({"id": id, "name": format!("p{id}"), "role": role, "term": term, "alive": alive}))
}

/// A view some seconds into the story, in which all is quiet.
fn view(second: i64) -> View {
    View {
        at: time(second).parse().unwrap(),
        peers: vec![peer(1, "leader", 1, true), peer(2, "voter", 1, true), peer(3, "voter", 1, true)],
        series: Vec::new(),
        triggers: Vec::new(),
        events: Vec::new(),
        ended: BTreeMap::new(),
    }
}

fn event(second: i64, kind: &str, message: &str, fields: Value) -> Event {
    let defaults =
        json!({"id": second, "at": time(second), "actor": "system", "type": kind, "message": message});
    body(defaults, fields)
}

fn trigger(state: &str, value: f64) -> (Resource<Trigger>, TriggerState) {
    let trigger = json!({"name": "web-busy", "cluster": "web", "for": "10s", "steps": [],
        "when": [{"counter": "load1", "op": ">", "threshold": 2.5}]});
    let subject = json!({"node": "web01", "condition": 0, "no_data": false, "state": state, "held": "0s",
        "value": value, "samples": []});
    let state = json!({"trigger": "web-busy", "enabled": true, "state": state, "firings": [], "subjects": [subject],
        "more": 0});
    (serde_json::from_value(trigger).unwrap(), serde_json::from_value(state).unwrap())
}

fn status(story: &Story) -> String {
    story.status(&BTreeSet::from(["p1", "p2", "p3"]))
}

fn texts(lines: &[Line]) -> Vec<(Tag, &str)> {
    lines.iter().map(|line| (line.tag, line.text.as_str())).collect()
}

#[test]
fn a_first_look_and_a_quiet_one_are_no_news() {
    let mut story = Story::default();
    assert_eq!(story.tell(&view(0)), []);
    assert_eq!(story.tell(&view(1)), []);
    assert_eq!(story.leader(), Some("p1"));
}

#[test]
fn a_change_of_leader_is_told_once_it_is_over() {
    let mut story = Story::default();
    story.tell(&view(0));
    let mut electing = view(1);
    electing.peers[0] = peer(1, "voter", 1, false);
    assert_eq!(story.tell(&electing), []);
    assert!(status(&story).starts_with("2 of 3 peers, p1 leads"), "{}", status(&story));
    let alone = story.status(&BTreeSet::from(["p3"]));
    assert!(alone.starts_with("1 of 3 peers, no leader"), "{alone}");
    let mut elected = view(2);
    elected.peers = vec![peer(1, "voter", 2, false), peer(2, "leader", 2, true), peer(3, "voter", 2, true)];
    assert_eq!(texts(&story.tell(&elected)), [(Tag::Peer, "p2 leads now (term 2)")]);
    // A peer that has not heard of it yet says the old thing.
    assert_eq!(story.tell(&view(3)), []);
    assert_eq!(story.leader(), Some("p2"));
}

#[test]
fn a_trigger_is_told_from_pending_to_recovery() {
    let mut story = Story::default();
    story.tell(&view(0));
    let mut pending = view(1);
    pending.triggers = vec![trigger("pending", 2.612)];
    let told = story.tell(&pending);
    let expected = "web-busy on web01 is pending: load1 is 2.61, > 2.5; it fires when that holds for 10s";
    assert_eq!(texts(&told), [(Tag::Trigger, expected)]);
    assert_eq!(story.tell(&pending), [], "it is told once");

    let mut firing = view(12);
    firing.triggers = vec![trigger("firing", 3.3)];
    firing.events = vec![
        event(11, "trigger-fired", "trigger `web-busy` fired on `web01`; run 1", json!({"run": 1})),
        event(11, "run-started", "run 1 started: shed-load", json!({"run": 1})),
    ];
    assert_eq!(texts(&story.tell(&firing)), [(Tag::Firing, "web-busy fired on web01; run 1")]);

    let mut ok = view(30);
    ok.triggers = vec![trigger("ok", 0.9)];
    ok.events = vec![event(29, "trigger-recovered", "trigger `web-busy` recovered on `web01`", json!({}))];
    assert_eq!(texts(&story.tell(&ok)), [(Tag::Trigger, "web-busy recovered on web01")]);
}

#[test]
fn a_condition_that_did_not_hold_long_enough_is_told() {
    let mut story = Story::default();
    story.tell(&view(0));
    let mut pending = view(1);
    pending.triggers = vec![trigger("pending", 2.6)];
    assert_eq!(story.tell(&pending).len(), 1);
    let mut ok = view(2);
    ok.triggers = vec![trigger("ok", 2.4)];
    let told = story.tell(&ok);
    assert_eq!(texts(&told), [(Tag::Trigger, "web-busy on web01 is ok again: it did not hold for 10s")]);
    assert_eq!(story.tell(&ok), []);
}

#[test]
fn a_run_is_told_with_its_tasks_and_what_they_said() {
    let mut story = Story::default();
    story.tell(&view(0));
    let run = |state: &str| {
        let defaults = json!({"id": 1, "cause": {"type": "trigger"}, "steps": [], "current": 0,
            "cancel_requested": false});
        body(defaults, json!({"state": state, "created": time(1), "finished": time(2)}))
    };
    let task = |state: &str, attempt: u32, reason: Option<&str>| -> Task {
        let defaults = json!({"id": 1, "run": 1, "step": 0, "action": "shed-load", "type": "command", "node": "web01", "peer": 2,
            "cancel_requested": false, "awaiting_input": false, "history": [],
            "output": {"kept": 0, "cut": 0, "missed": 0}, "created": time(1)});
        body(defaults, json!({"attempt": attempt, "state": state, "reason": reason}))
    };
    let mut view = view(3);
    view.events = vec![
        event(2, "run-finished", "run 1 succeeded", json!({"run": 1})),
        event(2, "run-finished", "run 2 failed", json!({"run": 2})),
        event(3, "run-finished", "run 9 succeeded", json!({"run": 9})),
        event(3, "run-started", "run 10 started: a command", json!({"run": 10, "actor": "token/admin"})),
    ];
    let said = Some("load target 0.9 -> 0.2".to_owned());
    let well = Ended { run: run("succeeded"), tasks: vec![(task("succeeded", 1, None), said)], more: 0 };
    let failed = task("failed", 2, Some("exit code 3"));
    let ill = Ended { run: run("failed"), tasks: vec![(failed, None)], more: 4 };
    view.ended = BTreeMap::from([(1, well), (2, ill)]);
    let told = story.tell(&view);
    let expected = [
        (Tag::Run, "run 1 succeeded after 1.0 s; shed-load on web01 by p2: \"load target 0.9 -> 0.2\""),
        (
            Tag::Trouble,
            "run 2 failed after 1.0 s; shed-load on web01 by p2, attempt 2 (exit code 3); and 4 more",
        ),
        (Tag::Run, "run 9 succeeded"),
        (Tag::Run, "run 10 started: a command, by token/admin"),
    ];
    assert_eq!(texts(&told), expected);
}

#[test]
fn a_peer_is_called_by_its_name() {
    let mut story = Story::default();
    let mut view = view(0);
    view.events = vec![
        event(0, "peer-lost", "peer 3 is not heard of any more", json!({"peer": 3})),
        event(1, "peer-started", "peer 9 takes work", json!({"peer": 9})),
    ];
    let told = story.tell(&view);
    let expected = [
        (Tag::Peer, "p3 is not heard of any more: the others take over its work"),
        (Tag::Peer, "peer 9 takes work"),
    ];
    assert_eq!(texts(&told), expected);
}

fn series(counter: &str, node: &str, at: i64, value: f64) -> SeriesInfo {
    let defaults = json!({"unit": ""});
    body(defaults, json!({"counter": counter, "node": node, "last": [at, value]}))
}

#[test]
fn the_status_counts_what_is_new() {
    let mut story = Story::default();
    for second in 0..30 {
        let mut view = view(second);
        // Three samples a second of one node, one every other second of another, and one that never moves.
        view.series = vec![
            series("load1", "web01", second * 1000, 0.514),
            series("cpu", "web01", second * 1000, 7.0),
            series("memory", "web01", second * 1000, 7.0),
            series("load1", "web02", second / 2 * 2000, 3.6),
            series("uptime", "web01", 0, 12.0),
        ];
        story.tell(&view);
    }
    let expected = "3 of 3 peers, p1 leads · 4 samples/s · load1  web01 0.51  web02 3.60";
    assert_eq!(status(&story), expected, "3.5 a second, rounded to even");
}

#[test]
fn a_node_that_was_not_read_for_a_while_is_told() {
    let mut story = Story::default();
    let mut told = Vec::new();
    for (second, newest) in [(0, 0), (1, 0), (2, 2), (3, 2), (6, 6), (11, 6), (12, 12), (14, 14)] {
        let mut view = view(second);
        view.series =
            vec![series("load1", "web01", newest * 1000, 1.0), series("uptime", "web01", newest, 1.0)];
        told.extend(story.tell(&view));
    }
    assert_eq!(texts(&told), [(Tag::Samples, "web01 is read again, after 6 s")], "4 s is a single sample");
}

#[test]
fn of_many_nodes_the_busiest_are_shown() {
    let mut story = Story::default();
    let mut view = view(0);
    view.series = (0..20).map(|n| series("load1", &format!("web{n:02}"), 1, f64::from(n))).collect();
    story.tell(&view);
    let status = status(&story);
    let expected = "load1  web19 19.00  web18 18.00  web17 17.00  web16 16.00  web15 15.00  web14 14.00";
    assert!(status.ends_with(expected), "{status}");
    assert_eq!(story.loads().len(), 20);
}
