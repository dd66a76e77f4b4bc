//! Puts a snapshot in the state's place, in steps; a crash after any of them leaves the old state or the new one,
//! whole. All run on the storage thread.

use super::manifest::{SectionKind, read_infos, read_parts};
use super::{Manifest, SnapshotHandle, Snapshots, Source, Stored};
use crate::store::Error;
use crate::store::blocks::{self, BlockInfo, NewBlock};
use crate::store::database::Worker;
use crate::store::volume::Mode;

/// How much is written between flushes, so that little of it is in memory.
const FLUSH_BYTES: usize = 32 << 20;

/// First step: writes the rows as a generation of their own and the blocks that are lacking, and syncs both.
pub(in crate::store) fn write_generation(worker: &mut Worker, handle: &SnapshotHandle) -> Result<u32, Error> {
    let generation = worker.rows.begin_generation();
    let written = write(worker, handle, generation);
    if written.is_err() {
        worker.rows.abandon(generation);
    }
    written.map(|()| generation)
}

fn write(worker: &mut Worker, handle: &SnapshotHandle, generation: u32) -> Result<(), Error> {
    let manifest = handle.manifest();
    let (mut parts, mut listed, mut unflushed) = (0, 0, 0);
    for (offset, section) in manifest.offsets() {
        worker.pulse();
        let bytes = handle.section(offset, section)?;
        match section.kind {
            SectionKind::Rows => {
                let rows = read_parts(&bytes)?;
                parts += rows.len() as u64;
                worker.rows.put_parts(generation, rows)?;
            }
            SectionKind::Blocks => {
                let infos = read_infos(&bytes)?;
                listed += infos.len() as u64;
                for info in infos {
                    put_if_lacking(worker, handle, &info)?;
                }
            }
        }
        unflushed += bytes.len();
        if unflushed > FLUSH_BYTES {
            unflushed = 0;
            worker.sync()?;
        }
    }
    if parts != manifest.parts || listed != manifest.blocks {
        return Err(Error::corrupt(
            "a snapshot",
            format!(
                "it has {parts} parts and {listed} blocks where {} and {} are said",
                manifest.parts, manifest.blocks
            ),
        ));
    }
    worker.sync()
}

fn put_if_lacking(worker: &mut Worker, handle: &SnapshotHandle, info: &BlockInfo) -> Result<(), Error> {
    if is_stored(worker, info)? {
        worker.deletions.cancel(&info.key);
        return Ok(());
    }
    let lacking = || Error::corrupt("a snapshot", format!("block {:?} is missing", info.key));
    let bytes = handle.read_block(&info.key)?.ok_or_else(lacking)?;
    blocks::put_unsynced(worker, &[NewBlock { info: *info, bytes }])
}

fn is_stored(worker: &Worker, info: &BlockInfo) -> Result<bool, Error> {
    Ok(blocks::info(&*worker.blocks, &info.key)?.is_some_and(|known| known.digest == info.digest))
}

/// Second step: reads the state from the new generation, before anything depends on it.
pub(in crate::store) fn load<T>(
    worker: &Worker,
    handle: &SnapshotHandle,
    generation: u32,
    read: impl FnOnce(
        &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>), Error>>,
        &mut dyn Iterator<Item = Result<BlockInfo, Error>>,
    ) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut listed = listed(handle).map(|info| {
        let info = info?;
        worker.pulse();
        // As it is stored here: another peer's may be encoded otherwise.
        blocks::info(&*worker.blocks, &info.key)?
            .ok_or_else(|| Error::corrupt("a snapshot", format!("block {:?} is missing", info.key)))
    });
    read(&mut worker.rows.iter_generation(generation), &mut listed)
}

/// The blocks a snapshot names, in the order of ids; one section at a time is in memory.
fn listed(handle: &SnapshotHandle) -> impl Iterator<Item = Result<BlockInfo, Error>> + '_ {
    let sections = handle.manifest().offsets().filter(|(_, section)| section.kind == SectionKind::Blocks);
    sections.flat_map(|(offset, section)| {
        match handle.section(offset, section).and_then(|bytes| read_infos(&bytes)) {
            Ok(infos) => infos.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        }
    })
}

/// Third step: the new generation counts, with one small batch. Blocks that it does not name are deleted later.
pub(in crate::store) fn switch(
    worker: &mut Worker,
    handle: &SnapshotHandle,
    generation: u32,
) -> Result<(), Error> {
    let manifest = handle.manifest();
    worker.rows.switch(generation, manifest.parts, manifest.applied.clone(), worker.puts)?;
    worker.sync_rows()?;
    let mut unnamed = Vec::new();
    {
        let mut named = listed(handle).peekable();
        for info in blocks::infos(&*worker.blocks) {
            worker.pulse();
            let key = info?.key;
            while let Some(Ok(info)) = named.peek()
                && info.key < key
            {
                named.next();
            }
            match named.peek() {
                Some(Ok(info)) if info.key == key => {}
                Some(Err(_)) => return named.next().map_or(Ok(()), |result| result.map(|_| ())),
                _ => unnamed.push(key),
            }
        }
    }
    worker.deletions.add(unnamed, &worker.pins);
    Ok(())
}

/// Last step: the snapshot becomes this peer's current one.
pub(in crate::store) fn adopt(
    worker: &Worker,
    handle: &SnapshotHandle,
    snapshots: &Snapshots,
) -> Result<Stored, Error> {
    let manifest = handle.manifest();
    let path = snapshots.new_path(manifest.id());
    let pin = worker.pins.pin();
    match &handle.source {
        Source::Received(received) => worker.volume.rename(received.path(), &path)?,
        Source::Stored { .. } => {
            let aside = path.with_extension("tmp");
            let failed = |error| Error::io(format!("writing {}", aside.display()), error);
            let file = worker.volume.open(&aside, Mode::Create)?;
            for (offset, section) in manifest.offsets() {
                file.write_all_at(&handle.section(offset, section)?, offset).map_err(failed)?;
            }
            file.sync().map_err(failed)?;
            worker.volume.rename(&aside, &path)?;
        }
    }
    worker.volume.write_atomic(&path.with_extension("manifest"), &manifest.encode()?)?;
    Stored::open(&worker.volume, Manifest::clone(manifest), path, pin)
}
