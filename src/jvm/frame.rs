//! What goes through the pipes between a peer and its child: `length u32 | kind u8 | content`, little-endian. Both ends are the same
//! program, so that nothing here has a version.

use std::io::{self, Read};

/// The largest frame: an answer that Java may give, and more.
pub(super) const FRAME_BYTES_MAX: usize = 64 << 20;

const DEFINE: u8 = 1;
const FORGET: u8 = 2;
const ASK: u8 = 3;
const READY: u8 = 4;
const ANSWER: u8 = 5;

/// One message.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// To the child: how a target is reached.
    Define { target: u64, spec: Vec<u8> },
    /// To the child: a target is not asked any more.
    Forget { target: u64 },
    /// To the child: a question, and how long its answer may take.
    Ask { id: u64, target: u64, limit_ms: u32, question: Vec<u8> },
    /// From the child: Java runs.
    Ready { version: String },
    /// From the child.
    Answer { id: u64, answer: Vec<u8> },
}

impl Frame {
    /// The frame with its length.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self {
            Frame::Define { target, spec } => {
                out.push(DEFINE);
                out.extend(target.to_le_bytes());
                out.extend(spec);
            }
            Frame::Forget { target } => {
                out.push(FORGET);
                out.extend(target.to_le_bytes());
            }
            Frame::Ask { id, target, limit_ms, question } => {
                out.push(ASK);
                out.extend(id.to_le_bytes());
                out.extend(target.to_le_bytes());
                out.extend(limit_ms.to_le_bytes());
                out.extend(question);
            }
            Frame::Ready { version } => {
                out.push(READY);
                out.extend(version.as_bytes());
            }
            Frame::Answer { id, answer } => {
                out.push(ANSWER);
                out.extend(id.to_le_bytes());
                out.extend(answer);
            }
        }
        let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&length.to_le_bytes());
        out
    }

    /// Reads a frame without its length. None where it is not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Frame> {
        let (kind, rest) = bytes.split_first()?;
        let number = |bytes: &[u8]| -> Option<(u64, Vec<u8>)> {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*number), rest.to_vec()))
        };
        Some(match *kind {
            DEFINE => {
                let (target, spec) = number(rest)?;
                Frame::Define { target, spec }
            }
            FORGET => Frame::Forget { target: number(rest)?.0 },
            ASK => {
                let (id, rest) = rest.split_first_chunk::<8>()?;
                let (target, rest) = rest.split_first_chunk::<8>()?;
                let (limit, question) = rest.split_first_chunk::<4>()?;
                Frame::Ask {
                    id: u64::from_le_bytes(*id),
                    target: u64::from_le_bytes(*target),
                    limit_ms: u32::from_le_bytes(*limit),
                    question: question.to_vec(),
                }
            }
            READY => Frame::Ready { version: String::from_utf8_lossy(rest).into_owned() },
            ANSWER => {
                let (id, answer) = number(rest)?;
                Frame::Answer { id, answer }
            }
            _ => return None,
        })
    }

    /// The next frame of a stream; None at its end.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut length = [0; 4];
        if let Err(error) = from.read_exact(&mut length) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        let mut bytes = vec![0; checked(length)?];
        from.read_exact(&mut bytes)?;
        Frame::decode(&bytes).map(Some).ok_or_else(damaged)
    }
}

/// A frame's length, where it may be one.
pub(super) fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX { Err(damaged()) } else { Ok(length) }
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came through the pipe is no frame")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let frames = [
            Frame::Define { target: 7, spec: vec![1, 2] },
            Frame::Forget { target: 7 },
            Frame::Ask { id: 9, target: 7, limit_ms: 3000, question: vec![1] },
            Frame::Ready { version: "17".to_string() },
            Frame::Answer { id: 9, answer: vec![] },
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut stream = bytes.as_slice();
        for frame in frames {
            assert_eq!(Frame::read(&mut stream).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut stream).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Frame::decode(&bytes);
            let _ = Frame::read(&mut bytes.as_slice());
        }
    }
}
