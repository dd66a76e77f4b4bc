//! JVMs are watched over JMX: real JVMs, good and bad, by peers with and without Java.

mod browsing;
mod classes;
mod exhausting;
mod failing;
mod jolokia;
mod over_ssh;
mod reading;
mod tls;
mod tomcat;
mod versions;

use std::time::Duration;

use serde_json::{Value, json};

use crate::plane::Plane;
use crate::wait::until;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const THING: &str = "fixture:type=Thing";

pub(super) fn profile(name: &str, port: u16, more: &str) -> String {
    format!("---\nkind: jvm-profile\nname: {name}\nport: {port}\n{more}")
}

pub(super) fn web(node: &str, jvms: &str) -> String {
    format!(
        "---\nkind: cluster\nname: web\n---\nkind: node\nname: {node}\ncluster: web\nhostname: 127.0.0.1\njvms: [{jvms}]\n"
    )
}

pub(super) fn counter(name: &str, mbean: &str, attribute: &str, more: &str) -> String {
    format!(
        "---\nkind: counter\nname: {name}\ntype: jmx\nmbean: \"{mbean}\"\nattribute: {attribute}\ninterval: 1s\ntimeout: 4s\nclusters: [web]\n{more}"
    )
}

/// A file with this content.
pub(super) fn file(name: &str, content: &[u8]) -> String {
    let content = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, content);
    format!("---\nkind: file\nname: {name}\ncontent_base64: {content}\n")
}

/// The newest samples of a counter: (jvm, instance, value, number of them).
pub(super) async fn series(plane: &Plane, counter: &str) -> Vec<(String, String, f64, usize)> {
    series_by(plane, counter, "1s").await
}

/// The same with points so far apart.
pub(super) async fn series_by(plane: &Plane, counter: &str, step: &str) -> Vec<(String, String, f64, usize)> {
    let answer = plane.get(&format!("clusters/web/counters/{counter}/samples?step={step}")).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    answer["series"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|series| {
            let points = series["points"].as_array()?;
            let last = points.last()?[1].as_f64()?;
            Some((text(&series["jvm"]), text(&series["instance"]), last, points.len()))
        })
        .collect()
}

pub(super) async fn value(plane: &Plane, counter: &str) -> f64 {
    until(&format!("samples of {counter}"), PATIENCE, || async {
        match series(plane, counter).await.first() {
            Some((_, _, value, _)) => Ok(*value),
            None => Err(check(plane, "web01", counter).await),
        }
    })
    .await
}

pub(super) async fn check(plane: &Plane, node: &str, counter: &str) -> Value {
    let checks = plane.get(&format!("nodes/{node}/checks")).await.unwrap();
    let items = checks["items"].as_array().unwrap();
    items.iter().find(|check| check["counter"] == json!(counter)).cloned().unwrap_or_default()
}

/// Waits until a counter's last reading failed with this code, and gives the reason.
pub(super) async fn failure(plane: &Plane, counter: &str, code: &str) -> String {
    until(&format!("{counter} to fail with {code}"), PATIENCE, || async {
        let check = check(plane, "web01", counter).await;
        match check["failure"]["code"] == json!(code) {
            true => Ok(check["failure"]["detail"].as_str().unwrap().to_string()),
            false => Err(check),
        }
    })
    .await
}

/// Waits for a sample newer than those there are.
pub(super) async fn fresh(plane: &Plane, counter: &str) {
    let count = || async { series(plane, counter).await.iter().map(|series| series.3).sum::<usize>() };
    let before = count().await;
    until(&format!("new samples of {counter}"), PATIENCE, || async {
        let now = count().await;
        if now >= before + 2 { Ok(()) } else { Err((before, now)) }
    })
    .await;
}
