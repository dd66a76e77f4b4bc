//! Peers in this process, over real TLS on loopback and real disks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rscaler_raft::command::{Change, Command, Expect, Proposal, Reply};
use rscaler_raft::consensus::{Payload, UpkeepConfig};
use rscaler_raft::handle::{Engine, EngineError, Member};
use rscaler_raft::identity;
use rscaler_raft::model::{Actor, Cluster, Kind, Name, PeerId, PeerRole, RequestId, Spec};
use rscaler_raft::peer::{Error, Peer, PeerConfig};
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// Peers by number. Each has a directory for as long as the fleet lives.
pub(crate) struct Fleet {
    root: TempDir,
    pub(crate) peers: BTreeMap<u64, Peer>,
    addrs: BTreeMap<u64, String>,
    pub(crate) change: fn(&mut PeerConfig),
}

/// Tries until there is an answer, and says what was last seen if there is none in time.
pub(crate) async fn wait_for<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("{what}: not within {PATIENCE:?}: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

impl Fleet {
    pub(crate) fn new() -> Fleet {
        Fleet::with(|_| {})
    }

    pub(crate) fn with(change: fn(&mut PeerConfig)) -> Fleet {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "rscaler_raft=info".to_string()))
            .with_test_writer()
            .try_init();
        Fleet { root: tempfile::tempdir().unwrap(), peers: BTreeMap::new(), addrs: BTreeMap::new(), change }
    }

    pub(crate) fn config(&self, number: u64) -> PeerConfig {
        let dir = self.root.path().join(format!("p{number}"));
        // A peer keeps its address, so that the others find it after a restart.
        let listen = self.addrs.get(&number).cloned().unwrap_or_else(|| "127.0.0.1:0".to_string());
        let mut config =
            PeerConfig::new(dir, format!("p{number}"), listen, format!("http://127.0.0.1:{number}"));
        (self.change)(&mut config);
        config
    }

    pub(crate) fn dir(&self, number: u64) -> std::path::PathBuf {
        self.root.path().join(format!("p{number}"))
    }

    fn insert(&mut self, number: u64, peer: Peer) {
        assert_eq!(peer.identity().peer, PeerId(number), "peers are numbered as they join");
        self.addrs.insert(number, peer.addr().to_string());
        self.peers.insert(number, peer);
    }

    pub(crate) async fn bootstrap(&mut self) {
        let peer = Peer::bootstrap(self.config(1)).await.unwrap();
        self.insert(1, peer);
    }

    /// The next peer joins, by way of `by`.
    pub(crate) async fn join(&mut self, number: u64, by: u64, role: PeerRole) {
        let token = self.peers[&by].create_join_token(Duration::from_secs(600), role).await.unwrap();
        let peer = Peer::join(self.config(number), &token, self.peers[&by].addr()).await.unwrap();
        self.insert(number, peer);
    }

    /// A control plane of voters `1..=count`.
    pub(crate) async fn start(count: u64, change: fn(&mut PeerConfig)) -> Fleet {
        let mut fleet = Fleet::with(change);
        fleet.bootstrap().await;
        for number in 2..=count {
            fleet.join(number, 1, PeerRole::Voter).await;
        }
        fleet.wait_voters(&(1..=count).collect::<Vec<_>>()).await;
        fleet
    }

    /// As after `kill -9`: nothing is ended in order.
    pub(crate) fn crash(&mut self, number: u64) {
        drop(self.peers.remove(&number).unwrap());
    }

    pub(crate) async fn shutdown(&mut self, number: u64) {
        self.peers.remove(&number).unwrap().shutdown(GRACE).await;
    }

    /// Opens a peer again, once the one before has let go of its directory.
    pub(crate) async fn open(&mut self, number: u64) {
        let peer = wait_for("opening", || async {
            match Peer::open(self.config(number)).await {
                Ok(peer) => Ok(peer),
                Err(error @ Error::Identity(identity::Error::InUse { .. })) => Err(error.to_string()),
                Err(error @ Error::Listen { .. }) => Err(error.to_string()),
                // The log and the database have locks of their own.
                Err(error @ Error::Store(_)) => Err(format!("{error:?}")),
                Err(error) => panic!("{error:?}"),
            }
        })
        .await;
        self.insert(number, peer);
    }

    /// The peer will listen elsewhere the next time.
    pub(crate) fn forget_addr(&mut self, number: u64) {
        self.addrs.remove(&number);
    }

    pub(crate) fn peer(&self, number: u64) -> &Peer {
        &self.peers[&number]
    }

    pub(crate) async fn members(&self, number: u64) -> BTreeMap<u64, bool> {
        let members: Vec<Member> = self.peer(number).engine().members().await;
        members.into_iter().map(|member| (member.peer.0, member.voter)).collect()
    }

    /// Waits until all peers that run see these voters and no others.
    pub(crate) async fn wait_voters(&self, voters: &[u64]) {
        for number in self.peers.keys() {
            wait_for("voters", || async {
                let members = self.members(*number).await;
                let seen: Vec<u64> = members.iter().filter(|(_, votes)| **votes).map(|(id, _)| *id).collect();
                if seen == voters { Ok(()) } else { Err(format!("peer {number} sees {members:?}")) }
            })
            .await;
        }
    }

    /// The leader that all peers which run agree on.
    pub(crate) async fn leader(&self) -> u64 {
        wait_for("a leader", || async {
            let known: Vec<_> =
                self.peers.values().map(|peer| peer.engine().leadership().borrow().leader).collect();
            match known.first() {
                Some(Some(leader))
                    if known.iter().all(|other| *other == Some(*leader))
                        && self.peers.contains_key(&leader.0) =>
                {
                    Ok(leader.0)
                }
                _ => Err(format!("{known:?}")),
            }
        })
        .await
    }

    /// Creates a cluster through `number`.
    pub(crate) async fn put(&self, number: u64, name: &str) -> Result<(), EngineError> {
        let outcome = propose(self.peer(number), put(name)).await?;
        assert!(matches!(outcome, Reply::Configured(_)), "{outcome:?}");
        Ok(())
    }

    /// Whether `number` has the cluster, as of everything acknowledged before.
    pub(crate) async fn has(&self, number: u64, name: &str) -> bool {
        let peer = self.peer(number);
        let index = peer.engine().read_index(Instant::now() + PATIENCE).await.unwrap();
        assert!(peer.replica().wait_applied(index, PATIENCE).await, "peer {number} lags");
        has_now(peer, name)
    }
}

pub(crate) fn has_now(peer: &Peer, name: &str) -> bool {
    peer.replica().read(|state| state.object(Kind::Cluster, &Name::new(name).unwrap()).is_some())
}

pub(crate) fn put(name: &str) -> Command {
    Command::Configure(vec![Change::Put {
        name: Name::new(name).unwrap(),
        spec: Spec::Cluster(Cluster {}),
        labels: BTreeMap::new(),
        description: String::new(),
        expect: Expect::Absent,
    }])
}

/// Each proposal is a request of its own: what is repeated inside is answered once.
pub(crate) async fn propose(peer: &Peer, command: Command) -> Result<Reply, EngineError> {
    propose_within(peer, command, PATIENCE).await
}

pub(crate) async fn propose_within(
    peer: &Peer,
    command: Command,
    patience: Duration,
) -> Result<Reply, EngineError> {
    propose_to(&peer.engine(), command, patience).await
}

pub(crate) async fn propose_to(
    engine: &Arc<dyn Engine>,
    command: Command,
    patience: Duration,
) -> Result<Reply, EngineError> {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let request = Some(RequestId(u128::from(REQUESTS.fetch_add(1, Ordering::Relaxed)) << 32));
    let payload = Payload::encode(&Proposal { request, actor: Actor::System, command }).unwrap();
    let outcome = engine.propose(payload, Instant::now() + patience).await?;
    outcome.map_err(|rejection| EngineError::Refused(rejection.message))
}

/// Snapshots early, and a log that forgets early.
pub(crate) fn forgetful(config: &mut PeerConfig) {
    config.log_entries_kept = 5;
    config.upkeep = UpkeepConfig {
        checkpoint_every: Duration::from_millis(200),
        snapshot_every: Duration::from_secs(1),
        snapshot_entries_min: 20,
        ..UpkeepConfig::default()
    };
}
