//! How a snapshot travels: the leader offers its manifest, the receiver pulls the parts that it lacks, each checked
//! as it comes. Few parts are under way at a time, so memory is bounded whatever the snapshot's size, and what was
//! pulled is kept when the transfer breaks.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{debug, info};

use super::convert::RaftVote;
use super::types::TypeConfig;
use super::wire::Vote;
use crate::codec;
use crate::network::client::{CallError, Link};
use crate::network::frame::{GROUP, Kind};
use crate::network::message::{Blob, Failure, FailureCode, Request};
use crate::store::{BlockKey, Blocks, Error as StoreError, Manifest, SnapshotHandle, Store, Wanted};

/// What openraft hands from the machine to the network, and back.
pub(super) type SnapshotData = SnapshotHandle;
pub(super) type SnapshotOf = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// No snapshot: one has at least one entry.
const OF_NONE: u64 = 0;
const PARTS_UNDER_WAY_MAX: usize = 8;
const PARTS_LISTED_MAX: usize = 256;
const PART_PATIENCE: Duration = Duration::from_secs(15);
/// How long a peer may take to make a snapshot that another one asks for.
pub(super) const MAKE_PATIENCE: Duration = Duration::from_secs(30);
/// So that catching up leaves room for other things: about 64 MiB each second.
const BYTES_PER_MS_MAX: u64 = 64 << 10;
/// A part that came damaged is asked for again, so often in all.
const DAMAGED_MAX: u32 = 16;

/// Offers a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SnapshotOffer {
    pub(super) vote: Vote,
    /// [`Manifest`], in its envelope.
    pub(super) manifest: Blob,
}

impl Request for SnapshotOffer {
    const KIND: Kind = Kind::SnapshotOffer;
    /// The receiver's vote, once the snapshot is installed, or if it is higher.
    type Answer = Vote;
}

/// Asks for a part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SnapshotPart {
    /// [`Manifest::id`]; [`OF_NONE`] for a block that the asked peer has, in whatever snapshot.
    pub(super) id: u64,
    pub(super) part: Part,
}

/// A part of a snapshot. The order is the format: append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Part {
    /// A section of its rows.
    Rows { offset: u64, len: u32 },
    /// A block of samples.
    Block([u8; BlockKey::BYTES]),
}

impl Request for SnapshotPart {
    const KIND: Kind = Kind::SnapshotPart;
    type Answer = Blob;
}

/// Asks for the manifest of a snapshot to start from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SnapshotRequest {
    /// It must hold the entry at this index: the asking peer's log begins behind it.
    pub(super) index: u64,
}

impl Request for SnapshotRequest {
    const KIND: Kind = Kind::SnapshotRequest;
    /// [`Manifest`], in its envelope.
    type Answer = Blob;
}

/// Why a snapshot could not be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer that has it can't be asked, or has it no longer.
    #[error("the other peer did not give it")]
    Call(#[from] CallError),
    /// What it gave is of no use, or can't be stored.
    #[error("it could not be stored")]
    Store(#[from] StoreError),
    /// What it gave can't be read.
    #[error("it can't be read")]
    Format(#[from] codec::Error),
}

/// Gives snapshots to other peers, and takes theirs.
pub struct Snapshots {
    store: Store,
}

impl Snapshots {
    /// Over the snapshots of `store`.
    pub fn new(store: Store) -> Arc<Snapshots> {
        Arc::new(Snapshots { store })
    }

    /// Offers a snapshot and waits until it is installed. It stays for the receiver meanwhile.
    pub(super) async fn send(
        &self,
        link: &Link,
        vote: RaftVote,
        snapshot: SnapshotOf,
        deadline: Instant,
    ) -> Result<RaftVote, CallError> {
        let manifest = Blob(snapshot.snapshot.manifest().encode()?.into());
        let offer = SnapshotOffer { vote: vote.into(), manifest };
        let answer = link.call(GROUP, &offer, deadline).await;
        drop(snapshot);
        answer.map(RaftVote::from)
    }

    /// Reads a part for another peer.
    pub(super) async fn part(&self, request: SnapshotPart) -> Result<Blob, Failure> {
        let gone = || {
            Failure::new(FailureCode::Unavailable, format!("there is no snapshot {} any more", request.id))
        };
        let snapshot = match request.id {
            OF_NONE => None,
            id => Some(self.store.snapshot(id).ok_or_else(gone)?),
        };
        let blocks = self.store.blocks().clone();
        let read = self.store.blocking(move || match (request.part, snapshot) {
            (Part::Block(key), None) => blocks.get(&BlockKey(key)),
            (Part::Block(key), Some(snapshot)) => snapshot.read_block(&BlockKey(key)),
            (Part::Rows { offset, len }, Some(snapshot)) => {
                snapshot.read_rows(offset, len as usize).map(|rows| Some(rows.into()))
            }
            (Part::Rows { .. }, None) => Err(StoreError::Refused("rows belong to a snapshot".to_string())),
        });
        match read.await {
            Ok(Ok(Some(bytes))) => Ok(Blob(bytes)),
            Ok(Ok(None)) => Err(Failure::new(FailureCode::Unavailable, "there is no such block any more")),
            Ok(Err(error)) => Err(Failure::new(FailureCode::Refused, error.to_string())),
            Err(_) => Err(Failure::new(FailureCode::Unavailable, "this peer is stopping")),
        }
    }

    /// The blocks that snapshots name.
    pub(super) fn blocks(&self) -> &Blocks {
        self.store.blocks()
    }

    /// Asks the peer at the other end of `link` for a block, whatever snapshot it is in.
    pub(super) async fn fetch_block(&self, link: &Link, key: BlockKey) -> Result<Arc<[u8]>, CallError> {
        Ok(fetch(link, OF_NONE, Wanted::Block(key)).await.1?.0)
    }

    /// The manifest of the current snapshot, if it holds the entry at `index`.
    pub(super) fn manifest_with(&self, index: u64) -> Option<Result<Blob, codec::Error>> {
        let snapshot = self.store.current_snapshot()?;
        let manifest = snapshot.manifest();
        (manifest.id() > index).then(|| Ok(Blob(manifest.encode()?.into())))
    }

    /// Pulls what is lacking of a snapshot from the peer at the other end of `link`.
    pub(super) async fn receive(&self, link: &Link, manifest: &[u8]) -> Result<SnapshotHandle, ReceiveError> {
        let manifest = Manifest::decode(manifest)?;
        let id = manifest.id();
        let begun = Instant::now();
        info!(id, from = ?link, bytes = manifest.file_bytes(), blocks = manifest.blocks, "receiving a snapshot");
        let incoming = self.store.receive(manifest).await?;
        let (mut bytes, mut damaged) = (0u64, 0);
        loop {
            let wanted = incoming.wanted(PARTS_LISTED_MAX).await?;
            if wanted.is_empty() {
                break;
            }
            let mut parts = futures::stream::iter(wanted)
                .map(|wanted| fetch(link, id, wanted))
                .buffer_unordered(PARTS_UNDER_WAY_MAX);
            while let Some((wanted, fetched)) = parts.next().await {
                let part = fetched?;
                bytes += part.0.len() as u64;
                let accepted = match wanted {
                    Wanted::Rows { offset, .. } => incoming.accept_rows(offset, part.0.to_vec()).await,
                    Wanted::Block(key) => incoming.accept_block(key, part.0).await,
                };
                match accepted {
                    Err(StoreError::Refused(why)) if damaged < DAMAGED_MAX => {
                        damaged += 1;
                        debug!(id, why, "a part of a snapshot is asked for again");
                    }
                    accepted => accepted?,
                }
                tokio::time::sleep_until(begun + Duration::from_millis(bytes / BYTES_PER_MS_MAX)).await;
            }
        }
        let snapshot = incoming.finish().await?;
        info!(id, bytes, elapsed_ms = begun.elapsed().as_millis() as u64, "received a snapshot");
        Ok(snapshot)
    }

    /// Asks the peer at the other end of `link` for a snapshot that holds the entry at `index`, and pulls it.
    ///
    /// # Errors
    /// [`ReceiveError`]; try another peer, or again.
    pub async fn fetch(&self, link: &Link, index: u64) -> Result<SnapshotHandle, ReceiveError> {
        let manifest =
            link.call(GROUP, &SnapshotRequest { index }, Instant::now() + MAKE_PATIENCE * 2).await?;
        self.receive(link, &manifest.0).await
    }
}

async fn fetch(link: &Link, id: u64, wanted: Wanted) -> (Wanted, Result<Blob, CallError>) {
    let part = match wanted {
        Wanted::Rows { offset, len } => Part::Rows { offset, len },
        Wanted::Block(key) => Part::Block(key.0),
    };
    let fetched = link.call(GROUP, &SnapshotPart { id, part }, Instant::now() + PART_PATIENCE).await;
    (wanted, fetched)
}
