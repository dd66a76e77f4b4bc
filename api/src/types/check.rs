use rscaler_raft::model::{self, FailureKind, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What became of the last reading of a counter on a node: why its series have data, or have none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// The node.
    #[schema(value_type = String)]
    pub node: Name,
    /// The counter.
    #[schema(value_type = String)]
    pub counter: Name,
    /// Whether the last reading yielded samples.
    pub ok: bool,
    /// When it was due; absent where none has been reported yet.
    pub last: Option<Time>,
    /// Why it failed.
    pub failure: Option<CheckFailure>,
    /// What of the output could not be read, where the rest yielded samples.
    #[serde(default)]
    pub warning: Option<String>,
    /// Failures in a row.
    pub failures_in_row: u32,
    /// Failures since the counter is collected on this node.
    pub failures_total: u64,
    /// What the script printed, as last reported.
    pub output: Option<CheckOutput>,
    /// The peer that collects the node.
    pub collector: Option<u64>,
}

/// Why a reading yielded nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckFailure {
    /// `unreachable`, `host-key`, `authentication`, `timed-out`, `exit`, `parse`, `too-much-output`, `configuration`; of JVMs also
    /// `jvm-unreachable`, `jvm-authentication`, `no-java`, `missing` (MBean, attribute or key), `threw`.
    pub code: String,
    /// In words.
    pub detail: String,
}

/// What a script printed; 4 KiB of each stream. Bytes that are not UTF-8 are replaced.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckOutput {
    /// When the reading was due.
    pub at: Time,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; absent after a signal or a timeout.
    pub exit_code: Option<i32>,
    /// How long it took, in ms.
    pub duration_ms: u32,
}

/// The keys recorded for a node's host, in OpenSSH's public form.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostKeys {
    /// At most 8.
    pub keys: Vec<String>,
}

impl Check {
    /// A counter that has not been reported on yet.
    pub(crate) fn unknown(node: Name, counter: Name, collector: Option<u64>) -> Check {
        Check {
            node,
            counter,
            ok: false,
            last: None,
            failure: None,
            warning: None,
            failures_in_row: 0,
            failures_total: 0,
            output: None,
            collector,
        }
    }

    pub(crate) fn new(
        node: Name,
        counter: Name,
        status: &model::CheckStatus,
        collector: Option<u64>,
    ) -> Check {
        let (failure, warning) = match &status.failure {
            None => (None, None),
            Some((FailureKind::Partly, detail)) => (None, Some(detail.clone())),
            Some((kind, detail)) => {
                let code = failure_code(*kind).to_string();
                (Some(CheckFailure { code, detail: detail.clone() }), None)
            }
        };
        Check {
            node,
            counter,
            ok: failure.is_none(),
            last: Some(status.last.into()),
            failure,
            warning,
            failures_in_row: status.failures_in_row,
            failures_total: status.failures_total,
            output: status.output.as_ref().map(|output| CheckOutput {
                at: output.at.into(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                exit_code: output.exit_code,
                duration_ms: output.duration_ms,
            }),
            collector,
        }
    }
}

fn failure_code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "unreachable",
        FailureKind::HostKey => "host-key",
        FailureKind::Authentication => "authentication",
        FailureKind::TimedOut => "timed-out",
        FailureKind::Exit => "exit",
        FailureKind::Parse => "parse",
        FailureKind::TooMuchOutput => "too-much-output",
        FailureKind::Configuration => "configuration",
        FailureKind::Partly => "partly",
        FailureKind::JvmUnreachable => "jvm-unreachable",
        FailureKind::JvmAuthentication => "jvm-authentication",
        FailureKind::NoJava => "no-java",
        FailureKind::Missing => "missing",
        FailureKind::Threw => "threw",
    }
}
