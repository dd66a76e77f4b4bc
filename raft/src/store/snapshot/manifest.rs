use serde::{Deserialize, Serialize};

use crate::codec::{self, FormatKind};
use crate::store::blocks::BlockInfo;
use crate::store::checkpoint::{PART_BYTES_MAX, Part};
use crate::store::{Applied, Error};

/// What a snapshot consists of. Small whatever the snapshot's size: its rows and the list of its blocks are a file
/// in sections, its blocks are fetched one by one by whoever lacks them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The position and the membership it stands for.
    pub applied: Applied,
    /// What the peers of the control plane could do when it was made.
    pub feature_level: u32,
    /// How many parts of rows there are.
    pub parts: u64,
    /// How many blocks are listed.
    pub blocks: u64,
    /// The file's sections, in order: first those of rows, then those of the list of blocks.
    pub sections: Vec<Section>,
}

/// A piece of the snapshot's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Its length in bytes, at most [`Section::BYTES_MAX`].
    pub len: u32,
    /// Its CRC-32.
    pub crc: u32,
}

/// What a section holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum SectionKind {
    /// Parts of rows: `len of key u16 | part u16 | parts u16 | len u32 | key | bytes`, repeated.
    Rows,
    /// Blocks: their infos, repeated.
    Blocks,
}

impl Section {
    /// No section is longer, so that one is one message.
    pub const BYTES_MAX: usize = 1 << 20;
}

impl Manifest {
    /// The newest schema this version reads and writes.
    pub const SCHEMA: u16 = 1;
    /// What this version can do.
    pub const FEATURE_LEVEL: u32 = 1;

    /// Names the snapshot: one more than the index of the last entry in it.
    pub fn id(&self) -> u64 {
        self.applied.next_index()
    }

    /// The length of its file.
    pub fn file_bytes(&self) -> u64 {
        self.sections.iter().map(|section| u64::from(section.len)).sum()
    }

    /// The sections with where they begin in the file.
    pub fn offsets(&self) -> impl Iterator<Item = (u64, Section)> {
        self.sections.iter().scan(0, |next, section| {
            let offset = *next;
            *next += u64::from(section.len);
            Some((offset, *section))
        })
    }

    /// In its envelope.
    ///
    /// # Errors
    /// [`codec::Error::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, codec::Error> {
        codec::encode(FormatKind::Snapshot, Self::SCHEMA, self)
    }

    /// Reads what [`Manifest::encode`] made, which may come from another peer.
    ///
    /// # Errors
    /// [`codec::Error`].
    pub fn decode(bytes: &[u8]) -> Result<Manifest, codec::Error> {
        let manifest: Manifest = codec::decode(FormatKind::Snapshot, Self::SCHEMA, bytes)?;
        let sound = |section: &Section| (1..=Section::BYTES_MAX).contains(&(section.len as usize));
        if !manifest.sections.iter().all(sound) || !manifest.sections.is_sorted_by_key(|section| section.kind)
        {
            return Err(codec::Error::Corrupt {
                what: "a snapshot's manifest".to_string(),
                detail: "its sections cannot be".to_string(),
            });
        }
        if manifest.feature_level > Self::FEATURE_LEVEL {
            return Err(codec::Error::UnknownSchema {
                what: "the snapshot's feature level".to_string(),
                found: u16::try_from(manifest.feature_level).unwrap_or(u16::MAX),
                known: 1,
            });
        }
        Ok(manifest)
    }
}

/// Appends a part of a row to a section.
pub(super) fn put_part(section: &mut Vec<u8>, part: Part<'_>) -> Result<(), Error> {
    let key_len =
        u16::try_from(part.key.len()).map_err(|_| Error::corrupt("a row", "its key is too long"))?;
    let len = u32::try_from(part.bytes.len()).map_err(|_| Error::corrupt("a row", "it is too long"))?;
    section.extend_from_slice(&key_len.to_be_bytes());
    section.extend_from_slice(&part.part.to_be_bytes());
    section.extend_from_slice(&part.parts.to_be_bytes());
    section.extend_from_slice(&len.to_be_bytes());
    section.extend_from_slice(part.key);
    section.extend_from_slice(part.bytes);
    Ok(())
}

/// The parts of rows in a section.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn read_parts(section: &[u8]) -> Result<Vec<Part<'_>>, Error> {
    let damaged = || Error::corrupt("a snapshot's section", "its rows do not decode");
    let mut out = Vec::new();
    let mut rest = section;
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<10>().ok_or_else(damaged)?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let len = u32::from_be_bytes([head[6], head[7], head[8], head[9]]) as usize;
        let (key, tail) = tail.split_at_checked(usize::from(word(0))).ok_or_else(damaged)?;
        let (bytes, tail) = tail.split_at_checked(len).ok_or_else(damaged)?;
        let part = Part { key, part: word(2), parts: word(4), bytes };
        if part.part >= part.parts || len > PART_BYTES_MAX {
            return Err(damaged());
        }
        out.push(part);
        rest = tail;
    }
    Ok(out)
}

/// The blocks in a section.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn read_infos(section: &[u8]) -> Result<Vec<BlockInfo>, Error> {
    let (whole, rest) = section.as_chunks::<{ BlockInfo::ENCODED_BYTES }>();
    if !rest.is_empty() {
        return Err(Error::corrupt("a snapshot's section", "its list of blocks does not decode"));
    }
    let infos: Vec<_> = whole.iter().map(BlockInfo::decode).collect();
    // What is done with a list goes through it in step with what is stored.
    if !infos.is_sorted_by(|a: &BlockInfo, b| a.key < b.key) {
        return Err(Error::corrupt("a snapshot's section", "its list of blocks is not in order"));
    }
    Ok(infos)
}

/// Its part of [`crate::golden`].
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(in crate::store) fn golden() -> Vec<crate::golden::Entry> {
    let mut section = Vec::new();
    for part in 0..2 {
        put_part(&mut section, Part { key: b"Ok", part, parts: 2, bytes: b"value" }).unwrap();
    }
    vec![crate::golden::raw("section-of-rows", section, |bytes| {
        let mut again = Vec::new();
        for part in read_parts(bytes).map_err(|error| error.to_string())? {
            put_part(&mut again, part).unwrap();
        }
        Ok(again)
    })]
}

/// For [`crate::fuzz`]: a manifest and sections, whichever it may be.
#[cfg(any(test, feature = "fuzz"))]
#[allow(clippy::unwrap_used)]
pub(crate) fn fuzz_sections(data: &[u8]) {
    let _ = Manifest::decode(data);
    if let Ok(manifest) =
        Manifest::decode(&codec::seal(FormatKind::Snapshot, Manifest::SCHEMA, data).unwrap())
    {
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
        let ends = manifest.offsets().map(|(offset, section)| offset + u64::from(section.len)).max();
        assert_eq!(ends.unwrap_or_default(), manifest.file_bytes());
        let _ = manifest.id();
    }
    if let Ok(parts) = read_parts(data) {
        let mut again = Vec::new();
        parts.into_iter().for_each(|part| put_part(&mut again, part).unwrap());
        assert_eq!(again, data);
    }
    if let Ok(infos) = read_infos(data) {
        let again: Vec<u8> = infos.iter().flat_map(BlockInfo::encode).collect();
        assert_eq!(again, data);
        infos.iter().for_each(|info| drop(info.meta()));
    }
}
