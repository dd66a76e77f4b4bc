//! Somebody who writes all the time and remembers what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::plane::{Plane, STARTING};
use crate::wait::until;

/// Creates one cluster after the other, by way of one peer.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    writing: JoinHandle<Vec<String>>,
}

impl Writer {
    /// Begins, by way of the peer at `place`.
    pub(crate) fn start(plane: &Plane, place: usize) -> Writer {
        Writer::start_as(plane, place, "w")
    }

    /// As [`Writer::start`], with a prefix of its own for the names.
    pub(crate) fn start_as(plane: &Plane, place: usize, prefix: &'static str) -> Writer {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let (api, token) = (plane.peers[place].api.clone(), plane.token.clone());
        let writing = tokio::spawn(async move {
            let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
            let mut written = Vec::new();
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                let name = format!("{prefix}{number}");
                number += 1;
                let answer = http
                    .post(format!("http://{api}/api/v1/clusters"))
                    .bearer_auth(&token)
                    .header("Idempotency-Key", &name)
                    .json(&json!({"name": name}))
                    .send()
                    .await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    written.push(name);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            written
        });
        Writer { stop, acknowledged, writing }
    }

    /// Waits until so many more writes were acknowledged.
    pub(crate) async fn goes_on(&self, more: usize) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        until("writes to go on", STARTING, || async {
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now >= before + more { Ok(()) } else { Err(now - before) }
        })
        .await;
    }

    /// Stops, and gives what was acknowledged.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}

/// Looks that a peer has all of these clusters.
pub(crate) async fn assert_has(plane: &Plane, place: usize, acknowledged: &[String]) {
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("clusters?limit=500&consistency=linearizable{cursor}");
        let page = plane.ask(place, Method::GET, &path, None).await.unwrap();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_string()),
        );
        match &page["next"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    for name in acknowledged {
        assert!(seen.contains(name), "`{name}` was acknowledged and is missing at peer {place}");
    }
}
