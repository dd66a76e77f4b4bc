//! Changes as they happen, by server-sent events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use tokio::sync::watch;
use warp::sse::Event;

use super::endpoint::{Answer, Endpoint};
use super::stream::{answer, place};
use crate::auth::Access;
use crate::changes::{Found, Ring};
use crate::error::Problem;
use crate::request::Request;
use crate::types::{Changes, Kind};

/// Batches taken at once.
const BATCHES_AT_ONCE: usize = 64;
/// A watcher hears something at least this often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What is watched beside configuration objects.
const OTHER_KINDS: [&str; 12] = [
    "run",
    "task",
    "output",
    "assignment",
    "host-keys",
    "session",
    "peer",
    "samples",
    "check",
    "trigger-state",
    "event",
    "*",
];
/// What changes all the time is sent to those alone who name it.
const ASKED_ONLY: [&str; 2] = ["samples", "output"];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/watch", Access::VIEWER, "Follows changes, by server-sent events", follow)
            .describe(
                "Each event is named `changes`; its id is the log index up to which it tells, its data what changed. \
                 `Last-Event-ID` goes on after an index, at any peer. An event `reset` says that changes were missed: \
                 read everything again. The body of the data is `Changes`.",
            )
            .query("kinds", "Only these, with commas between: `node,task`; `*`: all. Where absent, all but samples and output.")
            .header("Last-Event-ID", "Go on after this event.")
            .answers_as(200, "Events, without an end.", "text/event-stream")
            .answers::<Changes>(200, "Events, without an end."),
    ]
}

/// Which kinds of changes are wanted.
enum Wanted {
    Usual,
    All,
    These(BTreeSet<String>),
}

impl Wanted {
    fn parse(text: Option<&str>) -> Result<Wanted, Problem> {
        let Some(text) = text else { return Ok(Wanted::Usual) };
        let kinds: BTreeSet<String> = text.split(',').map(|kind| kind.trim().to_string()).collect();
        for kind in &kinds {
            let known = OTHER_KINDS.contains(&kind.as_str()) || Kind::ALL.iter().any(|k| k.as_str() == kind);
            if !known {
                let all: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).chain(OTHER_KINDS).collect();
                let kind: String = kind.chars().take(40).collect();
                return Err(Problem::malformed(format!(
                    "parameter `kinds`: there is no `{kind}`; there are {}",
                    all.join(", ")
                )));
            }
        }
        Ok(if kinds.contains("*") { Wanted::All } else { Wanted::These(kinds) })
    }

    fn wants(&self, kind: &str) -> bool {
        match self {
            Wanted::Usual => !ASKED_ONLY.contains(&kind),
            Wanted::All => true,
            Wanted::These(kinds) => kinds.contains(kind),
        }
    }

    fn narrow(&self, batch: &Changes) -> Changes {
        let changes = batch.changes.iter().filter(|change| self.wants(&change.kind)).cloned().collect();
        Changes { index: batch.index, changes }
    }
}

async fn follow(request: Request) -> Answer {
    let mut query = request.query()?;
    let wanted = Wanted::parse(query.text("kinds").as_deref())?;
    query.finish()?;
    let ring = Arc::clone(request.ctx.ring());
    let last = match request.headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let id = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
            Some(id.ok_or_else(|| Problem::malformed("Last-Event-ID is the id of an event: a number"))?)
        }
    };
    let cursor = last.unwrap_or_else(|| ring.newest());
    let place = place(&request.ctx)?;
    let newest = ring.subscribe();
    let watcher = Watcher { ring, newest, wanted, cursor, greeted: false };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok(bytes), watcher))
    });
    Ok(answer(&request.ctx, place, "text/event-stream", Box::pin(events)))
}

struct Watcher {
    ring: Arc<Ring>,
    newest: watch::Receiver<u64>,
    wanted: Wanted,
    cursor: u64,
    greeted: bool,
}

impl Watcher {
    /// The next events; `None` when there can be no more.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            // The client learns at once that it is connected, and proxies pass the head on.
            return Some(Bytes::from(Event::default().comment("watching").to_string()));
        }
        loop {
            self.newest.borrow_and_update();
            match self.ring.after(self.cursor, BATCHES_AT_ONCE) {
                Found::Missed(index) => {
                    self.cursor = index;
                    return event("reset", &Changes { index, changes: Vec::new() });
                }
                Found::Batches(batches) => {
                    let mut text = Vec::new();
                    for batch in batches {
                        self.cursor = batch.index;
                        let changes = self.wanted.narrow(&batch);
                        if !changes.changes.is_empty() {
                            text.extend_from_slice(&event("changes", &changes)?);
                        }
                    }
                    if !text.is_empty() {
                        return Some(Bytes::from(text));
                    }
                }
            }
            if self.ring.newest() > self.cursor {
                continue;
            }
            match tokio::time::timeout(HEARTBEAT, self.newest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from(Event::default().comment("alive").to_string())),
            }
        }
    }
}

fn event(name: &str, changes: &Changes) -> Option<Bytes> {
    let event = Event::default().id(changes.index.to_string()).event(name).json_data(changes).ok()?;
    Some(Bytes::from(event.to_string()))
}
