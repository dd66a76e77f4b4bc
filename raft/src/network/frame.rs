//! The wire format between peers.
//!
//! ```text
//! len u32 | req u64 | kind u16 | group u32 | body
//! ```
//!
//! little-endian; `len` counts what follows it. `req` pairs an answer with its request; `group` is the Raft group,
//! 0 today. The body is an envelope of [`crate::codec`] with its schema, but for an empty one.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest frame, in bytes, with its length.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// What comes before the body.
pub const HEADER_BYTES: usize = 18;
/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;
/// The Raft group that all requests are about today.
pub const GROUP: u32 = 0;

const ANSWER: u16 = 0x8000;
/// Memory is taken as bytes arrive, not as a length promises them.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// What a frame is about. Numbers are the format: never reuse one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum Kind {
    /// The first frame of a connection: who speaks which versions.
    Hello = 1,
    /// The answer to a request that could not be served: [`super::message::Failure`].
    Failure = 2,
    /// Asks how a peer is doing.
    Ping = 3,
    /// Entries, or none: a heartbeat.
    Append = 16,
    /// Asks for a vote.
    Vote = 17,
    /// Asks whether a vote would be granted.
    PreVote = 18,
    /// The leader wants another one to lead.
    TransferLeader = 19,
    /// Offers a snapshot, that the receiver then pulls.
    SnapshotOffer = 32,
    /// Asks for a part of what a snapshot refers to.
    SnapshotPart = 33,
    /// Asks for a snapshot to start from.
    SnapshotRequest = 34,
    /// Payloads for the leader to commit.
    Propose = 48,
    /// Asks the leader for an index that makes a local read linearizable.
    ReadIndex = 49,
    /// Asks the leader to hand over.
    HandOver = 50,
    /// Asks the leader how far the members have come.
    Progress = 51,
    /// Asks for rows of the state, to find out what differs.
    Rows = 52,
    /// Asks something that is none of this package's business.
    Ask = 53,
    /// Asks to become a peer; the only request without a certificate.
    Join = 64,
}

impl Kind {
    const ALL: [Kind; 17] = [
        Kind::Hello,
        Kind::Failure,
        Kind::Ping,
        Kind::Append,
        Kind::Vote,
        Kind::PreVote,
        Kind::TransferLeader,
        Kind::SnapshotOffer,
        Kind::SnapshotPart,
        Kind::SnapshotRequest,
        Kind::Propose,
        Kind::ReadIndex,
        Kind::HandOver,
        Kind::Progress,
        Kind::Rows,
        Kind::Ask,
        Kind::Join,
    ];

    fn from_number(number: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Pairs an answer with its request.
    pub req: u64,
    /// What it is about; `Err` with the number where this version does not know it.
    pub kind: Result<Kind, u16>,
    /// Whether it answers a request.
    pub is_answer: bool,
    /// The Raft group.
    pub group: u32,
    /// The envelope.
    pub body: Vec<u8>,
}

/// Why a connection can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    /// The other side does not speak this format.
    #[error("a frame of {bytes} bytes, where {min} to {max} are possible")]
    Length {
        /// What it said.
        bytes: usize,
        /// The smallest.
        min: usize,
        /// The largest, here.
        max: usize,
    },
    /// The other side does not take what is sent, sends nothing, or only the beginning of a frame.
    #[error("the other side stood still for {0:?}")]
    Stalled(Duration),
}

impl Frame {
    /// A request.
    pub fn request(req: u64, kind: Kind, group: u32, body: Vec<u8>) -> Frame {
        Frame { req, kind: Ok(kind), is_answer: false, group, body }
    }

    /// The answer to the request `req`.
    pub fn answer(req: u64, kind: Kind, group: u32, body: Vec<u8>) -> Frame {
        Frame { req, kind: Ok(kind), is_answer: true, group, body }
    }

    /// Bytes on the wire.
    pub fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let number = self.kind.map_or_else(|number| number, |kind| kind as u16);
        let number = if self.is_answer { number | ANSWER } else { number };
        let len = u32::try_from(self.wire_bytes() - 4).unwrap_or(u32::MAX);
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&len.to_le_bytes());
        out[4..12].copy_from_slice(&self.req.to_le_bytes());
        out[12..14].copy_from_slice(&number.to_le_bytes());
        out[14..].copy_from_slice(&self.group.to_le_bytes());
        out
    }
}

/// Writes a frame; it may rest in the writer's buffer until flushed. Not cancel safe.
///
/// # Errors
/// [`Error::Io`], [`Error::Length`] where the body is too large.
pub async fn write(out: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), Error> {
    if frame.body.len() > BODY_BYTES_MAX {
        return Err(Error::Length { bytes: frame.wire_bytes(), min: HEADER_BYTES, max: FRAME_BYTES_MAX });
    }
    out.write_all(&frame.header()).await?;
    out.write_all(&frame.body).await?;
    Ok(())
}

/// How much is read, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest frame.
    pub bytes_max: usize,
    /// How long to wait for a frame to begin.
    pub idle_max: Duration,
    /// How long to wait for each further part of it.
    pub stall_max: Duration,
}

/// Reads a frame; `None` where the connection ended between two frames. Not cancel safe.
///
/// # Errors
/// [`Error`]; none of them leaves a connection that can be read on.
pub async fn read(input: &mut (impl AsyncRead + Unpin), bounds: Bounds) -> Result<Option<Frame>, Error> {
    let Bounds { bytes_max, idle_max, stall_max } = bounds;
    let mut header = [0; HEADER_BYTES];
    if within(idle_max, input.read(&mut header[..1])).await? == 0 {
        return Ok(None);
    }
    within(stall_max, input.read_exact(&mut header[1..])).await?;
    let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let bytes = len.saturating_add(4);
    if bytes < HEADER_BYTES || bytes > bytes_max {
        return Err(Error::Length { bytes, min: HEADER_BYTES, max: bytes_max });
    }
    let body_bytes = bytes - HEADER_BYTES;
    let mut body = Vec::with_capacity(body_bytes.min(READ_AHEAD_BYTES));
    let mut part = input.take(body_bytes as u64);
    while body.len() < body_bytes {
        if within(stall_max, part.read_buf(&mut body)).await? == 0 {
            return Err(Error::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let number = u16::from_le_bytes([header[12], header[13]]);
    let mut req = [0; 8];
    req.copy_from_slice(&header[4..12]);
    Ok(Some(Frame {
        req: u64::from_le_bytes(req),
        kind: Kind::from_number(number & !ANSWER).ok_or(number & !ANSWER),
        is_answer: number & ANSWER != 0,
        group: u32::from_le_bytes([header[14], header[15], header[16], header[17]]),
        body,
    }))
}

async fn within<T>(limit: Duration, io: impl Future<Output = std::io::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, io).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Stalled(limit)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn bounds(bytes_max: usize) -> Bounds {
        Bounds { bytes_max, idle_max: Duration::from_secs(5), stall_max: Duration::from_millis(50) }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn golden_frame() {
        let frame = Frame::answer(0x0102_0304_0506_0708, Kind::Vote, 9, vec![0xaa, 0xbb]);
        let mut bytes = Vec::new();
        block_on(write(&mut bytes, &frame)).unwrap();
        let golden = [16, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 17, 0x80, 9, 0, 0, 0, 0xaa, 0xbb];
        assert_eq!(bytes, golden);
    }

    #[test]
    fn kinds_have_their_own_numbers() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u16), Some(kind));
            assert!((kind as u16) < ANSWER);
        }
        assert_eq!(Kind::from_number(999), None);
    }

    #[test]
    fn lengths_out_of_bounds_are_refused_unread() {
        for (len, what) in [(0u32, "too short"), (13, "too short"), (u32::MAX, "too long"), (101, "too long")]
        {
            let mut bytes = len.to_le_bytes().to_vec();
            bytes.resize(40, 0);
            let result = block_on(read(&mut &bytes[..], bounds(100)));
            assert!(matches!(result, Err(Error::Length { .. })), "{what}: {result:?}");
        }
        let large = Frame::request(1, Kind::Append, 0, vec![0; BODY_BYTES_MAX + 1]);
        assert!(matches!(block_on(write(&mut Vec::new(), &large)), Err(Error::Length { .. })));
    }

    #[test]
    fn a_frame_that_stops_half_way_is_an_error() {
        block_on(async {
            let (mut near, mut far) = tokio::io::duplex(1024);
            near.write_all(&[16, 0, 0]).await.unwrap();
            let result = read(&mut far, bounds(FRAME_BYTES_MAX)).await;
            assert!(matches!(result, Err(Error::Stalled(_))), "{result:?}");
        });
        let result = block_on(read(&mut &[16u8, 0, 0][..], bounds(FRAME_BYTES_MAX)));
        assert!(matches!(result, Err(Error::Io(_))));
        assert!(block_on(read(&mut &[][..], bounds(FRAME_BYTES_MAX))).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(req: u64, group: u32, is_answer: bool, body: Vec<u8>, at in 0..Kind::ALL.len()) {
            let frame = Frame { req, kind: Ok(Kind::ALL[at]), is_answer, group, body };
            let mut bytes = Vec::new();
            block_on(write(&mut bytes, &frame)).unwrap();
            prop_assert_eq!(bytes.len(), frame.wire_bytes());
            let read = block_on(read(&mut &bytes[..], bounds(FRAME_BYTES_MAX))).unwrap();
            prop_assert_eq!(read, Some(frame));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = block_on(read(&mut &bytes[..], bounds(1 << 16)));
        }
    }
}
