//! A counter that is collected from real hosts every second while peers suffer. No sample is there twice, all peers have the
//! same, and collection goes on once all is healed. The longest gap is told.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::Judged;
use crate::client::Answer;
use crate::plane::{Plane, wall_ms};

/// How soon after all is healed every node must be collected again.
const RESUMING: Duration = Duration::from_secs(30);

/// The counter.
pub(crate) fn counter() -> Value {
    json!({"kind": "counter", "name": "beat", "type": "ssh", "script": "echo 1", "interval": "1s", "clusters": ["fleet"]})
}

/// Judges what was collected since `from_ms`, once all is healed. Gives the longest gap of any node too.
pub(crate) async fn judge(plane: &Plane, nodes: usize, from_ms: i64) -> (Judged, Duration) {
    let mut judged = Judged::default();
    let mut longest = 0;
    let healed_ms = wall_ms();
    for node in 0..nodes {
        let before = points(plane, plane.places()[0], node, from_ms).await.unwrap_or_default().len();
        let mut last = Vec::new();
        let began = std::time::Instant::now();
        // By number and not by time: where clocks jumped, samples may bear later times than now.
        while last.len() <= before {
            if began.elapsed() > RESUMING {
                judged.violations.push(format!("n{node} was not collected again within {RESUMING:?}"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            last = points(plane, plane.places()[0], node, from_ms).await.unwrap_or_default();
        }
        judged.operations += last.len() as u64;
        longest = last.windows(2).map(|pair| pair[1] - pair[0]).chain([longest]).max().unwrap_or(0);
        let until = |points: Vec<i64>| points.into_iter().filter(|at| *at <= healed_ms).collect::<Vec<_>>();
        let first = until(last);
        if first.windows(2).any(|pair| pair[0] >= pair[1]) {
            judged.violations.push(format!("n{node} has samples twice: {first:?}"));
        }
        for place in plane.places() {
            let name = &plane.peers[place].name;
            match points(plane, place, node, from_ms).await.map(until) {
                Some(points) if points == first => {}
                Some(points) => judged.violations.push(format!(
                    "{name} has {} samples of n{node}, the first peer {}",
                    points.len(),
                    first.len()
                )),
                None => judged.violations.push(format!("{name} does not say the samples of n{node}")),
            }
        }
    }
    (judged, Duration::from_millis(longest.unsigned_abs()))
}

async fn points(plane: &Plane, place: usize, node: usize, from_ms: i64) -> Option<Vec<i64>> {
    let path = format!("nodes/n{node}/counters/beat/samples?from={from_ms}");
    let Answer::Done(answer) = plane.ask(place, Method::GET, &path, None).await else { return None };
    let series = answer["series"].as_array()?;
    let points = series.iter().flat_map(|series| series["points"].as_array().cloned().unwrap_or_default());
    Some(points.filter_map(|point| point[0].as_i64()).collect())
}
