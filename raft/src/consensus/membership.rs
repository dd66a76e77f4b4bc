//! Raft's membership follows the replicated table of peers, one safe step at a time.
//!
//! The leader compares the two, again and again. What to do is decided by a pure function ([`next_step`]): a peer
//! is added as a learner, votes once it has caught up, and leaves when its row is gone. No step is taken after
//! which the voters that live would be too few to decide; it is tried again when more of them live. A leader that
//! must go hands over first. Every step may be repeated, and a new leader simply goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::engine::Consensus;
use super::types::PeerAddress;
use crate::handle::{Engine, Member};
use crate::model::{PeerId, PeerRole};

const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const STEP_PATIENCE: Duration = Duration::from_secs(10);
/// A learner that lacks no more entries than this has caught up.
const CAUGHT_UP_ENTRIES: u64 = 500;

/// A step that brings Raft's membership nearer to the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Ends a change that an earlier leader began.
    EndJoint,
    /// The peer is reached elsewhere now.
    SetAddr(PeerId, String),
    /// Adds a learner.
    Add(PeerId, String),
    /// Lets a learner vote.
    Promote(PeerId),
    /// Makes a voter a learner.
    Demote(PeerId),
    /// Lets a peer go.
    Remove(PeerId),
    /// Another voter leads, so that this peer can be demoted or removed.
    HandOver(PeerId),
}

/// What the leader knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct View {
    /// The leader.
    pub(super) local: PeerId,
    /// The table: what each peer is meant to be, and where it is.
    pub(super) wanted: BTreeMap<PeerId, (PeerRole, String)>,
    /// Raft's members, voters or not, and where they are.
    pub(super) members: BTreeMap<PeerId, (bool, String)>,
    /// Whether a change is half done.
    pub(super) is_joint: bool,
    /// Members that answer, with the index of their last entry.
    pub(super) alive: BTreeMap<PeerId, u64>,
    /// The leader's last entry.
    pub(super) last_log: u64,
}

impl View {
    fn voters(&self) -> BTreeSet<PeerId> {
        self.members.iter().filter(|(_, (votes, _))| *votes).map(|(peer, _)| *peer).collect()
    }

    fn is_alive(&self, peer: PeerId) -> bool {
        peer == self.local || self.alive.contains_key(&peer)
    }

    fn can_decide(&self, voters: &BTreeSet<PeerId>) -> bool {
        let alive = voters.iter().filter(|peer| self.is_alive(**peer)).count();
        alive > voters.len() / 2
    }

    fn has_caught_up(&self, peer: PeerId) -> bool {
        self.alive.get(&peer).is_some_and(|last| last + CAUGHT_UP_ENTRIES >= self.last_log)
    }
}

/// The next step, if one is needed; an error says what it waits for. Pure.
pub(super) fn next_step(view: &View) -> Result<Option<Step>, String> {
    if view.wanted.is_empty() {
        // The control plane has not even admitted its first peer.
        return Ok(None);
    }
    if view.is_joint {
        return Ok(Some(Step::EndJoint));
    }
    for (peer, (_, addr)) in &view.wanted {
        match view.members.get(peer) {
            None => return Ok(Some(Step::Add(*peer, addr.clone()))),
            Some((_, known)) if known != addr => return Ok(Some(Step::SetAddr(*peer, addr.clone()))),
            Some(_) => {}
        }
    }
    let voters = view.voters();
    let mut waits = None;
    for (peer, (role, _)) in &view.wanted {
        if *role == PeerRole::Voter && !voters.contains(peer) && view.has_caught_up(*peer) {
            let mut after = voters.clone();
            after.insert(*peer);
            if view.can_decide(&after) {
                return Ok(Some(Step::Promote(*peer)));
            }
            waits = Some(format!("with peer {peer} voting, too few voters would answer"));
        }
    }
    // Others first: for the leader to go, somebody must be there to lead.
    let (own, others): (Vec<_>, Vec<_>) = view.members.iter().partition(|(peer, _)| **peer == view.local);
    for (peer, (votes, _)) in others.into_iter().chain(own) {
        let step = match view.wanted.get(peer) {
            Some((PeerRole::Learner, _)) if *votes => Step::Demote(*peer),
            Some(_) => continue,
            None => Step::Remove(*peer),
        };
        if !*votes {
            return Ok(Some(step));
        }
        let mut after = voters.clone();
        after.remove(peer);
        if after.is_empty() || !view.can_decide(&after) {
            waits = Some(format!("without peer {peer}, too few voters would answer"));
            continue;
        }
        if *peer != view.local {
            return Ok(Some(step));
        }
        let successor = after
            .iter()
            .filter(|other| view.has_caught_up(**other))
            .find(|other| view.wanted.get(other).is_some_and(|(role, _)| *role == PeerRole::Voter));
        match successor {
            Some(to) => return Ok(Some(Step::HandOver(*to))),
            None => waits = Some(format!("peer {peer} leads, and nobody can take over")),
        }
    }
    match waits {
        Some(why) => Err(why),
        None => Ok(None),
    }
}

/// Why the control plane can't do without this peer's vote, if it can't: too few of the other voters answer. A peer
/// that is no voter can always go.
pub fn why_needed(members: &[Member], peer: PeerId) -> Option<String> {
    let voters = || members.iter().filter(|member| member.voter);
    if !voters().any(|member| member.peer == peer) {
        return None;
    }
    let others = || voters().filter(|member| member.peer != peer);
    let (left, answering) = (others().count(), others().filter(|member| member.answers).count());
    if answering > left / 2 {
        return None;
    }
    Some(format!(
        "without peer {peer}, {answering} of the {left} voters left would answer, too few to decide: bring others back, \
         or remove those that are gone, first"
    ))
}

/// Looks and acts while this peer leads, until told to stop by being dropped.
pub(super) async fn run(consensus: Arc<Consensus>) {
    let mut ticker = tokio::time::interval(LOOK_INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let leadership = consensus.leadership();
    let mut told: Option<String> = None;
    loop {
        ticker.tick().await;
        if !leadership.borrow().is_local() {
            told = None;
            continue;
        }
        match next_step(&view(&consensus)) {
            Ok(None) => told = None,
            Ok(Some(_)) => {
                told = None;
                // Not on a table that is behind: a removed peer must not come back.
                if !is_current(&consensus).await {
                    continue;
                }
                let Ok(Some(step)) = next_step(&view(&consensus)) else { continue };
                info!(?step, "membership");
                match tokio::time::timeout(STEP_PATIENCE, take(&consensus, &step)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => warn!(?step, error, "membership was not changed"),
                    Err(_) => warn!(?step, "membership was not changed in time"),
                }
            }
            Err(why) => {
                if told.as_ref() != Some(&why) {
                    warn!(why, "a change of membership waits");
                    told = Some(why);
                }
            }
        }
    }
}

/// Whether this peer still leads and has applied all that was committed before now.
async fn is_current(consensus: &Consensus) -> bool {
    let confirmed = tokio::time::timeout(STEP_PATIENCE, consensus.read_index_here()).await;
    let Ok(Some(index)) = confirmed else { return false };
    consensus.replica.wait_applied(index, STEP_PATIENCE).await
}

fn view(consensus: &Consensus) -> View {
    let metrics = consensus.metrics();
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let wanted = consensus
        .replica
        .read(|state| state.peers().map(|(id, peer)| (id, (peer.role, peer.peer_addr.clone()))).collect());
    let alive = consensus
        .statuses()
        .into_iter()
        .filter(|(_, status)| status.is_alive())
        .map(|(peer, status)| (peer, status.pong.last_log))
        .collect();
    View {
        local: consensus.local,
        wanted,
        members: membership
            .nodes()
            .map(|(id, node)| (PeerId(*id), (voters.contains(id), node.addr.clone())))
            .collect(),
        is_joint: membership.get_joint_config().len() > 1,
        alive,
        last_log: metrics.last_log_index.unwrap_or(0),
    }
}

async fn take(consensus: &Consensus, step: &Step) -> Result<(), String> {
    let one = |peer: &PeerId| BTreeSet::from([peer.0]);
    let node = |peer: &PeerId, addr: &String| BTreeMap::from([(peer.0, PeerAddress { addr: addr.clone() })]);
    let (change, retain) = match step {
        Step::HandOver(to) => {
            let deadline = Instant::now() + STEP_PATIENCE;
            return consensus.transfer_here(*to, deadline).await.map_err(|error| error.to_string());
        }
        Step::EndJoint => (ChangeMembers::AddVoterIds(BTreeSet::new()), true),
        Step::SetAddr(peer, addr) => (ChangeMembers::SetNodes(node(peer, addr)), true),
        Step::Add(peer, addr) => (ChangeMembers::AddNodes(node(peer, addr)), true),
        Step::Promote(peer) => (ChangeMembers::AddVoterIds(one(peer)), true),
        Step::Demote(peer) => (ChangeMembers::RemoveVoters(one(peer)), true),
        Step::Remove(peer) => {
            let votes =
                consensus.metrics().membership_config.membership().voter_ids().any(|voter| voter == peer.0);
            if votes {
                (ChangeMembers::RemoveVoters(one(peer)), false)
            } else {
                (ChangeMembers::RemoveNodes(one(peer)), false)
            }
        }
    };
    consensus.raft.change_membership(change, retain).await.map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn addr(peer: u64) -> String {
        format!("h{peer}:1")
    }

    /// Peer 1 leads; all are where they should be.
    fn view(wanted: &[(u64, PeerRole)], members: &[(u64, bool)], alive: &[u64]) -> View {
        View {
            local: PeerId(1),
            wanted: wanted.iter().map(|(peer, role)| (PeerId(*peer), (*role, addr(*peer)))).collect(),
            members: members.iter().map(|(peer, votes)| (PeerId(*peer), (*votes, addr(*peer)))).collect(),
            is_joint: false,
            alive: alive.iter().map(|peer| (PeerId(*peer), 1000)).collect(),
            last_log: 1000,
        }
    }

    use PeerRole::{Learner, Voter};

    #[test]
    fn one_step_at_a_time() {
        let two = PeerId(2);
        type Row<'a> = (&'a str, View, Result<Option<Step>, ()>);
        let table: &[Row<'_>] = &[
            ("nobody admitted yet", view(&[], &[(1, true)], &[]), Ok(None)),
            ("all as it should be", view(&[(1, Voter)], &[(1, true)], &[]), Ok(None)),
            (
                "a new peer",
                view(&[(1, Voter), (2, Voter)], &[(1, true)], &[]),
                Ok(Some(Step::Add(two, addr(2)))),
            ),
            ("not there yet", view(&[(1, Voter), (2, Voter)], &[(1, true), (2, false)], &[]), Ok(None)),
            (
                "caught up",
                view(&[(1, Voter), (2, Voter)], &[(1, true), (2, false)], &[2]),
                Ok(Some(Step::Promote(two))),
            ),
            ("stays a learner", view(&[(1, Voter), (2, Learner)], &[(1, true), (2, false)], &[2]), Ok(None)),
            (
                "demoted",
                view(&[(1, Voter), (2, Learner), (3, Voter)], &[(1, true), (2, true), (3, true)], &[2, 3]),
                Ok(Some(Step::Demote(two))),
            ),
            ("removed", view(&[(1, Voter)], &[(1, true), (2, true)], &[]), Ok(Some(Step::Remove(two)))),
            (
                "a learner is removed",
                view(&[(1, Voter)], &[(1, true), (2, false)], &[]),
                Ok(Some(Step::Remove(two))),
            ),
            (
                "too few would be left",
                view(&[(1, Voter), (3, Voter)], &[(1, true), (2, true), (3, true)], &[2]),
                Err(()),
            ),
            (
                "the leader is removed",
                view(&[(2, Voter), (3, Voter)], &[(1, true), (2, true), (3, true)], &[2, 3]),
                Ok(Some(Step::HandOver(two))),
            ),
            ("the leader can't go", view(&[(2, Voter)], &[(1, true), (2, true)], &[]), Err(())),
        ];
        for (name, view, expected) in table {
            assert_eq!(next_step(view).map_err(|_| ()), *expected, "{name}");
        }
    }

    #[test]
    fn a_half_done_change_is_ended_first() {
        let joint = View { is_joint: true, ..view(&[(1, Voter), (2, Voter)], &[(1, true)], &[]) };
        assert_eq!(next_step(&joint), Ok(Some(Step::EndJoint)));
    }

    #[test]
    fn a_learner_that_lags_does_not_vote_yet() {
        let mut lagging = view(&[(1, Voter), (2, Voter)], &[(1, true), (2, false)], &[]);
        lagging.alive.insert(PeerId(2), 1000 - CAUGHT_UP_ENTRIES - 1);
        assert_eq!(next_step(&lagging), Ok(None));
    }

    #[test]
    fn a_peer_that_moved_is_followed() {
        let mut moved = view(&[(1, Voter), (2, Voter)], &[(1, true), (2, true)], &[2]);
        moved.members.insert(PeerId(2), (true, "old:1".to_string()));
        assert_eq!(next_step(&moved), Ok(Some(Step::SetAddr(PeerId(2), addr(2)))));
    }

    #[test]
    fn a_vote_is_needed_where_too_few_others_answer() {
        let member = |peer, voter, answers: bool| Member {
            peer: PeerId(peer),
            addr: addr(peer),
            voter,
            answers,
            // Known of a dead one too.
            last_log: Some(1),
            applied: None,
        };
        let table: &[(&str, &[Member], u64, bool)] = &[
            ("the only voter", &[member(1, true, true)], 1, true),
            ("a learner", &[member(1, true, true), member(2, false, true)], 2, false),
            (
                "three that answer",
                &[member(1, true, true), member(2, true, true), member(3, true, true)],
                3,
                false,
            ),
            ("a dead one", &[member(1, true, true), member(2, true, true), member(3, true, false)], 3, false),
            (
                "beside a dead one",
                &[member(1, true, true), member(2, true, false), member(3, true, true)],
                3,
                true,
            ),
        ];
        for (name, members, peer, needed) in table {
            assert_eq!(why_needed(members, PeerId(*peer)).is_some(), *needed, "{name}");
        }
    }

    fn apply(view: &mut View, step: Step) {
        match step {
            Step::EndJoint => view.is_joint = false,
            Step::SetAddr(peer, addr) => view.members.get_mut(&peer).unwrap().1 = addr,
            Step::Add(peer, addr) => assert!(view.members.insert(peer, (false, addr)).is_none()),
            Step::Promote(peer) => view.members.get_mut(&peer).unwrap().0 = true,
            Step::Demote(peer) => view.members.get_mut(&peer).unwrap().0 = false,
            Step::Remove(peer) => assert!(view.members.remove(&peer).is_some()),
            Step::HandOver(peer) => {
                view.alive.insert(view.local, view.last_log);
                view.local = peer;
            }
        }
    }

    proptest! {
        /// From any state: every step leaves voters that can decide, if they could before, and a leader among
        /// them; with all alive, the table is reached.
        #[test]
        fn steps_are_safe_and_lead_there(
            wanted in prop::collection::btree_map(1u64..7, prop_oneof![Just(Voter), Just(Learner)], 1..6),
            members in prop::collection::btree_map(2u64..7, any::<bool>(), 0..5),
            alive in prop::collection::btree_set(2u64..7, 0..5),
            all_alive: bool,
        ) {
            prop_assume!(wanted.values().any(|role| *role == Voter));
            let wanted: Vec<_> = wanted.into_iter().collect();
            let mut members: Vec<_> = members.into_iter().collect();
            members.push((1, true));
            let alive: Vec<u64> = if all_alive { (1..7).collect() } else { alive.into_iter().collect() };
            let mut view = view(&wanted, &members, &alive);
            prop_assume!(view.can_decide(&view.voters()));
            let mut steps = 0;
            while let Ok(Some(step)) = next_step(&view) {
                apply(&mut view, step);
                prop_assert!(view.can_decide(&view.voters()), "{view:?}");
                prop_assert!(view.voters().contains(&view.local), "{view:?}");
                steps += 1;
                prop_assert!(steps < 50, "no end");
            }
            if all_alive {
                let reached: Vec<_> = view.members.iter()
                    .map(|(peer, (votes, _))| (peer.0, if *votes { Voter } else { Learner })).collect();
                prop_assert_eq!(reached, wanted);
            }
        }
    }
}
