//! Tasks with effects that are counted where they are made: a script writes its token into a file of its host when it begins
//! and when it ends.
//!
//! What holds, whatever happens to peers: a task that may not run twice began at most once. One that succeeded ran to its
//! end. No two attempts at a task ran at a time. A task is called lost only where its executor was disturbed, or gave its
//! session up by itself; and every task comes to an end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::fleet::Fleet;
use super::{Judged, Stop};
use crate::client::{Answer, Client, Front};
use crate::plane::{Plane, number};

/// How soon after the last fault every task must have ended.
const ENDING: Duration = Duration::from_secs(240);
/// After a peer was disturbed, its tasks may be called lost for so long.
const AFTERMATH_MS: i64 = 15_000;
/// The replicated clock stands while nobody leads, so that what followed a disturbance may bear an earlier time.
const CLOCK_LAG_MS: i64 = 5_000;

/// What a peer writes down when it gives its session up.
const SESSION_OVER: &str = "the session is over";

/// Clients that have things done.
pub(crate) struct Tasks {
    asked: Arc<Mutex<Vec<Asked>>>,
    clients: Vec<JoinHandle<()>>,
}

/// One thing to be done, once or, if its executor dies, again.
#[derive(Clone, Debug)]
struct Asked {
    token: String,
    may_repeat: bool,
    /// The run, where it was acknowledged.
    run: Option<u64>,
    /// It was said not to have happened, every time.
    never: bool,
}

/// What is to be told beside verdicts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    pub(crate) judged: Judged,
    pub(crate) succeeded: u64,
    pub(crate) lost: u64,
    pub(crate) failed: u64,
    /// Of the lost attempts, those whose executor nobody had disturbed: when, and why that gave its session up.
    pub(crate) undisturbed: Vec<String>,
    /// Began more than once, which they may.
    pub(crate) repeated: u64,
    /// From the `kill -9` of an executor to the next attempt's beginning. Other faults have no such moment: a peer that is badly
    /// connected may lose its session at any time meanwhile.
    pub(crate) takeovers: Vec<Duration>,
}

const SCRIPT: &str =
    r#"echo "B $1" >> "$RSCALER_DIR/ledger"; sleep 0.$2; echo "E $1" >> "$RSCALER_DIR/ledger""#;

impl Tasks {
    /// Starts `count` clients.
    pub(crate) fn start(front: &Arc<Front>, fleet: &Fleet, count: usize, seed: u64, stop: &Stop) -> Tasks {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let nodes = fleet.hosts.len();
        let clients = (0..count).map(|number| {
            let (client, asked, stop) = (Client::new(front, number), Arc::clone(&asked), stop.clone());
            let rng = StdRng::seed_from_u64(seed ^ 991 ^ number as u64);
            tokio::spawn(run(client, asked, stop, number, nodes, rng))
        });
        Tasks { clients: clients.collect(), asked }
    }

    /// Waits until all has ended, and judges. The peers have converged.
    pub(crate) async fn judge(self, plane: &Plane, fleet: &Fleet) -> Effects {
        for client in self.clients {
            client.await.unwrap();
        }
        let asked = std::mem::take(&mut *self.asked.lock());
        let mut effects = Effects::default();
        effects.judged.operations = asked.len() as u64;
        let tasks = ended_tasks(plane, &asked, &mut effects.judged).await;
        let places = places_by_id(plane).await;
        let mut ledger: BTreeMap<String, String> = BTreeMap::new();
        for line in fleet.lines("ledger") {
            if let Some((what, token)) = line.split_once(' ') {
                ledger.entry(token.to_string()).or_default().push_str(what);
            }
        }
        for one in &asked {
            let marks = ledger.remove(&one.token).unwrap_or_default();
            let task = one.run.and_then(|run| tasks.get(&run));
            if let Some(wrong) = judge(one, task, &marks) {
                let task = task.map(Value::to_string).unwrap_or_default();
                effects.judged.violations.push(format!("{}: {wrong}; ledger {marks}; {task}", one.token));
            }
            effects.repeated += u64::from(marks.matches('B').count() > 1);
            if one.run.is_none() && !one.never {
                effects.judged.unknown += 1;
            }
            let Some(task) = task else { continue };
            match task["state"].as_str() {
                Some("succeeded") => effects.succeeded += 1,
                Some("lost") => effects.lost += 1,
                _ => effects.failed += 1,
            }
            effects.look_at_losses(plane, &places, task);
        }
        if !ledger.is_empty() {
            effects.judged.violations.push(format!("effects that nobody asked for: {ledger:?}"));
        }
        effects
    }
}

/// What is wrong with one, if anything. `marks`: beginnings and ends on the host, in order.
fn judge(asked: &Asked, task: Option<&Value>, marks: &str) -> Option<String> {
    let (begun, ended) = (marks.matches('B').count(), marks.matches('E').count());
    if asked.never && begun > 0 {
        return Some("it was said not to have happened, and did".to_string());
    }
    if begun > 1 && !asked.may_repeat {
        return Some(format!("it began {begun} times and may not be repeated"));
    }
    // A script that was ended from outside leaves a beginning without an end; two at a time would show as one that ends later.
    if marks.contains("EE") || marks.starts_with('E') {
        return Some("two attempts ran at a time".to_string());
    }
    if task.is_some_and(|task| task["state"] == "succeeded") && ended == 0 {
        return Some("it succeeded and did not run to its end".to_string());
    }
    None
}

impl Effects {
    /// Whether executors that were lost had been disturbed, and how long it took until others went on.
    fn look_at_losses(&mut self, plane: &Plane, places: &BTreeMap<u64, usize>, task: &Value) {
        let mut attempts = task["history"].as_array().cloned().unwrap_or_default();
        let of = |attempt: &Value| {
            let at = |field: &str| attempt[field].as_str()?.parse::<jiff::Timestamp>().ok();
            Some((number(&attempt["peer"])?, at("started"), at("finished")?))
        };
        let last_started = task["started"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        // The current attempt follows those of the history.
        attempts.push(json!({"state": "", "peer": 0, "started": last_started.map(|at| at.to_string()), "finished": "1970-01-01T00:00:00Z"}));
        for pair in attempts.windows(2) {
            if pair[0]["state"] != "lost" {
                continue;
            }
            let Some((peer, started, finished)) = of(&pair[0]) else { continue };
            let finished = finished.as_millisecond();
            let place = places.get(&peer);
            let disturbed = plane.disturbed.iter().filter(|(disturbed, from, to)| {
                Some(disturbed) == place
                    && *from <= finished + CLOCK_LAG_MS
                    && finished <= to.saturating_add(AFTERMATH_MS)
            });
            if disturbed.count() == 0 {
                // It may have been too late by itself on a busy machine. Then it knows that, too.
                let log = place.map(|place| plane.peers[*place].log()).unwrap_or_default();
                let over: Vec<&str> = log.lines().filter(|line| line.contains(SESSION_OVER)).collect();
                if over.is_empty() {
                    self.judged.violations.push(format!("lost without cause: peer {peer}, {task}"));
                }
                let since = plane.disturbed.iter().map(|(_, from, _)| finished - from).filter(|ms| *ms >= 0);
                self.undisturbed.push(format!(
                    "peer {peer} lost attempt {} of task {}, finished {}, {} ms after another was disturbed: {}",
                    pair[0]["attempt"],
                    task["id"],
                    pair[0]["finished"],
                    since.min().unwrap_or(-1),
                    over.join(" | "),
                ));
                continue;
            }
            // The one that ended it: it had begun before.
            let begun = started.map_or(i64::MAX, |at| at.as_millisecond());
            let killed = plane.killed.iter().filter(|(killed, at)| {
                Some(killed) == place && begun <= *at && *at <= finished + CLOCK_LAG_MS
            });
            let Some(since) = killed.map(|(_, at)| *at).max() else { continue };
            if let Some((_, Some(next), _)) = of(&pair[1])
                && let Ok(took) = u64::try_from(next.as_millisecond() - since)
            {
                self.takeovers.push(Duration::from_millis(took));
            }
        }
    }
}

async fn places_by_id(plane: &Plane) -> BTreeMap<u64, usize> {
    let peers = plane.ask_any(Method::GET, "peers", None).await.unwrap_or_default();
    let items = peers["items"].as_array().cloned().unwrap_or_default();
    let place = |peer: &Value| plane.peers.iter().position(|known| peer["name"] == *known.name.as_str());
    let present = items.iter().filter_map(|peer| Some((number(&peer["id"])?, place(peer)?)));
    // Those that were removed are named nowhere any more, but in what became of their tasks.
    present.chain(plane.removed.iter().copied()).collect()
}

/// The task of each run, once it has ended.
async fn ended_tasks(plane: &Plane, asked: &[Asked], judged: &mut Judged) -> BTreeMap<u64, Value> {
    let began = Instant::now();
    let mut tasks = BTreeMap::new();
    for run in asked.iter().filter_map(|asked| asked.run) {
        loop {
            let found = plane.ask_any(Method::GET, &format!("tasks?run={run}"), None).await;
            let task = found.and_then(|found| found["items"].as_array()?.first().cloned());
            let state = task.as_ref().and_then(|task| task["state"].as_str());
            if state.is_some_and(|state| !["queued", "assigned", "running"].contains(&state)) {
                tasks.insert(run, task.unwrap_or_default());
                break;
            }
            if began.elapsed() > ENDING {
                judged.violations.push(format!("run {run} did not end: {task:?}"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    tasks
}

async fn run(
    mut client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Stop,
    client_number: usize,
    nodes: usize,
    mut rng: StdRng,
) {
    let mut count = 0;
    while !stop.is_asked() {
        count += 1;
        let token = format!("t{client_number}-{count}");
        let may_repeat = rng.random_bool(0.5);
        let args = json!([token, rng.random_range(1..9).to_string()]);
        let mut one = Asked { token: token.clone(), may_repeat, run: None, never: true };
        let body = if may_repeat {
            let action = json!({
                "type": "command", "script": SCRIPT, "args": args, "timeout": "20s", "on_executor_loss": "retry",
            });
            // Nothing of the task depends on how often this is tried.
            for _ in 0..20 {
                let put = client.send(Method::PUT, &format!("actions/{token}"), Some(&action), &[]).await;
                if matches!(put, Answer::Done(_)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            json!({"action": token})
        } else {
            json!({"command": SCRIPT, "args": args, "timeout": "20s"})
        };
        let path = format!("nodes/n{}/run", rng.random_range(0..nodes));
        for _ in 0..4 {
            let key = [("Idempotency-Key", token.as_str())];
            match client.send(Method::POST, &path, Some(&body), &key).await {
                Answer::Done(answer) => {
                    one.run = answer["run"].as_u64();
                    one.never = false;
                    break;
                }
                Answer::Nothing(_) => {}
                Answer::Unknown(_) | Answer::Refused(..) => one.never = false,
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        asked.lock().push(one);
        tokio::time::sleep(Duration::from_millis(rng.random_range(150..500))).await;
    }
}
