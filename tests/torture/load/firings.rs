//! Triggers whose firing times are known: samples are pushed in steps, and at its own step each trigger's series goes over the
//! threshold and stays there. Each must fire exactly once, at the right sample, whoever leads. Its action leaves a line on a host.
//!
//! The pushed samples themselves must be there once each, on every peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::fleet::{Fleet, apply};
use super::{Judged, Stop};
use crate::client::{Answer, Client};
use crate::plane::{Plane, wall_ms};

/// Time between two steps.
const STEP_MS: i64 = 1000;
/// Every other trigger wants its condition to hold so long.
const HOLD_STEPS: i64 = 3;

/// One client that pushes.
pub(crate) struct Firings {
    count: usize,
    first_ms: i64,
    /// Steps that were acknowledged.
    pushed: Arc<Mutex<i64>>,
    broken: Arc<Mutex<Vec<String>>>,
    client: Mutex<Option<JoinHandle<()>>>,
    per_step: usize,
}

/// What is to be told beside verdicts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fired {
    pub(crate) judged: Judged,
    pub(crate) fired: usize,
    /// Actions that ran to their end, and those that were lost with their executor or failed.
    pub(crate) acted: usize,
    pub(crate) not_acted: usize,
}

impl Firings {
    /// Makes `count` triggers and starts the client. About `steps` steps later all have gone over their thresholds.
    pub(crate) async fn start(plane: &Plane, count: usize, steps: usize, stop: &Stop) -> Firings {
        let mut documents = Vec::new();
        for number in 0..count {
            documents.push(json!({
                "kind": "action", "name": format!("fire-{number}"), "type": "command", "args": [number.to_string()],
                "script": r#"echo "$1" >> "$RSCALER_DIR/fired""#,
            }));
            documents.push(json!({
                "kind": "trigger", "name": format!("watch-{number}"), "cluster": "fleet", "per": "node",
                "when": [{"counter": "pushed", "instance": format!("i{number}"), "op": ">", "threshold": 0.5}],
                "for": if number % 2 == 0 { "0s".to_string() } else { format!("{HOLD_STEPS}s") },
                "steps": [{"action": format!("fire-{number}"), "target": "firing-node"}],
            }));
        }
        apply(plane, documents).await;
        let first_ms = (wall_ms() / STEP_MS + 1) * STEP_MS;
        let per_step = count.div_ceil(steps.max(1)).max(1);
        let (pushed, broken) = (Arc::default(), Arc::default());
        let client = Client::new(&plane.front, 0);
        let pushing =
            push(client, Arc::clone(&pushed), Arc::clone(&broken), stop.clone(), count, per_step, first_ms);
        Firings { count, first_ms, pushed, broken, client: Mutex::new(Some(tokio::spawn(pushing))), per_step }
    }

    /// Whether all has been pushed.
    pub(crate) fn is_over(&self) -> bool {
        self.client.lock().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the client has ended, and judges. The peers have converged, and all tasks have ended.
    pub(crate) async fn judge(self, plane: &Plane, fleet: &Fleet) -> Fired {
        let client = self.client.lock().take();
        client.expect("it is judged once").await.unwrap();
        let pushed = *self.pushed.lock();
        let mut fired = Fired::default();
        fired.judged.violations = std::mem::take(&mut *self.broken.lock());
        fired.judged.operations = pushed.unsigned_abs() * self.count as u64;
        let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for event in pages(plane, "events?type=trigger-fired&limit=1000").await {
            events.entry(event["name"].as_str().unwrap_or_default().to_string()).or_default().push(event);
        }
        let lines = fleet.lines("fired");
        for number in 0..self.count {
            let step = step_of(number, self.per_step);
            let due = step + if number % 2 == 0 { 0 } else { HOLD_STEPS };
            let name = format!("watch-{number}");
            let found = events.remove(&name).unwrap_or_default();
            let expected = usize::from(due < pushed);
            // A step that was not acknowledged may have been taken all the same.
            if found.len() != expected && due != pushed {
                fired
                    .judged
                    .violations
                    .push(format!("{name} fired {} times, not {expected}: {found:?}", found.len()));
            }
            fired.fired += found.len();
            for event in &found {
                let newest = event["evidence"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|evidence| evidence["at"].as_str()?.parse::<jiff::Timestamp>().ok());
                let at = newest.max().map(|at| (at.as_millisecond() - self.first_ms) / STEP_MS);
                if at != Some(due) {
                    fired.judged.violations.push(format!("{name} fired at step {at:?}, not {due}: {event}"));
                }
            }
            let acted = lines.iter().filter(|line| **line == number.to_string()).count();
            if acted > found.len() {
                fired
                    .judged
                    .violations
                    .push(format!("{name} fired {} times and acted {acted} times", found.len()));
            }
            fired.acted += acted;
        }
        fired.not_acted = fired.fired.saturating_sub(fired.acted);
        self.judge_actions(plane, &lines, &mut fired.judged).await;
        for place in plane.places() {
            self.judge_samples(plane, place, pushed, &mut fired.judged).await;
        }
        fired
    }

    /// A run that is said to have succeeded has left its line.
    async fn judge_actions(&self, plane: &Plane, lines: &[String], judged: &mut Judged) {
        for task in pages(plane, "tasks?state=succeeded&limit=1000").await {
            let action = task["action"].as_str().and_then(|action| action.strip_prefix("fire-"));
            if let Some(number) = action
                && !lines.iter().any(|line| line == number)
            {
                judged.violations.push(format!("an action succeeded and did nothing: {task}"));
            }
        }
    }

    /// Each acknowledged sample is there once, with its value.
    async fn judge_samples(&self, plane: &Plane, place: usize, pushed: i64, judged: &mut Judged) {
        let name = &plane.peers[place].name;
        let (from, to) = (self.first_ms, self.first_ms + (pushed + 1) * STEP_MS);
        let path = format!("nodes/n0/counters/pushed/samples?from={from}&to={to}");
        let answer = plane.ask(place, Method::GET, &path, None).await;
        let Answer::Done(answer) = answer else {
            judged.violations.push(format!("{name} does not say its samples: {answer:?}"));
            return;
        };
        let mut wrong = Vec::new();
        let mut seen = 0;
        for series in answer["series"].as_array().into_iter().flatten() {
            let number =
                series["instance"].as_str().and_then(|name| name.strip_prefix('i')?.parse::<usize>().ok());
            let Some(number) = number else { continue };
            seen += 1;
            let points: Vec<(i64, f64)> = series["points"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|point| Some((point[0].as_i64()?, point[1].as_f64()?)))
                .collect();
            for step in 0..pushed {
                let at = self.first_ms + step * STEP_MS;
                let value = if step >= step_of(number, self.per_step) { 1.0 } else { 0.0 };
                let there: Vec<f64> =
                    points.iter().filter(|(when, _)| *when == at).map(|(_, value)| *value).collect();
                if there != [value] {
                    wrong.push(format!("i{number} at step {step}: {there:?}, not {value}"));
                }
            }
        }
        if seen != self.count && pushed > 0 {
            wrong.push(format!("{seen} of {} series", self.count));
        }
        if !wrong.is_empty() {
            let few = &wrong[..wrong.len().min(4)];
            judged.violations.push(format!("{name} has {} wrong samples: {few:?}", wrong.len()));
        }
    }
}

/// The step at which a series goes over the threshold.
fn step_of(number: usize, per_step: usize) -> i64 {
    5 + (number / per_step) as i64
}

async fn push(
    mut client: Client,
    pushed: Arc<Mutex<i64>>,
    broken: Arc<Mutex<Vec<String>>>,
    stop: Stop,
    count: usize,
    per_step: usize,
    first_ms: i64,
) {
    let last = step_of(count - 1, per_step) + HOLD_STEPS + 3;
    let mut step = 0;
    while step < last && !stop.is_asked() {
        let at = first_ms + step * STEP_MS;
        if let Ok(early) = u64::try_from(at - wall_ms()) {
            tokio::time::sleep(Duration::from_millis(early)).await;
        }
        let samples: Vec<Value> = (0..count)
            .map(|number| {
                let value = if step >= step_of(number, per_step) { 1.0 } else { 0.0 };
                json!({"counter": "pushed", "node": "n0", "instance": format!("i{number}"), "t": at, "v": value})
            })
            .collect();
        match client.send(Method::POST, "samples", Some(&json!({"samples": samples})), &[]).await {
            Answer::Done(_) => {
                step += 1;
                *pushed.lock() = step;
            }
            Answer::Refused(status, body) => {
                broken.lock().push(format!("samples of step {step} were refused: {status} {body}"));
                return;
            }
            Answer::Nothing(_) | Answer::Unknown(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// All items of a list, over all its pages.
pub(crate) async fn pages(plane: &Plane, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let Some(page) = plane.ask_any(Method::GET, &format!("{path}{cursor}"), None).await else {
            return items;
        };
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}
