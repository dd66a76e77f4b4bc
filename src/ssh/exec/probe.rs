//! What became of an effect, as its markers tell.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::connection::{Connection, Inner};
use super::super::error::Error;
use super::{Outcome, Request, Running, fence, script, start};

/// What the markers of a token say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// No attempt got as far as running the script.
    NeverStarted,
    /// This attempt runs.
    Running {
        /// The attempt.
        epoch: u64,
        /// Its process group, unless the script has not begun yet.
        group: Option<u32>,
    },
    /// This attempt ran to its end.
    Finished {
        /// The attempt.
        epoch: u64,
        /// Its exit code; 128 + n for signal n, 124 for the node's own time limit.
        code: i32,
    },
    /// This attempt was begun, and neither runs nor noted its end: the host went down, or somebody killed it.
    Unknown {
        /// The attempt.
        epoch: u64,
    },
}

/// How long reading the markers may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn probe(connection: &Connection, token: &str) -> Result<Probe, Error> {
    answer(&connection.inner, connection.exec(request(token)?).await?).await
}

/// The same without a place among the commands.
pub(super) async fn probe_aside(inner: &Arc<Inner>, token: &str) -> Result<Probe, Error> {
    let deadline = Instant::now() + PROBE_TIMEOUT;
    answer(inner, start::begin(inner.clone(), request(token)?, deadline, None).await?).await
}

fn request(token: &str) -> Result<Request, Error> {
    fence::validate_token(token)?;
    Ok(Request {
        args: vec![token.to_owned()],
        timeout: PROBE_TIMEOUT,
        start_within: PROBE_TIMEOUT,
        ..Request::new(script::PROBE)
    })
}

async fn answer(inner: &Arc<Inner>, running: Running) -> Result<Probe, Error> {
    let (finished, stdout, _) = running.collect(256 * 1024).await?;
    let text = String::from_utf8_lossy(&stdout);
    match finished.outcome {
        Outcome::Exited(0) => read(&text).ok_or_else(|| Error::Protocol {
            host: inner.endpoint.address(),
            detail: "the markers can't be read".into(),
        }),
        Outcome::TimedOut => Err(inner.took_too_long("reading the markers", PROBE_TIMEOUT)),
        other => Err(inner.refused(format!("the markers can't be read: {other:?}"))),
    }
}

/// Reads what [`script::PROBE`] prints; `None` if it is not that. Pure.
pub(super) fn read(text: &str) -> Option<Probe> {
    let mut best: Option<Probe> = None;
    for line in text.lines() {
        if line == "end" {
            return Some(best.unwrap_or(Probe::NeverStarted));
        }
        if line == "lost" {
            return Some(Probe::Unknown { epoch: 0 });
        }
        let mut words = line.split(' ');
        let epoch: u64 = words.next()?.parse().ok()?;
        let (state, code, alive) = (words.next()?, words.next()?, words.next()?);
        let this = match state {
            "refused" | "aborted" => continue,
            "finished" => {
                code.parse().map_or(Probe::Unknown { epoch }, |code| Probe::Finished { epoch, code })
            }
            // `kill` means everybody by 1 and less.
            _ if alive == "yes" => {
                let group = words.next().and_then(|group| group.parse().ok()).filter(|group| *group > 1);
                Probe::Running { epoch, group }
            }
            _ => Probe::Unknown { epoch },
        };
        best = Some(match best {
            // Nothing is more important to know than that it runs; else the latest attempt counts.
            Some(running @ Probe::Running { .. }) => running,
            Some(other) if !matches!(this, Probe::Running { .. }) && other.epoch() > Some(epoch) => other,
            _ => this,
        });
    }
    None
}

impl Probe {
    /// The attempt it speaks of.
    pub fn epoch(&self) -> Option<u64> {
        match self {
            Self::NeverStarted => None,
            Self::Running { epoch, .. } | Self::Finished { epoch, .. } | Self::Unknown { epoch } => {
                Some(*epoch)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read() {
        let table = [
            ("none", "end\n", Some(Probe::NeverStarted)),
            ("refused only", "3 refused - no\nend\n", Some(Probe::NeverStarted)),
            ("aborted only", "3 aborted - no\nend\n", Some(Probe::NeverStarted)),
            ("claimed and alive", "3 claimed - yes -\nend\n", Some(Probe::Running { epoch: 3, group: None })),
            (
                "started and alive",
                "3 started - yes 77\nend\n",
                Some(Probe::Running { epoch: 3, group: Some(77) }),
            ),
            (
                "a group that is none",
                "3 started - yes 1\nend\n",
                Some(Probe::Running { epoch: 3, group: None }),
            ),
            ("started and dead", "3 started - no 77\nend\n", Some(Probe::Unknown { epoch: 3 })),
            ("finished", "3 finished 7 no\nend\n", Some(Probe::Finished { epoch: 3, code: 7 })),
            (
                "latest wins",
                "3 finished 7 no\n12 finished 0 no\nend\n",
                Some(Probe::Finished { epoch: 12, code: 0 }),
            ),
            (
                "latest wins, any order",
                "12 finished 0 no\n3 started - no\nend\n",
                Some(Probe::Finished { epoch: 12, code: 0 }),
            ),
            (
                "running wins",
                "3 started - yes 77\n4 finished 0 no\nend\n",
                Some(Probe::Running { epoch: 3, group: Some(77) }),
            ),
            ("home gone", "lost\n", Some(Probe::Unknown { epoch: 0 })),
            ("cut short", "3 finished 7 no\n", None),
            ("garbage", "hello\nend\n", None),
        ];
        for (name, text, expected) in table {
            assert_eq!(read(text), expected, "{name}");
        }
    }
}
