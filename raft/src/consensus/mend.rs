//! Blocks of samples that were found damaged on this disk, fetched again from other peers.

use std::sync::Arc;

use tracing::{info, warn};

use super::engine::Consensus;
use crate::model::PeerId;
use crate::network::client::Lane;
use crate::store::BlockKey;

/// Fetches what is found damaged, until told to stop by being dropped.
pub(super) async fn run(consensus: Arc<Consensus>) {
    loop {
        let key = consensus.snapshots.blocks().damaged().await;
        match mend(&consensus, key).await {
            Ok(from) => info!(block = ?key, %from, "a damaged block of samples was fetched again"),
            Err(reason) => {
                warn!(block = ?key, reason, "a block of samples is damaged and no other peer gave it")
            }
        }
    }
}

/// Asks one peer after the other. Each seals and merges in its own time, so one may not have the block while another has.
async fn mend(consensus: &Consensus, key: BlockKey) -> Result<PeerId, String> {
    let mut others = consensus.member_ids();
    others.remove(&consensus.local);
    let mut reason = "there are no other peers".to_string();
    for other in others {
        let Some(link) = consensus.link(other, Lane::Bulk) else { continue };
        let bytes = match consensus.snapshots.fetch_block(&link, key).await {
            Ok(bytes) => bytes,
            Err(error) => {
                reason = format!("peer {other}: {error}");
                continue;
            }
        };
        match consensus.snapshots.blocks().mend(key, bytes).await {
            Ok(true) => return Ok(other),
            Ok(false) => reason = format!("peer {other} has another block there"),
            Err(error) => return Err(error.chain()),
        }
    }
    Err(reason)
}
