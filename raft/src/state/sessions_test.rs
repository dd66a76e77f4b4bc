#![allow(clippy::unwrap_used)]

use super::testing::*;
use crate::command::{CheckBatch, CheckReport, Command, EndingResult, Progress, RejectionKind, Reply};
use crate::model::*;

fn homes(driver: &Driver) -> Vec<u64> {
    driver.state.assignments().map(|(_, assignment)| assignment.peer.0).collect()
}

#[test]
fn a_session_lives_as_long_as_it_is_renewed() {
    let mut driver = Driver::with_peers(1);
    driver.pass(10_000);
    assert!(driver.state.session(PeerId(1)).is_some());
    driver.apply(Command::RenewSession { peer: PeerId(1), epoch: 1 }).unwrap();
    driver.alive.clear();
    driver.pass(1_999);
    assert!(driver.state.session(PeerId(1)).is_some());
    driver.pass(1);
    assert!(driver.state.session(PeerId(1)).is_none());
    let late = Command::RenewSession { peer: PeerId(1), epoch: 1 };
    assert_eq!(driver.apply(late).unwrap_err().kind, RejectionKind::Stale);
    assert_eq!(driver.events(|kind| matches!(kind, EventKind::PeerLost(_))).len(), 1);
}

#[test]
fn a_process_that_starts_again_is_another_session() {
    let mut driver = Driver::with_peers(1);
    assert_eq!(driver.open(1, 1), 1, "the same process asks twice");
    assert_eq!(driver.open(1, 2), 2);
    let old = Command::RenewSession { peer: PeerId(1), epoch: 1 };
    assert_eq!(driver.apply(old).unwrap_err().kind, RejectionKind::Stale);
    let stranger = Command::OpenSession {
        peer: PeerId(9),
        boot: 1,
        capabilities: Capabilities::default(),
        api_url: String::new(),
    };
    assert_eq!(driver.apply(stranger).unwrap_err().kind, RejectionKind::NotFound);
}

#[test]
fn what_a_session_was_replaced_for_is_told_as_it_was() {
    let process = |number: u128, session: u128| number << 64 | session;
    for (name, next, expected) in [
        ("the same process", process(7, 2), "could not renew"),
        ("another process", process(8, 2), "started again"),
    ] {
        let mut driver = Driver::with_peers(1);
        driver.open(1, process(7, 1));
        driver.fleet(&["web01"]);
        driver.run_on_web(command(|_| ()));
        driver.begin(1);
        driver.open(1, next);
        let task = driver.task(1);
        assert_eq!(task.state, TaskState::Lost, "{name}");
        assert!(task.reason.as_ref().unwrap().contains(expected), "{name}: {:?}", task.reason);
    }
}

#[test]
fn nodes_are_spread_and_a_lost_peers_nodes_go_to_others_under_a_new_epoch() {
    let mut driver = Driver::with_peers(3);
    driver.fleet(&["web01", "web02", "web03", "web04", "web05", "web06"]);
    let mut counts = homes(&driver);
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 2, 2, 3, 3]);
    let before: Vec<_> = driver.state.assignments().map(|(n, a)| (n.clone(), a)).collect();
    driver.alive.remove(&PeerId(2));
    driver.pass(2_000);
    assert!(!homes(&driver).contains(&2));
    for (node, was) in before {
        let now = driver.state.assignment(&node).unwrap();
        assert_eq!(was.peer == PeerId(2), now.epoch > was.epoch, "{node}: only what has to move moves");
    }
}

#[test]
fn samples_under_an_older_assignment_are_refused() {
    let mut driver = Driver::with_peers(2);
    driver.fleet(&["web01"]);
    let old = driver.state.assignment(&name("web01")).unwrap();
    let batch = |epoch| {
        let Command::Samples(mut batch) = pushed(&[("web01", 1, 1.0)]) else { unreachable!() };
        batch.source = crate::command::SampleSource::Collector { node: name("web01"), epoch };
        Command::Samples(batch)
    };
    driver.apply(batch(old.epoch)).unwrap();
    driver.alive.remove(&old.peer);
    driver.pass(3_000);
    assert_ne!(driver.state.assignment(&name("web01")).unwrap().peer, old.peer);
    assert_eq!(driver.apply(batch(old.epoch)).unwrap_err().kind, RejectionKind::Stale);
}

#[test]
fn a_node_that_is_back_with_another_key_is_an_event_beside_its_absence() {
    let mut driver = Driver::with_peers(1);
    driver.fleet(&["web01"]);
    let epoch = driver.state.assignment(&name("web01")).unwrap().epoch;
    let mut report = |failure: Option<(FailureKind, &str)>| {
        let report = CheckReport {
            counter: name("load1"),
            at: Timestamp(BEGIN * 1000),
            failures: u32::from(failure.is_some()),
            failure: failure.map(|(kind, why)| (kind, why.to_string())),
            output: None,
        };
        let batch = CheckBatch { node: name("web01"), epoch, reports: vec![report] };
        driver.apply(Command::Checks(batch)).unwrap();
        driver.events(|kind| matches!(kind, EventKind::NodeReachability(_)))
    };
    assert_eq!(report(None).len(), 0);
    assert_eq!(report(Some((FailureKind::Unreachable, "gone"))).len(), 1);
    assert_eq!(report(Some((FailureKind::Unreachable, "still gone"))).len(), 1);
    let told = report(Some((FailureKind::HostKey, "its key has changed")));
    assert_eq!(told.len(), 2);
    assert!(told[1].contains("its key has changed"), "{told:?}");
    assert_eq!(report(Some((FailureKind::HostKey, "its key has changed"))).len(), 2);
    assert_eq!(report(None).last().unwrap(), "node `web01` is collected again");
}

#[test]
fn a_new_leader_gives_every_session_one_full_life_and_no_second() {
    let mut driver = Driver::with_peers(1);
    driver.alive.clear();
    let tick = |driver: &mut Driver, first, delta_ms| {
        let wall = driver.state.clock().wall;
        driver.apply(Command::Tick { term: 1, first, delta_ms, wall }).unwrap();
    };
    tick(&mut driver, false, 1_500);
    tick(&mut driver, true, 0);
    tick(&mut driver, false, 1_500);
    assert!(driver.state.session(PeerId(1)).is_some(), "1.5 s of its second life");
    tick(&mut driver, true, 0);
    tick(&mut driver, false, 500);
    assert!(driver.state.session(PeerId(1)).is_none(), "elections alone keep nobody alive");
}

#[test]
fn one_tick_moves_the_clock_by_two_seconds_at_most_and_the_wall_clock_never_back() {
    let mut driver = Driver::new();
    let elapsed = driver.state.clock().elapsed;
    driver.apply(Command::Tick { term: 1, first: false, delta_ms: 3_600_000, wall: Timestamp(5) }).unwrap();
    assert_eq!(driver.state.clock().elapsed.since(elapsed), secs(2));
    assert_eq!(driver.state.clock().wall, Timestamp(BEGIN * 1000));
}

#[test]
fn a_draining_peer_gets_no_new_work_and_keeps_what_it_has() {
    let mut driver = Driver::with_peers(2);
    driver.fleet(&["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.begin(1);
    let executor = driver.task(1).executor.unwrap();
    driver
        .apply(Command::CloseSession { peer: executor.peer, epoch: executor.session, draining: true })
        .unwrap();
    assert_ne!(driver.state.assignment(&name("web01")).unwrap().peer, executor.peer);
    driver.run_on_web(command(|_| ()));
    assert_ne!(driver.task(2).executor.unwrap().peer, executor.peer);
    driver.finish(1, EndingResult::Succeeded);
    assert_eq!(driver.task(1).state, TaskState::Succeeded);
}

#[test]
fn a_peer_that_stops_hands_its_work_over_at_once() {
    let mut driver = Driver::with_peers(2);
    driver.fleet(&["web01"]);
    driver.run_on_web(command(|_| ()));
    let first = driver.task(1).executor.unwrap();
    driver.alive.remove(&first.peer);
    driver.apply(Command::CloseSession { peer: first.peer, epoch: first.session, draining: false }).unwrap();
    let second = driver.task(1).executor.unwrap();
    assert_ne!(second.peer, first.peer);
    assert_eq!((driver.task(1).attempt, driver.task(1).state), (2, TaskState::Assigned));
    assert!(!driver.report_as(1, 1, first.session, Progress::Started), "the first has no say any more");
}

#[test]
fn without_the_capability_nobody_collects() {
    let mut driver = Driver::new();
    driver.admit(1);
    driver.open_with(1, 1, Capabilities { tasks_max: 8, ..Capabilities::default() });
    driver.fleet(&["web01"]);
    assert!(driver.state.assignment(&name("web01")).is_none());
    driver.open(1, 2);
    assert!(driver.state.assignment(&name("web01")).is_some());
    driver.put("web01", node_with("web", None));
    assert!(driver.state.assignment(&name("web01")).is_none(), "fed by pushed samples only");
}

#[test]
fn join_tokens_are_good_once_and_for_a_while() {
    let mut driver = Driver::with_peers(1);
    let admit = |hash: u8| Command::AdmitPeer {
        token: Some([hash; 32]),
        name: format!("joins{hash}"),
        peer_addr: String::new(),
        api_url: String::new(),
    };
    let token =
        |hash: u8| Command::CreateJoinToken { hash: [hash; 32], ttl_ms: 5_000, role: PeerRole::Learner };
    driver.apply(token(7)).unwrap();
    assert_eq!(driver.apply(admit(7)), Ok(Reply::Peer(PeerId(2))));
    assert_eq!(driver.state.peer(PeerId(2)).unwrap().role, PeerRole::Learner);
    assert_eq!(driver.apply(admit(7)).unwrap_err().kind, RejectionKind::Conflict, "its name is taken");
    driver.apply(token(8)).unwrap();
    driver.pass(5_000);
    assert_eq!(driver.apply(admit(8)).unwrap_err().kind, RejectionKind::NotFound, "it ran out");
    assert_eq!(driver.apply(Command::RemovePeer(PeerId(1))).unwrap_err().kind, RejectionKind::Conflict);
}

#[test]
fn a_removed_peer_keeps_its_tasks_until_its_session_runs_out() {
    let mut driver = Driver::with_peers(2);
    driver.fleet(&["web01"]);
    driver.run_on_web(command(|action| action.on_executor_loss = OnExecutorLoss::Retry));
    driver.begin(1);
    let before = driver.task(1).executor.unwrap();
    driver.apply(Command::RemovePeer(before.peer)).unwrap();
    driver.alive.remove(&before.peer);
    let renew = Command::RenewSession { peer: before.peer, epoch: before.session };
    assert_eq!(driver.apply(renew).unwrap_err().kind, RejectionKind::Stale);
    assert!(!homes(&driver).contains(&before.peer.0), "its nodes are collected by others at once");
    driver.pass(1_999);
    assert_eq!(driver.task(1).executor.map(|executor| executor.session), Some(before.session));
    driver.pass(1);
    assert!(driver.state.session(before.peer).is_none());
    let after = driver.task(1).executor.unwrap();
    assert_ne!(after.peer, before.peer);
    assert_eq!(driver.events(|kind| matches!(kind, EventKind::PeerLost(_))).len(), 0);
}

#[test]
fn a_removed_peer_is_refused_and_its_number_not_used_again() {
    let mut driver = Driver::with_peers(2);
    driver.apply(Command::RecordCertificate { peer: PeerId(2), serial: vec![4, 2] }).unwrap();
    driver.alive.remove(&PeerId(2));
    driver.apply(Command::RemovePeer(PeerId(2))).unwrap();
    assert!(driver.state.is_revoked(&[4, 2]));
    driver.restart();
    driver.apply(Command::CreateJoinToken { hash: [1; 32], ttl_ms: 1000, role: PeerRole::Voter }).unwrap();
    let again = Command::AdmitPeer {
        token: Some([1; 32]),
        name: "peer2".to_string(),
        peer_addr: String::new(),
        api_url: String::new(),
    };
    assert_eq!(driver.apply(again), Ok(Reply::Peer(PeerId(3))));
}

#[test]
fn a_tick_of_a_leader_that_is_no_longer_moves_nothing() {
    let mut driver = Driver::with_peers(1);
    let wall = driver.state.clock().wall;
    let tick = |term| Command::Tick { term, first: false, delta_ms: 100, wall };
    driver.apply(tick(7)).unwrap();
    let before = driver.state.clock();
    assert_eq!(driver.apply(tick(6)).unwrap_err().kind, RejectionKind::Stale);
    assert_eq!(driver.state.clock(), before);

    driver.state.refound(driver.index, "p", "127.0.0.1:1", "http://127.0.0.1:2");
    driver.apply(tick(1)).unwrap();
    assert!(driver.state.clock().elapsed > before.elapsed, "a restored control plane begins with term 1");
}
