//! A backup: a consistent copy of everything a control plane knows, as one stream of bytes.
//!
//! ```text
//! length u32 | envelope(Backup, Piece)    repeated; first the header, last the end
//! ```
//!
//! Little-endian. Secrets stay sealed: a backup is of use only with the control plane's keyring, which each peer keeps
//! in its data directory and no backup holds.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::codec::{self, FormatKind};
use crate::identity::ControlPlaneId;
use crate::store::{BlockKey, Error as StoreError, ExportedPart, Manifest, SnapshotHandle};

/// The newest schema this version reads and writes.
const SCHEMA: u16 = 1;

/// One piece of a backup. The order of variants is the format: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Piece {
    /// Comes first.
    Header {
        /// Whose backup it is.
        control_plane: ControlPlaneId,
        /// The snapshot's manifest, in its envelope.
        manifest: Vec<u8>,
    },
    /// A section of the snapshot's file.
    Section {
        /// Where it begins.
        offset: u64,
        /// What it holds.
        bytes: Vec<u8>,
    },
    /// A block of samples.
    Block {
        /// Its key.
        key: [u8; BlockKey::BYTES],
        /// Its value.
        bytes: Vec<u8>,
    },
    /// Comes last: a backup without it is cut short.
    End {
        /// How many pieces came before.
        pieces: u64,
    },
}

/// Why a backup cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the backup cannot be read")]
    Io(#[from] io::Error),
    /// It is not a backup, is damaged or newer than this version.
    #[error("the backup is not right")]
    Format(#[from] codec::Error),
    /// It ends too early, or has pieces where none belong.
    #[error("the backup is not whole: {0}")]
    Broken(&'static str),
    /// The snapshot cannot be read.
    #[error("the snapshot cannot be read")]
    Store(#[from] StoreError),
}

fn encode(piece: &Piece) -> Result<Vec<u8>, codec::Error> {
    let sealed = codec::encode(FormatKind::Backup, SCHEMA, piece)?;
    let mut out = u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    out.extend_from_slice(&sealed);
    Ok(out)
}

/// The bytes of a backup of `snapshot`, a piece at a time. Reads the disk as it goes.
pub fn pieces(
    control_plane: ControlPlaneId,
    snapshot: &SnapshotHandle,
) -> Result<impl Iterator<Item = Result<Vec<u8>, Error>> + use<>, Error> {
    let header = encode(&Piece::Header { control_plane, manifest: snapshot.manifest().encode()? })?;
    let mut count = 1;
    let mut parts = Some(snapshot.export());
    let rest = std::iter::from_fn(move || {
        let piece = match parts.as_mut()?.next() {
            Some(Ok(ExportedPart::Section { offset, bytes })) => Piece::Section { offset, bytes },
            Some(Ok(ExportedPart::Block { key, bytes })) => {
                Piece::Block { key: key.0, bytes: bytes.to_vec() }
            }
            Some(Err(error)) => {
                parts = None;
                return Some(Err(error.into()));
            }
            None => {
                parts = None;
                Piece::End { pieces: count }
            }
        };
        count += 1;
        Some(encode(&piece).map_err(Error::from))
    });
    Ok(std::iter::once(Ok(header)).chain(rest))
}

/// Reads a backup piece by piece. Holds one piece at a time.
pub struct Reader<R> {
    source: R,
    read: u64,
}

impl<R: Read> Reader<R> {
    /// Begins to read: gives whose backup it is, and what it consists of.
    ///
    /// # Errors
    /// [`Error`].
    pub fn begin(source: R) -> Result<(Reader<R>, ControlPlaneId, Manifest), Error> {
        let mut reader = Reader { source, read: 0 };
        match reader.next_piece()? {
            Piece::Header { control_plane, manifest } => {
                let manifest = Manifest::decode(&manifest)?;
                Ok((reader, control_plane, manifest))
            }
            _ => Err(Error::Broken("it does not begin with its header")),
        }
    }

    /// The next section or block; none at the end, which has been checked.
    ///
    /// # Errors
    /// [`Error`].
    pub fn next_part(&mut self) -> Result<Option<Piece>, Error> {
        let before = self.read;
        match self.next_piece()? {
            Piece::Header { .. } => Err(Error::Broken("it begins a second time")),
            Piece::End { pieces } if pieces == before => Ok(None),
            Piece::End { .. } => Err(Error::Broken("pieces are missing")),
            part => Ok(Some(part)),
        }
    }

    fn next_piece(&mut self) -> Result<Piece, Error> {
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Broken("it ends too early"),
            _ => Error::Io(error),
        };
        let mut length = [0; 4];
        self.source.read_exact(&mut length).map_err(cut)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > codec::BYTES_MAX + codec::HEADER_BYTES {
            return Err(Error::Broken("a piece is longer than any can be"));
        }
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes).map_err(cut)?;
        self.read += 1;
        Ok(codec::decode(FormatKind::Backup, SCHEMA, &bytes)?)
    }
}
