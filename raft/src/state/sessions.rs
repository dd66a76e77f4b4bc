//! Who is alive, and who collects which node.
//!
//! A session is a peer's claim to be alive. It ends when it is not renewed, and only by a tick; what it held
//! goes to others in the same entry: its tasks are lost or queued again, its nodes are collected by others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Notice, SESSION_TTL, State};
use crate::command::{Outcome, Rejection, Reply};
use crate::decide::spread;
use crate::model::{Actor, Assignment, Capabilities, EventKind, Kind, Name, PeerId, Session, Spec};

/// The work that collecting a node's counters over SSH needs.
pub(super) const SSH_WORK: &str = "ssh";

impl State {
    pub(super) fn open_session(
        &mut self,
        peer: PeerId,
        boot: u128,
        capabilities: &Capabilities,
        api_url: &str,
    ) -> Outcome {
        let Some(known) = self.peers.get(&peer) else { return Err(Rejection::not_found("peer", peer)) };
        if known.api_url != api_url
            && let Some(row) = self.peers.get_mut(&peer)
        {
            row.api_url = api_url.to_string();
            self.notify(Notice::Peer(peer));
        }
        let ttl_ms = u32::try_from(SESSION_TTL.as_millis()).unwrap_or(u32::MAX);
        if let Some(session) = self.sessions.get(&peer).map(Arc::clone) {
            if session.boot == boot {
                // The answer to a first try was lost.
                return Ok(Reply::Session { epoch: session.epoch, ttl_ms });
            }
            let why = if process_of(session.boot) == process_of(boot) {
                "it gave up its session, which it could not renew in time, and began a new one"
            } else {
                "its process was started again"
            };
            self.end_session(peer, why);
        }
        self.globals.next_session += 1;
        self.globals_changed.set();
        let epoch = self.globals.next_session;
        let expires = self.globals.clock.elapsed + SESSION_TTL;
        let capabilities = capabilities.clone();
        self.sessions
            .insert(peer, Session { boot, epoch, expires, extended: false, capabilities, draining: false });
        self.record(Actor::Peer(peer), EventKind::PeerStarted(peer), format!("peer {peer} takes work"));
        self.notify(Notice::Session(peer));
        self.rebalance();
        self.dispatch();
        Ok(Reply::Session { epoch, ttl_ms })
    }

    pub(super) fn renew_session(&mut self, peer: PeerId, epoch: u64) -> Outcome {
        let expires = self.globals.clock.elapsed + SESSION_TTL;
        match self.sessions.get(&peer) {
            // A peer that was removed keeps its session no longer than it lasts.
            Some(session) if session.epoch == epoch && self.peers.contains(&peer) => {
                if (session.expires != expires || session.extended)
                    && let Some(session) = self.sessions.get_mut(&peer)
                {
                    session.expires = expires;
                    session.extended = false;
                }
                Ok(Reply::Session {
                    epoch,
                    ttl_ms: u32::try_from(SESSION_TTL.as_millis()).unwrap_or(u32::MAX),
                })
            }
            _ => Err(Rejection::stale(format!("session {epoch} of peer {peer} is over"))),
        }
    }

    pub(super) fn close_session(&mut self, peer: PeerId, epoch: u64, draining: bool) -> Outcome {
        if self.sessions.get(&peer).is_none_or(|session| session.epoch != epoch) {
            return Err(Rejection::stale(format!("session {epoch} of peer {peer} is over")));
        }
        if draining {
            if let Some(session) = self.sessions.get_mut(&peer) {
                session.draining = true;
            }
            self.notify(Notice::Session(peer));
        } else {
            self.end_session(peer, "it stopped");
        }
        self.rebalance();
        self.dispatch();
        Ok(Reply::Done)
    }

    /// Ends sessions that were not renewed in time.
    pub(super) fn expire_sessions(&mut self) {
        let now = self.globals.clock.elapsed;
        let over: Vec<PeerId> =
            self.sessions.iter().filter(|(_, s)| s.expires <= now).map(|(peer, _)| *peer).collect();
        if over.is_empty() {
            return;
        }
        for peer in over {
            if !self.peers.contains(&peer) {
                self.end_session(peer, "it was removed");
                continue;
            }
            self.record(
                Actor::System,
                EventKind::PeerLost(peer),
                format!("peer {peer} is not heard of any more"),
            );
            self.end_session(peer, "its session ran out");
        }
        self.rebalance();
    }

    /// Gives every session a full life: a new leader begins, and renewals may have been lost with the old one.
    /// Only once until it renews, so that no run of elections keeps a dead peer's leases alive.
    pub(super) fn extend_sessions(&mut self) {
        let expires = self.globals.clock.elapsed + SESSION_TTL;
        let peers: Vec<PeerId> =
            self.sessions.iter().filter(|(_, session)| !session.extended).map(|(peer, _)| *peer).collect();
        for peer in peers {
            if let Some(session) = self.sessions.get_mut(&peer) {
                session.expires = expires;
                session.extended = true;
            }
        }
    }

    fn end_session(&mut self, peer: PeerId, why: &str) {
        let Some(session) = self.sessions.remove(&peer) else { return };
        self.notify(Notice::Session(peer));
        self.lose_tasks(session.epoch, &format!("peer {peer} was lost: {why}"));
    }

    pub(super) fn drop_peer_session(&mut self, peer: PeerId) {
        self.end_session(peer, "it was removed");
        self.rebalance();
        self.dispatch();
    }

    /// A peer that is removed gets no new work and no renewal. What it does goes to others when its session has run out,
    /// and no sooner: it may not have heard of its removal yet.
    pub(super) fn retire_session(&mut self, peer: PeerId) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.draining = true;
        }
        self.notify(Notice::Session(peer));
        self.rebalance();
        self.dispatch();
    }

    /// Brings assignments in line with nodes and sessions, moving as few nodes as can be.
    pub(super) fn rebalance(&mut self) {
        let peers: Vec<PeerId> = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.draining && session.capabilities.work.contains(SSH_WORK))
            .map(|(peer, _)| *peer)
            .collect();
        let nodes: BTreeMap<Name, Option<PeerId>> = self
            .objects_of(Kind::Node)
            .filter(|(_, object)| matches!(&object.spec, Spec::Node(node) if node.ssh_profile.is_some()))
            .map(|(name, _)| (name.clone(), self.assignments.get(name).map(|a| a.peer)))
            .collect();
        let orphans: Vec<Name> = self
            .assignments
            .iter()
            .map(|(name, _)| name)
            .filter(|n| !nodes.contains_key(*n))
            .cloned()
            .collect();
        for node in orphans {
            self.assignments.remove(&node);
            self.notify(Notice::Assignment(node));
        }
        for (node, peer) in spread::moves(&nodes, &peers) {
            self.globals.next_assignment += 1;
            self.globals_changed.set();
            match peer {
                Some(peer) => {
                    let epoch = self.globals.next_assignment;
                    self.assignments.insert(node.clone(), Assignment { peer, epoch });
                }
                None => {
                    self.assignments.remove(&node);
                }
            }
            self.notify(Notice::Assignment(node));
        }
    }

    /// Live sessions by peer.
    pub fn sessions(&self) -> impl Iterator<Item = (PeerId, &Arc<Session>)> {
        self.sessions.iter().map(|(peer, session)| (*peer, session))
    }

    /// A peer's live session.
    pub fn session(&self, peer: PeerId) -> Option<&Arc<Session>> {
        self.sessions.get(&peer)
    }

    /// Who collects a node.
    pub fn assignment(&self, node: &Name) -> Option<Assignment> {
        self.assignments.get(node).map(|assignment| **assignment)
    }

    /// Who collects which node.
    pub fn assignments(&self) -> impl Iterator<Item = (&Name, Assignment)> {
        self.assignments.iter().map(|(node, assignment)| (node, **assignment))
    }
}

/// The part of a boot id that is a process's own.
fn process_of(boot: u128) -> u128 {
    boot >> 64
}
