#![allow(clippy::unwrap_used)]
use rscaler_raft::command::Command;
use rscaler_raft::model::{Actor, EventKind, FailureKind, Parse};

use super::*;
use crate::ssh::testing::{Setup, Sshd};
use crate::testing::{World, name, until};

fn collect(world: &World) -> CancellationToken {
    let stop = CancellationToken::new();
    let collectors = Collectors::new(
        world.handle.clone(),
        world.lease.clone(),
        Arc::clone(&world.targets),
        world.pool.clone(),
        world.jvms(),
        Options::default(),
        Arc::clone(&world.metrics),
    );
    world.spawn(collectors.run(stop.clone()));
    stop
}

async fn until_failed(world: &World, counter: &str, kind: FailureKind) -> String {
    let failure = || world.check("web01", counter).and_then(|check| check.failure.clone());
    until(counter, || failure().is_some_and(|(seen, _)| seen == kind), failure).await;
    failure().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_aligned_and_a_bad_counter_costs_only_itself() {
    let host = Sshd::start(Setup::default());
    let world = World::start().await;
    world.add_host("web01", &host).await;
    world.add_counter("good", "echo 1.5", Parse::Number).await;
    world.add_counter("pairs", "echo a=1; echo 'b 2'", Parse::Pairs).await;
    world.add_counter("words", "echo not a number", Parse::Number).await;
    world.add_counter("fails", "echo oh no >&2; exit 3", Parse::Number).await;
    world.add_counter("hangs", "sleep 1000", Parse::Number).await;
    world.add_counter("floods", "yes", Parse::Number).await;
    world.add_counter("binary", "head -c 5000 /dev/urandom", Parse::Number).await;
    let _stop = collect(&world);

    until("samples", || world.samples("good", "web01", None).len() >= 4, || world.check("web01", "good"))
        .await;
    let samples = world.samples("good", "web01", None);
    assert!(samples.iter().all(|(at, value)| at % 1000 == 0 && *value == 1.5), "{samples:?}");
    assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0), "{samples:?}");
    for (instance, value) in [("a", 1.0), ("b", 2.0)] {
        let samples = || world.samples("pairs", "web01", Some(instance));
        until("pairs", || !samples().is_empty(), samples).await;
        assert!(samples().iter().all(|(_, v)| *v == value));
    }

    assert!(until_failed(&world, "words", FailureKind::Parse).await.contains("not a number"));
    let reason = until_failed(&world, "fails", FailureKind::Exit).await;
    assert!(reason.contains('3') && reason.contains("oh no"), "{reason}");
    assert!(until_failed(&world, "hangs", FailureKind::TimedOut).await.contains("5s"));
    until_failed(&world, "floods", FailureKind::TooMuchOutput).await;
    until_failed(&world, "binary", FailureKind::Parse).await;

    let after = world.samples("good", "web01", None).len();
    until("it goes on", || world.samples("good", "web01", None).len() > after + 2, || after).await;
    let check = world.check("web01", "good").unwrap();
    assert_eq!((check.failure.clone(), check.failures_total), (None, 0));
    assert_eq!(check.output.as_ref().unwrap().stdout, b"1.5\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_host_is_the_reason_of_its_series_and_is_collected_when_it_is_back() {
    let mut host = Sshd::start(Setup::default());
    let world = World::start().await;
    world.add_host("web01", &host).await;
    world.add_counter("one", "echo 1", Parse::Number).await;
    let _stop = collect(&world);
    until("a sample", || !world.samples("one", "web01", None).is_empty(), || ()).await;

    host.stop();
    let reason = until_failed(&world, "one", FailureKind::Unreachable).await;
    assert!(reason.contains(&host.host), "{reason}");
    let count = world.samples("one", "web01", None).len();

    host.restart();
    until("it is back", || world.samples("one", "web01", None).len() > count, || world.check("web01", "one"))
        .await;
    let events: Vec<String> = world.handle.read(|state| {
        let events = state.events_before(None).filter(|e| matches!(e.kind, EventKind::NodeReachability(_)));
        events.map(|event| event.message.clone()).collect()
    });
    assert!(events.iter().any(|message| message.contains("cannot be collected")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_is_refused_until_somebody_says_otherwise() {
    let mut host = Sshd::start(Setup::default());
    let world = World::start().await;
    world.add_host("web01", &host).await;
    world.add_counter("one", "echo 1", Parse::Number).await;
    let _stop = collect(&world);
    until("a sample", || !world.samples("one", "web01", None).is_empty(), || ()).await;

    host.stop();
    host.new_host_keys();
    host.restart();
    let reason = until_failed(&world, "one", FailureKind::HostKey).await;
    assert!(reason.contains("changed"), "{reason}");

    let forget = Command::SetHostKeys { node: name("web01"), keys: Vec::new() };
    world.handle.submit(Actor::System, forget).await.unwrap();
    let check = || world.check("web01", "one").and_then(|check| check.failure.clone());
    until("it is collected again", || check().is_none(), check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_without_a_lease_or_of_a_node_that_went_elsewhere() {
    let host = Sshd::start(Setup::default());
    let file = host.dir().join("readings");
    let world = World::start().await;
    world.add_host("web01", &host).await;
    world.add_counter("one", &format!("echo x >>{}; echo 1", file.display()), Parse::Number).await;
    let readings = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    let idle = || world.metrics.nodes_collected.get() == 0 && world.metrics.checks_in_flight.get() == 0;
    let _stop = collect(&world);
    until("it is read", || readings() > 1, readings).await;

    world.keeper.lapse();
    until("nothing is read", idle, || ()).await;
    let count = readings();
    world.pass(std::time::Duration::from_millis(2500)).await;
    assert_eq!(readings(), count);

    world.hold();
    until("it is read again", || readings() > count, readings).await;

    world.close_session(true).await;
    until("its node is nobody's", idle, || ()).await;
    let count = readings();
    world.pass(std::time::Duration::from_millis(2500)).await;
    assert_eq!(readings(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_changes_or_goes_is_followed_at_once() {
    let host = Sshd::start(Setup::default());
    let world = World::start().await;
    world.add_host("web01", &host).await;
    world.add_counter("one", "echo 1", Parse::Number).await;
    let _stop = collect(&world);
    until("a sample", || !world.samples("one", "web01", None).is_empty(), || ()).await;
    world.add_counter("one", "echo 2", Parse::Number).await;
    let last = || world.samples("one", "web01", None).last().copied();
    until("the new script counts", || last().is_some_and(|(_, value)| value == 2.0), last).await;
    let delete = rscaler_raft::command::Change::Delete {
        kind: rscaler_raft::model::Kind::Counter,
        name: name("one"),
        expect: rscaler_raft::command::Expect::Any,
    };
    world.handle.submit(Actor::System, Command::Configure(vec![delete])).await.unwrap();
    until("nothing is read", || world.metrics.checks_in_flight.get() == 0, || ()).await;
    let checks = world.metrics.checks.get();
    world.pass(std::time::Duration::from_millis(2500)).await;
    assert!(world.metrics.checks.get() <= checks + 1, "at most one that was under way");
}
