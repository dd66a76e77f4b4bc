//! Who belongs to the control plane. Raft's membership follows this table.

use std::time::Duration;

use super::{Notice, State};
use crate::command::{Outcome, Rejection, RejectionKind, Reply};
use crate::model::{Actor, EventKind, JoinToken, Peer, PeerId, PeerRole};

/// How long a join token may live.
const JOIN_TOKEN_TTL_MAX: Duration = Duration::from_secs(3600);
const JOIN_TOKENS_MAX: usize = 100;
/// How many peers there may be: Raft's cost grows with them, and nobody gains from more voters.
const PEERS_MAX: usize = 32;

impl State {
    pub(super) fn create_join_token(&mut self, hash: [u8; 32], ttl_ms: u32, role: PeerRole) -> Outcome {
        if self.join_tokens.len() >= JOIN_TOKENS_MAX {
            return Err(State::too_many(format!("{JOIN_TOKENS_MAX} join tokens are waiting to be used")));
        }
        let ttl = Duration::from_millis(u64::from(ttl_ms)).min(JOIN_TOKEN_TTL_MAX);
        let expires = self.globals.clock.elapsed + ttl;
        self.join_tokens.insert(hash, JoinToken { expires, role });
        Ok(Reply::Done)
    }

    pub(super) fn admit_peer(
        &mut self,
        token: Option<&[u8; 32]>,
        name: &str,
        peer_addr: &str,
        api_url: &str,
    ) -> Outcome {
        if name.is_empty() || name.len() > 63 || peer_addr.len() > 255 || api_url.len() > 255 {
            return Err(Rejection::new(
                RejectionKind::Invalid,
                "a peer's name takes 1 to 63 bytes, its addresses up to 255",
            ));
        }
        if let Some((id, _)) = self.peers.iter().find(|(_, peer)| peer.name == name) {
            return Err(Rejection::conflict(format!(
                "peer {id} is called `{name}` already: choose another name, or remove that peer first"
            )));
        }
        let role = match token {
            None if self.peers.is_empty() => PeerRole::Voter,
            None => return Err(Rejection::conflict("this control plane has its first peer already")),
            Some(hash) => match self.join_tokens.get(hash) {
                Some(token) => token.role,
                None => {
                    return Err(Rejection::new(
                        RejectionKind::NotFound,
                        "the join token is not valid: used, expired, or of another control plane",
                    ));
                }
            },
        };
        if self.peers.len() >= PEERS_MAX {
            return Err(State::too_many(format!("a control plane has at most {PEERS_MAX} peers")));
        }
        if let Some(hash) = token {
            self.join_tokens.remove(hash);
        }
        self.globals.next_peer += 1;
        self.globals_changed.set();
        let id = PeerId(self.globals.next_peer);
        self.peers.insert(
            id,
            Peer {
                name: name.to_string(),
                peer_addr: peer_addr.to_string(),
                api_url: api_url.to_string(),
                role,
                certificate_serial: Vec::new(),
                joined: self.globals.clock.wall,
            },
        );
        self.record(Actor::System, EventKind::PeerJoined(id), format!("peer {id} (`{name}`) was admitted"));
        self.notify(Notice::Peer(id));
        Ok(Reply::Peer(id))
    }

    pub(super) fn record_certificate(&mut self, peer: PeerId, serial: &[u8]) -> Outcome {
        let Some(row) = self.peers.get_mut(&peer) else { return Err(Rejection::not_found("peer", peer)) };
        row.certificate_serial = serial.to_vec();
        self.notify(Notice::Peer(peer));
        Ok(Reply::Done)
    }

    pub(super) fn move_peer(&mut self, peer: PeerId, peer_addr: &str) -> Outcome {
        let Some(row) = self.peers.get_mut(&peer) else { return Err(Rejection::not_found("peer", peer)) };
        if peer_addr.is_empty() || peer_addr.len() > 255 {
            return Err(Rejection::new(RejectionKind::Invalid, "a peer's address takes 1 to 255 bytes"));
        }
        row.peer_addr = peer_addr.to_string();
        self.notify(Notice::Peer(peer));
        Ok(Reply::Done)
    }

    pub(super) fn set_peer_role(&mut self, actor: &Actor, peer: PeerId, role: PeerRole) -> Outcome {
        let Some(row) = self.peers.get(&peer) else { return Err(Rejection::not_found("peer", peer)) };
        if row.role == role {
            return Ok(Reply::Done);
        }
        if role == PeerRole::Learner {
            self.refuse_to_lose_the_last_voter(peer)?;
        }
        if let Some(row) = self.peers.get_mut(&peer) {
            row.role = role;
        }
        let what = if role == PeerRole::Voter { "promoted to voter" } else { "demoted to learner" };
        self.record(actor.clone(), EventKind::PeerChanged(peer), format!("peer {peer} is {what}"));
        self.notify(Notice::Peer(peer));
        Ok(Reply::Done)
    }

    pub(super) fn remove_peer(&mut self, actor: &Actor, peer: PeerId) -> Outcome {
        if !self.peers.contains(&peer) {
            return Err(Rejection::not_found("peer", peer));
        }
        self.refuse_to_lose_the_last_voter(peer)?;
        if let Some(row) = self.peers.remove(&peer)
            && !row.certificate_serial.is_empty()
        {
            self.globals.revoked.insert(row.certificate_serial.clone());
            self.globals_changed.set();
        }
        self.retire_session(peer);
        self.record(actor.clone(), EventKind::PeerRemoved(peer), format!("peer {peer} is removed"));
        self.notify(Notice::Peer(peer));
        Ok(Reply::Done)
    }

    fn refuse_to_lose_the_last_voter(&self, peer: PeerId) -> Result<(), Rejection> {
        let others =
            self.peers.iter().filter(|(id, row)| **id != peer && row.role == PeerRole::Voter).count();
        if others == 0 {
            return Err(Rejection::conflict(format!(
                "peer {peer} is the only voter: without it nothing could be decided"
            )));
        }
        Ok(())
    }

    /// Makes this the first state of a new control plane with one peer: who belonged to the old one is forgotten, and
    /// what they had under way is lost. Not an entry of any log: restoring a backup is what comes before the first.
    pub fn refound(&mut self, index: u64, name: &str, peer_addr: &str, api_url: &str) -> PeerId {
        for peer in self.sessions.iter().map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.drop_peer_session(peer);
        }
        for peer in self.peers.iter().map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.peers.remove(&peer);
        }
        for hash in self.join_tokens.iter().map(|(hash, _)| *hash).collect::<Vec<_>>() {
            self.join_tokens.remove(&hash);
        }
        self.globals.revoked.clear();
        // Terms begin anew: ticks of the first leaders must not count as those of leaders long gone.
        self.globals.tick_term = 0;
        self.globals.next_peer += 1;
        self.globals_changed.set();
        let id = PeerId(self.globals.next_peer);
        let peer = Peer {
            name: name.to_string(),
            peer_addr: peer_addr.to_string(),
            api_url: api_url.to_string(),
            role: PeerRole::Voter,
            certificate_serial: Vec::new(),
            joined: self.globals.clock.wall,
        };
        self.peers.insert(id, peer);
        let message = format!("restored from a backup that reaches to entry {index}");
        self.record(Actor::System, EventKind::PeerJoined(id), message);
        id
    }

    /// Peers by id.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &std::sync::Arc<Peer>)> {
        self.peers.iter().map(|(id, peer)| (*id, peer))
    }

    /// A peer.
    pub fn peer(&self, id: PeerId) -> Option<&std::sync::Arc<Peer>> {
        self.peers.get(&id)
    }

    /// A right to join that is still good, by the hash of its secret.
    pub fn join_token(&self, hash: &[u8; 32]) -> Option<&std::sync::Arc<JoinToken>> {
        self.join_tokens.get(hash)
    }

    /// The number of the last peer that was admitted; all up to it were, and those without a row were removed.
    pub fn last_peer(&self) -> PeerId {
        PeerId(self.globals.next_peer)
    }

    /// Serial numbers of certificates that are refused.
    pub fn revoked(&self) -> impl Iterator<Item = &[u8]> {
        self.globals.revoked.iter().map(Vec::as_slice)
    }

    /// Whether a certificate with this serial number is refused.
    pub fn is_revoked(&self, serial: &[u8]) -> bool {
        self.globals.revoked.contains(serial)
    }
}
