#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::snapshot;
use super::volume::{System, Volume};
use super::wal::WalState;
use super::*;
use crate::consensus::LogPosition;
use crate::series::{BlockId, Drain, RowChange};

type Content = (BTreeMap<Vec<u8>, Vec<u8>>, Vec<BlockKey>, Applied);

fn applied(index: u64) -> Applied {
    let position = Some(LogPosition { term: 1, index });
    let membership = MembershipRecord { voters: vec![[1, 2].into()], peers: [(1, "a:1".to_string())].into() };
    Applied { position, membership: StoredMembership { position, membership } }
}

fn purged(index: u64) -> WalState {
    let position = Some(LogPosition { term: 1, index });
    WalState { purged: position, last: position, ..WalState::default() }
}

fn open(dir: &Path) -> Opened {
    let config = StoreConfig { garbage_bytes: 1 << 20, ..StoreConfig::new(dir) };
    Store::open(&config, &WalState::default(), Fatal::new()).unwrap()
}

fn ready(dir: &Path) -> Store {
    match open(dir) {
        Opened::Ready(store) => store,
        Opened::NeedsSnapshot { reason, .. } => panic!("{reason}"),
    }
}

async fn content(store: &Store) -> Content {
    store
        .load(|rows, blocks, applied| {
            let rows = rows.collect::<Result<_, _>>()?;
            let blocks = blocks.map(|info| Ok(info?.key)).collect::<Result<_, Error>>()?;
            Ok((rows, blocks, applied.clone()))
        })
        .await
        .unwrap()
}

fn row(key: u32, value: Vec<u8>) -> RowChange {
    RowChange { key: key.to_be_bytes().to_vec(), value: Some(Box::new(move || value)) }
}

fn changes(index: u64, rows: Vec<RowChange>) -> Changes {
    Changes { drain: Drain { rows, deletions: Vec::new() }, applied: applied(index), log_bytes: 0 }
}

fn key(n: u32) -> BlockKey {
    let mut key = [0; BlockKey::BYTES];
    key[1..5].copy_from_slice(&n.to_be_bytes());
    BlockKey(key)
}

fn block(n: u32, sealed_at: u64, len: usize) -> NewBlock {
    let bytes: Arc<[u8]> = (0..len).map(|at| (at as u32 * 31 + n) as u8).collect();
    let digest = crc32fast::hash(&bytes);
    NewBlock { info: BlockInfo { key: key(n), end: 7, count: 3, sealed_at, digest, bytes: 0, crc: 0 }, bytes }
}

/// Some rows, large ones among them, and blocks sealed up to `index` and one after it.
async fn fill(store: &Store, index: u64, rows: u32, blocks: u32) {
    let rows = (0..rows).map(|n| row(n, vec![n as u8; (n as usize * 977) % 120_000])).collect();
    let mut some: Vec<_> = (0..blocks).map(|n| block(n, index, 100 + (n as usize * 7919) % 60_000)).collect();
    some.push(block(900_000, index + 1, 50));
    store.blocks().put(some).await.unwrap();
    store.checkpoint(|| changes(index, rows)).await.unwrap();
}

async fn snapshot_of(store: &Store) -> SnapshotHandle {
    let applied = content(store).await.2;
    let nothing =
        || Changes { drain: Drain { rows: Vec::new(), deletions: Vec::new() }, applied, log_bytes: 0 };
    store.begin_snapshot(nothing).await.unwrap().wait().await.unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Hands in up to `steps` of what is wanted; true when nothing is any more.
async fn hand_in(incoming: &Incoming, from: &SnapshotHandle, at_once: usize, steps: usize) -> bool {
    let mut done = 0;
    loop {
        let wanted = incoming.wanted(at_once).await.unwrap();
        if wanted.is_empty() {
            return true;
        }
        for wanted in wanted {
            if done == steps {
                return false;
            }
            done += 1;
            match wanted {
                Wanted::Rows { offset, len } => {
                    let bytes = from.read_rows(offset, len as usize).unwrap();
                    incoming.accept_rows(offset, bytes).await.unwrap();
                }
                Wanted::Block(key) => {
                    let bytes = from.read_block(&key).unwrap().unwrap();
                    incoming.accept_block(key, bytes).await.unwrap();
                }
            }
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dead) = (dir.path().join("live"), dir.path().join("dead"));
    let store = ready(&live);
    let checkpointed = store.checkpointed();
    fill(&store, 10, 40, 5).await;
    assert_eq!(*checkpointed.borrow(), 11);
    let known = content(&store).await;
    assert_eq!((known.0.len(), known.1.len(), &known.2), (40, 6, &applied(10)));
    // Pages that are too large would each be a file of its own, which is not synced.
    for database in ["state", "blocks"] {
        assert_eq!(files::list(&live.join(database).join("blobs")).unwrap(), [""; 0]);
    }
    // The files as they are while the process lives on.
    copy_dir(&live, &dead);
    let copy = ready(&dead);
    assert_eq!(content(&copy).await, known);
    assert_eq!(*copy.checkpointed().borrow(), 11);
    for n in 0..5 {
        assert_eq!(copy.blocks().get(&key(n)).unwrap(), store.blocks().get(&key(n)).unwrap());
    }
}

/// sled takes some damage for the end of its own log and silently goes back to what stood before it. Then the
/// position goes back as well, and the log tells that it does not lead on from there; or the number of puts.
#[tokio::test(flavor = "multi_thread")]
async fn damage_anywhere_in_the_files_never_gives_another_state() {
    for file in ["state/db", "blocks/db"] {
        damage_anywhere_never_gives_another_state(file).await;
    }
}

async fn damage_anywhere_never_gives_another_state(file: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (whole, bad) = (dir.path().join("whole"), dir.path().join("bad"));
    let store = ready(&whole);
    fill(&store, 10, 400, 5).await;
    drop(store);
    // Once more, so that sled's own index of the file is there too.
    drop(ready(&whole));
    let bytes = std::fs::read(whole.join(file)).unwrap();
    let mut needs = 0;
    for n in 0..16 {
        copy_dir(&whole, &bad);
        let mut damaged = bytes.clone();
        let from = bytes.len() / 16 * n;
        let to = (from + 2000).min(bytes.len());
        damaged[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(bad.join(file), &damaged).unwrap();
        std::fs::write(bad.join("state/snap.00000000000000FF.generating"), b"half").unwrap();
        match Store::open(&StoreConfig::new(&bad), &purged(10), Fatal::new()).unwrap() {
            Opened::NeedsSnapshot { store, reason } => {
                needs += 1;
                assert!(!reason.is_empty());
                assert!(store.current_snapshot().is_none());
            }
            Opened::Ready(store) => {
                let found = content(&store).await;
                assert_eq!((found.0.len(), found.1.len(), found.2), (400, 6, applied(10)), "damage {n}");
            }
        }
        std::fs::remove_dir_all(&bad).unwrap();
    }
    assert!(needs > 1, "{needs} of 16 were noticed in {file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_the_blocks_that_they_name_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let before = dir.path().join("before");
    let peer = dir.path().join("peer");
    let store = ready(&peer);
    fill(&store, 10, 40, 5).await;
    drop(store);
    copy_dir(&peer.join("blocks"), &before);
    let store = ready(&peer);
    store.blocks().put(vec![block(9, 11, 300)]).await.unwrap();
    store.checkpoint(|| changes(12, vec![])).await.unwrap();
    drop(store);
    for lost in ["all of them", "the last put"] {
        std::fs::remove_dir_all(peer.join("blocks")).unwrap();
        if lost == "the last put" {
            copy_dir(&before, &peer.join("blocks"));
        }
        let opened = Store::open(&StoreConfig::new(&peer), &purged(12), Fatal::new()).unwrap();
        let Opened::NeedsSnapshot { store, reason } = opened else { panic!("{lost}: nobody missed it") };
        assert!(reason.contains("before the checkpoint"), "{lost}: {reason}");
        drop(store);
        // As it was.
        std::fs::remove_dir_all(peer.join("state")).unwrap();
        std::fs::rename(peer.join("state.damaged-1"), peer.join("state")).unwrap();
        std::fs::remove_dir_all(peer.join("state/blocks")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_an_older_version_put_beside_the_rows_are_moved() {
    let dir = tempfile::tempdir().unwrap();
    let store = ready(dir.path());
    fill(&store, 10, 40, 5).await;
    let known = content(&store).await;
    drop(store);
    {
        let volume = System;
        let rows = volume.database(&dir.path().join("state"), 1 << 20).unwrap();
        let blocks = volume.database(&dir.path().join("blocks"), 1 << 20).unwrap();
        for entry in blocks.tree("blocks").unwrap().range(&[], None) {
            let (key, value) = entry.unwrap();
            rows.tree("blocks").unwrap().put(&key, value);
        }
        rows.sync().unwrap();
    }
    std::fs::remove_dir_all(dir.path().join("blocks")).unwrap();
    for _ in 0..2 {
        let store = ready(dir.path());
        assert_eq!(content(&store).await, known);
        assert!(store.blocks().get(&key(4)).unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let damage = async || {
        let store = match Store::open(&StoreConfig::new(dir.path()), &purged(10), Fatal::new()).unwrap() {
            Opened::Ready(store) | Opened::NeedsSnapshot { store, .. } => store,
        };
        fill(&store, 10, 4, 5).await;
        let _ = snapshot_of(&store).await;
        store.database().run(|worker| worker.rows.damage_one()).await.unwrap();
    };
    for round in 0..3 {
        damage().await;
        let opened = Store::open(&StoreConfig::new(dir.path()), &purged(10), Fatal::new()).unwrap();
        let Opened::NeedsSnapshot { store, reason } = opened else { panic!("the damage was not seen") };
        assert!(reason.contains("does not match its checksum"), "{reason}");
        assert!(store.current_snapshot().is_none() && content(&store).await.0.is_empty());
        let aside = files::list(dir.path()).unwrap();
        let aside: Vec<_> = aside.iter().filter(|name| name.starts_with("state.damaged-")).collect();
        assert_eq!(aside.len(), (round + 1).min(2), "{aside:?}");
    }
    // With a log that goes back to the beginning nothing need be fetched.
    damage().await;
    assert!(matches!(open(dir.path()), Opened::Ready(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_older_than_the_log_needs_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = ready(dir.path());
    fill(&store, 10, 4, 0).await;
    drop(store);
    let open = |wal| Store::open(&StoreConfig::new(dir.path()), &wal, Fatal::new()).unwrap();
    assert!(matches!(open(purged(10)), Opened::Ready(_)));
    let Opened::NeedsSnapshot { reason, .. } = open(purged(11)) else { panic!("entry 11 is nowhere") };
    assert_eq!(reason, "the state reaches to entry 11, but the log begins at entry 12");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_the_log_does_not_lead_on_from_is_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = ready(dir.path());
    fill(&store, 10, 4, 0).await;
    let snapshot = snapshot_of(&store).await.manifest().id();
    store.checkpoint(|| changes(20, vec![row(1, b"new".to_vec())])).await.unwrap();
    drop(store);
    let current = |first: u64, last: u64| {
        let position = |index| Some(LogPosition { term: 1, index });
        let wal = WalState { purged: position(first - 1), last: position(last), ..WalState::default() };
        match Store::open(&StoreConfig::new(dir.path()), &wal, Fatal::new()).unwrap() {
            Opened::Ready(store) => store.current_snapshot().map(|snapshot| snapshot.manifest().id()),
            Opened::NeedsSnapshot { reason, .. } => panic!("{reason}"),
        }
    };
    assert_eq!(snapshot, 11);
    assert_eq!(current(11, 20), Some(11));
    // A power cut took the end of the log: the next entry is the 21st.
    assert_eq!(current(11, 15), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_received_piece_by_piece_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let giver = ready(&dir.path().join("giver"));
    fill(&giver, 99, 120, 60).await;
    let snapshot = snapshot_of(&giver).await;
    let manifest = Manifest::decode(&snapshot.manifest().encode().unwrap()).unwrap();
    assert_eq!(&manifest, &**snapshot.manifest());
    assert!(manifest.sections.len() > 4 && manifest.blocks == 60);

    let there = dir.path().join("taker");
    let taker = ready(&there);
    // Old rows, a block that both have, and one that only the taker has.
    taker.blocks().put(vec![block(5, 99, 100 + 5 * 7919), block(800_000, 4, 10)]).await.unwrap();
    taker.checkpoint(|| changes(4, vec![row(7_000, b"old".to_vec())])).await.unwrap();
    let old = content(&taker).await;
    drop(taker);

    // Each time some of it, then a crash; nothing of it shows.
    let mut restarts = 0;
    loop {
        let taker = ready(&there);
        assert_eq!(content(&taker).await.0, old.0);
        let incoming = taker.receive(manifest.clone()).await.unwrap();
        if hand_in(&incoming, &snapshot, 7, 9).await {
            let received = incoming.finish().await.unwrap();
            let (rows, blocks) = taker
                .install(received, |rows, blocks, applied| {
                    assert_eq!(applied.next_index(), 100);
                    Ok((rows.collect::<Result<BTreeMap<_, _>, _>>()?, blocks.count()))
                })
                .await
                .unwrap();
            assert_eq!((rows.len(), blocks), (120, 60));
            break;
        }
        restarts += 1;
    }
    assert!(restarts > 5, "{restarts}");

    let taker = ready(&there);
    let (rows, _, at) = content(&taker).await;
    assert_eq!((&rows, at), (&content(&giver).await.0, applied(99)));
    for n in 0..60 {
        assert_eq!(taker.blocks().get(&key(n)).unwrap(), giver.blocks().get(&key(n)).unwrap(), "block {n}");
    }
    assert_eq!(&manifest, &**taker.current_snapshot().unwrap().manifest());
    assert!(files::list(&there.join("incoming")).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_a_new_snapshot_does_not_name_go() {
    let dir = tempfile::tempdir().unwrap();
    let giver = ready(&dir.path().join("giver"));
    fill(&giver, 99, 3, 2).await;
    let taker = ready(&dir.path().join("taker"));
    taker.blocks().put(vec![block(0, 99, 100), block(800_000, 4, 10)]).await.unwrap();
    taker.install(snapshot_of(&giver).await, |_, _, _| Ok(())).await.unwrap();
    until("the other block is gone", async || taker.blocks().get(&key(800_000)).unwrap().is_none()).await;
    assert_eq!(content(&taker).await.1, [key(0), key(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_damaged_is_refused_and_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let giver = ready(&dir.path().join("giver"));
    fill(&giver, 99, 20, 3).await;
    let snapshot = snapshot_of(&giver).await;
    let taker = ready(&dir.path().join("taker"));
    let incoming = taker.receive(Manifest::clone(snapshot.manifest())).await.unwrap();
    let Wanted::Rows { offset, len } = incoming.wanted(1).await.unwrap()[0] else {
        panic!("rows come first")
    };
    let mut bytes = snapshot.read_rows(offset, len as usize).unwrap();
    assert!(matches!(incoming.accept_rows(1, bytes.clone()).await, Err(Error::Refused(_))));
    bytes[3] ^= 1;
    assert!(matches!(incoming.accept_rows(offset, bytes).await, Err(Error::Refused(_))));
    assert_eq!(incoming.wanted(1).await.unwrap(), [Wanted::Rows { offset, len }]);
    assert!(!hand_in(&incoming, &snapshot, 1, snapshot.manifest().sections.len()).await);
    let [Wanted::Block(wanted)] = incoming.wanted(1).await.unwrap()[..] else { panic!("a block is lacking") };
    assert!(matches!(incoming.accept_block(wanted, Arc::from(&b"x"[..])).await, Err(Error::Refused(_))));
    let unasked = giver.blocks().get(&key(900_000)).unwrap().unwrap();
    assert!(matches!(incoming.accept_block(key(900_000), unasked).await, Err(Error::Refused(_))));
    assert!(taker.fatal().reason().is_none());
    assert!(matches!(incoming.finish().await, Err(Error::Refused(_))));
    assert!(snapshot.read_rows(snapshot.manifest().file_bytes(), 1).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_keeps_its_blocks_while_it_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let store = ready(dir.path());
    fill(&store, 9, 3, 4).await;
    let old = snapshot_of(&store).await;
    let deletions = [1, 2].map(|n| BlockId::from_key(&key(n).0).unwrap()).to_vec();
    let unwanted = Changes { drain: Drain { rows: vec![], deletions }, applied: applied(20), log_bytes: 0 };
    store.checkpoint(|| unwanted).await.unwrap();
    let id = old.manifest().id();
    let new = snapshot_of(&store).await;
    assert_eq!((old.manifest().blocks, new.manifest().blocks), (4, 3));
    assert!(store.snapshot(id).is_some());
    // Stored again before it was deleted: wanted after all.
    store.blocks().put(vec![block(2, 21, 100 + 2 * 7919)]).await.unwrap();
    assert!(old.read_block(&key(1)).unwrap().is_some());
    drop(old);
    until("the older snapshot is gone", async || store.snapshot(id).is_none()).await;
    until("the block is deleted", async || {
        // Deletion goes on with the next job.
        store.blocks().delete(vec![]).await.unwrap();
        store.blocks().get(&key(1)).unwrap().is_none()
    })
    .await;
    assert!(store.blocks().get(&key(2)).unwrap().is_some());
    assert_eq!(files::list(store.snapshot_dir()).unwrap().len(), 2);
    drop((new, store));

    let store = ready(dir.path());
    assert_eq!(store.current_snapshot().unwrap().manifest().applied, applied(20));
}

/// A crash after each step of an installation leaves the old state or the new one, whole, and the store goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_an_installation_leaves_one_state() {
    let dir = tempfile::tempdir().unwrap();
    let giver = ready(&dir.path().join("giver"));
    fill(&giver, 99, 30, 8).await;
    let snapshot = snapshot_of(&giver).await;
    let new = content(&giver).await.0;

    let live = dir.path().join("live");
    let store = ready(&live);
    store.checkpoint(|| changes(4, vec![row(7_000, b"old".to_vec())])).await.unwrap();
    let old = content(&store).await.0;
    let incoming = store.receive(Manifest::clone(snapshot.manifest())).await.unwrap();
    assert!(hand_in(&incoming, &snapshot, 5, usize::MAX).await);
    let received = incoming.finish().await.unwrap();

    let images: Vec<(&str, PathBuf)> =
        ["received", "written", "switched", "adopted"].map(|step| (step, dir.path().join(step))).to_vec();
    let image = |step: usize| {
        let target = images[step].1.clone();
        let live = live.clone();
        move || copy_dir(&live, &target)
    };
    let (first, second, third, fourth) = (image(0), image(1), image(2), image(3));
    let snapshots = Arc::clone(store.snapshots());
    store
        .database()
        .run(move |worker| {
            first();
            let generation = snapshot::write_generation(worker, &received)?;
            second();
            let rows = snapshot::load(worker, &received, generation, |rows, _| Ok(rows.count()))?;
            assert_eq!(rows, 30);
            snapshot::switch(worker, &received, generation)?;
            third();
            snapshots.set_current(snapshot::adopt(worker, &received, &snapshots)?);
            fourth();
            Ok(())
        })
        .await
        .unwrap();
    for (step, image) in images {
        let store = ready(&image);
        for database in ["state", "blocks"] {
            assert_eq!(files::list(&image.join(database).join("blobs")).unwrap(), [""; 0]);
        }
        let (rows, _, at) = content(&store).await;
        let expected =
            if matches!(step, "received" | "written") { (&old, applied(4)) } else { (&new, applied(99)) };
        assert_eq!((&rows, at), expected, "after {step}");
        // It can be received and installed again where it was not, and goes on in any case.
        if rows == old {
            let incoming = store.receive(Manifest::clone(snapshot.manifest())).await.unwrap();
            assert!(incoming.wanted(9).await.unwrap().is_empty(), "after {step} all was here already");
            store.install(incoming.finish().await.unwrap(), |_, _, _| Ok(())).await.unwrap();
        }
        store.checkpoint(|| changes(120, vec![row(8_000, b"more".to_vec())])).await.unwrap();
        drop(store);
        let (rows, blocks, at) = content(&ready(&image)).await;
        assert_eq!((rows.len(), blocks.len(), at), (31, 8, applied(120)), "after {step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _store = ready(dir.path());
    let again = Store::open(&StoreConfig::new(dir.path()), &WalState::default(), Fatal::new());
    assert!(matches!(again, Err(Error::Refused(text)) if text.contains("in use")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_fatal_and_later_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = ready(dir.path());
    let panicking = RowChange { key: vec![1], value: Some(Box::new(|| panic!("no such row"))) };
    assert!(store.checkpoint(|| changes(1, vec![panicking])).await.is_err());
    assert!(store.fatal().reason().unwrap().contains("no such row"));
    assert!(matches!(store.checkpoint(|| changes(2, vec![])).await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_much_larger_than_their_content_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let store = ready(dir.path());
    for round in 0..40u64 {
        let rows = (0..200).map(|n| row(n, vec![round as u8; 4000])).collect();
        // Each block is encoded anew, and takes the old one's place.
        let blocks = (0..50).map(|n| block(n, round, 16_000 + round as usize)).collect();
        store.blocks().put(blocks).await.unwrap();
        store.checkpoint(|| changes(round, rows)).await.unwrap();
    }
    let known = content(&store).await;
    for database in ["state", "blocks"] {
        let size = std::fs::metadata(dir.path().join(database).join("db")).unwrap().len();
        assert!(size < 6 << 20, "{database}: {size} bytes of 32 million that were written for 800,000");
    }
    assert_eq!(known.1.len(), 50);
    assert!(store.blocks().get(&key(1)).unwrap().is_some());
    store.checkpoint(|| changes(50, vec![row(1, b"after".to_vec())])).await.unwrap();
    drop(store);
    let store = ready(dir.path());
    let found = content(&store).await;
    assert_eq!(found.0[&1u32.to_be_bytes().to_vec()], b"after");
    assert_eq!(found.1, known.1);
    drop(store);

    // A crash between the two renames: the old one counts.
    for database in ["state", "blocks"] {
        let path = |word: &str| dir.path().join(format!("{database}{word}"));
        std::fs::rename(path(""), path(".old")).unwrap();
        std::fs::create_dir(path(".fresh")).unwrap();
        assert_eq!(content(&ready(dir.path())).await, found);
        assert!(!path(".fresh").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_much_is_written_more_garbage_may_gather() {
    let dir = tempfile::tempdir().unwrap();
    let store = ready(dir.path());
    let size = || std::fs::metadata(dir.path().join("state/db")).unwrap().len();
    let write = async |round: u64, log_bytes| {
        let rows = (0..500).map(|n| row(n, vec![round as u8; 4000])).collect();
        store.checkpoint(|| Changes { log_bytes, ..changes(round, rows) }).await.unwrap();
        size()
    };
    let (mut busy, mut quiet) = (0, 0);
    for round in 0..12 {
        busy = busy.max(write(round, 16 << 20).await);
    }
    for round in 12..24 {
        quiet = quiet.max(write(round, 2000).await);
    }
    // 2 MB live.
    assert!(busy > 6 << 20, "{busy} bytes while much is written");
    assert!(quiet < 6 << 20, "{quiet} bytes in quiet times");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever the snapshot, however it is cut into requests, and whatever the receiver had: it becomes the giver.
    #[test]
    fn a_receiver_becomes_the_giver(
        rows in prop::collection::btree_map(any::<u32>(), 0usize..160_000, 0..25),
        blocks in prop::collection::btree_map(0u32..60, 1usize..3000, 0..40),
        had in prop::collection::btree_set(0u32..60, 0..30),
        at_once in 1usize..20,
        steps in 1usize..40,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let giver = ready(&dir.path().join("giver"));
            giver.blocks().put(blocks.iter().map(|(n, len)| block(*n, 9, *len)).collect()).await.unwrap();
            let changed = rows.iter().map(|(n, len)| row(*n, vec![*n as u8; *len])).collect();
            giver.checkpoint(|| changes(9, changed)).await.unwrap();
            let snapshot = snapshot_of(&giver).await;

            let taker = ready(&dir.path().join("taker"));
            // The same blocks where both have them, as sealing makes them.
            let same = had.iter().map(|n| block(*n, 9, blocks.get(n).copied().unwrap_or(5))).collect();
            taker.blocks().put(same).await.unwrap();
            taker.checkpoint(|| changes(2, vec![row(1, b"old".to_vec())])).await.unwrap();
            let mut asked = 0;
            loop {
                let incoming = taker.receive(Manifest::clone(snapshot.manifest())).await.unwrap();
                asked += incoming.wanted(usize::MAX).await.unwrap().len();
                if hand_in(&incoming, &snapshot, at_once, steps).await {
                    let received = incoming.finish().await.unwrap();
                    taker.install(received, |_, _, _| Ok(())).await.unwrap();
                    break;
                }
            }
            let (taken, given) = (content(&taker).await, content(&giver).await);
            assert_eq!((&taken.0, &taken.2), (&given.0, &given.2));
            for n in blocks.keys() {
                assert_eq!(taker.blocks().get(&key(*n)).unwrap(), giver.blocks().get(&key(*n)).unwrap());
            }
            assert!(asked > 0 || blocks.is_empty() || rows.is_empty());
        });
    }
}
