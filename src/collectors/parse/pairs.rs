//! The form `pairs`: lines `name=value` or `name value`.

use super::readings::Readings;
use super::text::{excerpt, finite, lines};
use super::{ParseError, Parsed};

pub(super) fn parse(stdout: &[u8]) -> Result<Parsed, ParseError> {
    let mut readings = Readings::default();
    for (number, line) in lines(stdout) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Ok(text) = std::str::from_utf8(line) else {
            readings.bad_line(number, line, "not UTF-8");
            continue;
        };
        match pair(text) {
            Ok((name, value)) => readings.push(Some(name), value),
            Err(reason) => readings.bad_line(number, line, reason),
        }
    }
    readings.finish(|| ParseError::NoValue {
        what: "there are only comments",
        output: excerpt(stdout.trim_ascii()),
    })
}

/// Splits at the last `=` when a number follows it, so that a name may contain one; else at white space, of
/// which a name in that form has none.
fn pair(text: &str) -> Result<(&str, f64), &'static str> {
    if let Some((name, value)) = text.rsplit_once('=')
        && let Some(value) = finite(value.trim())
    {
        let name = name.trim();
        return if name.is_empty() { Err("the name is missing") } else { Ok((name, value)) };
    }
    let mut words = text.split_whitespace();
    match (words.next(), words.next().map(finite), words.next()) {
        (Some(name), Some(Some(value)), None) => Ok((name, value)),
        (Some(_), None, _) if !text.contains('=') => Err("expected name=value or name value"),
        (Some(_), Some(Some(_)), Some(_)) => Err("more than a name and a value"),
        _ => Err("the value is not a number"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(parsed: &Parsed) -> Vec<(&str, f64)> {
        parsed.readings.iter().map(|r| (r.instance.as_deref().unwrap(), r.value)).collect()
    }

    #[test]
    fn both_spellings_are_read() {
        for (name, line, pair) in [
            ("equals", "a=1", ("a", 1.0)),
            ("space", "a 1", ("a", 1.0)),
            ("tab", "a\t1", ("a", 1.0)),
            ("spaces around equals", " a = -1.5 ", ("a", -1.5)),
            ("equals in the name", "cmd=ls=3", ("cmd=ls", 3.0)),
            ("space in the name", "GC time=3", ("GC time", 3.0)),
            ("equals in the name of the other form", "http{code=\"200\"} 7", ("http{code=\"200\"}", 7.0)),
            ("name that is a number", "1 2", ("1", 2.0)),
            ("carriage return", "a=1\r", ("a", 1.0)),
        ] {
            assert_eq!(named(&parse(line.as_bytes()).unwrap()), [pair], "{name}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        let parsed = parse(b"# head\n\na=1\n   \n  # b=2\nc 3\n").unwrap();
        assert_eq!(named(&parsed), [("a", 1.0), ("c", 3.0)]);
        assert!(parsed.warnings.is_empty());
    }

    #[test]
    fn bad_lines_beside_good_ones_are_warnings() {
        let parsed = parse(b"a=1\nb=many\nc 1 2\nword\n=5\nd=1,5\n\xff=1\n").unwrap();
        assert_eq!(named(&parsed), [("a", 1.0)]);
        assert_eq!(
            parsed.warnings.shown,
            [
                "line 2: the value is not a number: \"b=many\"",
                "line 3: more than a name and a value: \"c 1 2\"",
                "line 4: expected name=value or name value: \"word\"",
                "line 5: the name is missing: \"=5\"",
                "line 6: the value is not a number: \"d=1,5\"",
                "line 7: not UTF-8: \"\\xff=1\"",
            ]
        );
    }

    #[test]
    fn bad_lines_alone_are_an_error_that_names_the_first() {
        let error = parse(b"# x\nload is high\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: the value is not a number: \"load is high\"");
    }

    #[test]
    fn only_comments_are_an_error() {
        assert_eq!(parse(b"# x\n").unwrap_err().to_string(), "there are only comments: \"# x\"");
    }
}
