//! One peer of a control plane: begun, joined or opened again, with all its parts in their order.
//!
//! [`Peer::bootstrap`] begins a control plane, [`Peer::join`] becomes one more peer of it, [`Peer::open`] goes on
//! after a stop. Each gives a peer that runs; [`Peer::stopped`] says when it can't any longer, and
//! [`Peer::shutdown`] ends it in order.

mod admission;
mod config;
mod loops;
mod restore;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use config::PeerConfig;
pub use restore::restore;

use self::admission::Admitter;
use crate::command::{Command, Proposal, Reply};
use crate::consensus::{
    self, Consensus, LogStore, Machine, Parts, Payload, PeerService, RaftRuntime, Snapshots, Upkeep,
};
use crate::handle::{Engine, EngineError, Handle};
use crate::identity::{self, ControlPlaneId, DataDir, Identity, Origin, TlsFiles};
use crate::model::{Actor, PeerId, PeerRole, RequestId};
use crate::network::certificate::{self, Authority};
use crate::network::client::{Dialer, Lane};
use crate::network::join::{self, Applicant, JoinToken};
use crate::network::links::Links;
use crate::network::server::Server;
use crate::network::tls::{self, Refused, Tls};
use crate::replica::Replica;
use crate::secrets::{self, Keyring};
use crate::series::BlockSource;
use crate::store::wal::{Expected, Wal, WalConfig};
use crate::store::{self, Blocks, Fatal, Opened, Space, SpaceWatch, Store, StoreConfig};

/// How long a join is tried while the control plane can't decide.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// How long the first peer may take to found its control plane.
const FOUNDING_PATIENCE: Duration = Duration::from_secs(30);
/// How long other peers are asked for a snapshot, where this one can't start without.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(600);
/// How long a snapshot for a backup may take to be made.
const BACKUP_PATIENCE: Duration = Duration::from_secs(60);
const BACKUP_PAUSE: Duration = Duration::from_millis(100);
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);

/// Why a peer can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory can't be used.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// It is somebody already.
    #[error("{dir} belongs to peer {peer} (`{name}`) already: start it without --bootstrap and --join")]
    AlreadyPeer {
        /// The data directory.
        dir: String,
        /// Who it is.
        peer: PeerId,
        /// Its name.
        name: String,
    },
    /// It is nobody yet.
    #[error(
        "{dir} belongs to no peer yet: start with --bootstrap to begin a control plane, or with --join and --join-token to join one"
    )]
    NoPeer {
        /// The data directory.
        dir: String,
    },
    /// The peer port can't be opened.
    #[error("could not listen for peers on {addr}")]
    Listen {
        /// Where.
        addr: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Others could not reach it.
    #[error("peers can't be told to connect to {0}: say where they reach this one")]
    NoAddress(SocketAddr),
    /// The operating system gave no threads.
    #[error("could not start threads")]
    Threads(#[source] std::io::Error),
    /// No random bytes, or secrets that don't open.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    /// Certificates.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// It was not admitted.
    #[error("could not join the control plane")]
    Join(#[from] join::Error),
    /// What was stored can't be opened.
    #[error("could not open what is stored in the data directory")]
    Store(#[from] store::Error),
    /// Its state is lost, and no other peer gave one.
    #[error(
        "this peer can't start from what it has stored ({reason}), and no other peer gave it a snapshot: {last}"
    )]
    NoSnapshot {
        /// Why it needs one.
        reason: String,
        /// How the last attempt ended.
        last: String,
    },
    /// Agreement could not begin.
    #[error(transparent)]
    Consensus(#[from] consensus::Error),
    /// A backup that is not one.
    #[error("could not restore from the backup")]
    Backup(#[from] crate::backup::Error),
    /// The control plane was not founded.
    #[error("the control plane could not be founded: {0}")]
    Founding(String),
}

/// Why a peer has stopped by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// It was removed from the control plane: it must not start again.
    Removed(String),
    /// Its disk or its state failed; what was acknowledged is safe.
    Failed(String),
}

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
        let Peer { consensus, stop, loops, runtime, upkeep, wal, data, .. } = self;
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
        drop(consensus);
        runtime.stop().await;
        let closed = tokio::task::spawn_blocking(move || drop(wal));
        let _ = closed.await;
        drop(data);
    }
}

/// Makes consistent copies of all that the control plane knows.
#[derive(Clone)]
pub struct Backups {
    control_plane: ControlPlaneId,
    consensus: Arc<Consensus>,
    replica: Arc<Replica>,
    store: Store,
}

impl Backups {
    /// A snapshot that holds everything that was acknowledged before this call.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub async fn snapshot(&self) -> Result<store::SnapshotHandle, EngineError> {
        let deadline = Instant::now() + BACKUP_PATIENCE;
        let index = self.consensus.read_index(deadline).await?;
        let unavailable = || EngineError::Unavailable("no snapshot was made in time".to_string());
        if !self.replica.wait_applied(index, BACKUP_PATIENCE).await {
            return Err(unavailable());
        }
        while Instant::now() < deadline {
            // Raft's own membership entries may follow the last one that was applied here.
            if let Some(snapshot) = self.store.current_snapshot().filter(|s| s.manifest().id() > index) {
                return Ok(snapshot);
            }
            self.consensus.trigger_snapshot().await;
            tokio::time::sleep(BACKUP_PAUSE).await;
        }
        Err(unavailable())
    }

    /// The bytes of a backup of `snapshot`, a piece at a time; reads the disk as it goes.
    ///
    /// # Errors
    /// [`crate::backup::Error`].
    pub fn pieces(
        &self,
        snapshot: &store::SnapshotHandle,
    ) -> Result<impl Iterator<Item = Result<Vec<u8>, crate::backup::Error>> + use<>, crate::backup::Error>
    {
        crate::backup::pieces(self.control_plane, snapshot)
    }
}

/// Commits a command as the system.
async fn submit(
    consensus: &Consensus,
    request: Option<RequestId>,
    command: Command,
    deadline: Instant,
) -> Result<crate::command::Outcome, EngineError> {
    let payload = Payload::encode(&Proposal { request, actor: Actor::System, command })
        .map_err(|error| EngineError::Refused(error.to_string()))?;
    consensus.propose(payload, deadline).await
}

/// Puts all parts together.
async fn start(ground: Ground, identity: Identity, expected: Expected) -> Result<Peer, Error> {
    let runtime = RaftRuntime::start().map_err(Error::Threads)?;
    let raft_runtime = runtime.handle();
    let Ground { config, data, listener, addr } = ground;

    let fatal = Fatal::new();
    let (wal, opened) = open_store(&data, expected, fatal.clone()).await?;
    if expected == Expected::Nothing {
        // Only now: an identity promises that there is a log.
        data.save_identity(&identity)?;
    }
    let space = Arc::new(SpaceWatch::new(data.path(), config.space_threshold_bytes)?);

    let files = data.tls()?;
    let keyring = Arc::new(data.keyring()?);
    let authority =
        Arc::new(Authority::load(identity.control_plane, keyring.authority_key(), &files.authority)?);
    let (boot, stop, loops) = (new_boot()?, CancellationToken::new(), TaskTracker::new());
    let tls = Arc::new(Tls::new(identity.control_plane, identity.peer, &files, Arc::<Refused>::default())?);
    let dialer = Dialer::new(Arc::clone(&tls), boot, raft_runtime.clone(), stop.clone());
    let links = Links::new(Arc::clone(&dialer));
    let neighbours: BTreeMap<PeerId, String> =
        data.neighbours()?.into_iter().filter(|(peer, _)| *peer != identity.peer).collect();

    let (store, needs_snapshot) = match opened {
        Opened::Ready(store) => (store, None),
        Opened::NeedsSnapshot { store, reason } => (store, Some(reason)),
    };
    let snapshots = Snapshots::new(store.clone());
    let service = PeerService::new(Arc::clone(&snapshots));
    let server = {
        let _entered = raft_runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| Error::Listen { addr: config.listen.clone(), source })?;
        Server::new(listener, Arc::clone(&tls), boot, config.limits, service.clone(), stop.clone())
    };
    loops.spawn_on(server.run(), &raft_runtime);

    let mut machine = Machine::open(store.clone(), config.upkeep.clone()).await?;
    if let Some(reason) = needs_snapshot {
        warn!(reason, "this peer needs another one's snapshot to start from");
        let index = wal.state().purged.map_or(0, |purged| purged.index);
        let snapshot = fetch_snapshot(&snapshots, &links, &neighbours, index).await;
        let snapshot = snapshot.map_err(|last| Error::NoSnapshot { reason, last })?;
        machine.install(snapshot).await?;
    }
    let replica = Arc::clone(machine.replica());
    let digests = machine.digests();
    let (upkeep, upkeep_loop) = (Upkeep::new(&machine), Upkeep::new(&machine));
    let parts = Parts {
        local: identity.peer,
        timers: config.timers,
        log_entries_kept: config.log_entries_kept,
        log: LogStore::new(Arc::clone(&wal), store.checkpointed()),
        machine,
        snapshots,
        replica: Arc::clone(&replica),
        links,
        space: space.subscribe(),
        fatal: fatal.clone(),
        seeds: neighbours,
    };
    let consensus = raft_runtime.spawn(Consensus::start(parts)).await;
    let consensus = consensus.map_err(|error| Error::Founding(error.to_string()))??;
    service.start(
        Arc::clone(&consensus),
        Arc::new(Admitter {
            consensus: Arc::clone(&consensus),
            replica: Arc::clone(&replica),
            authority: Arc::clone(&authority),
            keyring: Arc::clone(&keyring),
            control_plane: identity.control_plane,
        }),
    );
    if identity.origin == Origin::Bootstrap {
        consensus.initialize(&addr).await?;
    }

    let (stopped_sender, stopped) = watch::channel(None);
    let parts = loops::Parts {
        identity: identity.clone(),
        addr: addr.clone(),
        api_url: config.api_url.clone(),
        consensus: Arc::clone(&consensus),
        replica: Arc::clone(&replica),
        data: Arc::clone(&data),
        tls,
        authority: Arc::clone(&authority),
        removed: dialer.removed(),
        fatal,
        digests,
        stopped: stopped_sender,
    };
    parts.spawn(&loops, &stop, &raft_runtime);
    let space_left = space.subscribe();
    let raft = Arc::clone(&consensus);
    spawn_until(&loops, &stop, upkeep_loop.run(move || trigger_snapshot(Arc::clone(&raft))));
    spawn_until(&loops, &stop, space.run());

    Ok(Peer {
        identity,
        addr,
        authority,
        keyring,
        replica,
        store,
        consensus,
        stopped,
        space: space_left,
        upkeep,
        stop: stop.drop_guard(),
        loops,
        runtime,
        wal,
        data,
    })
}

async fn trigger_snapshot(consensus: Arc<Consensus>) {
    consensus.trigger_snapshot().await;
}

fn spawn_until(
    loops: &TaskTracker,
    stop: &CancellationToken,
    future: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    loops.spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = future => {}
        }
    });
}

fn new_boot() -> Result<u128, secrets::Error> {
    Ok(u128::from_le_bytes(secrets::random()?))
}

/// Opens log and state, which reads the disk.
async fn open_store(data: &DataDir, expected: Expected, fatal: Fatal) -> Result<(Arc<Wal>, Opened), Error> {
    let dir = data.path().to_path_buf();
    let open = tokio::task::spawn_blocking(move || {
        let wal = Wal::open(&WalConfig::new(dir.join("log")), expected, fatal.clone())?;
        let opened = Store::open(&StoreConfig::new(&dir), &wal.state(), fatal)?;
        Ok((Arc::new(wal), opened))
    });
    match open.await {
        Ok(opened) => opened.map_err(Error::Store),
        Err(error) => {
            Err(Error::Store(store::Error::io("opening what is stored", std::io::Error::other(error))))
        }
    }
}

/// Asks one peer after the other for a snapshot that holds the entry at `index`.
async fn fetch_snapshot(
    snapshots: &Snapshots,
    links: &Links,
    neighbours: &BTreeMap<PeerId, String>,
    index: u64,
) -> Result<store::SnapshotHandle, String> {
    let deadline = Instant::now() + SNAPSHOT_PATIENCE;
    let mut last = "it knows no other peers".to_string();
    while Instant::now() < deadline && !neighbours.is_empty() {
        for (peer, addr) in neighbours {
            match snapshots.fetch(&links.get(*peer, addr, Lane::Bulk), index).await {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => {
                    warn!(%peer, error = &error as &dyn std::error::Error, "no snapshot from this peer");
                    last = format!("peer {peer}: {error}");
                }
            }
        }
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
    }
    Err(last)
}

/// A new certificate for the same key.
fn renewed(authority: &Authority, peer: PeerId, files: &TlsFiles) -> Result<(TlsFiles, Vec<u8>), Error> {
    let issued = authority.issue(&certificate::request(&files.key)?, peer)?;
    Ok((TlsFiles { certificate: issued.certificate, ..files.clone() }, issued.serial))
}

/// What the founding peer is admitted under, so that a repetition answers the same.
fn founding_request(control_plane: ControlPlaneId) -> RequestId {
    RequestId(control_plane.0)
}

/// The reply of an admission.
fn admitted(reply: &Reply) -> Option<PeerId> {
    match reply {
        Reply::Peer(peer) => Some(*peer),
        _ => None,
    }
}
