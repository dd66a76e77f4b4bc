//! A simulated machine: disks that outlive the process, and a process that is the real thing, on a runtime of its own
//! whose time the world moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rscaler_raft::consensus::{
    Admission, Consensus, Digest, LogStore, Machine, Parts, PeerService, Snapshots, Timers, Upkeep,
    UpkeepConfig,
};
use rscaler_raft::handle::{Engine, Handle};
use rscaler_raft::model::PeerId;
use rscaler_raft::network::client::{Dialer, Lane};
use rscaler_raft::network::links::Links;
use rscaler_raft::network::message::{Failure, FailureCode, Join, Joined};
use rscaler_raft::replica::Replica;
use rscaler_raft::secrets::Keyring;
use rscaler_raft::store::{Fatal, Opened, Space, Store, StoreConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::log::LogDisk;
use super::net::{Net, SimWire, accept};
use super::volume::Medium;
use super::{clock, work};

/// Where a peer listens.
pub(crate) fn addr(peer: u64) -> String {
    format!("peer-{peer}:1")
}

/// What all processes have in common.
pub(crate) struct Common {
    pub(crate) net: Arc<Net>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) upkeep: UpkeepConfig,
    pub(crate) log_entries_kept: u64,
    pub(crate) ledger: Arc<work::Ledger>,
}

/// A machine.
pub(crate) struct Host {
    pub(crate) id: u64,
    pub(crate) log: Arc<LogDisk>,
    pub(crate) medium: Arc<Medium>,
    pub(crate) process: Option<Process>,
    /// Peers it knew when it joined.
    pub(crate) seeds: Vec<u64>,
    /// It is the first of its control plane.
    pub(crate) is_first: bool,
    /// It was removed, or may never start again.
    pub(crate) is_gone: bool,
    /// How often a process was started.
    pub(crate) starts: u64,
    pub(crate) wall_error_ms: i64,
}

/// A process.
pub(crate) struct Process {
    runtime: Runtime,
    pub(crate) inside: Arc<OnceLock<Inside>>,
    pub(crate) refused: Arc<Mutex<Option<String>>>,
    pub(crate) fatal: Fatal,
    /// Until when it is stopped, and since when.
    stopped: Option<(u64, u64)>,
    /// How many thousandths of a millisecond pass for it in one.
    pub(crate) rate: u64,
    owed: u64,
    /// What its own clock says, in ms; it began when its machine did.
    own_ms: u64,
}

/// What is in a process that has started.
pub(crate) struct Inside {
    pub(crate) handle: Handle,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) digests: watch::Receiver<Option<Digest>>,
    pub(crate) space: watch::Sender<Space>,
    stops: work::Stops,
    /// It has ended in order.
    is_over: Arc<AtomicBool>,
}

struct NobodyJoins;

impl Admission for NobodyJoins {
    fn admit(self: Arc<Self>, _: Join) -> BoxFuture<'static, Result<Joined, Failure>> {
        async { Err(Failure::new(FailureCode::Refused, "peers join by command here")) }.boxed()
    }
}

impl Host {
    pub(crate) fn new(id: u64, seed: u64) -> Host {
        Host {
            id,
            log: LogDisk::new(seed ^ id),
            medium: Medium::new(seed ^ id ^ 0xff00),
            process: None,
            seeds: Vec::new(),
            is_first: false,
            is_gone: false,
            starts: 0,
            wall_error_ms: 0,
        }
    }

    /// Starts a process.
    pub(crate) fn start(&mut self, common: &Arc<Common>) {
        self.starts += 1;
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output needs nothing");
        let (inside, refused, fatal) = (Arc::default(), Arc::default(), Fatal::new());
        let start = Start {
            id: self.id,
            log: Arc::clone(&self.log),
            medium: Arc::clone(&self.medium),
            seeds: self.seeds.iter().map(|peer| (PeerId(*peer), addr(*peer))).collect(),
            is_first: self.is_first,
            boot: self.starts,
            fatal: fatal.clone(),
            common: Arc::clone(common),
        };
        let (slot, why): (Arc<OnceLock<Inside>>, Arc<Mutex<Option<String>>>) =
            (Arc::clone(&inside), Arc::clone(&refused));
        runtime.spawn(async move {
            match start.run().await {
                Ok(inside) => drop(slot.set(inside)),
                Err(reason) => *why.lock() = Some(reason),
            }
        });
        self.process = Some(Process {
            runtime,
            inside,
            refused,
            fatal,
            stopped: None,
            rate: 1000,
            owed: 0,
            own_ms: clock::now(),
        });
    }

    /// Ends the process at once. Where the power fails, what was not synced is lost, and nobody closes its connections.
    pub(crate) fn kill(&mut self, net: &Net, is_power_loss: bool) {
        let Some(process) = self.process.take() else { return };
        // First the disks: what the process does while it is taken apart must not reach them.
        self.log.crash(is_power_loss);
        self.medium.crash(is_power_loss);
        net.drop_peer(self.id, !is_power_loss);
        process.runtime.shutdown_background();
    }

    /// What is in the process, where it runs.
    pub(crate) fn inside(&self) -> Option<&Inside> {
        self.process.as_ref()?.inside.get()
    }

    /// Whether it runs and is not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stopped.is_none())
    }
}

impl Process {
    /// Lets a millisecond pass.
    pub(crate) fn step(&mut self, now: u64, wall_error_ms: i64) {
        match self.stopped {
            Some((until, _)) if now < until => return,
            Some((_, since)) => {
                // All clocks went on meanwhile.
                self.stopped = None;
                self.own_ms += now - since;
                clock::enter(wall_error_ms, self.own_ms);
                let passed = Duration::from_millis(now - since);
                self.runtime.block_on(async { tokio::time::advance(passed).await });
            }
            None => {}
        }
        self.owed += self.rate;
        while self.owed >= 1000 {
            self.owed -= 1000;
            self.own_ms += 1;
            clock::enter(wall_error_ms, self.own_ms);
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        }
    }

    /// Whether it can't go on, or could not even start.
    pub(crate) fn has_failed(&self) -> bool {
        let is_over = self.inside.get().is_some_and(|inside| inside.is_over.load(Ordering::Relaxed));
        is_over || self.fatal.reason().is_some() || self.refused.lock().is_some()
    }

    /// Whether it was asked to end. Where it stands still it may take long.
    pub(crate) fn is_ending(&self) -> bool {
        self.inside.get().is_some_and(|inside| inside.stops.stop.is_cancelled())
    }

    /// Asks it to end in order; then it [has failed](Process::has_failed) as others do.
    pub(crate) fn shut_down(&self) {
        let Some(inside) = self.inside.get() else { return };
        inside.stops.drain.cancel();
        inside.stops.stop.cancel();
        let (consensus, is_over) = (Arc::clone(&inside.consensus), Arc::clone(&inside.is_over));
        self.spawn(async move {
            consensus.shutdown(Duration::from_secs(2)).await;
            is_over.store(true, Ordering::Relaxed);
        });
    }

    /// Stops it until then, as SIGSTOP does.
    pub(crate) fn stop_until(&mut self, until: u64, now: u64) {
        self.stopped = Some((until, now));
    }

    /// Runs a future in it.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(future);
    }
}

struct Start {
    id: u64,
    log: Arc<LogDisk>,
    medium: Arc<Medium>,
    seeds: BTreeMap<PeerId, String>,
    is_first: bool,
    boot: u64,
    fatal: Fatal,
    common: Arc<Common>,
}

impl Start {
    /// Puts the parts together as [`rscaler_raft::peer`] does.
    async fn run(self) -> Result<Inside, String> {
        let Start { id, log, medium, seeds, is_first, boot, fatal, common } = self;
        let wal = log.open(fatal.clone());
        let volume = medium.open(id << 32 | boot);
        let config = StoreConfig {
            rows_cache_bytes: 1 << 20,
            blocks_cache_bytes: 1 << 20,
            garbage_bytes: 256 << 10,
            ..StoreConfig::new("/data")
        };
        let opened = Store::open_on(volume, &config, &log.state(), fatal.clone());
        let (store, needs_snapshot) = match opened.map_err(|error| error.chain())? {
            Opened::Ready(store) => (store, false),
            Opened::NeedsSnapshot { store, .. } => (store, true),
        };
        let wire = Arc::new(SimWire { net: Arc::clone(&common.net), local: id });
        let dialer = Dialer::over(wire, tokio::runtime::Handle::current(), CancellationToken::new());
        let links = Links::new(dialer);
        let snapshots = Snapshots::new(store.clone());
        let service = PeerService::new(Arc::clone(&snapshots));
        let arrivals = common.net.listen(id);
        tokio::spawn(accept(Arc::clone(&common.net), arrivals, service.clone()));

        let machine = Machine::open(store.clone(), common.upkeep.clone()).await;
        let mut machine = machine.map_err(|error| error.chain())?;
        if needs_snapshot {
            let index = log.state().purged.map_or(0, |purged| purged.index);
            let snapshot = loop {
                let mut found = None;
                for (peer, addr) in &seeds {
                    let link = links.get(*peer, addr, Lane::Bulk);
                    if let Ok(snapshot) = snapshots.fetch(&link, index).await {
                        found = Some(snapshot);
                        break;
                    }
                }
                match found {
                    Some(snapshot) => break snapshot,
                    None => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            };
            machine.install(snapshot).await.map_err(|error| error.chain())?;
        }
        machine.count_log(wal.clone()).await.map_err(|error| error.chain())?;
        let (replica, digests) = (Arc::clone(machine.replica()), machine.comparison().newest());
        let upkeep = Upkeep::new(&machine);
        let (space, space_left) = watch::channel(Space::Ok);
        let parts = Parts {
            local: PeerId(id),
            timers: Timers::default(),
            log_entries_kept: common.log_entries_kept,
            log: LogStore::new(wal, store.checkpointed()),
            machine,
            snapshots,
            replica: Arc::clone(&replica),
            links,
            space: space_left,
            fatal,
            seeds,
        };
        let consensus = Consensus::start(parts).await.map_err(|error| error.to_string())?;
        service.start(Arc::clone(&consensus), Arc::new(NobodyJoins));
        if is_first {
            consensus.initialize(&addr(id)).await.map_err(|error| error.to_string())?;
        }
        let raft = Arc::clone(&consensus);
        tokio::spawn(upkeep.run(move || {
            let raft = Arc::clone(&raft);
            async move { raft.trigger_snapshot().await }
        }));
        let engine = Arc::clone(&consensus) as Arc<dyn Engine>;
        let blocks = Arc::new(store.blocks().clone());
        let handle = Handle::new(Arc::clone(&replica), engine, blocks, Arc::clone(&common.keyring));
        let stops = work::start(&handle, &common.ledger);
        Ok(Inside { handle, consensus, replica, digests, space, stops, is_over: Arc::default() })
    }
}
