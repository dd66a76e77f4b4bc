//! One peer is replaced by another: a new one is admitted, the old one is removed, in good order or because it lost its
//! log.

use rand::Rng;
use rand::rngs::StdRng;
use rscaler_raft::command::{Command, Reply};
use rscaler_raft::model::{PeerId, PeerRole};

use super::asking::Asking;
use super::peer::{Host, addr};
use super::trace;
use super::world::World;

/// See the module.
pub(crate) struct Replacement {
    old: u64,
    next: u64,
    hash: [u8; 32],
    stage: Stage,
}

enum Stage {
    Token(Asking),
    Admit(Asking),
    Remove(Asking),
    Leave,
}

impl Replacement {
    /// Begins to replace `old`.
    pub(crate) fn begin(world: &World, old: u64, chance: &mut StdRng) -> Replacement {
        let hash: [u8; 32] = chance.random();
        let token = Command::CreateJoinToken { hash, ttl_ms: 600_000, role: PeerRole::Voter };
        let next = world.hosts.keys().next_back().copied().unwrap_or(0) + 1;
        Replacement { old, next, hash, stage: Stage::Token(Asking::new(token, chance)) }
    }

    /// Goes on; true once it is done.
    pub(crate) fn step(&mut self, world: &mut World, chance: &mut StdRng) -> bool {
        match &mut self.stage {
            Stage::Token(asking) => match asking.step(world, chance) {
                None => {}
                Some(Ok(_)) => {
                    // Its number is given in order, and its address follows from it.
                    let admit = Command::AdmitPeer {
                        token: Some(self.hash),
                        name: format!("p{}", self.next),
                        peer_addr: addr(self.next),
                        api_url: "http://simulated:1".to_string(),
                    };
                    self.stage = Stage::Admit(Asking::new(admit, chance));
                }
                Some(Err(why)) => world.fail(format!("no join token: {why}")),
            },
            Stage::Admit(asking) => match asking.step(world, chance) {
                None => {}
                Some(Ok(Reply::Peer(peer))) if peer.0 == self.next => {
                    let mut host = Host::new(peer.0, world.seed);
                    host.seeds =
                        world.hosts.values().filter(|host| !host.is_gone).map(|host| host.id).collect();
                    world.hosts.insert(peer.0, host);
                    world.start(peer.0);
                    let remove = Command::RemovePeer(PeerId(self.old));
                    self.stage = Stage::Remove(Asking::new(remove, chance));
                }
                Some(other) => world.fail(format!("peer {} was not admitted: {other:?}", self.next)),
            },
            Stage::Remove(asking) => match asking.step(world, chance) {
                None => {}
                Some(Ok(_)) => self.stage = Stage::Leave,
                Some(Err(why)) => world.fail(format!("peer {} was not removed: {why}", self.old)),
            },
            Stage::Leave => {
                let members = world.members();
                if !members.is_empty() && members.iter().all(|(member, _)| *member != self.old) {
                    trace::told(&format!("peer {} is gone", self.old));
                    world.kill(self.old, false);
                    if let Some(host) = world.hosts.get_mut(&self.old) {
                        host.is_gone = true;
                    }
                    return true;
                }
            }
        }
        false
    }
}
