//! Row H: a pushed sample crosses a threshold, and the trigger's command starts on a connection that is open.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Asked;
use crate::hosts::Host;
use crate::http::Http1;
use crate::plane::Plane;
use crate::process::load_average;
use crate::table::{Table, quantile};
use crate::tasks;
use crate::wait::until;

const FIRINGS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn measure(_: &Asked, table: &mut Table) {
    let hosts = [Host::start()];
    let plane = Plane::start(3).await;
    tasks::fleet(&plane, &hosts, 1).await;
    plane
        .post(
            "apply",
            json!([
                {"kind": "counter", "name": "pressure", "type": "push", "interval": "10s", "clusters": ["fleet"]},
                {"kind": "action", "name": "relieve", "type": "command",
                 "script": "date +%s%N > \"$RSCALER_DIR/next\"; mv \"$RSCALER_DIR/next\" \"$RSCALER_DIR/began\""},
                {"kind": "trigger", "name": "high", "cluster": "fleet", "per": "node", "for": "0s", "cooldown": "0s",
                 "when": [{"counter": "pressure", "op": ">", "threshold": 10.0}],
                 "steps": [{"action": "relieve", "target": "firing-node"}]},
            ]),
        )
        .await
        .unwrap();
    let warm = plane.post("nodes/n000/run", json!({"command": "true"})).await.unwrap();
    until("the connection to be open", PATIENCE, || async {
        let seen = plane.get(&format!("runs/{}", warm["run"])).await.map_err(|(_, body)| body)?;
        if seen["state"] == "succeeded" { Ok(()) } else { Err(seen) }
    })
    .await;

    let addr = plane.peers[plane.leader().await].api.clone();
    let mut http = Http1::connect(&addr, &plane.token).await.unwrap();
    let mut times = Vec::new();
    let mut at = 0;
    for firing in 0..FIRINGS {
        push(&mut http, &mut at, 1.0).await;
        let pushed = jiff::Timestamp::now().as_nanosecond();
        push(&mut http, &mut at, 99.0).await;
        let began = Instant::now();
        let ran = loop {
            let ran = hosts[0].read("began").and_then(|text| text.trim().parse::<i128>().ok());
            if let Some(ran) = ran.filter(|ran| *ran > pushed) {
                break ran;
            }
            assert!(began.elapsed() < PATIENCE, "firing {firing} started nothing");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        times.push((ran - pushed) as f64 / 1e6);
        until("the run to end", PATIENCE, || async {
            let open = plane.get("runs?state=running&limit=1").await.map_err(|(_, body)| body)?;
            if open["items"].as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(open) }
        })
        .await;
    }
    times.sort_by(f64::total_cmp);
    table.note("H", "pushed sample to its command on the host: p50", &[quantile(&times, 0.5)], "ms");
    table.at_most(
        "H",
        "pushed sample to its command on the host: p99",
        &[quantile(&times, 0.99)],
        "ms",
        50.0,
    );
    println!("   load average {}", load_average());
}

async fn push(http: &mut Http1, at: &mut i64, value: f64) {
    // By the clock: what was measured before the trigger was there says nothing to it.
    *at = jiff::Timestamp::now().as_millisecond().max(*at + 1);
    let body =
        json!({"samples": [{"counter": "pressure", "node": "n000", "t": *at, "v": value}]}).to_string();
    let answer = http.call("POST", "/api/v1/samples", "application/json", body.as_bytes()).await.unwrap();
    let taken: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &taken["accepted"]), (200, &json!(1)), "{taken}");
}
