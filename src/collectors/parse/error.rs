//! Why an output yields no reading, and why a pattern is refused.

use super::Output;
use super::text::excerpt;

/// Why an output yields no reading at all. The text is for a person: whatever of the output it quotes is
/// escaped and cut short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The script failed. Scripts whose exit code says something else, as `grep -c` that found nothing, end in
    /// `|| true`.
    #[error("the script {}{}", ended(*.code), printed(.output))]
    Exit {
        /// The exit code; `None` when a signal ended the script or its end is not known.
        code: Option<i32>,
        /// The beginning of what it printed, escaped; may be empty.
        output: String,
    },
    /// The script succeeded and printed nothing, or white space only.
    #[error("the script printed nothing")]
    Empty,
    /// The output is larger than the form reads.
    #[error("the output has {bytes} bytes; at most {bytes_max} are read")]
    TooLarge {
        /// The size of the output.
        bytes: usize,
        /// The most that this form reads.
        bytes_max: usize,
    },
    /// The form `number` met something that is not one number.
    #[error("expected one number, got \"{output}\"{hint}")]
    NotANumber {
        /// The beginning of the output, escaped.
        output: String,
        /// What the user may have meant, or empty.
        hint: &'static str,
    },
    /// No line could be read; this is the first that could not.
    #[error("line {line}: {reason}: \"{text}\"")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// The beginning of the line, escaped.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The form `json` met something that is not JSON.
    #[error("not JSON: {detail}")]
    Json {
        /// Where and what, as the JSON parser says it.
        detail: String,
    },
    /// The output is well formed, but nothing in it is a value.
    #[error("{what}: \"{output}\"")]
    NoValue {
        /// What was looked for.
        what: &'static str,
        /// The beginning of the output, escaped.
        output: String,
    },
}

impl ParseError {
    /// The script of `output` failed.
    pub(super) fn exit(output: &Output<'_>) -> Self {
        ParseError::Exit { code: output.exit_code, output: excerpt(output.stdout.trim_ascii()) }
    }
}

fn ended(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("exited with {code}"),
        None => "was ended by a signal".to_owned(),
    }
}

fn printed(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(", having printed \"{output}\"") }
}

/// Why a pattern can't be a counter's `regex`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression, or compiles to something too large.
    #[error("not a usable regular expression: {0}")]
    Syntax(String),
    /// It names no capture.
    #[error("the regular expression has no named capture; write (?<name>...) around what is to be read")]
    NoCapture,
    /// It has a capture `instance` and none for the value.
    #[error("the capture `instance` names a series, but no other capture holds its value; add (?<value>...)")]
    NoValue,
}
