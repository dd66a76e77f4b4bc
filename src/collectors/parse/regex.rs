//! The form `regex`: the named captures of every match.
//!
//! A capture that holds a number is a reading with the capture's name as its instance. Two names are special:
//! `value` is the unnamed reading, and `instance`, where a match has one, names the match's readings: `value`
//! becomes `<instance>`, any other capture `<instance>.<name>`.
//!
//! `(?m)^(?<instance>sd\w): (?<value>\d+) reads, (?<writes>\d+) writes$` reads `sda` and `sda.writes`.

use ::regex::{Captures, Regex, RegexBuilder};

use super::readings::Readings;
use super::text::{excerpt, finite};
use super::{ParseError, Parsed, PatternError};

/// The memory that a compiled pattern may take; `\w{1000}` and the like are refused.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// How many matches are looked at; a pattern that matches the empty text matches everywhere.
const MATCHES_MAX: usize = 10_000;

const INSTANCE: &str = "instance";
const VALUE: &str = "value";

/// Compiles and checks a pattern. Matching takes time linear in the output, whatever the pattern.
pub(super) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let regex = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|e| PatternError::Syntax(e.to_string()))?;
    let mut names = regex.capture_names().flatten().peekable();
    if names.peek().is_none() {
        return Err(PatternError::NoCapture);
    }
    if names.all(|name| name == INSTANCE) {
        return Err(PatternError::NoValue);
    }
    Ok(regex)
}

pub(super) fn parse(regex: &Regex, stdout: &[u8]) -> Result<Parsed, ParseError> {
    let text = String::from_utf8_lossy(stdout);
    let mut readings = Readings::default();
    let mut matched = false;
    for (i, captures) in regex.captures_iter(&text).enumerate() {
        matched = true;
        if i >= MATCHES_MAX {
            readings.warn(|| format!("matches after the first {MATCHES_MAX} were not looked at"));
            break;
        }
        read(regex, &captures, &mut readings);
    }
    readings.finish(|| ParseError::NoValue {
        what: if matched {
            "no named capture holds a number"
        } else {
            "the regular expression matches nothing"
        },
        output: excerpt(stdout.trim_ascii()),
    })
}

fn read(regex: &Regex, captures: &Captures<'_>, readings: &mut Readings) {
    let prefix = captures.name(INSTANCE).map(|m| m.as_str().trim()).filter(|name| !name.is_empty());
    for name in regex.capture_names().flatten().filter(|name| *name != INSTANCE) {
        // A group of an alternative that was not taken is no value and no fault.
        let Some(capture) = captures.name(name) else { continue };
        if readings.is_full() {
            readings.drop_one();
            continue;
        }
        let Some(value) = finite(capture.as_str().trim()) else {
            readings
                .warn(|| format!("\"{name}\" is not a number: \"{}\"", excerpt(capture.as_str().as_bytes())));
            continue;
        };
        match prefix {
            Some(prefix) if name == VALUE => readings.push(Some(prefix), value),
            Some(prefix) => readings.push(Some(&format!("{prefix}.{name}")), value),
            None if name == VALUE => readings.push(None, value),
            None => readings.push(Some(name), value),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(pattern: &str, stdout: &str) -> Parsed {
        parse(&compile(pattern).unwrap(), stdout.as_bytes()).unwrap()
    }

    fn named(parsed: &Parsed) -> Vec<(&str, f64)> {
        parsed.readings.iter().map(|r| (r.instance.as_deref().unwrap_or("-"), r.value)).collect()
    }

    #[test]
    fn named_captures_are_readings() {
        for (name, pattern, stdout, expected) in [
            ("one value", r"up (?<value>\d+) days", "up 12 days", vec![("-", 12.0)]),
            ("one name", r"up (?<days>\d+)", "up 12 days", vec![("days", 12.0)]),
            ("python's spelling", r"up (?P<days>\d+)", "up 12 days", vec![("days", 12.0)]),
            (
                "several names",
                r"load average: (?<one>[\d.]+), (?<five>[\d.]+)",
                " 11:59 up 1 day, load average: 0.50, 0.25, 0.1",
                vec![("one", 0.5), ("five", 0.25)],
            ),
            (
                "every match, named by itself",
                r"(?m)^(?<instance>\w+): (?<value>-?\d+)$",
                "sda: 1\nsdb: 2\nnoise\nsdc: -3\n",
                vec![("sda", 1.0), ("sdb", 2.0), ("sdc", -3.0)],
            ),
            (
                "further captures of a named match",
                r"(?<instance>\w+) (?<value>\d+)/(?<writes>\d+)",
                "sda 1/2 sdb 3/4",
                vec![("sda", 1.0), ("sda.writes", 2.0), ("sdb", 3.0), ("sdb.writes", 4.0)],
            ),
            ("an alternative that was not taken", r"a(?<a>\d)|b(?<b>\d)", "b7", vec![("b", 7.0)]),
            ("an instance that was not matched", r"(?<instance>x)?=(?<value>\d)", "=7", vec![("-", 7.0)]),
        ] {
            let parsed = run(pattern, stdout);
            assert_eq!(named(&parsed), expected, "{name}");
            assert!(parsed.warnings.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_capture_that_is_no_number_is_a_warning() {
        let parsed = run(r"(?<instance>\w+)=(?<value>\w+)", "a=1 b=x");
        assert_eq!(named(&parsed), [("a", 1.0)]);
        assert_eq!(parsed.warnings.shown, ["\"value\" is not a number: \"x\""]);
    }

    #[test]
    fn no_match_and_no_number_are_told_apart() {
        let regex = compile(r"v=(?<value>\w+)").unwrap();
        let error = |stdout: &[u8]| parse(&regex, stdout).unwrap_err().to_string();
        assert_eq!(error(b"other\n"), "the regular expression matches nothing: \"other\"");
        assert_eq!(error(b"v=x"), "no named capture holds a number: \"v=x\"");
    }

    #[test]
    fn output_that_is_not_utf8_is_matched_all_the_same() {
        assert_eq!(named(&run(r"v=(?<value>\d+)", "\u{fffd}v=3")), [("-", 3.0)]);
        let parsed = parse(&compile(r"v=(?<value>\d+)").unwrap(), b"\xff\xfev=3").unwrap();
        assert_eq!(named(&parsed), [("-", 3.0)]);
    }

    #[test]
    fn a_pattern_is_refused_with_its_reason() {
        assert!(matches!(compile("(unclosed"), Err(PatternError::Syntax(_))));
        assert!(matches!(compile(r"(?<a>\w{5000}{50})"), Err(PatternError::Syntax(_))));
        assert_eq!(compile(r"(\d+)").unwrap_err(), PatternError::NoCapture);
        assert_eq!(compile(r"(?<instance>\d+)").unwrap_err(), PatternError::NoValue);
    }

    #[test]
    fn matches_are_bounded_even_when_they_hold_nothing() {
        let regex = compile("(?<a>x?)").unwrap();
        let error = parse(&regex, &b"y".repeat(1 << 20)).unwrap_err();
        assert!(error.to_string().starts_with("no named capture holds a number: "), "{error}");
    }

    #[test]
    fn many_matches_are_cut_and_counted() {
        let stdout: String = (0..1_500).map(|i| format!("k{i}=1\n")).collect();
        let parsed = run(r"(?<instance>k\d+)=(?<value>\d)", &stdout);
        assert_eq!(parsed.readings.len(), 1_000);
        assert_eq!(parsed.warnings.shown, ["500 values beyond the first 1000 were dropped"]);
    }
}
