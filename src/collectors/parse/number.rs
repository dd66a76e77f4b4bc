//! The form `number`: the whole output is one number.

use super::readings::Readings;
use super::text::{excerpt, finite};
use super::{ParseError, Parsed};

pub(super) fn parse(stdout: &[u8]) -> Result<Parsed, ParseError> {
    let trimmed = stdout.trim_ascii();
    let text = std::str::from_utf8(trimmed).unwrap_or_default();
    let Some(value) = finite(text) else {
        return Err(ParseError::NotANumber { output: excerpt(trimmed), hint: hint(text) });
    };
    let mut readings = Readings::default();
    readings.push(None, value);
    readings.finish(|| ParseError::Empty)
}

/// What the user may have meant. The number is not guessed: `1,234` is a thousand here and one there.
fn hint(text: &str) -> &'static str {
    let is_number = |t: &str| finite(t).is_some();
    let mut words = text.split_whitespace();
    let first_line_is_number = text.lines().next().is_some_and(|line| is_number(line.trim()));
    if text.lines().count() > 1 && first_line_is_number {
        "; there is more than one line"
    } else if text.contains(',') && is_number(&text.replace(',', "")) {
        "; write numbers without commas"
    } else if text.lines().count() == 1 && words.next().is_some_and(is_number) && words.next().is_some() {
        "; there is more than one word"
    } else if is_number(text.trim_end_matches(|c: char| c.is_alphabetic() || c == '%')) {
        "; print it without a unit"
    } else if matches!(
        text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str(),
        "nan" | "inf" | "infinity"
    ) {
        "; a sample must be finite"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_number_is_one_unnamed_reading() {
        for (name, stdout, value) in [
            ("integer", "12", 12.0),
            ("with a newline", "12\n", 12.0),
            ("with a carriage return", "12\r\n", 12.0),
            ("white space around", " \t\n -3.5 \n\n", -3.5),
            ("exponent", "1e3\n", 1000.0),
        ] {
            let parsed = parse(stdout.as_bytes()).unwrap();
            assert_eq!(parsed.readings.len(), 1, "{name}");
            assert_eq!(
                (parsed.readings[0].instance.as_deref(), parsed.readings[0].value),
                (None, value),
                "{name}"
            );
            assert!(parsed.warnings.is_empty(), "{name}");
        }
    }

    #[test]
    fn anything_else_is_an_error_that_quotes_it() {
        for (stdout, message) in [
            (&b"1,234\n"[..], "expected one number, got \"1,234\"; write numbers without commas"),
            (b"12\n13\n", "expected one number, got \"12\\n13\"; there is more than one line"),
            (
                b"0.5 0.4 0.3 1/100 4242",
                "expected one number, got \"0.5 0.4 0.3 1/100 4242\"; there is more than one word",
            ),
            (b"12%", "expected one number, got \"12%\"; print it without a unit"),
            (b"340 ms", "expected one number, got \"340 ms\"; there is more than one word"),
            (b"NaN", "expected one number, got \"NaN\"; a sample must be finite"),
            (b"-inf", "expected one number, got \"-inf\"; a sample must be finite"),
            (b"1e400", "expected one number, got \"1e400\""),
            (b"cat: x: No such file", "expected one number, got \"cat: x: No such file\""),
            (b"\x1b[31m5", "expected one number, got \"\\u{1b}[31m5\""),
            (b"\xff5", "expected one number, got \"\\xff5\""),
        ] {
            assert_eq!(parse(stdout).unwrap_err().to_string(), message);
        }
    }
}
