//! The links to all other peers, made as they are asked for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::client::{Dialer, Lane, Link};
use crate::model::PeerId;

/// One [`Link`] per peer and lane.
pub struct Links {
    dialer: Arc<Dialer>,
    links: Mutex<HashMap<(PeerId, Lane), Link>>,
}

impl Links {
    /// No links yet.
    pub fn new(dialer: Arc<Dialer>) -> Arc<Links> {
        Arc::new(Links { dialer, links: Mutex::default() })
    }

    /// The link to `peer`, which is at `addr` now. Its other links go there too from their next connection on:
    /// whoever holds one may not know that the peer has moved.
    pub fn get(&self, peer: PeerId, addr: &str, lane: Lane) -> Link {
        let mut links = self.links.lock();
        for other in [Lane::Control, Lane::Log, Lane::Bulk] {
            if let Some(link) = links.get(&(peer, other)) {
                link.set_addr(addr);
            }
        }
        let link = links
            .entry((peer, lane))
            .or_insert_with(|| Link::new(Arc::clone(&self.dialer), peer, addr, lane));
        link.clone()
    }

    /// Drops the links to all peers that are not wanted.
    pub fn retain(&self, wanted: impl Fn(PeerId) -> bool) {
        self.links.lock().retain(|(peer, _), _| wanted(*peer));
    }

    /// What the links are made with.
    pub fn dialer(&self) -> &Arc<Dialer> {
        &self.dialer
    }
}
