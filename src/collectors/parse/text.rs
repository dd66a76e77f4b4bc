//! Numbers and excerpts: what every form needs of text that a managed host printed.

use std::borrow::Cow;
use std::fmt::Write;

/// How many characters of an output an error or a warning quotes.
const EXCERPT_CHARS_MAX: usize = 80;

/// Reads one finite decimal number: an optional sign, digits with at most one point, an optional exponent.
///
/// `inf`, `nan`, hexadecimal numbers, digit grouping, units and numbers too large for an f64 are `None`.
pub(super) fn finite(text: &str) -> Option<f64> {
    if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// The beginning of `bytes` on one line: control characters and quotes escaped, bytes that are not UTF-8 as
/// `\xNN`, cut with `…` at 80 characters.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    // Four bytes a character at most, so that a huge output is not walked to quote its beginning.
    let (head, mut cut) = match bytes.get(..EXCERPT_CHARS_MAX * 4) {
        Some(head) => (head, head.len() < bytes.len()),
        None => (bytes, false),
    };
    let mut out = String::new();
    let mut chars = 0;
    'chunks: for chunk in head.utf8_chunks() {
        let escaped = chunk.valid().chars().map(|c| c.escape_debug().to_string());
        let raw = chunk.invalid().iter().map(|b| format!("\\x{b:02x}"));
        for piece in escaped.chain(raw) {
            let piece_chars = piece.chars().count();
            if chars + piece_chars > EXCERPT_CHARS_MAX {
                cut = true;
                break 'chunks;
            }
            chars += piece_chars;
            out.push_str(&piece);
        }
    }
    if cut {
        out.push('…');
    }
    out
}

/// `name` with its control characters written as escapes, so that it can stand in a table or a log.
pub(super) fn printable(name: &str) -> Cow<'_, str> {
    if !name.chars().any(char::is_control) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `name` if it has at most `bytes_max` bytes, else its beginning, `~` and 16 hexadecimal digits of a hash of
/// the whole. The result never depends on anything but `name`, so a series keeps its name.
pub(super) fn bounded(name: Cow<'_, str>, bytes_max: usize) -> String {
    const TAIL_BYTES: usize = 17;
    if name.len() <= bytes_max {
        return name.into_owned();
    }
    let mut out = name[..name.floor_char_boundary(bytes_max.saturating_sub(TAIL_BYTES))].to_owned();
    // Writing to a String can't fail.
    let _ = write!(out, "~{:016x}", fnv1a(name.as_bytes()));
    out
}

/// What a series of this instance is called.
pub(in crate::collectors) fn instance_name(name: &str) -> String {
    bounded(printable(name), super::INSTANCE_BYTES_MAX)
}

/// The 64-bit FNV-1a hash: short, and the same in every version of this program and on every machine.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The lines of `stdout` with their numbers from 1, without their line ends (`\n` or `\r\n`).
pub(super) fn lines(stdout: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = stdout.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.enumerate().map(|(i, line)| (i + 1, line))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finite_reads_decimal_numbers_only() {
        for (text, value) in [
            ("12", 12.0),
            ("-3.5", -3.5),
            ("+7", 7.0),
            ("1e3", 1000.0),
            ("1.5E-2", 0.015),
            (".5", 0.5),
            ("5.", 5.0),
            ("18446744073709551615", 18446744073709551615.0),
        ] {
            assert_eq!(finite(text), Some(value), "{text}");
        }
        for text in [
            "", "-", ".", "e", "1e", "1,234", "1_000", "0x10", "nan", "inf", "-inf", "infinity", "1e999",
            "1 2", "12%", "١",
        ] {
            assert_eq!(finite(text), None, "{text}");
        }
    }

    #[test]
    fn excerpt_escapes_and_cuts() {
        assert_eq!(excerpt(b"a\tb\x1b[0m \"q\""), "a\\tb\\u{1b}[0m \\\"q\\\"");
        assert_eq!(excerpt(b"\xff\xfe"), "\\xff\\xfe");
        assert_eq!(excerpt("é".repeat(80).as_bytes()), "é".repeat(80));
        assert_eq!(excerpt("é".repeat(81).as_bytes()), format!("{}…", "é".repeat(80)));
        assert!(excerpt(&[0u8; 100_000]).chars().count() <= 81);
    }

    #[test]
    fn a_long_name_is_cut_at_a_character_and_stays_distinct() {
        let one = format!("{}a", "é".repeat(150));
        let two = format!("{}b", "é".repeat(150));
        let (cut_one, cut_two) = (bounded(Cow::Borrowed(&one), 200), bounded(Cow::Borrowed(&two), 200));
        assert!(cut_one.len() <= 200 && cut_two.len() <= 200);
        assert_ne!(cut_one, cut_two);
        assert_eq!(cut_one, bounded(Cow::Borrowed(&one), 200));
        assert_eq!(bounded(Cow::Borrowed("short"), 200), "short");
    }

    #[test]
    fn fnv1a_is_the_published_function() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn printable_leaves_no_control_character() {
        assert_eq!(printable("plain name"), "plain name");
        assert_eq!(printable("a\nb\u{1b}"), "a\\nb\\u{1b}");
    }
}
