//! Checks: short scripts in a POSIX shell that is kept open on the connection.
//!
//! A session per check costs the node a fork of sshd, a login shell with its start-up files and several packets; a check in a kept
//! shell costs one fork: measured with OpenSSH 9.2 on a busy machine, 0.22 ms of CPU at the node with dash and 0.7 ms with bash against
//! 2.2 ms. What the script does comes on top: 0.9 ms for each program that it starts. `cargo bench --bench checks` measures it all.
//!
//! What makes that safe is described where it is done: how a check is kept from touching the next in `bootstrap`, how the end of its
//! output is told from its output in `frame`, how long and how much in `kept`, what becomes of a shell that could not be killed in
//! [`super::orphans`], which shell a check gets in `shells`.
//!
//! A check runs in its own subshell of `sh` in the login's environment and home directory, with empty stdin. It ends when the script
//! ends; a process it leaves behind is killed, unless it made a session of its own (`setsid`). One that did so and yet goes on writing to
//! the check's output can spoil the output of one later check; then its shell is replaced. The time limit
//! kills everything of the check's group. Whenever a shell's state is in doubt, it is killed and the next check gets a fresh one.

mod bootstrap;
mod frame;
mod kept;
mod raw;
mod shells;
mod simple;

use std::time::Duration;

use bytes::Bytes;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use frame::fuzz_shell;

pub(super) use bootstrap::Identity;
pub(super) use shells::{Shells, run};

/// What of a check's output is kept, and when it is stopped. Each holds for stdout and stderr separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckLimits {
    /// Bytes kept, from the start.
    pub kept_bytes: usize,
    /// Bytes after which the script is killed ([`CheckEnd::TooMuchOutput`]).
    pub output_bytes_max: u64,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self { kept_bytes: 64 * 1024, output_bytes_max: 8 * 1024 * 1024 }
    }
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOutput {
    /// Standard output, at most `kept_bytes`, as it came.
    pub stdout: Bytes,
    /// Standard error, at most `kept_bytes`, as it came.
    pub stderr: Bytes,
    /// How it ended.
    pub end: CheckEnd,
    /// From handing over the script to its end, with the way to the node and back.
    pub duration: Duration,
    /// Whether more came than was kept.
    pub truncated: bool,
    /// Whether the script left processes behind, which were killed.
    pub left_processes: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckEnd {
    /// By itself, with this exit code; 128 + n if signal n ended it, as shells say it.
    Exited(i32),
    /// Its time was over; it was killed.
    TimedOut,
    /// It wrote more than `output_bytes_max`; it was killed.
    TooMuchOutput,
}

#[cfg(test)]
mod tests;
