//! What an output yields, and the builder that keeps it within its bounds.

use std::borrow::Cow;
use std::collections::HashSet;

use super::text::{bounded, excerpt, printable};
use super::{INSTANCE_BYTES_MAX, INSTANCES_MAX, ParseError};

/// How many warnings are kept word for word; the others are counted.
const WARNINGS_MAX: usize = 10;

/// One value that an output held.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Which series of the counter it belongs to: at most [`INSTANCE_BYTES_MAX`] bytes, without control
    /// characters; `None` when the output is one unnamed value.
    pub instance: Option<String>,
    /// The value. Finite, but for Prometheus' `NaN`, `+Inf` and `-Inf`.
    pub value: f64,
}

/// What an output yields: at least one reading, in the order of the output, each instance once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// At least one and at most [`INSTANCES_MAX`].
    pub readings: Vec<Reading>,
    /// What of the output could not be read.
    pub warnings: Warnings,
}

/// What of an output could not be read, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Warnings {
    /// The first of them, at most ten; what they quote is escaped and cut short.
    pub shown: Vec<String>,
    /// How many more there were.
    pub more: usize,
}

impl Warnings {
    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty() && self.more == 0
    }

    fn push(&mut self, text: impl FnOnce() -> String) {
        if self.shown.len() < WARNINGS_MAX {
            self.shown.push(text());
        } else {
            self.more += 1;
        }
    }
}

/// Collects readings: holds the number and the names within their bounds, each instance once (the first value
/// stands), and remembers the first bad line, which is the error when nothing good turns up.
#[derive(Debug, Default)]
pub(super) struct Readings {
    parsed: Parsed,
    seen: HashSet<Option<String>>,
    dropped: usize,
    first_bad_line: Option<ParseError>,
}

impl Readings {
    /// Adds a reading. An empty name counts as none.
    pub(super) fn push(&mut self, instance: Option<&str>, value: f64) {
        if self.is_full() {
            self.dropped += 1;
            return;
        }
        let instance =
            instance.filter(|name| !name.is_empty()).map(|name| bounded(printable(name), INSTANCE_BYTES_MAX));
        if self.seen.contains(&instance) {
            self.warn(|| match &instance {
                Some(name) => format!(
                    "\"{}\" appears more than once; its first value is taken",
                    excerpt(name.as_bytes())
                ),
                None => "there is more than one value; the first is taken".to_owned(),
            });
            return;
        }
        self.seen.insert(instance.clone());
        self.parsed.readings.push(Reading { instance, value });
    }

    /// Whether no more readings are taken, so that the caller may spare itself the work of naming one.
    pub(super) fn is_full(&self) -> bool {
        self.parsed.readings.len() >= INSTANCES_MAX
    }

    /// Counts a reading that was not even named because [`Self::is_full`].
    pub(super) fn drop_one(&mut self) {
        self.dropped += 1;
    }

    /// Remembers something that could not be read and is no line of its own.
    pub(super) fn warn(&mut self, text: impl FnOnce() -> String) {
        self.parsed.warnings.push(text);
    }

    /// Remembers that the line with this number, from 1, could not be read.
    pub(super) fn bad_line(&mut self, line: usize, text: &[u8], reason: impl Into<Cow<'static, str>>) {
        if self.parsed.warnings.shown.len() >= WARNINGS_MAX {
            self.parsed.warnings.more += 1;
            return;
        }
        let error = ParseError::Line { line, text: excerpt(text), reason: reason.into().into_owned() };
        self.parsed.warnings.shown.push(error.to_string());
        self.first_bad_line.get_or_insert(error);
    }

    /// What was collected, if anything; else the first bad line, else `nothing`.
    pub(super) fn finish(mut self, nothing: impl FnOnce() -> ParseError) -> Result<Parsed, ParseError> {
        if self.parsed.readings.is_empty() {
            return Err(self.first_bad_line.unwrap_or_else(nothing));
        }
        if self.dropped > 0 {
            // First, for it explains the most: what follows may be cut off.
            let text = format!("{} values beyond the first {INSTANCES_MAX} were dropped", self.dropped);
            self.parsed.warnings.shown.insert(0, text);
        }
        Ok(self.parsed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_value_of_an_instance_stands() {
        let mut readings = Readings::default();
        readings.push(Some("a"), 1.0);
        readings.push(Some("a"), 2.0);
        let parsed = readings.finish(|| ParseError::Empty).unwrap();
        assert_eq!(parsed.readings, [Reading { instance: Some("a".into()), value: 1.0 }]);
        assert_eq!(parsed.warnings.shown, ["\"a\" appears more than once; its first value is taken"]);
    }

    #[test]
    fn more_than_the_most_is_dropped_and_said() {
        let mut readings = Readings::default();
        for i in 0..INSTANCES_MAX + 7 {
            readings.push(Some(&i.to_string()), 0.0);
        }
        let parsed = readings.finish(|| ParseError::Empty).unwrap();
        assert_eq!(parsed.readings.len(), INSTANCES_MAX);
        assert_eq!(parsed.warnings.shown, ["7 values beyond the first 1000 were dropped"]);
    }

    #[test]
    fn warnings_are_bounded() {
        let mut readings = Readings::default();
        readings.push(None, 1.0);
        for i in 0..1_000 {
            readings.bad_line(i, b"bad", "reason");
        }
        let warnings = readings.finish(|| ParseError::Empty).unwrap().warnings;
        assert_eq!((warnings.shown.len(), warnings.more), (10, 990));
    }

    #[test]
    fn without_a_reading_the_first_bad_line_is_the_error() {
        let mut readings = Readings::default();
        readings.bad_line(3, b"x\x07", "no value");
        readings.bad_line(4, b"y", "no value");
        let error = readings.finish(|| ParseError::Empty).unwrap_err();
        assert_eq!(error.to_string(), "line 3: no value: \"x\\u{7}\"");
    }
}
