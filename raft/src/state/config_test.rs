#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::testing::*;
use crate::command::{Change, Command, Effect, Expect, FilePut, Outcome, RejectionKind, Reply};
use crate::model::*;

fn effects(outcome: Outcome) -> Vec<(String, Effect, u64)> {
    match outcome.unwrap() {
        Reply::Configured(changed) => {
            changed.into_iter().map(|c| (c.name.to_string(), c.effect, c.version)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn documents_may_refer_to_one_another_in_any_order() {
    let mut driver = Driver::new();
    let outcome = driver.configure(vec![
        put("busy", trigger(|_| ())),
        put("web01", node("web")),
        put("tidy", action()),
        put("load1", counter(10)),
        put("ops", profile(None)),
        put("web", cluster()),
    ]);
    assert!(effects(outcome).iter().all(|(_, effect, version)| *effect == Effect::Created && *version == 1));
    assert_eq!(driver.state.nodes_of(&name("web")).collect::<Vec<_>>(), [&name("web01")]);
    assert_eq!(driver.state.triggers_on(&name("load1")).collect::<Vec<_>>(), [&name("busy")]);
}

#[test]
fn one_bad_document_changes_nothing_and_all_errors_are_told() {
    let mut driver = Driver::new();
    driver.fleet(&["web01"]);
    let digest = driver.state.digest();
    let refused = driver
        .configure(vec![
            put("db", cluster()),
            put("db01", node("nowhere")),
            put("db02", node_with("db", Some("nobody"))),
            delete(Kind::Node, "web01"),
        ])
        .unwrap_err();
    assert_eq!(refused.kind, RejectionKind::Invalid);
    let told: Vec<_> = refused.fields.iter().map(|f| (f.document, f.pointer.as_str())).collect();
    assert_eq!(told, [(1, "/cluster"), (2, "/ssh_profile")]);
    assert!(refused.message.contains("node `db01`") && refused.message.contains("1 more"), "{refused}");
    assert_eq!(driver.state.digest(), digest);
}

#[test]
fn what_is_in_use_is_not_deleted_and_the_users_are_named() {
    let mut driver = Driver::new();
    driver.fleet(&["web01", "web02"]);
    driver.put("busy", trigger(|_| ()));
    let table = [
        (Kind::Cluster, "web", "node `web01`"),
        (Kind::SshProfile, "ops", "node `web02`"),
        (Kind::Counter, "load1", "trigger `busy`"),
        (Kind::Action, "tidy", "trigger `busy`"),
    ];
    for (kind, object, user) in table {
        let refused = driver.try_delete(kind, object).unwrap_err();
        assert_eq!(refused.kind, RejectionKind::Conflict, "{object}");
        assert!(refused.message.contains(user), "{refused}");
    }
    let together = vec![delete(Kind::Action, "tidy"), delete(Kind::Trigger, "busy")];
    driver.configure(together).unwrap();
}

#[test]
fn deleting_a_cluster_with_many_nodes_names_ten() {
    let mut driver = Driver::new();
    let nodes: Vec<String> = (0..15).map(|n| format!("web{n:02}")).collect();
    driver.fleet(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    let refused = driver.try_delete(Kind::Cluster, "web").unwrap_err();
    // The counter refers to it as well.
    assert!(refused.message.contains("`web09`") && refused.message.contains("and 6 more"), "{refused}");
}

#[test]
fn a_counter_is_not_taken_from_a_cluster_whose_trigger_reads_it() {
    let mut driver = Driver::new();
    driver.fleet(&["web01"]);
    driver.put("db", cluster());
    driver.put("busy", trigger(|_| ()));
    let Spec::Counter(mut elsewhere) = counter(10) else { unreachable!() };
    elsewhere.clusters = vec![ClusterSelector::Named(name("db"))];
    let refused = driver.refused("load1", Spec::Counter(elsewhere.clone()));
    assert_eq!(refused.kind, RejectionKind::Conflict);
    assert!(refused.message.contains("trigger `busy`"), "{refused}");
    elsewhere.clusters = vec![ClusterSelector::All];
    driver.put("load1", Spec::Counter(elsewhere));
}

#[test]
fn versions_grow_and_guard() {
    let mut driver = Driver::new();
    driver.put("web", cluster());
    driver.put("ops", profile(None));
    let create = |expect| vec![put_if("web01", node("web"), expect)];
    let change = |expect| vec![put_if("web01", node_with("web", None), expect)];
    assert_eq!(driver.configure(create(Expect::Present)).unwrap_err().kind, RejectionKind::NotFound);
    assert_eq!(driver.configure(create(Expect::Version(1))).unwrap_err().kind, RejectionKind::NotFound);
    assert_eq!(effects(driver.configure(create(Expect::Absent)))[0].2, 1);
    assert_eq!(driver.configure(create(Expect::Absent)).unwrap_err().kind, RejectionKind::Conflict);
    let same = effects(driver.configure(create(Expect::Any)));
    assert_eq!((same[0].1, same[0].2), (Effect::Unchanged, 1));
    let moved = driver.configure(change(Expect::Version(7))).unwrap_err();
    assert_eq!(moved.kind, RejectionKind::VersionMoved);
    assert!(moved.message.contains("at version 1"), "{moved}");
    let changed = effects(driver.configure(change(Expect::Version(1))));
    assert_eq!((changed[0].1, changed[0].2), (Effect::Updated, 2));
    let gone = Change::Delete { kind: Kind::Node, name: name("web01"), expect: Expect::Version(1) };
    assert_eq!(driver.configure(vec![gone]).unwrap_err().kind, RejectionKind::VersionMoved);
}

#[test]
fn a_new_object_of_an_old_name_is_told_apart() {
    let mut driver = Driver::new();
    driver.put("web", cluster());
    let uid = |driver: &Driver| driver.state.object(Kind::Cluster, &name("web")).unwrap().meta.uid;
    let first = uid(&driver);
    driver.try_delete(Kind::Cluster, "web").unwrap();
    driver.put("web", cluster());
    assert_ne!(uid(&driver), first);
}

#[test]
fn one_object_is_not_changed_twice_in_one_command() {
    let mut driver = Driver::new();
    let twice = driver.configure(vec![put("web", cluster()), delete(Kind::Cluster, "web")]).unwrap_err();
    assert_eq!(twice.kind, RejectionKind::Conflict);
    assert_eq!(driver.try_delete(Kind::Cluster, "web").unwrap_err().kind, RejectionKind::NotFound);
}

#[test]
fn a_preview_says_what_would_be_and_changes_nothing() {
    let mut driver = Driver::new();
    driver.put("web", cluster());
    let digest = driver.state.digest();
    let changes = vec![put("db", cluster()), put("web", cluster()), delete(Kind::Cluster, "web")];
    assert!(driver.state.preview(&changes).is_err());
    let preview = driver.state.preview(&changes[..2]).unwrap();
    let effects: Vec<_> = preview.changed.iter().map(|changed| changed.effect).collect();
    assert_eq!(effects, [Effect::Created, Effect::Unchanged]);
    assert!(preview.objects[0].0.is_none() && preview.objects[0].1.is_some());
    assert_eq!(driver.state.digest(), digest);
}

#[test]
fn somebody_who_may_do_everything_is_left() {
    let mut driver = Driver::new();
    driver.put("ada", user(Role::Admin));
    for outcome in [driver.try_delete(Kind::User, "ada"), driver.try_put("ada", user(Role::Operator))] {
        let refused = outcome.unwrap_err();
        assert_eq!(refused.kind, RejectionKind::Conflict);
        assert!(refused.message.contains("role admin"), "{refused}");
    }
    let passing = Token { role: Role::Admin, hash: [1; 32], expires: Some(Timestamp(i64::MAX)) };
    driver.put("ci", Spec::Token(passing.clone()));
    assert!(driver.try_delete(Kind::User, "ada").is_err(), "a token that runs out does not last");
    driver.put("ci", Spec::Token(Token { expires: None, ..passing }));
    driver.try_delete(Kind::User, "ada").unwrap();
    let swapped = vec![delete(Kind::Token, "ci"), put("bob", user(Role::Admin))];
    driver.configure(swapped).unwrap();
}

#[test]
fn tokens_are_found_until_they_expire() {
    let mut driver = Driver::new();
    let expires = Some(Timestamp((BEGIN + 10) * 1000));
    driver.put("ci", Spec::Token(Token { role: Role::Viewer, hash: [7; 32], expires }));
    assert_eq!(driver.state.token_by_hash(&[7; 32]).unwrap().0, &name("ci"));
    assert!(driver.state.token_by_hash(&[8; 32]).is_none());
    driver.until(9);
    assert!(driver.state.token_by_hash(&[7; 32]).is_some());
    driver.until(10);
    assert!(driver.state.token_by_hash(&[7; 32]).is_none());
    driver.put("ci", Spec::Token(Token { role: Role::Viewer, hash: [9; 32], expires: None }));
    assert!(driver.state.token_by_hash(&[9; 32]).is_some(), "found by its new hash");
    driver.try_delete(Kind::Token, "ci").unwrap();
    assert!(driver.state.token_by_hash(&[9; 32]).is_none());
}

#[test]
fn jumps_neither_come_back_nor_end_nowhere() {
    let mut driver = Driver::new();
    driver
        .configure(vec![
            put("web", cluster()),
            put("direct", profile(None)),
            put("bastion", node_with("web", Some("direct"))),
            put("inner", profile(Some("bastion"))),
            put("web01", node_with("web", Some("inner"))),
        ])
        .unwrap();
    // (what is put, whose field is wrong)
    let table = [
        ("a profile that jumps through a node that uses it", "direct", profile(Some("bastion"))),
        ("through a node that comes back", "direct", profile(Some("web01"))),
        ("through a node that is not there", "direct", profile(Some("nobody"))),
        ("a node that jumps through itself", "bastion", node_with("web", Some("inner"))),
    ];
    for (case, object, spec) in table {
        let refused = driver.refused(object, spec);
        assert_eq!(refused.kind, RejectionKind::Invalid, "{case}: {refused}");
    }
    let bare = driver.refused("bastion", node_with("web", None));
    assert_eq!(bare.kind, RejectionKind::Conflict);
    assert!(bare.message.contains("ssh-profile `inner`"), "{bare}");
    driver.put("pushed", node_with("web", None));
    let nowhere = driver.refused("other", profile(Some("pushed")));
    assert!(nowhere.fields[0].pointer == "/jump" && nowhere.message.contains("no ssh_profile"), "{nowhere}");
}

#[test]
fn a_chain_of_jumps_has_an_end() {
    let mut driver = Driver::new();
    driver.configure(vec![put("web", cluster()), put("p0", profile(None))]).unwrap();
    let mut longest = 0;
    for hop in 0..20 {
        let node_name = format!("n{hop}");
        let node_spec = node_with("web", Some(&format!("p{hop}")));
        let next = put(&format!("p{}", hop + 1), profile(Some(&node_name)));
        if driver.configure(vec![put(&node_name, node_spec), next]).is_err() {
            break;
        }
        longest = hop + 1;
    }
    assert_eq!(longest, 8);
}

#[test]
fn fields_that_cannot_be_are_refused_with_their_pointer() {
    let mut driver = Driver::new();
    driver.fleet(&["web01"]);
    let of = |change: fn(&mut Trigger)| trigger(change);
    let table = [
        (of(|t| t.conditions.clear()), "/when"),
        (of(|t| t.steps.clear()), "/steps"),
        (of(|t| t.conditions[0].threshold = f64::NAN), "/when/0/threshold"),
        (of(|t| t.conditions[0].recover = Some(5.0)), "/when/0/recover"),
        (of(|t| t.conditions[0].counter = name("nothing")), "/when/0/counter"),
        (of(|t| t.steps[0].target = Target::Named(name("nobody"))), "/steps/0/target"),
        (of(|t| t.steps[0].target = Target::Nowhere), "/steps/0/target"),
        (of(|t| t.aggregate = Aggregate::Avg), "/steps/0/target"),
        (of(|t| (t.aggregate, t.per) = (Aggregate::Avg, Per::Node)), "/per"),
        (of(|t| t.no_data = NoData::FireAfter(secs(0))), "/no_data/fire_after"),
        (of(|t| t.hold = secs(8 * 86_400)), "/for"),
    ];
    for (spec, pointer) in table {
        let refused = driver.refused("busy", spec);
        assert_eq!(refused.fields[0].pointer, pointer, "{refused}");
    }
    driver.put("db", cluster());
    let elsewhere = driver.refused("busy", of(|t| t.cluster = name("db")));
    assert!(elsewhere.message.contains("not collected on cluster `db`"), "{elsewhere}");
    let mut zero = counter(0);
    let refused = driver.refused("load2", zero.clone());
    assert_eq!(refused.fields[0].pointer, "/interval");
    if let Spec::Counter(counter) = &mut zero {
        counter.interval = secs(1);
        counter.source = CounterSource::Ssh(SshCounter {
            script: Value::Inline("free -m".to_string()),
            parse: Parse::Regex("(".to_string()),
        });
    }
    assert_eq!(driver.refused("load2", zero).fields[0].pointer, "/parse/regex");
    let backwards = window(WindowScope::Cluster(name("web")), 10, 10);
    assert_eq!(driver.refused("upgrade", backwards).fields[0].pointer, "/to");
}

#[test]
fn a_file_keeps_its_last_versions() {
    let mut driver = Driver::new();
    let file = |text: &str| Spec::File(File { content: Arc::from(text.as_bytes()) });
    for version in 1..=13 {
        driver.put("load.sh", file(&format!("v{version}")));
    }
    let kept: Vec<u64> = driver.state.file_versions(&name("load.sh")).map(|(version, _)| version).collect();
    assert_eq!(kept, (4..=13).collect::<Vec<_>>());
    driver.restart();
    driver.try_delete(Kind::File, "load.sh").unwrap();
    assert_eq!(driver.state.file_versions(&name("load.sh")).count(), 0);
}

#[test]
fn the_first_host_key_wins_and_may_be_replaced() {
    let mut driver = Driver::new();
    driver.fleet(&["web01"]);
    let record = |driver: &mut Driver, key: &str| {
        driver.apply(Command::RecordHostKey { node: name("web01"), key: key.to_string() }).unwrap()
    };
    assert_eq!(record(&mut driver, "k1"), Reply::HostKeys(vec!["k1".to_string()]));
    assert_eq!(record(&mut driver, "k2"), Reply::HostKeys(vec!["k1".to_string()]));
    driver.apply(Command::SetHostKeys { node: name("web01"), keys: Vec::new() }).unwrap();
    assert_eq!(record(&mut driver, "k2"), Reply::HostKeys(vec!["k2".to_string()]));
    let unknown = Command::RecordHostKey { node: name("nobody"), key: "k".to_string() };
    assert_eq!(driver.apply(unknown).unwrap_err().kind, RejectionKind::NotFound);
    driver.try_delete(Kind::Node, "web01").unwrap();
    driver.put("web01", node("web"));
    assert!(driver.state.host_keys(&name("web01")).is_empty(), "a new node of an old name is another host");
}

#[test]
fn what_belongs_to_a_node_or_a_counter_goes_with_it() {
    let mut driver = Driver::new();
    driver.fleet(&["web01", "web02"]);
    assert_eq!(driver.push(&[("web01", 0, 1.0), ("web02", 0, 1.0)]), 2);
    driver.try_delete(Kind::Node, "web01").unwrap();
    assert_eq!(driver.state.series().of_counter("load1").len(), 1);
    driver.try_delete(Kind::Counter, "load1").unwrap();
    assert_eq!(driver.state.series().of_counter("load1").len(), 0);
    driver.restart();
}

#[test]
fn what_programs_write_often_leaves_one_trace_a_minute() {
    let mut driver = Driver::new();
    driver.put("state", Spec::File(File { content: Arc::from(&b"by hand"[..]) }));
    let events = driver.state.events_before(None).count();
    let put = |driver: &mut Driver, content: &str, expect| {
        let file = File { content: Arc::from(content.as_bytes()) };
        match driver.apply(Command::PutFiles(vec![FilePut { name: name("state"), file, expect }])) {
            Ok(Reply::Files(mut stored)) => stored.remove(0),
            other => panic!("{other:?}"),
        }
    };
    driver.pass(61_000);
    let stored = put(&mut driver, "1", Expect::Version(1)).unwrap();
    assert_eq!((stored.effect, stored.version), (Effect::Updated, 2));
    for (content, version) in [("2", 3), ("3", 4)] {
        assert_eq!(put(&mut driver, content, Expect::Any).unwrap().version, version);
    }
    assert_eq!(put(&mut driver, "3", Expect::Any).unwrap().effect, Effect::Unchanged);
    let moved = put(&mut driver, "4", Expect::Version(2)).unwrap_err();
    assert_eq!(moved.kind, RejectionKind::VersionMoved);
    let kept: Vec<(u64, Vec<u8>)> = driver
        .state
        .file_versions(&name("state"))
        .map(|(version, row)| (version, row.content.to_vec()))
        .collect();
    assert_eq!(kept, [(1, b"by hand".to_vec()), (4, b"3".to_vec())]);
    assert_eq!(driver.state.events_before(None).count(), events + 1);
    driver.restart();
    assert_eq!(driver.state.file_versions(&name("state")).count(), 2);
}
