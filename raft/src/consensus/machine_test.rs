#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, Membership, RaftSnapshotBuilder, StorageError};
use tempfile::TempDir;
use tokio::sync::watch;

use super::convert::Entry;
use super::*;
use crate::command::{Change, Command, Expect, Proposal, RowSeries, SampleBatch, SampleRow, SampleSource};
use crate::model::{
    Actor, Cluster, ClusterSelector, Counter, CounterSource, File, Kind, Name, Node, SeriesKey, Spec,
    Timestamp,
};
use crate::series::{Agg, Limits, Query, Selector, execute};
use crate::store::wal::{Expected, Wal, WalConfig};
use crate::store::{Fatal, Manifest, Opened, Store, StoreConfig, Wanted};

/// A peer's storage, as a server opens it.
struct Parts {
    log: LogStore,
    machine: Machine,
    fatal: Fatal,
}

async fn open_in(dir: &Path, expected: Expected, config: UpkeepConfig) -> Parts {
    let fatal = Fatal::new();
    let wal = Wal::open(&WalConfig::new(dir.join("wal")), expected, fatal.clone()).unwrap();
    let opened = Store::open(&StoreConfig::new(dir), &wal.state(), fatal.clone()).unwrap();
    let Opened::Ready(store) = opened else { panic!("needs a snapshot") };
    let log = LogStore::new(Arc::new(wal), store.checkpointed());
    Parts { log, machine: Machine::open(store, config).await.unwrap(), fatal }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let fatal = Fatal::new();
        let wal =
            Wal::open(&WalConfig::new(dir.path().join("wal")), Expected::Nothing, fatal.clone()).unwrap();
        let opened = Store::open(&StoreConfig::new(dir.path()), &wal.state(), fatal).unwrap();
        let Opened::Ready(store) = opened else { panic!("needs a snapshot") };
        // The suite purges logs of which it has applied nothing.
        let (_, everything) = watch::channel(u64::MAX);
        let machine = Machine::open(store, UpkeepConfig::default()).await.unwrap();
        Ok((dir, LogStore::new(Arc::new(wal), everything), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_machine_pass_the_storage_suite() {
    Suite::test_all(Builder).await.unwrap();
}

fn at(index: u64) -> LogPosition {
    LogPosition { term: 1, index }
}

fn entry(index: u64, command: Command) -> Entry {
    let proposal = Proposal { request: None, actor: Actor::System, command };
    Entry { log_id: at(index).into(), payload: EntryPayload::Normal(Payload::encode(&proposal).unwrap()) }
}

fn put(name: &str, spec: Spec) -> Change {
    let name = Name::new(name).unwrap();
    Change::Put { name, spec, labels: Default::default(), description: String::new(), expect: Expect::Any }
}

fn file(index: u64, name: &str, bytes: usize) -> Entry {
    let spec = Spec::File(File { content: vec![index as u8; bytes].into() });
    entry(index, Command::Configure(vec![put(name, spec)]))
}

fn tick(index: u64) -> Entry {
    entry(index, Command::Tick { term: 1, delta_ms: 10, wall: Timestamp(index as i64), first: false })
}

fn members(index: u64) -> Entry {
    let membership = Membership::new_with_defaults(vec![[1, 2, 3].into()], []);
    Entry { log_id: at(index).into(), payload: EntryPayload::Membership(membership) }
}

/// Ticks, with files of several sizes among them.
fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
    range
        .map(|index| match index % 5 {
            0 => file(index, &format!("file{}", index % 3), (index as usize * 7919) % 150_000),
            _ => tick(index),
        })
        .collect()
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) {
    let (done, over) = TypeConfig::oneshot();
    log.append(entries, openraft::storage::IOFlushed::signal(done)).await.unwrap();
    over.await.unwrap().unwrap();
}

async fn apply(machine: &mut Machine, entries: Vec<Entry>) {
    machine.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await.unwrap();
}

fn digest(machine: &Machine) -> [u8; 32] {
    machine.replica().read(crate::state::State::digest)
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names.iter().rev() {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(path, &target);
        } else {
            std::fs::copy(path, &target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_applies_what_lies_behind_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut whole = open_in(&dir.path().join("whole"), Expected::Nothing, UpkeepConfig::default()).await;
    apply(&mut whole.machine, vec![members(0)]).await;
    apply(&mut whole.machine, entries(1..80)).await;

    let here = dir.path().join("here");
    let mut parts = open_in(&here, Expected::Nothing, UpkeepConfig::default()).await;
    append(&mut parts.log, vec![members(0)]).await;
    append(&mut parts.log, entries(1..80)).await;
    apply(&mut parts.machine, vec![members(0)]).await;
    let mut done = 1;
    for upto in [10, 30, 31, 55] {
        apply(&mut parts.machine, entries(done..upto)).await;
        Upkeep::new(&parts.machine).checkpoint().await.unwrap();
        // What is applied after it is lost with the process.
        apply(&mut parts.machine, entries(upto..80)).await;
        let crashed = dir.path().join(format!("crashed{upto}"));
        copy_dir(&here, &crashed);
        drop(parts);
        parts = open_in(&crashed, Expected::Log, UpkeepConfig::default()).await;
        let (applied, membership) = parts.machine.applied_state().await.unwrap();
        assert_eq!(applied, Some(at(upto - 1).into()));
        assert_eq!(membership.log_id(), &Some(at(0).into()));
        assert_eq!(parts.machine.replica().applied(), upto - 1);
        assert_eq!(parts.log.get_log_state().await.unwrap().last_log_id, Some(at(79).into()));
        done = upto;
        // The copy is where it goes on, from its own directory.
        drop(parts);
        std::fs::remove_dir_all(&here).unwrap();
        std::fs::rename(&crashed, &here).unwrap();
        parts = open_in(&here, Expected::Log, UpkeepConfig::default()).await;
    }
    apply(&mut parts.machine, entries(done..80)).await;
    assert_eq!(digest(&parts.machine), digest(&whole.machine));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_newer_version_stops_the_peer() {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = open_in(dir.path(), Expected::Nothing, UpkeepConfig::default()).await;
    let newer = crate::codec::encode(crate::codec::FormatKind::Proposal, 99, &1u8).unwrap();
    let entry = Entry { log_id: at(0).into(), payload: EntryPayload::Normal(Payload(newer.into())) };
    assert!(parts.machine.apply(stream::iter([Ok((entry, None))])).await.is_err());
    let reason = parts.fatal.reason().unwrap();
    assert!(reason.contains("entry 0 cannot be applied") && reason.contains("upgrade this peer"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_differs_from_the_leaders_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let config = UpkeepConfig { digest_every: 10, ..UpkeepConfig::default() };
    let mut parts = open_in(dir.path(), Expected::Nothing, config).await;
    let comparison = Arc::clone(parts.machine.comparison());
    let mut digests = comparison.newest();
    apply(&mut parts.machine, entries(0..21)).await;
    // It is made beside.
    let made = |digest: &Option<Digest>| digest.is_some_and(|digest| digest.index == 20);
    let patience = Duration::from_secs(20);
    let made = tokio::time::timeout(patience, digests.wait_for(made)).await.unwrap().unwrap().unwrap();
    assert_eq!(made.digest, digest(&parts.machine), "what follows the changes is what encodes everything");
    apply(&mut parts.machine, entries(21..25)).await;
    let verify = |at, index, digest| entry(at, Command::VerifyDigest { index, digest });
    apply(&mut parts.machine, vec![verify(25, 20, made.digest)]).await;
    // An index that this peer did not digest tells nothing, and neither does a digest that is made otherwise.
    apply(&mut parts.machine, vec![verify(26, 7, made.digest), verify(27, 10, [0; 32])]).await;
    assert_eq!(*comparison.differs().borrow(), None);
    // One that comes before ours is compared once ours is there.
    apply(&mut parts.machine, vec![verify(28, 30, made.digest), tick(29)]).await;
    assert_eq!(*comparison.differs().borrow(), None);
    apply(&mut parts.machine, entries(30..31)).await;
    let mut differs = comparison.differs();
    tokio::time::timeout(patience, differs.wait_for(|index| *index == Some(30))).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_since_the_last_snapshot_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = open_in(dir.path(), Expected::Nothing, UpkeepConfig::default()).await;
    append(&mut parts.log, entries(0..60)).await;
    apply(&mut parts.machine, entries(0..20)).await;
    parts.machine.try_create_snapshot_builder(true).await.unwrap().build_snapshot().await.unwrap();
    apply(&mut parts.machine, entries(20..40)).await;
    Upkeep::new(&parts.machine).checkpoint().await.unwrap();
    let (_, before) = parts.machine.core().since();
    assert!(before.entries == 20 && before.bytes > 20 * 64, "{before:?}");
    drop(parts);
    let parts = open_in(dir.path(), Expected::Log, UpkeepConfig::default()).await;
    parts.machine.count_log(parts.log.log()).await.unwrap();
    assert_eq!(parts.machine.core().since().1, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_not_purged_beyond_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = open_in(dir.path(), Expected::Nothing, UpkeepConfig::default()).await;
    append(&mut parts.log, entries(0..20)).await;
    apply(&mut parts.machine, entries(0..20)).await;
    assert!(parts.log.purge(at(5).into()).await.is_err());
    parts.machine.try_create_snapshot_builder(true).await.unwrap().build_snapshot().await.unwrap();
    parts.log.purge(at(5).into()).await.unwrap();
    parts.log.purge(at(19).into()).await.unwrap();
    assert!(parts.log.purge(at(20).into()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_travels_whole_and_restarts_with_its_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let mut giver = open_in(&dir.path().join("giver"), Expected::Nothing, UpkeepConfig::default()).await;
    apply(&mut giver.machine, vec![members(0)]).await;
    apply(&mut giver.machine, entries(1..60)).await;
    let mut builder = giver.machine.try_create_snapshot_builder(true).await.unwrap();
    // Meanwhile no other is begun unless it must be.
    assert!(giver.machine.try_create_snapshot_builder(false).await.is_none());
    // What is applied after it was begun is not in it.
    let before = digest(&giver.machine);
    apply(&mut giver.machine, entries(60..70)).await;
    let snapshot = builder.build_snapshot().await.unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(at(59).into()));

    let there = dir.path().join("taker");
    let mut taker = open_in(&there, Expected::Nothing, UpkeepConfig::default()).await;
    apply(&mut taker.machine, entries(0..3)).await;
    let manifest = snapshot.snapshot.manifest();
    let incoming = taker.machine.store().receive(Manifest::clone(manifest)).await.unwrap();
    for wanted in incoming.wanted(100).await.unwrap() {
        let Wanted::Rows { offset, len } = wanted else { panic!("no blocks were sealed") };
        let bytes = snapshot.snapshot.read_rows(offset, len as usize).unwrap();
        incoming.accept_rows(offset, bytes).await.unwrap();
    }
    let received = snapshot_of(incoming.finish().await.unwrap()).unwrap();
    assert_eq!(received.meta, snapshot.meta);
    taker.machine.install_snapshot(&received.meta, received.snapshot).await.unwrap();
    assert_eq!(digest(&taker.machine), before);
    assert_eq!(taker.machine.replica().applied(), 59);
    let current = taker.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, snapshot.meta);
    drop((current, taker));

    let mut taker = open_in(&there, Expected::Log, UpkeepConfig::default()).await;
    assert_eq!(digest(&taker.machine), before);
    assert_eq!(taker.machine.get_current_snapshot().await.unwrap().unwrap().meta, snapshot.meta);
    apply(&mut taker.machine, entries(60..70)).await;
    assert_eq!(digest(&taker.machine), digest(&giver.machine));
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_checkpoints_and_asks_for_snapshots_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        UpkeepConfig { checkpoint_bytes: 10_000, snapshot_bytes: 100_000, ..UpkeepConfig::default() };
    let mut parts = open_in(dir.path(), Expected::Nothing, config).await;
    let mut checkpointed = parts.machine.store().checkpointed();
    let asked = Arc::new(tokio::sync::Notify::new());
    let running = {
        let asked = Arc::clone(&asked);
        tokio::spawn(Upkeep::new(&parts.machine).run(move || {
            asked.notify_one();
            async {}
        }))
    };
    apply(&mut parts.machine, vec![file(0, "small", 20_000)]).await;
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, checkpointed.wait_for(|next| *next == 1)).await.unwrap().unwrap();
    apply(&mut parts.machine, vec![file(1, "large", 100_000)]).await;
    tokio::time::timeout(patience, asked.notified()).await.unwrap();
    running.abort();
    // It holds the store until then.
    assert!(running.await.unwrap_err().is_cancelled());
    let object =
        |state: &crate::state::State| state.object(Kind::File, &Name::new("large").unwrap()).is_some();
    assert!(parts.machine.replica().read(object));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_storage_is_behind_entries_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = UpkeepConfig { checkpoint_bytes: 10_000, ..UpkeepConfig::default() };
    let mut parts = open_in(dir.path(), Expected::Nothing, config).await;
    let upkeep = Upkeep::new(&parts.machine);
    let replica = Arc::clone(parts.machine.replica());
    assert!(!replica.is_storage_behind());
    apply(&mut parts.machine, vec![file(0, "first", 40_000)]).await;
    let unstored = parts.machine.core().since().0.bytes;
    assert!(unstored > 40_000 && replica.is_storage_behind());
    let mut second = Box::pin(apply(&mut parts.machine, vec![file(1, "second", 100)]));
    assert!(futures::poll!(&mut second).is_pending());
    assert_eq!(replica.applied(), 0);
    upkeep.checkpoint().await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), second).await.unwrap();
    assert_eq!(replica.applied(), 1);
    let unstored = parts.machine.core().since().0.bytes;
    assert!((100..1000).contains(&unstored) && !replica.is_storage_behind());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_wait_for_a_storage_that_has_failed_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = UpkeepConfig { checkpoint_bytes: 10_000, ..UpkeepConfig::default() };
    let mut parts = open_in(dir.path(), Expected::Nothing, config).await;
    let fatal = parts.machine.store().fatal().clone();
    apply(&mut parts.machine, vec![file(0, "first", 40_000)]).await;
    let waiting = parts.machine.apply(stream::iter([Ok((file(1, "second", 100), None))]));
    let (applied, ()) = tokio::join!(waiting, async { fatal.report("the disk is gone") });
    assert!(applied.unwrap_err().to_string().contains("the disk is gone"));
}

fn all_samples(machine: &Machine) -> Vec<(String, Vec<(i64, f64)>)> {
    let selector = Selector { counter: "load".to_string(), nodes: None, jvm: None, instance: None };
    let query = Query { selector, from: 0, to: 1 << 46, step: None, agg: Agg::Last, across: None };
    let plan = machine.replica().read(|state| state.series().plan(&query, &Limits::default())).unwrap();
    let result = execute(&plan, machine.store().blocks()).unwrap();
    result.rows.into_iter().map(|row| (format!("{:?}", row.key), row.points)).collect()
}

/// As [`sampled`], for who proposes.
pub(crate) fn blocks_worth_of_samples() -> Vec<Command> {
    sampled(0, 60)
        .into_iter()
        .filter_map(|entry| match entry.payload {
            EntryPayload::Normal(payload) => Some(payload.decode().unwrap().command),
            _ => None,
        })
        .collect()
}

/// Configuration and samples of three series, ten seconds apart, some blocks' worth of them.
fn sampled(from: u64, batches: u64) -> Vec<Entry> {
    const BEGIN: i64 = 1_700_000_000_000;
    let keys: Vec<SeriesKey> = (0..3)
        .map(|n| SeriesKey {
            counter: "load".into(),
            node: "n".into(),
            jvm: None,
            instance: Some(format!("i{n}").into()),
        })
        .collect();
    let setup = |index| {
        let node = Node {
            cluster: Name::new("c").unwrap(),
            hostname: "h".to_string(),
            port: None,
            ssh_profile: None,
            jvms: vec![],
        };
        let counter = Counter {
            source: CounterSource::Push,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            unit: String::new(),
            clusters: vec![ClusterSelector::All],
        };
        let changes = vec![
            put("c", Spec::Cluster(Cluster {})),
            put("n", Spec::Node(node)),
            put("load", Spec::Counter(Box::new(counter))),
        ];
        entry(index, Command::Configure(changes))
    };
    let batch = |index: u64| {
        let row = |at: i64| (0..3).map(move |n| (at, n));
        let rows = (0..100i64)
            .flat_map(|k| row(index as i64 * 100 + k))
            .map(|(at, n)| SampleRow {
                series: RowSeries::New(n),
                at: BEGIN + at * 10_000,
                value: (at % 17) as f64 + f64::from(n),
            })
            .collect();
        entry(index, Command::Samples(SampleBatch { source: SampleSource::Push, keys: keys.clone(), rows }))
    };
    (from..from + batches)
        .map(|index| match index {
            0 => setup(0),
            1 => entry(
                1,
                Command::Tick { term: 1, delta_ms: 0, wall: Timestamp(BEGIN + 86_400_000), first: true },
            ),
            _ => batch(index),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_samples_are_stored_kept_and_travel() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("giver");
    let mut giver = open_in(&here, Expected::Nothing, UpkeepConfig::default()).await;
    let upkeep = Upkeep::new(&giver.machine);
    append(&mut giver.log, sampled(0, 60)).await;
    for from in (0..60).step_by(20) {
        apply(&mut giver.machine, sampled(from, 20)).await;
        while upkeep.seal().await.unwrap() {}
        upkeep.checkpoint().await.unwrap();
    }
    while upkeep.seal().await.unwrap() {}
    let status = giver.machine.replica().read(|state| state.series().status());
    assert!(status.blocks > 6 && status.sealing == 0, "{status:?}");
    let known = all_samples(&giver.machine);
    assert_eq!(known.len(), 3);
    assert_eq!(known[0].1.len(), 5800);

    let snapshot =
        giver.machine.try_create_snapshot_builder(true).await.unwrap().build_snapshot().await.unwrap();
    let handle = snapshot.snapshot;
    assert!(handle.manifest().blocks > 6);
    let mut taker = open_in(&dir.path().join("taker"), Expected::Nothing, UpkeepConfig::default()).await;
    let incoming = taker.machine.store().receive(Manifest::clone(handle.manifest())).await.unwrap();
    loop {
        let wanted = incoming.wanted(5).await.unwrap();
        if wanted.is_empty() {
            break;
        }
        for wanted in wanted {
            match wanted {
                Wanted::Rows { offset, len } => {
                    let bytes = handle.read_rows(offset, len as usize).unwrap();
                    incoming.accept_rows(offset, bytes).await.unwrap();
                }
                Wanted::Block(key) => {
                    let bytes = handle.read_block(&key).unwrap().unwrap();
                    incoming.accept_block(key, bytes).await.unwrap();
                }
            }
        }
    }
    let received = incoming.finish().await.unwrap();
    taker.machine.install(received).await.unwrap();
    assert_eq!(all_samples(&taker.machine), known);
    assert_eq!(digest(&taker.machine), digest(&giver.machine));

    // Both go on, one of them after a restart, and stay the same.
    drop((giver, handle));
    drop(upkeep);
    let mut giver = open_in(&here, Expected::Log, UpkeepConfig::default()).await;
    assert_eq!(all_samples(&giver.machine), known);
    for machine in [&mut giver.machine, &mut taker.machine] {
        apply(machine, sampled(60, 20)).await;
        let upkeep = Upkeep::new(machine);
        while upkeep.seal().await.unwrap() {}
        upkeep.checkpoint().await.unwrap();
    }
    assert_eq!(all_samples(&taker.machine), all_samples(&giver.machine));
    assert_eq!(all_samples(&taker.machine)[2].1.len(), 7800);
    assert_eq!(digest(&taker.machine), digest(&giver.machine));
}
