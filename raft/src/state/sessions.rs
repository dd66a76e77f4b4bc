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
        let able = |work: &str| -> Vec<PeerId> {
            self.sessions
                .iter()
                .filter(|(_, session)| !session.draining)
                .filter(|(_, session)| session.capabilities.takes(Capabilities::SSH))
                .filter(|(_, session)| session.capabilities.takes(work))
                .map(|(peer, _)| *peer)
                .collect()
        };
        let (peers, with_java) = (able(Capabilities::SSH), able(Capabilities::JMX));
        let mut nodes: BTreeMap<Name, Option<PeerId>> = BTreeMap::new();
        // Nodes that only a peer with Java can collect whole. Where there is none, what can be collected is.
        let mut choosy: BTreeMap<Name, Option<PeerId>> = BTreeMap::new();
        for (name, object) in self.objects_of(Kind::Node) {
            let Spec::Node(node) = &object.spec else { continue };
            if node.ssh_profile.is_none() && node.jvms.is_empty() {
                continue;
            }
            let needs_java = !with_java.is_empty() && node.jvms.iter().any(|jvm| self.needs_java(jvm));
            let has = self.assignments.get(name).map(|assignment| assignment.peer);
            if needs_java { &mut choosy } else { &mut nodes }.insert(name.clone(), has);
        }
        let orphans: Vec<Name> = self
            .assignments
            .iter()
            .map(|(name, _)| name)
            .filter(|n| !nodes.contains_key(*n) && !choosy.contains_key(*n))
            .cloned()
            .collect();
        for node in orphans {
            self.assignments.remove(&node);
            self.notify(Notice::Assignment(node));
        }
        for (node, peer) in spread::moves_of_two(&choosy, &with_java, &nodes, &peers) {
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

    /// Whether speaking to a JVM takes a Java runtime.
    pub fn needs_java(&self, jvm: &Name) -> bool {
        self.jvm_profile(jvm).is_some_and(|profile| profile.transport.needs_java())
    }

    /// Whether a live peer has a Java runtime.
    pub fn has_java(&self) -> bool {
        self.sessions.iter().any(|(_, session)| session.capabilities.takes(Capabilities::JMX))
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
