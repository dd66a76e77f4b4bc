//! Who leads, who lives, and handing over.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::engine::Consensus;
use crate::handle::{Engine, EngineError, Leadership};
use crate::model::PeerId;
use crate::network::client::Lane;
use crate::network::frame::GROUP;
use crate::network::message::{Ping, Pong};
use crate::store::Space;

/// How often peers ask each other how they are.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// A peer that was not heard for this long is not counted on.
const ALIVE_WITHIN: Duration = Duration::from_millis(2500);
/// How long a peer that shall lead may take to say that it lives, and how often it is asked.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// How long one try to hand over may take before the next.
const TRANSFER_TRY: Duration = Duration::from_millis(500);
const REFUSING_PATIENCE: Duration = Duration::from_secs(2);

/// What another peer last said of itself.
#[derive(Clone)]
pub(super) struct Status {
    pub(super) pong: Pong,
    heard: Instant,
}

impl Status {
    pub(super) fn is_alive(&self) -> bool {
        self.heard.elapsed() < ALIVE_WITHIN
    }
}

impl Consensus {
    /// Keeps [`Leadership`] true, and reports when openraft has stopped by itself.
    pub(super) async fn follow_raft(self: Arc<Self>) {
        let metrics = self.raft.metrics();
        // Those change with every entry; these with who leads. Should Raft stop, the next tick finds it.
        let mut server = self.raft.server_metrics();
        let mut ticker = tokio::time::interval(PING_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut raft = Leadership::default();
        let mut since = Instant::now();
        loop {
            let (now, running) = {
                let metrics = metrics.borrow_watched();
                let now = Leadership {
                    local: self.local,
                    leader: metrics.current_leader.map(PeerId),
                    term: metrics.current_term,
                };
                (now, metrics.running_state.clone())
            };
            if now != raft {
                (raft, since) = (now, Instant::now());
            }
            let shown = if since.elapsed() > ALIVE_WITHIN && self.is_cut_off(now) {
                Leadership { leader: None, ..now }
            } else {
                now
            };
            let changed = self.leadership.send_if_modified(|known| {
                let changed = *known != shown;
                *known = shown;
                changed
            });
            if changed {
                info!(term = shown.term, leader = shown.leader.map(|leader| leader.0), "leadership");
            }
            if let Err(error) = running
                && !self.stop.is_cancelled()
            {
                self.fatal.report(format!("Raft has stopped: {error}"));
                return;
            }
            tokio::select! {
                biased;
                changed = server.changed() => if changed.is_err() {
                    if !self.stop.is_cancelled() {
                        // A core that has panicked took the reason with it.
                        let why = metrics.borrow_watched().running_state.clone().err();
                        let why = why.map_or("its core ended without a word".to_string(), |why| why.to_string());
                        self.fatal.report(format!("Raft has stopped: {why}"));
                    }
                    return;
                },
                _ = ticker.tick() => {}
            }
        }
    }

    /// Whether this peer can't reach who leads or, leading, a majority. openraft goes on believing in a leader
    /// until there is another one; whoever waits for decisions should not.
    fn is_cut_off(&self, now: Leadership) -> bool {
        let Some(leader) = now.leader else { return false };
        let metrics = self.raft.metrics();
        let voters: Vec<u64> = metrics.borrow_watched().membership_config.membership().voter_ids().collect();
        let statuses = self.statuses.lock();
        let answers = |peer: PeerId| statuses.get(&peer).is_some_and(Status::is_alive);
        if leader != self.local {
            return !answers(leader);
        }
        let alive = voters.iter().filter(|voter| **voter == self.local.0 || answers(PeerId(**voter))).count();
        alive <= voters.len() / 2
    }

    /// Whether a peer has answered lately and is still connected: one that has ended is known at once.
    pub(super) fn is_reached(&self, peer: PeerId) -> bool {
        let is_alive = self.statuses.lock().get(&peer).is_some_and(Status::is_alive);
        is_alive && self.link(peer, Lane::Control).is_some_and(|link| link.is_up())
    }

    /// Asks all members how they are, which also keeps the connections up that an election will need.
    pub(super) async fn ask_around(self: Arc<Self>) {
        let mut ticker = tokio::time::interval(PING_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticker.tick().await;
            let metrics = self.metrics();
            let membership = metrics.membership_config.membership();
            self.statuses.lock().retain(|peer, _| membership.get_node(&peer.0).is_some());
            self.links.retain(|peer| {
                membership.get_node(&peer.0).is_some()
                    || self.seeds.contains_key(&peer)
                    || self.replica.read(|state| state.peer(peer).is_some())
            });
            for (id, node) in membership.nodes().filter(|(id, _)| **id != self.local.0) {
                let peer = PeerId(*id);
                let link = self.links.get(peer, &node.addr, Lane::Control);
                let this = Arc::clone(&self);
                self.spawn(async move {
                    let deadline = Instant::now() + PING_INTERVAL * 2;
                    match link.call(GROUP, &Ping {}, deadline).await {
                        Ok(pong) => {
                            this.statuses.lock().insert(peer, Status { pong, heard: Instant::now() });
                        }
                        Err(error) => debug!(%peer, %error, "no answer to a ping"),
                    }
                });
            }
        }
    }

    /// While this peer takes no writes, somebody else should lead.
    pub(super) async fn hand_over_when_refusing(self: Arc<Self>) {
        let mut space = self.space.clone();
        loop {
            if space.wait_for(|space| *space != Space::Ok).await.is_err() {
                return;
            }
            if self.leadership.borrow().is_local() {
                match self.best_successor() {
                    Some(to) => {
                        warn!(%to, "this peer takes no writes: another one shall lead");
                        if let Err(error) = self.transfer_here(to, Instant::now() + REFUSING_PATIENCE).await {
                            info!(%error, "leadership was not handed over");
                        }
                    }
                    None => warn!("this peer takes no writes, and there is no other one to lead"),
                }
            }
            tokio::time::sleep(PING_INTERVAL).await;
        }
    }

    /// Who leads, as others say: for a peer that the leader does not reach, say because it has moved.
    pub(super) fn rumoured_leader(&self) -> Option<PeerId> {
        let statuses = self.statuses.lock();
        let known = statuses.values().filter(|status| status.is_alive() && status.pong.leader.is_some());
        let newest = known.max_by_key(|status| status.pong.term)?;
        newest.pong.leader.filter(|leader| *leader != self.local)
    }

    /// The other voter that lives, takes writes, and has most of the log.
    pub(super) fn best_successor(&self) -> Option<PeerId> {
        let voters: Vec<u64> = self.metrics().membership_config.membership().voter_ids().collect();
        let statuses = self.statuses();
        statuses
            .iter()
            .filter(|(peer, status)| {
                voters.contains(&peer.0) && self.is_reached(**peer) && status.pong.refuses.is_none()
            })
            .max_by_key(|(_, status)| status.pong.last_log)
            .map(|(peer, _)| *peer)
    }

    /// Hands leadership to `to` if this peer leads, for another peer that asks.
    pub(super) async fn transfer_as_leader(&self, to: PeerId, deadline: Instant) -> Result<(), EngineError> {
        if !self.leadership.borrow().is_local() {
            return Err(EngineError::Unavailable("the peer that was asked does not lead".to_string()));
        }
        self.transfer_here(to, deadline).await
    }

    /// Hands leadership to `to`, as the leader.
    pub(super) async fn transfer_here(&self, to: PeerId, deadline: Instant) -> Result<(), EngineError> {
        let refused = |why: String| Err(EngineError::Refused(why));
        if !self.metrics().membership_config.membership().voter_ids().any(|voter| voter == to.0) {
            return refused(format!("peer {to} is not a voter, so it can't lead"));
        }
        // What it said a second ago may be what it was before it was started again.
        let Some(link) = self.link(to, Lane::Control) else {
            return refused(format!("where peer {to} is, is not known"));
        };
        let patience = deadline.min(Instant::now() + ANSWER_PATIENCE);
        loop {
            match link.call(GROUP, &Ping {}, patience).await {
                Ok(Pong { refuses: Some(reason), .. }) => {
                    return refused(format!("peer {to} takes no writes: {reason}"));
                }
                Ok(_) => break,
                // It may have come back just now, and not have been dialled since.
                Err(_) if Instant::now() + ANSWER_PAUSE < patience => tokio::time::sleep(ANSWER_PAUSE).await,
                Err(error) => {
                    return refused(format!("peer {to} does not answer, so it can't lead: {error}"));
                }
            }
        }
        let mut leadership = self.leadership.subscribe();
        while Instant::now() < deadline && self.can_decide() {
            self.raft
                .trigger()
                .transfer_leader(to.0)
                .await
                .map_err(|error| EngineError::Unavailable(error.to_string()))?;
            let patience = deadline.min(Instant::now() + TRANSFER_TRY);
            let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != self.local));
            let moved = tokio::time::timeout_at(patience, moved).await;
            if let Some(leader) = moved.ok().and_then(|known| known.ok().and_then(|now| now.leader)) {
                return if leader == to {
                    Ok(())
                } else {
                    Err(EngineError::Unavailable("another peer was elected meanwhile".to_string()))
                };
            }
        }
        Err(EngineError::Unavailable(format!("peer {to} did not take over in time")))
    }
}
