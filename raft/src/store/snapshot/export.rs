//! A snapshot as a sequence of parts, in an order in which [`super::Incoming`] can take them: for backups.

use std::sync::Arc;

use super::manifest::{SectionKind, read_infos};
use super::{Section, SnapshotHandle};
use crate::store::{BlockKey, Error};

/// A part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExportedPart {
    /// A section of its file.
    Section {
        /// Where it begins in the file.
        offset: u64,
        /// What it holds, at most [`Section::BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// A block.
    Block {
        /// Its key.
        key: BlockKey,
        /// Its value.
        bytes: Arc<[u8]>,
    },
}

impl SnapshotHandle {
    /// Every part: the file's sections, then the blocks in the order in which the sections list them. Reads the disk
    /// as it goes; holds one section at a time.
    pub fn export(&self) -> impl Iterator<Item = Result<ExportedPart, Error>> + use<> {
        let (sections, blocks) = (self.clone(), self.clone());
        let offsets: Vec<(u64, Section)> = self.manifest().offsets().collect();
        let lists: Vec<(u64, Section)> =
            offsets.iter().copied().filter(|(_, section)| section.kind == SectionKind::Blocks).collect();
        let sections = offsets.into_iter().map(move |(offset, section)| {
            Ok(ExportedPart::Section { offset, bytes: sections.section(offset, section)? })
        });
        let blocks = lists.into_iter().flat_map(move |(offset, section)| {
            let blocks = blocks.clone();
            let listed = blocks.section(offset, section).and_then(|bytes| read_infos(&bytes));
            let (infos, failed) = match listed {
                Ok(infos) => (infos, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let parts = infos.into_iter().map(move |info| {
                let bytes = blocks.read_block(&info.key)?.ok_or_else(|| {
                    Error::corrupt("a snapshot", format!("block {:?} is missing", info.key))
                })?;
                Ok(ExportedPart::Block { key: info.key, bytes })
            });
            parts.chain(failed)
        });
        sections.chain(blocks)
    }
}
