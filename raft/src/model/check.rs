//! What became of a counter's last reading on a node.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// How the last reading of a counter on a node went: the reason why series have no data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckStatus {
    /// When the last reading was due.
    pub last: Timestamp,
    /// Why it failed, or what was wrong with a part of it; absent where all was well.
    pub failure: Option<(FailureKind, String)>,
    /// Failures in a row.
    pub failures_in_row: u32,
    /// Failures since the counter is collected on this node.
    pub failures_total: u64,
    /// What the script printed, as last reported.
    pub output: Option<CheckOutput>,
}

/// Why a reading yielded nothing, or not all it could.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FailureKind {
    /// The node could not be reached or logged in to.
    Unreachable,
    /// The host key is not the recorded one, or none is trusted.
    HostKey,
    /// Credentials were refused.
    Authentication,
    /// It took longer than the counter's timeout.
    TimedOut,
    /// The script failed: exit code or signal.
    Exit,
    /// The output was not what `parse` expects.
    Parse,
    /// More output than is read.
    TooMuchOutput,
    /// What the counter refers to is missing: a secret, a file.
    Configuration,
    /// No failure: a part of the output is not what `parse` expects, and the rest yielded samples.
    Partly,
    /// A JVM of the node could not be reached.
    JvmUnreachable,
    /// A JVM refused the credentials.
    JvmAuthentication,
    /// No peer that could speak to the JVM has a Java runtime.
    NoJava,
    /// The JVM has no such MBean, attribute or key.
    Missing,
    /// The attribute could not be read: its MBean threw an exception.
    Threw,
}

/// What a script printed, cut to [`CheckOutput::BYTES_MAX`] a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckOutput {
    /// When the reading was due.
    pub at: Timestamp,
    /// Standard output, as bytes came.
    #[serde(with = "crate::codec::bytes")]
    pub stdout: Vec<u8>,
    /// Standard error, as bytes came.
    #[serde(with = "crate::codec::bytes")]
    pub stderr: Vec<u8>,
    /// Exit code; absent after a signal or a timeout.
    pub exit_code: Option<i32>,
    /// How long it took.
    pub duration_ms: u32,
}

impl CheckOutput {
    /// What is kept of each stream, in bytes.
    pub const BYTES_MAX: usize = 4096;
}
