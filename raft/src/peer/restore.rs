//! Begins a new control plane from a backup of another.
//!
//! What is restored is what was known: objects, samples, runs, events. Who belonged to the old control plane is not:
//! the new one has its own certificate authority and one peer, under a number that no peer of the old one had. The
//! keyring of the old one is needed, for its secrets are sealed with it.

use std::io::Read;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::info;

use super::start::open_store;
use super::{Error, Ground, PeerConfig};
use crate::backup::{self, Piece};
use crate::consensus::{LogPosition, read_state};
use crate::identity::{ControlPlaneId, Identity, Origin};
use crate::network::certificate::{self, Authority};
use crate::secrets::Keyring;
use crate::state::State;
use crate::store::wal::Expected;
use crate::store::{
    Applied, BlockKey, Changes, Fatal, Incoming, MembershipRecord, Opened, Store, StoredMembership, Wanted,
};

/// Blocks asked for at a time.
const BLOCKS_LISTED_MAX: usize = 256;
/// Pieces read ahead of what is stored.
const PIECES_AHEAD: usize = 4;

/// Makes a peer of `config`'s data directory, which must be nobody's yet: the first of a new control plane that knows
/// what `source` holds. Start it then as any peer.
///
/// # Errors
/// [`Error`]. A directory that was half restored must be removed before another try.
pub async fn restore(
    config: PeerConfig,
    old: &Keyring,
    source: impl Read + Send + 'static,
) -> Result<Identity, Error> {
    let ground = Ground::new(config)?;
    ground.refuse_identity()?;
    let (wal, opened) = open_store(&ground.data, Expected::Nothing, Fatal::new()).await?;
    let Opened::Ready(store) = opened else {
        return Err(Error::Founding("the data directory is not empty".to_string()));
    };
    let state = receive(&store, source).await?;
    let peer = found(&ground, &store, state).await?;

    let control_plane = ControlPlaneId::generate()?;
    let (authority_key, authority) = Authority::generate(control_plane)?;
    let issuer = Authority::load(control_plane, &authority_key, &authority)?;
    let key = certificate::generate_key()?;
    let issued = issuer.issue(&certificate::request(&key)?, peer)?;
    let data = &ground.data;
    data.save_keyring(&old.with_authority(authority_key))?;
    data.save_private_key(&key)?;
    data.save_authority(&authority)?;
    data.save_certificate(&issued.certificate)?;
    let name = ground.config.name.clone();
    let identity = Identity { control_plane, peer, name, origin: Origin::Restore };
    data.save_identity(&identity)?;
    info!(%control_plane, %peer, "a new control plane was made from a backup");
    let closed = tokio::task::spawn_blocking(move || drop((store, wal)));
    let _ = closed.await;
    Ok(identity)
}

/// Takes what the backup holds into the store, and reads the state of it.
async fn receive(store: &Store, source: impl Read + Send + 'static) -> Result<State, Error> {
    let (sender, mut pieces) = mpsc::channel(PIECES_AHEAD);
    let reading = tokio::task::spawn_blocking(move || -> Result<(), backup::Error> {
        let (mut reader, _, manifest) = backup::Reader::begin(source)?;
        if sender.blocking_send(Read1::Manifest(Box::new(manifest))).is_err() {
            return Ok(());
        }
        while let Some(part) = reader.next_part()? {
            if sender.blocking_send(Read1::Part(part)).is_err() {
                break;
            }
        }
        Ok(())
    });
    let stored = store_pieces(store, &mut pieces).await;
    drop(pieces);
    // What could not be read is the cause of what could not be stored.
    reading.await.map_err(|error| Error::Founding(error.to_string()))?.map_err(Error::Backup)?;
    let incoming = stored?.ok_or(Error::Backup(backup::Error::Broken("it has no header")))?;
    let snapshot = incoming.finish().await?;
    Ok(store.install(snapshot, read_state).await?)
}

/// What is read of a backup.
enum Read1 {
    Manifest(Box<crate::store::Manifest>),
    Part(Piece),
}

async fn store_pieces(store: &Store, pieces: &mut mpsc::Receiver<Read1>) -> Result<Option<Incoming>, Error> {
    let mut incoming: Option<Incoming> = None;
    let mut asked = 0usize;
    while let Some(piece) = pieces.recv().await {
        match (piece, &incoming) {
            (Read1::Manifest(manifest), None) => incoming = Some(store.receive(*manifest).await?),
            (Read1::Part(Piece::Section { offset, bytes }), Some(incoming)) => {
                incoming.accept_rows(offset, bytes).await?;
            }
            (Read1::Part(Piece::Block { key, bytes }), Some(incoming)) => {
                if asked == 0 {
                    // Blocks stand in the order in which they are wanted.
                    let wanted = incoming.wanted(BLOCKS_LISTED_MAX).await?;
                    asked = wanted.iter().filter(|wanted| matches!(wanted, Wanted::Block(_))).count();
                }
                incoming.accept_block(BlockKey(key), Arc::from(bytes)).await?;
                asked = asked.saturating_sub(1);
            }
            _ => return Err(Error::Backup(backup::Error::Broken("its pieces are out of order"))),
        }
    }
    if let Some(incoming) = &incoming
        && !incoming.wanted(1).await?.is_empty()
    {
        return Err(Error::Backup(backup::Error::Broken("pieces are missing")));
    }
    Ok(incoming)
}

/// Makes the restored state the first state of a new control plane, and writes it down.
async fn found(ground: &Ground, store: &Store, mut state: State) -> Result<crate::model::PeerId, Error> {
    let index = store.checkpointed().borrow().saturating_sub(1);
    let peer = state.refound(index, &ground.config.name, &ground.addr, &ground.config.api_url);
    let position = Some(LogPosition { term: 0, index });
    let membership =
        MembershipRecord { voters: vec![[peer.0].into()], peers: [(peer.0, ground.addr.clone())].into() };
    let applied = Applied { position, membership: StoredMembership { position, membership } };
    // Not a checkpoint alone: the snapshot that was installed stands for the old control plane's position and
    // members, and Raft would go back to it.
    store
        .begin_snapshot(move || Changes { drain: state.drain(), applied, log_bytes: 0 })
        .await?
        .wait()
        .await?;
    Ok(peer)
}
