//! How far the members of the Raft group have come. Each peer asks the others how they are; the leader also knows
//! what it has brought each of them, even one that is silent, so the others ask it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::engine::Consensus;
use super::wire::{AskProgress, Progress};
use crate::handle::Member;
use crate::model::PeerId;
use crate::network::client::Lane;
use crate::network::frame::GROUP;

/// How long the leader may take to answer, before what is known here must do.
const LEADER_PATIENCE: Duration = Duration::from_millis(500);

/// Raft's members as known here, with the leader's word on how far each has come.
pub(super) async fn members(consensus: &Consensus) -> Vec<Member> {
    let asked = ask_leader(consensus).await;
    let metrics = consensus.metrics();
    // What is committed: a change that is under way may yet come to nothing.
    let membership = metrics.committed_membership_config.membership();
    let votes = |id: u64| {
        let configs = membership.get_joint_config();
        !configs.is_empty() && configs.iter().all(|voters| voters.contains(&id))
    };
    let known = |peer: PeerId| {
        let own = consensus.progress_of(peer);
        let leaders = asked.iter().find(|progress| progress.peer == peer);
        // Nobody knows better how far it has come than a peer itself.
        if peer == consensus.local { own } else { leaders.copied().unwrap_or(own) }
    };
    let member = |(id, addr): (u64, String)| {
        let Progress { peer, answers, last_log, applied } = known(PeerId(id));
        Member { peer, addr, voter: votes(id), answers, last_log, applied }
    };
    membership.nodes().map(|(id, node)| member((*id, node.addr.clone()))).collect()
}

/// What the leader says; nothing where this peer leads itself, or gets no answer soon.
async fn ask_leader(consensus: &Consensus) -> Vec<Progress> {
    let leader = consensus.leadership.borrow().leader;
    let Some(leader) = leader.filter(|leader| *leader != consensus.local) else { return Vec::new() };
    let Some(link) = consensus.link(leader, Lane::Control) else { return Vec::new() };
    link.call(GROUP, &AskProgress {}, Instant::now() + LEADER_PATIENCE).await.unwrap_or_else(|error| {
        debug!(%leader, %error, "the leader does not say how far the others are");
        Vec::new()
    })
}

impl Consensus {
    /// How far all members have come, where this peer leads.
    pub(super) fn progress_as_leader(&self) -> Option<Vec<Progress>> {
        if !self.leadership.borrow().is_local() {
            return None;
        }
        let metrics = self.metrics();
        let members = metrics.membership_config.membership().nodes();
        Some(members.map(|(id, _)| self.progress_of(PeerId(*id))).collect())
    }

    /// How far a member has come, as known here.
    fn progress_of(&self, peer: PeerId) -> Progress {
        let metrics = self.metrics();
        if peer == self.local {
            let applied = Some(self.replica.applied());
            return Progress { peer, answers: true, last_log: metrics.last_log_index, applied };
        }
        let brought = metrics.replication.as_ref().and_then(|all| all.get(&peer.0).cloned().flatten());
        let brought = brought.map(|id| id.index());
        let statuses = self.statuses.lock();
        match statuses.get(&peer).filter(|status| status.is_alive()).map(|status| &status.pong) {
            Some(pong) => Progress {
                peer,
                answers: true,
                last_log: brought.max(Some(pong.last_log)),
                applied: Some(pong.applied),
            },
            None => Progress { peer, answers: false, last_log: brought, applied: None },
        }
    }
}
