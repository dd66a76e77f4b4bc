//! Sets that only grow: clusters are created, each name once. What was acknowledged is there on every peer in the end, and
//! what was said not to have happened is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Judged, Stop};
use crate::client::{Answer, Client, Front};
use crate::plane::Plane;

/// Several clients that add.
pub(crate) struct Sets {
    said: Arc<Mutex<Said>>,
    clients: Vec<JoinHandle<()>>,
}

/// Names, by what was said of them.
#[derive(Default)]
struct Said {
    added: BTreeSet<String>,
    unknown: BTreeSet<String>,
    not_added: BTreeSet<String>,
    broken: Vec<String>,
}

impl Sets {
    /// Starts `count` clients.
    pub(crate) fn start(front: &Arc<Front>, count: usize, seed: u64, stop: &Stop) -> Sets {
        let said = Arc::new(Mutex::new(Said::default()));
        let clients = (0..count).map(|number| {
            let (client, said, stop) = (Client::new(front, number), Arc::clone(&said), stop.clone());
            tokio::spawn(run(client, said, stop, number, StdRng::seed_from_u64(seed ^ 77 ^ number as u64)))
        });
        Sets { clients: clients.collect(), said }
    }

    /// Waits until all clients have ended, and compares with what each peer has. The peers have converged.
    pub(crate) async fn judge(self, plane: &Plane) -> Judged {
        for client in self.clients {
            client.await.unwrap();
        }
        let said = std::mem::take(&mut *self.said.lock());
        let mut judged = Judged {
            operations: (said.added.len() + said.unknown.len() + said.not_added.len()) as u64,
            unknown: said.unknown.len() as u64,
            violations: said.broken,
        };
        // What a client gave up waiting for may still be decided while we look.
        let settled =
            |sets: &[Result<BTreeSet<String>, String>]| sets.windows(2).all(|pair| pair[0] == pair[1]);
        let mut sets = all_members(plane).await;
        for _ in 0..10 {
            if settled(&sets) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            sets = all_members(plane).await;
        }
        let mut first: Option<BTreeSet<String>> = None;
        for (place, there) in plane.places().into_iter().zip(sets) {
            let name = &plane.peers[place].name;
            let there = match there {
                Ok(there) => there,
                Err(why) => {
                    judged.violations.push(format!("{name} does not say what it has: {why}"));
                    continue;
                }
            };
            let lost: Vec<&String> = said.added.difference(&there).collect();
            if !lost.is_empty() {
                judged.violations.push(format!(
                    "{name} lost {} of {} acknowledged writes: {:?}",
                    lost.len(),
                    said.added.len(),
                    &lost[..lost.len().min(5)]
                ));
            }
            let risen: Vec<&String> = said.not_added.intersection(&there).collect();
            if !risen.is_empty() {
                judged.violations.push(format!("{name} has what was said not to have happened: {risen:?}"));
            }
            let strange: Vec<&String> = there
                .iter()
                .filter(|name| {
                    ![&said.added, &said.unknown, &said.not_added].iter().any(|set| set.contains(*name))
                })
                .collect();
            if !strange.is_empty() {
                judged.violations.push(format!("{name} has what nobody added: {strange:?}"));
            }
            match &first {
                None => first = Some(there),
                Some(first) if *first != there => {
                    let differ: Vec<&String> = first.symmetric_difference(&there).take(5).collect();
                    judged.violations.push(format!("{name} has another set than the first peer: {differ:?}"));
                }
                Some(_) => {}
            }
        }
        judged
    }
}

impl Said {
    fn take(&mut self, name: String, answer: Answer) {
        match answer {
            Answer::Done(_) => drop(self.added.insert(name)),
            Answer::Unknown(_) => drop(self.unknown.insert(name)),
            Answer::Nothing(_) => drop(self.not_added.insert(name)),
            Answer::Refused(status, body) => {
                self.broken.push(format!("adding {name} for the first time was refused: {status} {body}"));
            }
        }
    }
}

async fn run(mut client: Client, said: Arc<Mutex<Said>>, stop: Stop, number: usize, mut rng: StdRng) {
    let mut count = 0;
    while !stop.is_asked() {
        count += 1;
        let name = format!("set-{number}-{count:06}");
        let answer = client.send(Method::POST, "clusters", Some(&json!({"name": name})), &[]).await;
        said.lock().take(name, answer);
        tokio::time::sleep(Duration::from_millis(rng.random_range(5..40))).await;
    }
}

async fn all_members(plane: &Plane) -> Vec<Result<BTreeSet<String>, String>> {
    let mut sets = Vec::new();
    for place in plane.places() {
        sets.push(members(plane, place).await);
    }
    sets
}

/// What one peer has of the set, as it has applied it.
async fn members(plane: &Plane, place: usize) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("clusters?limit=1000{cursor}");
        let page = match plane.ask(place, Method::GET, &path, None).await {
            Answer::Done(page) => page,
            other => return Err(format!("{other:?}")),
        };
        let items = page["items"].as_array().cloned().unwrap_or_default();
        found.extend(
            items
                .iter()
                .filter_map(|item| item["name"].as_str())
                .filter(|name| name.starts_with("set-"))
                .map(str::to_string),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}
