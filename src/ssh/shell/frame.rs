//! Finding the end of a check in a stream of bytes.
//!
//! The end is a line of ours, `MARK nonce:VALUE newline`, wherever it stands: a script's output needs no newline at its end,
//! may be binary, and may hold anything that looks like such a line, since it can't hold this check's nonce.

use bytes::Bytes;

use super::bootstrap::MARK;

/// The longest value: a letter, a process id and a start time.
const VALUE_MAX: usize = 48;

/// One stream of one check: what is kept of it, and whether its end has come.
#[derive(Debug)]
pub(super) struct Frame {
    /// `MARK nonce:`
    pattern: Vec<u8>,
    kept: Vec<u8>,
    kept_max: usize,
    total: u64,
    /// What may be the beginning of the end.
    held: Vec<u8>,
    value: Option<Vec<u8>>,
    /// Bytes that came after the end.
    stray: bool,
}

impl Frame {
    pub(super) fn new(nonce: &str, kept_max: usize) -> Self {
        let mut pattern = vec![MARK];
        pattern.extend_from_slice(nonce.as_bytes());
        pattern.push(b':');
        Self { pattern, kept: Vec::new(), kept_max, total: 0, held: Vec::new(), value: None, stray: false }
    }

    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.value.is_some() {
            self.stray |= !data.is_empty();
            return;
        }
        let joined;
        let mut rest = if self.held.is_empty() {
            data
        } else {
            let mut bytes = std::mem::take(&mut self.held);
            bytes.extend_from_slice(data);
            joined = bytes;
            &joined
        };
        while let Some(at) = rest.iter().position(|byte| *byte == MARK) {
            let (before, candidate) = rest.split_at(at);
            match self.compare(candidate) {
                Match::End { value, len } => {
                    self.keep(before);
                    self.value = Some(value);
                    self.stray |= candidate.len() > len;
                    return;
                }
                Match::Perhaps => {
                    self.keep(before);
                    self.held = candidate.to_vec();
                    return;
                }
                Match::No => {
                    self.keep(&rest[..=at]);
                    rest = &rest[at + 1..];
                }
            }
        }
        self.keep(rest);
    }

    fn compare(&self, candidate: &[u8]) -> Match {
        let shared = candidate.len().min(self.pattern.len());
        if candidate[..shared] != self.pattern[..shared] {
            return Match::No;
        }
        let value = &candidate[shared..];
        match value.iter().position(|byte| *byte == b'\n') {
            Some(end) if shared == self.pattern.len() && end <= VALUE_MAX => {
                Match::End { value: value[..end].to_vec(), len: shared + end + 1 }
            }
            Some(_) => Match::No,
            None if value.len() > VALUE_MAX => Match::No,
            None => Match::Perhaps,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.kept_max - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The value of the end line, once it has come.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Bytes that belong to the check so far.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Whether something came after the end: somebody else writes on this stream.
    pub(super) fn has_stray(&self) -> bool {
        self.stray
    }

    /// What was kept, and whether there was more.
    pub(super) fn finish(mut self) -> (Bytes, bool) {
        // Without an end, what was held back is output after all.
        let held = std::mem::take(&mut self.held);
        self.keep(&held);
        let truncated = self.total > self.kept.len() as u64;
        (Bytes::from(self.kept), truncated)
    }
}

enum Match {
    End { value: Vec<u8>, len: usize },
    Perhaps,
    No,
}

/// For `crate::fuzz`: what a shell prints, in pieces of as many bytes as the first byte says; and the answers that come in it.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_shell(data: &[u8]) {
    let Some((&piece, data)) = data.split_first() else { return };
    let (nonce, kept_max) = ("0123", 64);
    let (mut frame, mut whole) = (Frame::new(nonce, kept_max), Frame::new(nonce, kept_max));
    for piece in data.chunks(usize::from(piece).max(1)) {
        frame.push(piece);
        assert!(
            frame.held.len() <= frame.pattern.len() + VALUE_MAX + usize::from(u8::MAX)
                && frame.kept.len() <= kept_max
        );
    }
    whole.push(data);
    // However it is cut, it is the same.
    assert_eq!(
        (frame.value(), frame.total(), frame.has_stray()),
        (whole.value(), whole.total(), whole.has_stray())
    );
    if let Some(value) = frame.value() {
        if let Some(identity) = super::Identity::parse(value) {
            let _ = identity.kill_if_same();
        }
        let _ = std::str::from_utf8(value).ok().and_then(|value| value.parse::<i32>().ok());
    }
    assert_eq!(frame.finish(), whole.finish());
    super::super::exec::fuzz_answers(data, nonce);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = super::simple::is_plain_command(text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn end(value: &str) -> Vec<u8> {
        format!("\u{1e}{NONCE}:{value}\n").into_bytes()
    }

    proptest! {
        #[test]
        fn output_and_end_are_told_apart_however_they_are_cut(
            output in proptest::collection::vec(prop_oneof![Just(MARK), Just(b'0'), Just(b':'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(1_usize..20, 1..60),
        ) {
            let mut stream = output.clone();
            stream.extend(end("3"));
            let mut frame = Frame::new(NONCE, 1000);
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                prop_assert!(frame.value().is_none());
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                frame.push(now);
                rest = later;
            }
            prop_assert_eq!(frame.value(), Some(&b"3"[..]));
            prop_assert!(!frame.has_stray());
            prop_assert_eq!(frame.total(), output.len() as u64);
            let (kept, truncated) = frame.finish();
            prop_assert_eq!(&kept[..], &output[..]);
            prop_assert!(!truncated);
        }
    }

    #[test]
    fn lookalikes_are_output() {
        let lookalikes: Vec<(&str, Vec<u8>)> = vec![
            ("other nonce", b"\x1efedcba9876543210fedcba9876543210:0\n".to_vec()),
            ("no mark", format!("{NONCE}:0\n").into_bytes()),
            ("value too long", end(&"9".repeat(VALUE_MAX + 1))),
            ("marks in a row", vec![MARK; 5]),
            ("nonce cut short", format!("\u{1e}{}\n", &NONCE[..20]).into_bytes()),
        ];
        for (name, bytes) in lookalikes {
            let mut frame = Frame::new(NONCE, 1000);
            frame.push(&bytes);
            assert!(frame.value().is_none(), "{name}");
            frame.push(&end("0"));
            assert_eq!(frame.value(), Some(&b"0"[..]), "{name}");
            assert_eq!(&frame.finish().0[..], &bytes[..], "{name}");
        }
    }

    #[test]
    fn only_the_beginning_is_kept_but_all_is_counted() {
        let mut frame = Frame::new(NONCE, 4);
        frame.push(b"abcdef");
        frame.push(b"ghi");
        frame.push(&end("0"));
        assert_eq!(frame.total(), 9);
        let (kept, truncated) = frame.finish();
        assert_eq!(&kept[..], b"abcd");
        assert!(truncated);
    }

    #[test]
    fn bytes_after_the_end_are_noticed() {
        let mut frame = Frame::new(NONCE, 4);
        let mut bytes = end("0");
        bytes.push(b'x');
        frame.push(&bytes);
        assert!(frame.has_stray());
    }
}
