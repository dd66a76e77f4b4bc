//! The short tests, which run with all others. Speaks as much of the standard test harness as test runners need.

use std::time::Duration;

use crate::faults::Fault;
use crate::figures::Figures;
use crate::plane::{Plane, Preload, STARTING, until};
use crate::round::Setup;
use crate::{check_test, net, round, runtime};

const TESTS: &[(&str, fn())] = &[
    ("the_checker_agrees_with_another", check_test::the_checker_agrees_with_another),
    ("every_stale_read_is_found", check_test::every_stale_read_is_found),
    ("a_peer_whose_raft_panics_ends", a_peer_whose_raft_panics_ends),
    ("what_was_promised_holds_while_peers_are_killed_and_cut_off", || short(Fault::Mixed, 22, 0)),
    ("what_was_promised_holds_while_power_fails_everywhere", || short(Fault::PowerAll, 10, 0)),
    ("triggers_fire_once_and_at_their_sample_while_leaders_are_killed", || short(Fault::Firings, 10, 60)),
];

/// Lists or runs what is asked for. Whether it went well.
pub(crate) fn run(arguments: &[String]) -> bool {
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if is("--list") {
        if !is("--ignored") {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return true;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let chosen = TESTS.iter().filter(|(name, _)| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|wanted| if is("--exact") { *wanted == name } else { name.contains(*wanted) })
    });
    for (name, test) in chosen {
        println!("test {name}");
        test();
    }
    true
}

/// A short round of one fault, with so many triggers that are to fire meanwhile.
fn short(fault: Fault, seconds: u64, triggers: usize) {
    if let Err(why) = net::permitted() {
        println!("skipped: network namespaces can not be made here: {why}");
        return;
    }
    let seed = rand::random_range(1..1_000_000);
    let setup = Setup { seed, peers: 3, fault, time: Duration::from_secs(seconds), triggers };
    let mut figures = Figures::default();
    figures.add(runtime().block_on(round::run(setup)));
    println!("{}", figures.table());
    assert_eq!(figures.violations(), 0, "seed {seed}: what is violated stands above");
}

/// A monotonic clock that goes back makes openraft panic, where its assertions are compiled in. The peer must not live on as
/// one that answers and takes no part.
fn a_peer_whose_raft_panics_ends() {
    if let Err(why) = net::permitted() {
        println!("skipped: network namespaces can not be made here: {why}");
        return;
    }
    runtime().block_on(async {
        let mut plane = Plane::start(3, Preload::Shim, None).await;
        let leader = plane.leader().await;
        let follower = plane.others(leader)[0];
        let control = plane.peers[follower].control.as_ref().unwrap();
        if !control.has_clock() {
            println!("skipped: clocks can not be caught here");
            return;
        }
        control.turn_back(2);
        let has_panicked = until("a panic, or a sign that there is none", STARTING, async || {
            let has_panicked = !plane.peers[follower].panics().is_empty();
            if has_panicked || !cfg!(debug_assertions) { Ok(has_panicked) } else { Err(()) }
        });
        if has_panicked.await {
            let end = until("the peer to end", STARTING, async || {
                if plane.peers[follower].has_ended() { Ok(()) } else { Err(()) }
            });
            end.await;
            assert!(plane.peers[follower].log_end(200).contains("Raft has stopped"));
        }
    });
}
