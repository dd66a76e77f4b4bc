//! How the output of an ssh counter's script becomes readings: the six `parse` forms.
//!
//! Everything here is pure and bounded. The input is whatever a managed host printed, so it is treated as
//! bytes, never trusted to be text, and never able to cause a panic, more than [`INSTANCES_MAX`] readings or
//! an instance name longer than [`INSTANCE_BYTES_MAX`]. Running the script, timestamps and the rule for NaN
//! and infinite values are the caller's.
//!
//! Start with [`parse`]; each form is a file of its own.

mod error;
mod readings;
mod text;

mod json;
mod nagios;
mod number;
mod pairs;
mod prometheus;
mod regex;

#[cfg(test)]
mod parse_test;

use std::fmt;

pub use self::error::{ParseError, PatternError};
pub use self::readings::{Parsed, Reading, Warnings};
pub(super) use self::text::instance_name;

/// The most readings that one output may yield; what comes after them is dropped with a warning.
pub const INSTANCES_MAX: usize = 1_000;

/// The longest instance name in bytes. A longer one is cut and ends in a hash of the whole, so that two long
/// names that begin alike stay two series.
pub const INSTANCE_BYTES_MAX: usize = 200;

/// The largest output that is looked at. The collector's own bound on a script's output is smaller; this one
/// holds whoever calls.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// How the output of a counter's script becomes readings: the `parse` field of a counter.
#[derive(Debug, Clone)]
pub enum Parse {
    /// The output is one number, with white space around it ignored. One reading without an instance.
    Number,
    /// Lines `name=value` or `name value`; empty lines and lines that begin with `#` are skipped.
    Pairs,
    /// One JSON document: nested keys become dotted instances, array elements are named by their index,
    /// booleans are 1 and 0, texts count when they are numbers, null is skipped.
    Json,
    /// A Nagios plugin's performance data, in base units, and its exit code as the instance `exit_code`.
    Nagios,
    /// Prometheus' text exposition; the instance is `metric{label="value"}` with the labels sorted.
    Prometheus,
    /// The named captures of every match. Made with [`Parse::pattern`], which checks the pattern.
    Regex(::regex::Regex),
}

impl Parse {
    /// The form `regex` for `pattern`, which must have a named capture to read a value from.
    ///
    /// # Errors
    /// [`PatternError`] when the pattern can't be compiled, compiles to something too large, or names no
    /// capture that could hold a value.
    pub fn pattern(pattern: &str) -> Result<Self, PatternError> {
        regex::compile(pattern).map(Parse::Regex)
    }

    /// The form's name as it stands in a counter's `parse` field.
    pub fn name(&self) -> &'static str {
        match self {
            Parse::Number => "number",
            Parse::Pairs => "pairs",
            Parse::Json => "json",
            Parse::Nagios => "nagios",
            Parse::Prometheus => "prometheus",
            Parse::Regex(_) => "regex",
        }
    }
}

impl fmt::Display for Parse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a script printed and how it ended.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// The standard output, as it came.
    pub stdout: &'a [u8],
    /// The exit code; `None` when the script was ended by a signal or its end is not known.
    pub exit_code: Option<i32>,
}

/// Turns a script's output into readings.
///
/// An exit code other than 0 is a failure, whatever was printed, except for [`Parse::Nagios`], where 0 to 3 are
/// data. An output of which a part can be read yields that part, and a warning for the rest.
///
/// # Errors
/// [`ParseError`] when nothing can be read; its text is the reason shown at the series.
pub fn parse(form: &Parse, output: &Output<'_>) -> Result<Parsed, ParseError> {
    if output.stdout.len() > OUTPUT_BYTES_MAX {
        return Err(ParseError::TooLarge { bytes: output.stdout.len(), bytes_max: OUTPUT_BYTES_MAX });
    }
    if let Parse::Nagios = form {
        return nagios::parse(output);
    }
    if output.exit_code != Some(0) {
        return Err(ParseError::exit(output));
    }
    if output.stdout.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    match form {
        Parse::Number => number::parse(output.stdout),
        Parse::Pairs => pairs::parse(output.stdout),
        Parse::Json => json::parse(output.stdout),
        Parse::Prometheus => prometheus::parse(output.stdout),
        Parse::Regex(pattern) => regex::parse(pattern, output.stdout),
        Parse::Nagios => nagios::parse(output),
    }
}
