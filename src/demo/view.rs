//! Everything the demo tells about, as it is at one moment, and how it is looked at: through the public API of
//! whichever peer answers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use rscaler_api::client::{Client, Listing, TaskFilter};
use rscaler_api::types::{Event, Peer, Resource, Run, SeriesInfo, Task, Trigger, TriggerState};
use tokio::time::timeout;

use super::seed::CLUSTER;

/// How long a look at one peer may take; a peer that hangs is passed over after it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a peer that can't answer is asked again.
const PATIENCE: Duration = Duration::from_millis(100);
/// The most pages of a list that are read at a look.
const PAGES_MAX: usize = 100;
/// The most triggers whose state is looked at.
const TRIGGERS_MAX: u32 = 20;
/// The most ended runs, and tasks of a run, that are told about at a look.
const RUNS_MAX: usize = 20;
const TASKS_MAX: usize = 3;
/// The longest of what a task printed that is told, in characters.
const SAID_CHARS_MAX: usize = 120;

/// Everything, as it was at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The moment.
    pub(super) at: jiff::Timestamp,
    /// The peers.
    pub(super) peers: Vec<Peer>,
    /// All series of the cluster.
    pub(super) series: Vec<SeriesInfo>,
    /// The triggers, with how they stand.
    pub(super) triggers: Vec<(Resource<Trigger>, TriggerState)>,
    /// Events since the last view, oldest first.
    pub(super) events: Vec<Event>,
    /// The runs that ended in these.
    pub(super) ended: BTreeMap<u64, Ended>,
}

/// A run that has ended, with what its first tasks printed last.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// The run.
    pub(super) run: Run,
    /// Some of its tasks, each with the last line it printed.
    pub(super) tasks: Vec<(Task, Option<String>)>,
    /// How many more there are.
    pub(super) more: usize,
}

/// Looks at the control plane, from one peer as long as it answers.
#[derive(Debug)]
pub(super) struct Viewer {
    /// One for each peer: a view is of one peer, so that its parts fit together.
    peers: Vec<Client>,
    at: usize,
    /// The newest event that was seen.
    seen: Option<u64>,
}

impl Viewer {
    /// Looks through the peers at these URLs.
    ///
    /// # Errors
    /// When a client can't be made.
    pub(super) fn new(urls: &[String], token: &str) -> anyhow::Result<Viewer> {
        let client = |url: &String| Client::builder().endpoint(url).token(token).patience(PATIENCE).build();
        let peers = urls.iter().map(client).collect::<Result<_, _>>()?;
        Ok(Viewer { peers, at: 0, seen: None })
    }

    /// Looks. Events that are there at the first look are not told.
    ///
    /// # Errors
    /// When no peer answers; the last one's reason.
    pub(super) async fn look(&mut self) -> anyhow::Result<View> {
        let mut failure = anyhow::anyhow!("there are no peers");
        for _ in 0..self.peers.len() {
            let client = &self.peers[self.at];
            match timeout(LOOK_TIMEOUT, look_at(client, self.seen)).await {
                Ok(Ok((view, seen))) => {
                    self.seen = seen;
                    return Ok(view);
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = anyhow::anyhow!("{} does not answer", client.endpoints().join(", ")),
            }
            self.at = (self.at + 1) % self.peers.len();
        }
        Err(failure)
    }
}

/// A view from one peer, and the newest event it has.
async fn look_at(client: &Client, seen: Option<u64>) -> anyhow::Result<(View, Option<u64>)> {
    let at = jiff::Timestamp::now();
    let peers = client.peers().await.context("could not ask for peers")?.items;
    let (events, newest) = new_events(client, seen).await.context("could not ask for events")?;
    let series = series(client).await.context("could not ask for series")?;
    let triggers = triggers(client).await.context("could not ask for triggers")?;
    let finished = events.iter().filter(|event| event.kind == "run-finished").filter_map(|event| event.run);
    let mut ended = BTreeMap::new();
    for id in finished.take(RUNS_MAX) {
        ended.insert(id, ended_run(client, id).await.context("could not ask for a run")?);
    }
    Ok((View { at, peers, series, triggers, events, ended }, newest))
}

/// The events after `seen`, oldest first, and the newest of all; lists begin with the newest.
async fn new_events(client: &Client, seen: Option<u64>) -> anyhow::Result<(Vec<Event>, Option<u64>)> {
    let Some(seen) = seen else {
        let page = client.events(None, Some(1), None).await?;
        return Ok((Vec::new(), Some(page.items.first().map_or(0, |event| event.id))));
    };
    let mut new = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = client.events(None, Some(100), cursor.as_deref()).await?;
        let count = page.items.len();
        let unseen: Vec<_> = page.items.into_iter().take_while(|event| event.id > seen).collect();
        let is_end = unseen.len() < count || page.next.is_none();
        new.extend(unseen);
        cursor = page.next;
        if is_end {
            break;
        }
    }
    new.reverse();
    // A peer that lags behind has nothing new, and takes nothing back.
    let newest = new.last().map_or(seen, |event| event.id.max(seen));
    Ok((new, Some(newest)))
}

async fn series(client: &Client) -> anyhow::Result<Vec<SeriesInfo>> {
    let mut all = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = client.series(Some(CLUSTER), None, None, None, cursor.as_deref()).await?;
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(all)
}

async fn triggers(client: &Client) -> anyhow::Result<Vec<(Resource<Trigger>, TriggerState)>> {
    let listing = Listing { limit: Some(TRIGGERS_MAX), ..Listing::default() };
    let mut triggers = Vec::new();
    for trigger in client.list::<Trigger>(&listing).await?.items {
        if trigger.spec.enabled {
            match client.trigger_state(trigger.name.as_str()).await {
                Ok(state) => triggers.push((trigger, state)),
                // It was deleted just now.
                Err(error) if error.status() == Some(404) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(triggers)
}

async fn ended_run(client: &Client, id: u64) -> anyhow::Result<Ended> {
    let run = client.run(id).await?;
    let filter = TaskFilter { run: Some(id), limit: Some(100), ..TaskFilter::default() };
    let mut all = client.tasks(&filter).await?.items;
    all.sort_by_key(|task| task.id);
    let more = all.len().saturating_sub(TASKS_MAX);
    let mut tasks = Vec::new();
    for task in all.into_iter().take(TASKS_MAX) {
        let output = client.output_text(task.id, None).await?;
        tasks.push((task, last_line(&output)));
    }
    Ok(Ended { run, tasks, more })
}

/// The last line with something on it, cut where it is long.
fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let cut: String = line.chars().take(SAID_CHARS_MAX).collect();
    Some(if cut.len() < line.len() { format!("{cut}...") } else { cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_found_and_cut() {
        assert_eq!(last_line(b""), None);
        assert_eq!(last_line(b"\n \n"), None);
        assert_eq!(last_line(b"first\n second \r\n\n").as_deref(), Some("second"));
        assert_eq!(last_line(b"\xff\xfe").as_deref(), Some("\u{fffd}\u{fffd}"));
        let long = last_line("\u{e9}".repeat(500).as_bytes()).map(|line| line.chars().count());
        assert_eq!(long, Some(SAID_CHARS_MAX + 3));
    }
}
