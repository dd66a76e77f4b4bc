//! Registers: the description of a cluster, read, written, and changed where it is still what was read (`If-Match`). The
//! history of each is checked for linearizability.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Judged, Stop};
use crate::check::linear::{Operation, Verdict, check};
use crate::check::register::{Answer as Seen, Ask, Register};
use crate::client::{Answer, Client, Front};

/// A register is left for a fresh one after so many operations.
const OPERATIONS_MAX: usize = 500;
/// Registers in use at a time.
const WIDTH: usize = 2;

type History = Vec<Operation<Ask, Seen>>;

/// Several clients at registers.
pub(crate) struct Registers {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    next_value: AtomicU64,
    histories: Mutex<BTreeMap<usize, History>>,
    /// Which register is in use at each of the places.
    current: Mutex<[usize; WIDTH]>,
    broken: Mutex<Vec<String>>,
}

impl Registers {
    /// Starts `count` clients.
    pub(crate) fn start(front: &Arc<Front>, count: usize, seed: u64, stop: &Stop) -> Registers {
        let shared = Arc::new(Shared::default());
        *shared.current.lock() = std::array::from_fn(|place| place);
        let clients = (0..count).map(|number| {
            let (client, shared, stop) = (Client::new(front, number), Arc::clone(&shared), stop.clone());
            let rng = StdRng::seed_from_u64(seed ^ (number as u64) << 32);
            tokio::spawn(run(client, shared, stop, rng))
        });
        Registers { clients: clients.collect(), shared }
    }

    /// Waits until all clients have ended, and judges.
    pub(crate) async fn judge(self) -> Judged {
        for client in self.clients {
            client.await.unwrap();
        }
        let mut judged =
            Judged { violations: std::mem::take(&mut *self.shared.broken.lock()), ..Judged::default() };
        let histories = std::mem::take(&mut *self.shared.histories.lock());
        let verdicts = tokio::task::spawn_blocking(move || {
            let judge = |(number, history): (usize, History)| (number, check::<Register>(&history), history);
            histories.into_iter().map(judge).collect::<Vec<_>>()
        });
        for (number, verdict, history) in verdicts.await.unwrap() {
            judged.operations += history.len() as u64;
            judged.unknown += history.iter().filter(|operation| operation.returned.is_none()).count() as u64;
            if verdict != Verdict::Linearizable {
                let file =
                    std::env::temp_dir().join(format!("rscaler-history-{}-{number}.txt", std::process::id()));
                let text: String = history.iter().map(|operation| format!("{operation:?}\n")).collect();
                let _ = std::fs::write(&file, text);
                judged.violations.push(format!("register {number}: {verdict:?}; see {}", file.display()));
            }
        }
        judged
    }
}

async fn run(mut client: Client, shared: Arc<Shared>, stop: Stop, mut rng: StdRng) {
    while !stop.is_asked() {
        let number = shared.pick(&mut rng);
        match rng.random_range(0..10) {
            0..4 => {
                read(&mut client, &shared, number).await;
            }
            4..7 => write(&mut client, &shared, number).await,
            _ => compare_and_set(&mut client, &shared, number).await,
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..15))).await;
    }
}

impl Shared {
    fn pick(&self, rng: &mut StdRng) -> usize {
        let place = rng.random_range(0..WIDTH);
        let number = self.current.lock()[place];
        if self.histories.lock().get(&number).map_or(0, Vec::len) >= OPERATIONS_MAX {
            let mut current = self.current.lock();
            if current[place] == number {
                current[place] = number + WIDTH;
            }
        }
        number
    }

    fn value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// What was asked at `called` ended so; what did not happen is not told.
    fn record(&self, number: usize, called: u64, input: Ask, returned: Option<(u64, Seen)>) {
        let operation = Operation { called, returned, input };
        self.histories.lock().entry(number).or_default().push(operation);
    }

    fn broken(&self, what: String) {
        self.broken.lock().push(what);
    }
}

fn path(number: usize) -> String {
    format!("clusters/register-{number}")
}

fn text_of(value: u64) -> Value {
    json!({"description": format!("value {value}")})
}

/// Reads value and version; 0 where there is nothing yet.
async fn read(client: &mut Client, shared: &Shared, number: usize) -> Option<(u64, u64)> {
    let called = client.front.now();
    let path = format!("{}?consistency=linearizable", path(number));
    let answer = client.send(Method::GET, &path, None, &[]).await;
    let returned = client.front.now();
    let (value, version) = match answer {
        Answer::Done(object) => {
            let value =
                object["description"].as_str().and_then(|text| text.strip_prefix("value ")?.parse().ok());
            match (value, object["version"].as_u64()) {
                (Some(value), Some(version)) => (value, version),
                _ => {
                    shared.broken(format!("register {number} was never written like this: {object}"));
                    return None;
                }
            }
        }
        Answer::Refused(404, _) => (0, 0),
        Answer::Refused(status, body) => {
            shared.broken(format!("a read was refused: {status} {body}"));
            return None;
        }
        Answer::Nothing(_) | Answer::Unknown(_) => return None,
    };
    shared.record(number, called, Ask::Read, Some((returned, Seen::Holds(value))));
    Some((value, version))
}

async fn write(client: &mut Client, shared: &Shared, number: usize) {
    let value = shared.value();
    let called = client.front.now();
    let answer = client.send(Method::PUT, &path(number), Some(&text_of(value)), &[]).await;
    let returned = client.front.now();
    match answer {
        Answer::Done(_) => shared.record(number, called, Ask::Write(value), Some((returned, Seen::Done))),
        Answer::Unknown(_) => shared.record(number, called, Ask::Write(value), None),
        Answer::Nothing(_) => {}
        Answer::Refused(status, body) => shared.broken(format!("a write was refused: {status} {body}")),
    }
}

async fn compare_and_set(client: &mut Client, shared: &Shared, number: usize) {
    let Some((from, version)) = read(client, shared, number).await else { return };
    if from == 0 {
        return write(client, shared, number).await;
    }
    let to = shared.value();
    let called = client.front.now();
    let etag = format!("\"{version}\"");
    let answer = client.send(Method::PUT, &path(number), Some(&text_of(to)), &[("If-Match", &etag)]).await;
    let returned = client.front.now();
    match answer {
        Answer::Done(_) => shared.record(number, called, Ask::Set(from, to), Some((returned, Seen::Done))),
        Answer::Refused(412, _) => {
            shared.record(number, called, Ask::Set(from, to), Some((returned, Seen::Moved)));
        }
        Answer::Unknown(_) => shared.record(number, called, Ask::Set(from, to), None),
        Answer::Nothing(_) => {}
        Answer::Refused(status, body) => shared.broken(format!("a change was refused: {status} {body}")),
    }
}
