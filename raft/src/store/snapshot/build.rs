use std::path::Path;
use std::sync::Arc;

use super::manifest::{Manifest, Section, SectionKind, put_part};
use super::{Snapshots, Stored};
use crate::store::Error;
use crate::store::blocks::{self, BlockInfo};
use crate::store::database::Worker;
use crate::store::volume::{File, Mode, Volume};

/// Makes a snapshot of the last checkpoint. Runs on the storage thread, so that the rows stand still meanwhile;
/// holds one section in memory.
pub(in crate::store) fn build(worker: &Worker, snapshots: &Snapshots) -> Result<Stored, Error> {
    // First of all: what is deleted from here on stays until the snapshot goes.
    let pin = worker.pins.pin();
    let applied = worker.rows.applied().clone();
    let path = snapshots.new_path(applied.next_index());
    let mut out = Sections::create(&*worker.volume, &path.with_extension("tmp"))?;
    let (mut parts, mut listed) = (0, 0);
    worker.rows.for_each_part(|part| {
        worker.pulse();
        parts += 1;
        out.make_room(SectionKind::Rows, 10 + part.key.len() + part.bytes.len())?;
        put_part(&mut out.buffer, part)
    })?;
    for info in blocks::infos(&*worker.blocks) {
        let info = info?;
        worker.pulse();
        // Blocks sealed later hold what is still in the rows of this checkpoint.
        if info.sealed_at < applied.next_index() && !worker.deletions.contains(&info.key) {
            listed += 1;
            out.make_room(SectionKind::Blocks, BlockInfo::ENCODED_BYTES)?;
            out.buffer.extend_from_slice(&info.encode());
        }
    }
    let sections = out.finish()?;
    let manifest =
        Manifest { applied, feature_level: Manifest::FEATURE_LEVEL, parts, blocks: listed, sections };
    worker.volume.rename(&path.with_extension("tmp"), &path)?;
    worker.volume.write_atomic(&path.with_extension("manifest"), &manifest.encode()?)?;
    Stored::open(&worker.volume, manifest, path, pin)
}

struct Sections {
    file: Arc<dyn File>,
    /// The file's length so far.
    written: u64,
    sections: Vec<Section>,
    kind: SectionKind,
    buffer: Vec<u8>,
}

impl Sections {
    fn create(volume: &dyn Volume, path: &Path) -> Result<Sections, Error> {
        Ok(Sections {
            file: volume.open(path, Mode::Create)?,
            written: 0,
            sections: Vec::new(),
            kind: SectionKind::Rows,
            buffer: Vec::new(),
        })
    }

    /// Ends the section where the next entry belongs to another kind or does not fit.
    fn make_room(&mut self, kind: SectionKind, bytes: usize) -> Result<(), Error> {
        if kind != self.kind || self.buffer.len() + bytes > Section::BYTES_MAX {
            self.end_section()?;
        }
        self.kind = kind;
        Ok(())
    }

    fn end_section(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file
            .write_all_at(&self.buffer, self.written)
            .map_err(|error| Error::io("writing a snapshot", error))?;
        self.written += self.buffer.len() as u64;
        self.sections.push(Section {
            kind: self.kind,
            len: u32::try_from(self.buffer.len()).unwrap_or(u32::MAX),
            crc: crc32fast::hash(&self.buffer),
        });
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Section>, Error> {
        self.end_section()?;
        self.file.sync().map_err(|error| Error::io("writing a snapshot", error))?;
        Ok(self.sections)
    }
}
