//! One voter of real openraft on the real log and the real state machine.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use openraft::{OptionalSend, Raft};

use super::*;
use crate::command::{Command, Proposal, Reply};
use crate::model::{Actor, Timestamp};
use crate::store::wal::{Expected, Wal, WalConfig};
use crate::store::{Error, Fatal, Opened, SnapshotHandle, Store, StoreConfig};

const PATIENCE: Duration = Duration::from_secs(20);

/// There are no other peers.
struct Alone;

fn alone() -> Unreachable<TypeConfig> {
    Unreachable::new(&io::Error::other("there are no other peers"))
}

impl RaftNetworkFactory<TypeConfig> for Alone {
    type Network = Alone;

    async fn new_client(&mut self, _: u64, _: &PeerAddress) -> Alone {
        Alone
    }
}

impl RaftNetworkV2<TypeConfig> for Alone {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(alone()))
    }

    async fn vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(alone()))
    }

    async fn full_snapshot(
        &mut self,
        _: super::convert::RaftVote,
        _: super::machine::Snapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(alone()))
    }
}

async fn start(
    dir: &Path,
    expected: Expected,
) -> (Raft<TypeConfig, Machine>, Arc<crate::replica::Replica>, Arc<Wal>) {
    let fatal = Fatal::new();
    let wal = WalConfig { chunk_bytes_max: 16 << 10, ..WalConfig::new(dir.join("wal")) };
    // Raft's futures let go of the log some time after it is shut down.
    let deadline = std::time::Instant::now() + PATIENCE;
    let wal = loop {
        match Wal::open(&wal, expected, fatal.clone()) {
            Ok(wal) => break Arc::new(wal),
            Err(Error::Refused(text)) if text.contains("in use") && std::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let Opened::Ready(store) = Store::open(&StoreConfig::new(dir), &wal.state(), fatal).unwrap() else {
        panic!("needs a snapshot")
    };
    let log = LogStore::new(Arc::clone(&wal), store.checkpointed());
    let machine = Machine::open(store, UpkeepConfig::default()).await.unwrap();
    let replica = Arc::clone(machine.replica());
    let config = openraft::Config { max_in_snapshot_log_to_keep: 100, purge_batch_size: 1, ..raft_config() };
    let raft = Raft::new(1, Arc::new(config.validate().unwrap()), Alone, log, machine).await.unwrap();
    (raft, replica, wal)
}

fn tick(n: u64) -> Payload {
    let command = Command::Tick { delta_ms: 5, wall: Timestamp(n as i64), first: false, term: 1 };
    Payload::encode(&Proposal { request: None, actor: Actor::System, command }).unwrap()
}

async fn write(raft: &Raft<TypeConfig, Machine>, range: std::ops::Range<u64>) {
    let writes = range.map(|n| raft.client_write(tick(n)));
    for written in futures::future::join_all(writes).await {
        assert_eq!(written.unwrap().data, Answer(Some(Ok(Reply::Done))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_writes_snapshots_purges_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, replica, wal) = start(dir.path(), Expected::Nothing).await;
    raft.initialize(BTreeMap::from([(1, PeerAddress { addr: "a:1".to_string() })])).await.unwrap();
    raft.wait(Some(PATIENCE)).current_leader(1, "it leads").await.unwrap();
    write(&raft, 0..500).await;
    // Raft's own entries are answered too.
    raft.add_learner(2, PeerAddress { addr: "b:1".to_string() }, false).await.unwrap();
    raft.trigger().snapshot().await.unwrap();
    let purged =
        |metrics: &openraft::RaftMetrics<TypeConfig>| metrics.purged.is_some_and(|id| id.index() > 300);
    raft.wait(Some(PATIENCE)).metrics(purged, "the log is purged behind the snapshot").await.unwrap();
    write(&raft, 500..520).await;
    let clock = replica.read(crate::state::State::clock);
    let digest = replica.read(crate::state::State::digest);
    assert_eq!(clock.wall, Timestamp(519));
    let before = wal.state();
    raft.shutdown().await.unwrap();
    drop((raft, replica, wal));

    let (raft, replica, wal) = start(dir.path(), Expected::Log).await;
    assert_eq!(wal.state().purged, before.purged);
    raft.wait(Some(PATIENCE)).current_leader(1, "it leads again").await.unwrap();
    assert!(replica.wait_applied(before.last.unwrap().index, PATIENCE).await);
    assert_eq!(replica.read(crate::state::State::clock), clock);
    assert_eq!(replica.read(crate::state::State::digest), digest);
    let nodes = raft.metrics().borrow_watched().membership_config.nodes().count();
    assert_eq!(nodes, 2);
    write(&raft, 520..530).await;
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_led_before_it_was_killed_leads_again_only_in_a_later_term() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, replica, wal) = start(dir.path(), Expected::Nothing).await;
    raft.initialize(BTreeMap::from([(1, PeerAddress { addr: "a:1".to_string() })])).await.unwrap();
    raft.wait(Some(PATIENCE)).current_leader(1, "it leads").await.unwrap();
    write(&raft, 0..10).await;
    let term = raft.metrics().borrow_watched().current_term;
    raft.shutdown().await.unwrap();
    drop((raft, replica, wal));

    let (raft, _replica, _wal) = start(dir.path(), Expected::Log).await;
    raft.wait(Some(PATIENCE)).current_leader(1, "it leads again").await.unwrap();
    assert!(raft.metrics().borrow_watched().current_term > term);
    write(&raft, 10..20).await;
    raft.shutdown().await.unwrap();
}
