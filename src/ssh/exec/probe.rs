//! What became of an effect, as its markers tell.

use std::time::Duration;

use super::super::connection::Connection;
use super::super::error::Error;
use super::{Outcome, Request, fence, script};

/// What the markers of a token say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// No attempt got as far as running the script.
    NeverStarted,
    /// This attempt runs.
    Running {
        /// The attempt.
        epoch: u64,
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

pub(super) async fn probe(connection: &Connection, token: &str) -> Result<Probe, Error> {
    fence::validate_token(token)?;
    let request = Request {
        args: vec![token.to_owned()],
        timeout: Duration::from_secs(15),
        ..Request::new(script::PROBE)
    };
    let (finished, stdout, _) = connection.exec(request).await?.collect(256 * 1024).await?;
    let text = String::from_utf8_lossy(&stdout);
    match finished.outcome {
        Outcome::Exited(0) => read(&text).ok_or_else(|| Error::Protocol {
            host: connection.address(),
            detail: "the markers can't be read".into(),
        }),
        Outcome::TimedOut => {
            Err(connection.inner.took_too_long("reading the markers", Duration::from_secs(15)))
        }
        other => Err(connection.inner.refused(format!("the markers can't be read: {other:?}"))),
    }
}

/// Reads what [`script::PROBE`] prints; `None` if it is not that. Pure.
fn read(text: &str) -> Option<Probe> {
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
            _ if alive == "yes" => Probe::Running { epoch },
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
            Self::Running { epoch } | Self::Finished { epoch, .. } | Self::Unknown { epoch } => Some(*epoch),
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
            ("claimed and alive", "3 claimed - yes\nend\n", Some(Probe::Running { epoch: 3 })),
            ("started and alive", "3 started - yes\nend\n", Some(Probe::Running { epoch: 3 })),
            ("started and dead", "3 started - no\nend\n", Some(Probe::Unknown { epoch: 3 })),
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
            ("running wins", "3 started - yes\n4 finished 0 no\nend\n", Some(Probe::Running { epoch: 3 })),
            ("home gone", "lost\n", Some(Probe::Unknown { epoch: 0 })),
            ("cut short", "3 finished 7 no\n", None),
            ("garbage", "hello\nend\n", None),
        ];
        for (name, text, expected) in table {
            assert_eq!(read(text), expected, "{name}");
        }
    }
}
