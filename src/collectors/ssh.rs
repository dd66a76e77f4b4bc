//! One reading of one counter: over SSH here, of JVMs by [`JmxReader`].

use std::sync::Arc;
use std::time::Duration;

use rscaler_raft::handle::Handle;
use rscaler_raft::model::{CheckOutput, FailureKind, Name, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::jmx::{JmxReader, Rates};
use super::outcome::{Failure, Outcome};
use super::parse::{self, ParseError, Parsed, Warnings};
use super::plan::{Check, Job, Work};
use crate::inventory::{self, Targets};
use crate::ssh::{self, CheckEnd, CheckLimits, Error, HostKeyError, Pool, Urgency};

/// Bytes of a script's output that are read.
const OUTPUT_BYTES_MAX: usize = 512 << 10;
/// Bytes after which a script is killed.
const FLOOD_BYTES_MAX: u64 = 8 << 20;
/// Bytes of stderr that a reason quotes.
const QUOTE_BYTES_MAX: usize = 200;
/// From this size on, output is parsed away from the threads that serve everybody.
const LARGE_BYTES: usize = 64 << 10;

/// What reads counters.
pub(super) struct Reader {
    pub(super) handle: Handle,
    pub(super) targets: Arc<Targets>,
    pub(super) pool: Pool,
    pub(super) jmx: JmxReader,
}

impl Reader {
    /// Reads a counter on a node; `tick` is when it was due. None where the peer is shutting down. Takes at most
    /// three times the counter's timeout: for the connection, for its turn, and for the script. Cancel safe: dropped,
    /// the script is killed.
    pub(super) async fn read(
        &self,
        node: &Name,
        job: &Job,
        tick: Timestamp,
        turns: &Semaphore,
        rates: &Rates,
    ) -> Option<Outcome> {
        let check = match &job.work {
            Work::Ssh(check) => check,
            // Without a turn: what waits for the same JVM goes in one question.
            Work::Jmx(counter) => return Some(self.jmx.read(node, counter, rates, job.timeout).await),
        };
        match self.run(node, job, check, turns).await {
            Ok(output) => Some(judge(job, check, tick, output).await),
            Err(Some(failure)) => Some(Outcome::failed(failure)),
            Err(None) => None,
        }
    }

    /// Runs the script. `Err(None)` says that we are shutting down.
    async fn run(
        &self,
        node: &Name,
        job: &Job,
        check: &Check,
        turns: &Semaphore,
    ) -> Result<ssh::CheckOutput, Option<Failure>> {
        let configuration = |reason: String| Some(Failure::new(FailureKind::Configuration, reason));
        if let Err(reason) = check.form() {
            return Err(configuration(reason.to_string()));
        }
        let endpoint = self.targets.endpoint(node).map_err(|error| configuration(error.to_string()))?;
        let dial = self.pool.connection(node.as_str(), &endpoint, Urgency::Background);
        // The dial goes on without us where it takes longer than we want to wait.
        let connection = match timeout(job.timeout, dial).await {
            Ok(connected) => connected.map_err(|error| unreachable(&error))?,
            Err(_) => {
                let reason = format!("{}: still connecting after {:?}", endpoint.address(), job.timeout);
                return Err(Some(Failure::new(FailureKind::Unreachable, reason)));
            }
        };
        let Ok(Ok(_turn)) = timeout(job.timeout, turns.acquire()).await else {
            let reason = format!("other readings of this node kept it waiting for {:?}", job.timeout);
            return Err(Some(Failure::new(FailureKind::TimedOut, reason)));
        };
        let script =
            inventory::text(&self.handle, &check.script).map_err(|e| configuration(e.to_string()))?;
        let limits = CheckLimits { kept_bytes: OUTPUT_BYTES_MAX, output_bytes_max: FLOOD_BYTES_MAX };
        connection.run_check(&script, job.timeout, limits).await.map_err(|error| match error {
            Error::Timeout { .. } => Some(Failure::new(FailureKind::TimedOut, error.to_string())),
            Error::Invalid(reason) => configuration(reason),
            other => unreachable(&other),
        })
    }
}

/// The node could not be worked on. None where the reason is that we shut down.
fn unreachable(error: &Error) -> Option<Failure> {
    let kind = match error {
        Error::ShutDown => return None,
        Error::AuthFailed { .. } => FailureKind::Authentication,
        Error::HostKey(HostKeyError::RecordUnavailable { .. }) => FailureKind::Unreachable,
        Error::HostKey(_) => FailureKind::HostKey,
        Error::Invalid(_) => FailureKind::Configuration,
        _ => FailureKind::Unreachable,
    };
    Some(Failure::new(kind, error.to_string()))
}

async fn judge(job: &Job, check: &Check, tick: Timestamp, output: ssh::CheckOutput) -> Outcome {
    let exit_code = match output.end {
        CheckEnd::Exited(code) => Some(code),
        CheckEnd::TimedOut | CheckEnd::TooMuchOutput => None,
    };
    let cut = |bytes: &[u8]| bytes[..bytes.len().min(CheckOutput::BYTES_MAX)].to_vec();
    let shown = CheckOutput {
        at: tick,
        stdout: cut(&output.stdout),
        stderr: cut(&output.stderr),
        exit_code,
        duration_ms: u32::try_from(output.duration.as_millis()).unwrap_or(u32::MAX),
    };
    let result = match output.end {
        CheckEnd::TimedOut => Err(Failure::new(
            FailureKind::TimedOut,
            format!("the script took longer than {:?} and was killed{}", job.timeout, quote(&output.stderr)),
        )),
        CheckEnd::TooMuchOutput => Err(Failure::new(
            FailureKind::TooMuchOutput,
            format!("the script printed more than {} MiB and was killed", FLOOD_BYTES_MAX >> 20),
        )),
        CheckEnd::Exited(_) if output.truncated => Err(Failure::new(
            FailureKind::TooMuchOutput,
            format!("the script printed more than {} KiB", OUTPUT_BYTES_MAX >> 10),
        )),
        CheckEnd::Exited(_) => read_output(check, output, exit_code).await,
    };
    let warning = result.as_ref().ok().and_then(|parsed| warning(&parsed.warnings));
    let result = result.map(|parsed| parsed.readings.into_iter().map(Into::into).collect());
    Outcome { result, warning, output: Some(shown) }
}

async fn read_output(
    check: &Check,
    output: ssh::CheckOutput,
    exit_code: Option<i32>,
) -> Result<Parsed, Failure> {
    let form = match check.form() {
        Ok(form) => form.clone(),
        Err(reason) => return Err(Failure::new(FailureKind::Configuration, reason)),
    };
    let ssh::CheckOutput { stdout, stderr, .. } = output;
    let is_large = stdout.len() > LARGE_BYTES;
    let work = move || parse::parse(&form, &parse::Output { stdout: &stdout, exit_code });
    let parsed = if is_large {
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(ParseError::Empty))
    } else {
        work()
    };
    parsed.map_err(|error| match &error {
        ParseError::Exit { .. } => Failure::new(FailureKind::Exit, format!("{error}{}", quote(&stderr))),
        ParseError::Empty => Failure::new(FailureKind::Parse, format!("{error}{}", quote(&stderr))),
        _ => Failure::new(FailureKind::Parse, error.to_string()),
    })
}

/// Warnings as one line, the first of them word for word.
fn warning(warnings: &Warnings) -> Option<String> {
    let first = warnings.shown.first()?;
    Some(match warnings.shown.len() - 1 + warnings.more {
        0 => first.clone(),
        more => format!("{first} (and {more} more like it)"),
    })
}

/// The first line of what a script said on stderr, as text that is safe to show.
fn quote(stderr: &[u8]) -> String {
    let line = stderr.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    let Some(line) = line else { return String::new() };
    let text = String::from_utf8_lossy(&line[..line.len().min(QUOTE_BYTES_MAX)]);
    let safe: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("; on stderr: {safe}")
}

/// How long a check of `job` may take in all.
pub(super) fn longest(job: &Job) -> Duration {
    job.timeout * 3 + Duration::from_secs(10)
}

/// Reads with a bound on the whole, should anything below forget its own.
pub(super) async fn read_bounded(
    reader: &Reader,
    node: &Name,
    job: &Job,
    tick: Timestamp,
    turns: &Semaphore,
    rates: &Rates,
) -> (Option<Outcome>, Duration) {
    let begun = Instant::now();
    let read = timeout(longest(job), reader.read(node, job, tick, turns, rates)).await;
    let outcome = read.unwrap_or_else(|_| {
        let reason = format!("nothing was heard of it for {:?}", longest(job));
        Some(Outcome::failed(Failure::new(FailureKind::TimedOut, reason)))
    });
    (outcome, begun.elapsed())
}
