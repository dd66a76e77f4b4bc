//! Row A, failover: `kill -9` of the leader, from the kill to the first acknowledgement of a write that was sent after
//! it, on either survivor.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::Asked;
use crate::http::Http1;
use crate::plane::{Plane, STARTING};
use crate::table::Table;
use crate::wait::until;

const KILLS: usize = 20;
const WRITE_EVERY: Duration = Duration::from_millis(5);
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
const GIVEN_UP: Duration = Duration::from_secs(20);

pub(crate) async fn measure(_: &Asked, table: &mut Table) {
    let mut plane = Plane::start(3).await;
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let leader = plane.leader().await;
        let survivors: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
        let (acknowledged, mut acknowledgements) = mpsc::unbounded_channel();
        let writers: Vec<_> = survivors
            .iter()
            .map(|place| {
                let (api, token) = (plane.peers[*place].api.clone(), plane.token.clone());
                tokio::spawn(write_on(api, token, acknowledged.clone()))
            })
            .collect();
        // Both are known to work before the kill.
        for _ in 0..10 {
            acknowledgements.recv().await.unwrap();
        }
        let killed = Instant::now();
        plane.peers[leader].kill();
        let first = tokio::time::timeout(GIVEN_UP, async {
            loop {
                let (sent, answered): (Instant, Instant) = acknowledgements.recv().await.unwrap();
                if sent >= killed {
                    return answered;
                }
            }
        });
        times.push((first.await.expect("writes go on").duration_since(killed)).as_secs_f64() * 1e3);
        for writer in writers {
            writer.abort();
        }
        plane.peers[leader].restart();
        plane.ready(leader).await;
        caught_up(&plane).await;
    }
    table.at_most("A", "kill -9 of the leader to the next acknowledged write", &times, "ms", 250.0);
}

/// Starts a write every few milliseconds, whatever became of the ones before, each on a connection that is free.
async fn write_on(api: String, token: String, acknowledged: mpsc::UnboundedSender<(Instant, Instant)>) {
    let free = std::sync::Arc::new(parking_lot::Mutex::new(Vec::<Http1>::new()));
    let mut ticker = tokio::time::interval(WRITE_EVERY);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut number = 0u64;
    loop {
        ticker.tick().await;
        number += 1;
        let (free, acknowledged) = (std::sync::Arc::clone(&free), acknowledged.clone());
        let (api, token) = (api.clone(), token.clone());
        tokio::spawn(async move {
            let sent = Instant::now();
            let write = async {
                let kept = free.lock().pop();
                let mut http = match kept {
                    Some(http) => http,
                    None => Http1::connect(&api, &token).await?,
                };
                let path = format!("/api/v1/files/failover-{}/content", number % 100);
                let answer = http.call("PUT", &path, "", &number.to_be_bytes()).await?;
                free.lock().push(http);
                Ok::<u16, std::io::Error>(answer.status)
            };
            if let Ok(Ok(200..300)) = tokio::time::timeout(WRITE_PATIENCE, write).await {
                let _ = acknowledged.send((sent, Instant::now()));
            }
        });
    }
}

/// Waits until all have applied what the leader has.
async fn caught_up(plane: &Plane) {
    until("all peers to catch up", STARTING, || async {
        let peers = plane.get("peers").await.map_err(|(_, body)| body)?;
        let items = peers["items"].as_array().cloned().unwrap_or_default();
        let applied = |item: &serde_json::Value| item["applied"].as_u64().unwrap_or(0);
        let newest = items.iter().map(applied).max().unwrap_or(0);
        let all = items.iter().all(|item| item["alive"] == true && applied(item) + 50 > newest);
        if all && items.len() == 3 { Ok(()) } else { Err(peers) }
    })
    .await;
}
