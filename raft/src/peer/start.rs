use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::admission::Admitter;
use super::{Error, Ground, Peer, loops};
use crate::consensus::{Consensus, LogStore, Machine, Parts, PeerService, RaftRuntime, Snapshots, Upkeep};
use crate::identity::{DataDir, Identity, Origin};
use crate::model::PeerId;
use crate::network::certificate::Authority;
use crate::network::client::{Dialer, Lane};
use crate::network::links::Links;
use crate::network::server::Server;
use crate::network::tls::{Refused, Tls};
use crate::secrets;
use crate::store::wal::{Expected, Wal, WalConfig};
use crate::store::{self, Fatal, Opened, SpaceWatch, Store, StoreConfig};

/// How long other peers are asked for a snapshot, where this one can't start without.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(600);
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);

/// Puts all parts together, in the order in which they need one another, and starts them.
pub(super) async fn start(ground: Ground, identity: Identity, expected: Expected) -> Result<Peer, Error> {
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
    machine.count_log(wal.clone()).await?;
    let replica = Arc::clone(machine.replica());
    let comparison = Arc::clone(machine.comparison());
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
    let own = Arc::new(loops::Parts {
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
        comparison,
        stopped: stopped_sender,
    });
    own.spawn(&loops, &stop, &raft_runtime);
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
        own,
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
pub(super) async fn open_store(
    data: &DataDir,
    expected: Expected,
    fatal: Fatal,
) -> Result<(Arc<Wal>, Opened), Error> {
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
