//! One peer of a control plane: begun, joined or opened again, with all its parts in their order.
//!
//! [`Peer::bootstrap`] begins a control plane, [`Peer::join`] becomes one more peer of it, [`Peer::open`] goes on
//! after a stop. Each gives a peer that runs; [`Peer::stopped`] says when it can't any longer, and
//! [`Peer::shutdown`] ends it in order.

mod admission;
mod backups;
mod config;
mod error;
mod loops;
mod restore;
mod start;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use backups::Backups;
pub use config::PeerConfig;
pub use error::{Error, Stopped};
pub use restore::restore;

use self::start::start;
use crate::command::{Command, Outcome, Proposal};
use crate::consensus::{Consensus, Payload, RaftRuntime, Upkeep};
use crate::handle::{Engine, EngineError, Handle};
use crate::identity::{ControlPlaneId, DataDir, Identity, Origin};
use crate::model::{Actor, PeerId, PeerRole, RequestId};
use crate::network::certificate::{self, Authority};
use crate::network::join::{self, Applicant, JoinToken};
use crate::replica::Replica;
use crate::secrets::Keyring;
use crate::series::BlockSource;
use crate::store::wal::{Expected, Wal};
use crate::store::{self, Blocks, Space, Store};

/// How long a join is tried while the control plane can't decide.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// How long the first peer may take to found its control plane.
const FOUNDING_PATIENCE: Duration = Duration::from_secs(30);

/// A peer that runs.
pub struct Peer {
    identity: Identity,
    addr: String,
    authority: Arc<Authority>,
    keyring: Arc<Keyring>,
    replica: Arc<Replica>,
    store: Store,
    consensus: Arc<Consensus>,
    stopped: watch::Receiver<Option<Stopped>>,
    space: watch::Receiver<Space>,
    own: Arc<loops::Parts>,
    upkeep: Upkeep,
    /// Dropped with the peer, it ends all loops.
    stop: DropGuard,
    loops: TaskTracker,
    runtime: RaftRuntime,
    // Last, so that the directory is free only when all else has ended.
    wal: Arc<Wal>,
    data: Arc<DataDir>,
}

/// What there is before a peer is somebody: a directory that is held, threads, an open port.
struct Ground {
    config: PeerConfig,
    data: Arc<DataDir>,
    listener: std::net::TcpListener,
    addr: String,
}

impl Ground {
    fn new(config: PeerConfig) -> Result<Ground, Error> {
        let data = Arc::new(DataDir::open(&config.data_dir)?);
        let listen = |source| Error::Listen { addr: config.listen.clone(), source };
        let listener = std::net::TcpListener::bind(&config.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let addr = match &config.advertise {
            Some(addr) => addr.clone(),
            None if local.ip().is_unspecified() => return Err(Error::NoAddress(local)),
            None => local.to_string(),
        };
        Ok(Ground { config, data, listener, addr })
    }

    fn refuse_identity(&self) -> Result<(), Error> {
        match self.data.identity()? {
            None => Ok(()),
            Some(identity) => Err(Error::AlreadyPeer {
                dir: self.data.path().display().to_string(),
                peer: identity.peer,
                name: identity.name,
            }),
        }
    }
}

impl Peer {
    /// Begins a control plane, of this peer alone. Done when it leads and is admitted.
    ///
    /// # Errors
    /// [`Error`]. Where it was interrupted after it became somebody, [`Peer::open`] goes on.
    pub async fn bootstrap(config: PeerConfig) -> Result<Peer, Error> {
        let ground = Ground::new(config)?;
        ground.refuse_identity()?;
        let (control_plane, peer) = (ControlPlaneId::generate()?, PeerId(1));
        let (authority_key, authority) = Authority::generate(control_plane)?;
        let keyring = Keyring::generate(authority_key)?;
        let issuer = Authority::load(control_plane, keyring.authority_key(), &authority)?;
        let key = certificate::generate_key()?;
        let issued = issuer.issue(&certificate::request(&key)?, peer)?;
        let data = &ground.data;
        data.save_keyring(&keyring)?;
        data.save_private_key(&key)?;
        data.save_authority(&authority)?;
        data.save_certificate(&issued.certificate)?;
        let name = ground.config.name.clone();
        let identity = Identity { control_plane, peer, name, origin: Origin::Bootstrap };
        info!(%control_plane, "beginning a control plane");
        let peer = start(ground, identity, Expected::Nothing).await?;
        match tokio::time::timeout(FOUNDING_PATIENCE, peer.founded()).await {
            Ok(()) => Ok(peer),
            Err(_) => {
                peer.shutdown(Duration::ZERO).await;
                Err(Error::Founding(format!("not done within {FOUNDING_PATIENCE:?}")))
            }
        }
    }

    /// Joins the control plane of the peer at `addr`. Done when it is admitted and runs; it has yet to catch up.
    ///
    /// # Errors
    /// [`Error`]. The same directory may join again with the same token: it is then the same peer.
    pub async fn join(config: PeerConfig, token: &JoinToken, addr: &str) -> Result<Peer, Error> {
        let ground = Ground::new(config)?;
        ground.refuse_identity()?;
        let data = &ground.data;
        let key = match data.private_key()? {
            Some(key) => key,
            None => {
                let key = certificate::generate_key()?;
                data.save_private_key(&key)?;
                key
            }
        };
        let applicant = Applicant {
            name: ground.config.name.clone(),
            peer_addr: ground.addr.clone(),
            api_url: ground.config.api_url.clone(),
            key,
        };
        let deadline = Instant::now() + JOIN_PATIENCE;
        let joined = loop {
            match join::join(addr, token, &applicant).await {
                Ok(joined) => break joined,
                Err(error) if error.is_passing() && Instant::now() < deadline => {
                    warn!(error = &error as &dyn std::error::Error, "not joined yet, trying again");
                    tokio::time::sleep(JOIN_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let keyring = Keyring::decode(&joined.keyring).map_err(store::Error::from)?;
        data.save_keyring(&keyring)?;
        data.save_authority(&joined.authority)?;
        data.save_certificate(&joined.certificate)?;
        data.save_neighbours(&joined.members)?;
        let identity = Identity {
            control_plane: joined.control_plane,
            peer: joined.peer,
            name: applicant.name,
            origin: Origin::Join,
        };
        info!(control_plane = %joined.control_plane, peer = %joined.peer, "joined");
        start(ground, identity, Expected::Nothing).await
    }

    /// Goes on as the peer that the data directory is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(config: PeerConfig) -> Result<Peer, Error> {
        let ground = Ground::new(config)?;
        let identity = ground
            .data
            .identity()?
            .ok_or_else(|| Error::NoPeer { dir: ground.data.path().display().to_string() })?;
        start(ground, identity, Expected::Log).await
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// `host:port` where other peers reach it.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Where its data lies.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// The control plane's secret keys.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The state as applied here.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Sealed blocks of samples, as they are stored.
    pub fn blocks(&self) -> &Blocks {
        self.store.blocks()
    }

    /// Agreement.
    pub fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.consensus) as Arc<dyn Engine>
    }

    /// The door for other packages.
    pub fn handle(&self, blocks: Arc<dyn BlockSource>) -> Handle {
        Handle::new(Arc::clone(&self.replica), self.engine(), blocks, Arc::clone(&self.keyring))
    }

    /// Why it has stopped by itself, once it has; then call [`Peer::shutdown`].
    pub fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.stopped.clone()
    }

    /// Whether there is room on the disk; without it this peer takes no writes.
    pub fn space(&self) -> watch::Receiver<Space> {
        self.space.clone()
    }

    /// Makes a right to join. Valid once this has returned, for `life` (at most an hour) on the replicated clock.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn create_join_token(&self, life: Duration, role: PeerRole) -> Result<JoinToken, EngineError> {
        let token = JoinToken::generate(self.authority.certificate())
            .map_err(|error| EngineError::Unavailable(error.to_string()))?;
        let ttl_ms = u32::try_from(life.min(join::TOKEN_LIFE_MAX).as_millis()).unwrap_or(u32::MAX);
        let command = Command::CreateJoinToken { hash: token.hash(), ttl_ms, role };
        match submit(&self.consensus, None, command, Instant::now() + crate::handle::PATIENCE).await? {
            Ok(_) => Ok(token),
            Err(rejection) => Err(EngineError::Refused(rejection.message)),
        }
    }

    /// What makes backups, for whoever serves them.
    pub fn backups(&self) -> Backups {
        Backups {
            control_plane: self.identity.control_plane,
            consensus: Arc::clone(&self.consensus),
            replica: Arc::clone(&self.replica),
            store: self.store.clone(),
        }
    }

    /// The control plane's certificate authority, DER: what join tokens pin ([`JoinToken::generate`]).
    pub fn authority(&self) -> &[u8] {
        self.authority.certificate()
    }

    /// The index of the first entry that the log still has.
    pub fn log_begins(&self) -> u64 {
        self.wal.state().first_index()
    }

    /// Waits until the first peer is admitted.
    async fn founded(&self) {
        let mut committed = self.replica.subscribe();
        while self.replica.read(|state| state.peers().next().is_none()) {
            let _ = tokio::time::timeout(Duration::from_millis(50), committed.recv()).await;
        }
    }

    /// Ends it in order: leadership goes elsewhere, Raft stops, connections close, a last checkpoint is written.
    /// Takes little more than `grace`, plus the time of the checkpoint.
    pub async fn shutdown(self, grace: Duration) {
        let Peer { consensus, own, stop, loops, runtime, upkeep, wal, data, .. } = self;
        let raft = Arc::clone(&consensus);
        // On the runtime that its timers and connections live on.
        let ended = runtime.handle().spawn(async move { raft.shutdown(grace).await });
        if ended.await.is_err() {
            warn!("Raft did not stop in order");
        }
        stop.disarm().cancel();
        loops.close();
        loops.wait().await;
        if let Err(error) = upkeep.checkpoint().await {
            warn!(error = error.chain(), "no checkpoint was written before stopping");
        }
        drop((consensus, own));
        runtime.stop().await;
        let closed = tokio::task::spawn_blocking(move || drop(wal));
        let _ = closed.await;
        drop(data);
    }
}

/// Commits a command as the system.
async fn submit(
    consensus: &Consensus,
    request: Option<RequestId>,
    command: Command,
    deadline: Instant,
) -> Result<Outcome, EngineError> {
    let payload = Payload::encode(&Proposal { request, actor: Actor::System, command })
        .map_err(|error| EngineError::Refused(error.to_string()))?;
    consensus.propose(payload, deadline).await
}
