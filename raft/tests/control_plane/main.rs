//! Whole control planes: agreement, joining, membership, snapshots, restarts.

#![allow(clippy::unwrap_used, missing_docs)]

mod fleet;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet::{Fleet, GRACE, PATIENCE, forgetful, has_now, propose, propose_to, propose_within, put, wait_for};
use rscaler_raft::command::{Command, Proposal};
use rscaler_raft::handle::EngineError;
use rscaler_raft::model::{Actor, PeerId, PeerRole, Timestamp};
use rscaler_raft::network::join::{self, Applicant, JoinToken};
use rscaler_raft::peer::{Error, Peer, Stopped};
use rscaler_raft::{identity, network};
use tokio::time::Instant;

fn other_than(leader: u64) -> u64 {
    (1..=3).find(|number| *number != leader).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_peers_agree_and_go_on_without_their_leader() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    for number in 1..=3 {
        fleet.put(number, &format!("by-{number}")).await.unwrap();
    }
    for reader in 1..=3 {
        for writer in 1..=3 {
            assert!(fleet.has(reader, &format!("by-{writer}")).await, "peer {reader}, written by {writer}");
        }
    }

    let leader = fleet.leader().await;
    fleet.crash(leader);
    let begun = Instant::now();
    let survivor = other_than(leader);
    fleet.put(survivor, "after").await.unwrap();
    let gap = begun.elapsed();
    tracing::info!(gap_ms = gap.as_millis() as u64, "wrote again after the leader died");
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    let next = fleet.leader().await;
    assert_ne!(next, leader);

    fleet.open(leader).await;
    assert!(fleet.has(leader, "after").await);
    assert!(fleet.has(leader, "by-3").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_on_all_peers_lose_nothing() {
    let fleet = Fleet::start(3, |_| {}).await;
    let begun = Instant::now();
    let writes = (0..300).map(|n| {
        let fleet = &fleet;
        async move { fleet.put(n % 3 + 1, &format!("c{n}")).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    tracing::info!(elapsed_ms = begun.elapsed().as_millis() as u64, "300 writes");
    for reader in 1..=3 {
        for n in 0..300 {
            assert!(fleet.has(reader, &format!("c{n}")).await, "peer {reader} lacks c{n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_a_leader() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let leader = fleet.leader().await;
    let ended = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=3)
        .filter(|number| *number != leader)
        .map(|number| {
            let (engine, ended) = (fleet.peer(number).engine(), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let name = format!("w{number}-{}", acknowledged.len());
                    // Tried again inside until it is known to be there.
                    propose_to(&engine, put(&name), PATIENCE).await.unwrap();
                    acknowledged.push(name);
                }
                acknowledged
            })
        })
        .collect();
    let survivor = other_than(leader);
    let written = |fleet: &Fleet| fleet.peer(survivor).replica().applied();
    let begun = written(&fleet);
    wait_for("some writes", || async {
        let now = written(&fleet);
        if now > begun + 50 { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
    fleet.crash(leader);
    let died = written(&fleet);
    wait_for("writes after the death", || async {
        let now = written(&fleet);
        if now > died + 50 { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
    ended.store(true, Ordering::Relaxed);
    fleet.open(leader).await;
    for writer in writers {
        for name in writer.await.unwrap() {
            for reader in 1..=3 {
                assert!(fleet.has(reader, &name).await, "peer {reader} lacks {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_peers_come_back_after_a_stop_and_after_a_crash() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    fleet.put(1, "before").await.unwrap();
    for number in 1..=3 {
        fleet.shutdown(number).await;
    }
    for number in 1..=3 {
        fleet.open(number).await;
    }
    for number in 1..=3 {
        assert!(fleet.has(number, "before").await);
    }
    fleet.put(2, "between").await.unwrap();
    for number in 1..=3 {
        fleet.crash(number);
    }
    for number in 1..=3 {
        fleet.open(number).await;
    }
    fleet.put(3, "after").await.unwrap();
    for number in 1..=3 {
        for name in ["before", "between", "after"] {
            assert!(fleet.has(number, name).await, "peer {number} lacks {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_in_order_hands_over_first() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let leader = fleet.leader().await;
    let survivor = other_than(leader);
    let mut leadership = fleet.peer(survivor).engine().leadership();
    leadership.mark_unchanged();
    fleet.shutdown(leader).await;
    let now = leadership.borrow_and_update();
    assert!(now.leader.is_some_and(|next| next.0 != leader), "{now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_sent() {
    let fleet = Fleet::start(3, |_| {}).await;
    for to in [2, 3, 1] {
        // From any peer: it is forwarded.
        let by = fleet.peer(other_than(to));
        by.engine().transfer_leader(PeerId(to), Instant::now() + PATIENCE).await.unwrap();
        assert_eq!(fleet.leader().await, to);
        fleet.put(to, &format!("led-by-{to}")).await.unwrap();
    }
    let error = fleet.peer(1).engine().transfer_leader(PeerId(9), Instant::now() + PATIENCE).await;
    assert!(matches!(&error, Err(EngineError::Refused(why)) if why.contains("not a voter")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_a_peer_that_has_just_come_back() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let leader = fleet.leader().await;
    let back = other_than(leader);
    fleet.crash(back);
    // By then the leader dials it once a second only.
    wait_for("its absence to be noticed", || async {
        let members = fleet.peer(leader).engine().members().await;
        let missed = members.iter().any(|member| member.peer == PeerId(back) && !member.answers);
        if missed { Ok(()) } else { Err(format!("{members:?}")) }
    })
    .await;
    fleet.open(back).await;
    fleet.peer(leader).engine().transfer_leader(PeerId(back), Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(fleet.leader().await, back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_peer_knows_how_far_the_others_have_come() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    fleet.put(1, "before").await.unwrap();
    let leader = fleet.leader().await;
    let dead = other_than(leader);
    fleet.crash(dead);
    fleet.put(leader, "after").await.unwrap();
    for number in (1..=3).filter(|number| *number != dead) {
        wait_for("what the leader knows", || async {
            let members = fleet.peer(number).engine().members().await;
            let of = |number: u64| members.iter().find(|member| member.peer == PeerId(number)).unwrap();
            let behind = of(dead).last_log.is_some() && of(dead).last_log < of(leader).last_log;
            let living = members.iter().filter(|member| member.answers);
            let known = living.clone().all(|member| member.last_log.is_some() && member.applied.is_some());
            if behind && known && living.count() == 2 { Ok(()) } else { Err(format!("{members:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let leader = fleet.leader().await;
    for number in (1..=3).filter(|number| *number != leader) {
        fleet.crash(number);
    }
    let error = propose_within(fleet.peer(leader), put("lost"), Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(error, EngineError::Unknown(_)), "{error:?}");
    let error = fleet.peer(leader).engine().read_index(Instant::now() + Duration::from_secs(1)).await;
    assert!(matches!(error, Err(EngineError::Unavailable(_))), "{error:?}");
    // Nobody is told that there is a leader.
    let mut leadership = fleet.peer(leader).engine().leadership();
    tokio::time::timeout(PATIENCE, leadership.wait_for(|now| now.leader.is_none())).await.unwrap().unwrap();
}

fn applicant(name: &str) -> Applicant {
    Applicant {
        name: name.to_string(),
        peer_addr: "127.0.0.1:1".to_string(),
        api_url: "http://127.0.0.1:2".to_string(),
        key: network::certificate::generate_key().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_works_once_and_a_repeated_join_is_the_same_peer() {
    let mut fleet = Fleet::new();
    fleet.bootstrap().await;
    let one = fleet.peer(1);
    let life = Duration::from_secs(60);
    let token = one.create_join_token(life, PeerRole::Learner).await.unwrap();

    let first = applicant("first");
    let joined = join::join(one.addr(), &token, &first).await.unwrap();
    assert_eq!(joined.peer, PeerId(2));
    // The answer was lost, say: the same key, name and token is the same peer.
    let again = join::join(one.addr(), &token, &first).await.unwrap();
    assert_eq!((again.peer, again.control_plane), (joined.peer, joined.control_plane));
    // Somebody else with the same token, or under another name, is not.
    for other in
        [applicant("first"), applicant("second"), Applicant { name: "third".to_string(), ..first.clone() }]
    {
        let error = join::join(one.addr(), &token, &other).await.unwrap_err();
        assert!(error.to_string().contains("was used"), "{error}");
    }

    let token = one.create_join_token(life, PeerRole::Learner).await.unwrap();
    let error = join::join(one.addr(), &token, &applicant("first")).await.unwrap_err();
    assert!(error.to_string().contains("is called `first` already"), "{error}");
    // A refusal costs the token nothing.
    assert_eq!(join::join(one.addr(), &token, &applicant("fourth")).await.unwrap().peer, PeerId(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_expires_and_belongs_to_its_control_plane() {
    let mut fleet = Fleet::new();
    fleet.bootstrap().await;
    let one = fleet.peer(1);
    let token = one.create_join_token(Duration::from_secs(1), PeerRole::Learner).await.unwrap();
    for first in [true, false] {
        let tick =
            Command::Tick { term: 1, first, delta_ms: if first { 0 } else { 2000 }, wall: Timestamp(1) };
        propose(one, tick).await.unwrap();
    }
    let error = join::join(one.addr(), &token, &applicant("late")).await.unwrap_err();
    assert!(error.to_string().contains("expired") && !error.is_passing(), "{error}");

    let forged = JoinToken::generate(one.authority()).unwrap();
    let error = join::join(one.addr(), &forged, &applicant("forger")).await.unwrap_err();
    assert!(error.to_string().contains("made by another control plane"), "{error}");

    let mut other = Fleet::new();
    other.bootstrap().await;
    let token = other.peer(1).create_join_token(Duration::from_secs(60), PeerRole::Learner).await.unwrap();
    let error = join::join(one.addr(), &token, &applicant("lost")).await.unwrap_err();
    assert!(matches!(error, join::Error::OtherControlPlane { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_demoted_promoted_and_removed() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    fleet.peer(1).engine().transfer_leader(PeerId(1), Instant::now() + PATIENCE).await.unwrap();
    let (one, three) = (fleet.peer(1), PeerId(3));
    propose(one, Command::SetPeerRole { peer: three, role: PeerRole::Learner }).await.unwrap();
    fleet.wait_voters(&[1, 2]).await;
    assert_eq!(fleet.members(1).await.get(&3), Some(&false), "it stays, as a learner");
    propose(one, Command::SetPeerRole { peer: three, role: PeerRole::Voter }).await.unwrap();
    fleet.wait_voters(&[1, 2, 3]).await;

    propose(one, Command::RemovePeer(three)).await.unwrap();
    let removed = fleet.peers.remove(&3).unwrap();
    wait_for("two members", || async {
        let members = fleet.members(1).await;
        if members.len() == 2 { Ok(()) } else { Err(format!("{members:?}")) }
    })
    .await;
    let mut stopped = removed.stopped();
    let stopped =
        tokio::time::timeout(PATIENCE, stopped.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    assert!(matches!(stopped, Some(Stopped::Removed(_))), "{stopped:?}");
    removed.shutdown(GRACE).await;
    fleet.put(2, "without-three").await.unwrap();

    // It does not come back with its old directory.
    fleet.open(3).await;
    let mut stopped = fleet.peer(3).stopped();
    tokio::time::timeout(PATIENCE, stopped.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert!(!has_now(fleet.peer(3), "without-three"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_leader_hands_over_before_it_goes() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let leader = fleet.leader().await;
    let other = other_than(leader);
    propose(fleet.peer(other), Command::RemovePeer(PeerId(leader))).await.unwrap();
    let gone = fleet.peers.remove(&leader).unwrap();
    let left: Vec<u64> = (1..=3).filter(|number| *number != leader).collect();
    fleet.wait_voters(&left).await;
    let mut stopped = gone.stopped();
    tokio::time::timeout(PATIENCE, stopped.wait_for(Option::is_some)).await.unwrap().unwrap();
    fleet.put(other, "after").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_not_removed_where_too_few_would_be_left() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let leader = fleet.leader().await;
    let (dead, alive) = match leader {
        1 => (2, 3),
        2 => (3, 1),
        _ => (1, 2),
    };
    fleet.crash(dead);
    // The one that lives must stay until the dead one is gone: then two voters of two decide.
    propose(fleet.peer(leader), Command::RemovePeer(PeerId(dead))).await.unwrap();
    fleet.wait_voters(&if leader < alive { [leader, alive] } else { [alive, leader] }).await;
    fleet.put(leader, "two-left").await.unwrap();
    let error = propose(fleet.peer(leader), Command::RemovePeer(PeerId(dead))).await.unwrap_err();
    assert!(matches!(error, EngineError::Refused(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_moved_is_found_again() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let leader = fleet.leader().await;
    let moved = other_than(leader);
    let before = fleet.peer(moved).addr().to_string();
    fleet.shutdown(moved).await;
    fleet.forget_addr(moved);
    fleet.open(moved).await;
    let now = fleet.peer(moved).addr().to_string();
    assert_ne!(now, before);
    wait_for("the new address", || async {
        let members = fleet.peer(leader).engine().members().await;
        let known = members.into_iter().find(|member| member.peer == PeerId(moved)).unwrap().addr;
        if known == now { Ok(()) } else { Err(known) }
    })
    .await;
    fleet.put(leader, "after").await.unwrap();
    assert!(fleet.has(moved, "after").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_peer_starts_from_a_snapshot() {
    let mut fleet = Fleet::with(forgetful);
    fleet.bootstrap().await;
    for n in 0..60 {
        fleet.put(1, &format!("c{n}")).await.unwrap();
    }
    // The first entries are forgotten, so that only a snapshot can bring them.
    wait_for("a purged log", || async {
        let first = fleet.peer(1).log_begins();
        if first > 20 { Ok(()) } else { Err(format!("it begins at {first}")) }
    })
    .await;
    fleet.join(2, 1, PeerRole::Voter).await;
    fleet.wait_voters(&[1, 2]).await;
    for n in 0..60 {
        assert!(fleet.has(2, &format!("c{n}")).await, "c{n}");
    }
    fleet.put(2, "after").await.unwrap();
    assert!(fleet.has(1, "after").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_state_is_lost_takes_another_ones_before_it_starts() {
    let mut fleet = Fleet::start(3, forgetful).await;
    for n in 0..60 {
        fleet.put(1, &format!("c{n}")).await.unwrap();
    }
    let lost = other_than(fleet.leader().await);
    wait_for("a purged log", || async {
        let first = fleet.peer(lost).log_begins();
        if first > 20 { Ok(()) } else { Err(format!("it begins at {first}")) }
    })
    .await;
    fleet.shutdown(lost).await;
    std::fs::remove_dir_all(fleet.dir(lost).join("state")).unwrap();
    fleet.open(lost).await;
    for n in 0..60 {
        assert!(fleet.has(lost, &format!("c{n}")).await, "c{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_disk_is_nearly_full_does_not_lead() {
    let mut fleet = Fleet::start(3, |_| {}).await;
    let full = fleet.leader().await;
    fleet.shutdown(full).await;
    fleet.change = |config| config.space_threshold_bytes = u64::MAX / 2;
    fleet.open(full).await;
    fleet.change = |_| {};
    let refused = fleet.peer(full).engine().transfer_leader(PeerId(full), Instant::now() + PATIENCE).await;
    assert!(matches!(&refused, Err(EngineError::Refused(why)) if why.contains("nearly full")), "{refused:?}");
    // It still takes what others wrote, and forwards what it is asked.
    fleet.put(full, "through-the-full-one").await.unwrap();
    assert!(fleet.has(full, "through-the-full-one").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_whose_disks_are_full_says_so_and_may_be_asked_again() {
    let mut fleet = Fleet::new();
    fleet.bootstrap().await;
    fleet.shutdown(1).await;
    fleet.change = |config| config.space_threshold_bytes = u64::MAX / 2;
    fleet.open(1).await;
    let error = fleet.put(1, "no").await.unwrap_err();
    assert!(matches!(&error, EngineError::Unavailable(why) if why.contains("nearly full")), "{error:?}");
    // Reads go on.
    assert!(!fleet.has(1, "no").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_state_differs_stops_and_writes_down_what_differs() {
    let mut fleet = Fleet::start(3, |config| config.upkeep.digest_every = 50).await;
    let leader = fleet.leader().await;
    let odd = other_than(leader);
    // As if its memory had failed.
    let proposal = Proposal { request: None, actor: Actor::System, command: put("odd") };
    fleet.peer(odd).replica().with_state_mut(|state| state.apply(1, &proposal)).unwrap();
    let mut stopped = fleet.peer(odd).stopped();
    for n in 0..50 {
        fleet.put(leader, &format!("c{n}")).await.unwrap();
    }
    let why =
        tokio::time::timeout(PATIENCE, stopped.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    let Some(Stopped::Failed(why)) = why else { panic!("{why:?}") };
    assert!(why.contains("differs from the leader's") && why.contains("differences-"), "{why}");
    fleet.crash(odd);
    let files = std::fs::read_dir(fleet.dir(odd)).unwrap().map(|file| file.unwrap().path());
    let file = files.into_iter().find(|path| path.to_string_lossy().contains("differences-")).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let row = text.lines().position(|line| line.ends_with("odd")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(text.lines().nth(row + 2), Some("  there: no such row"), "{text}");
    assert!(!text.lines().any(|line| line.ends_with("c0")), "only what differs: {text}");
    fleet.put(leader, "after").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_one_peer_and_says_so() {
    let mut fleet = Fleet::new();
    let error = Peer::open(fleet.config(1)).await.err().unwrap();
    assert!(matches!(error, Error::NoPeer { .. }), "{error:?}");
    fleet.bootstrap().await;
    let error = Peer::open(fleet.config(1)).await.err().unwrap();
    assert!(matches!(error, Error::Identity(identity::Error::InUse { .. })), "{error:?}");
    fleet.shutdown(1).await;
    let error = wait_for("a free directory", || async {
        match Peer::bootstrap(fleet.config(1)).await.err().unwrap() {
            error @ Error::Identity(identity::Error::InUse { .. }) => Err(error.to_string()),
            error @ Error::Listen { .. } => Err(error.to_string()),
            error => Ok(error),
        }
    })
    .await;
    assert!(matches!(&error, Error::AlreadyPeer { peer: PeerId(1), .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused() {
    let mut fleet = Fleet::new();
    fleet.bootstrap().await;
    let large = Command::AdmitPeer {
        token: None,
        name: "x".repeat(9 << 20),
        peer_addr: String::new(),
        api_url: String::new(),
    };
    let error = propose(fleet.peer(1), large).await.unwrap_err();
    assert!(matches!(error, EngineError::Refused(_)), "{error:?}");
}
