//! A JVM to be watched, where there is Java.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::seed::CLUSTER;
use crate::jvm::{JavaChoice, SHOP_COMMAND, libjvm};

/// The JVM's profile.
pub(super) const PROFILE: &str = "shop";
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A JVM that runs; it ends with this.
pub(super) struct DemoJvm {
    _process: Child,
    /// Where its JMX agent listens.
    pub(super) port: u16,
}

impl DemoJvm {
    /// Starts one. None where there is no Java, or none that works.
    pub(super) async fn start(program: &Path) -> Option<DemoJvm> {
        let libjvm = libjvm(&JavaChoice::Any)?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).ok()?.port();
        let mut process = Command::new(program)
            .arg(SHOP_COMMAND)
            .arg(libjvm)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(process.stdout.take()?).lines();
        match timeout(START_TIMEOUT, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == "READY" => Some(DemoJvm { _process: process, port }),
            _ => None,
        }
    }

    /// What of its profile is another at each start.
    pub(super) fn moved(&self) -> Value {
        json!({"port": self.port})
    }

    /// Its profile and counters, as documents.
    pub(super) fn documents(&self) -> Vec<Value> {
        let counter = |name: &str, mbean: &str, attribute: &str, more: Value| {
            let mut document = json!({
                "kind": "counter", "name": name, "type": "jmx", "mbean": mbean, "attribute": attribute,
                "interval": "5s", "clusters": [CLUSTER],
            });
            for (key, value) in more.as_object().into_iter().flatten() {
                document[key] = value.clone();
            }
            document
        };
        let memory = "java.lang:type=Memory";
        let shop = "demo:type=Shop";
        vec![
            json!({
                "kind": "jvm-profile", "name": PROFILE, "port": self.port,
                "description": "A JVM that the demo runs, without a password: its agent listens on loopback only",
            }),
            counter("heap", memory, "HeapMemoryUsage", json!({"key": "used", "unit": "bytes"})),
            counter(
                "gc",
                "java.lang:type=GarbageCollector,name=*",
                "CollectionCount",
                json!({"rate": true, "unit": "/s"}),
            ),
            counter("orders", shop, "Orders", json!({"rate": true, "unit": "/s"})),
            counter("orders-waiting", shop, "Waiting", json!({"unit": "orders"})),
            json!({
                "kind": "action", "name": "rush", "type": "jmx-invoke", "jvm": PROFILE, "mbean": shop, "operation": "rush",
                "args": ["10"], "description": "Ten times as many orders for the demo's JVM",
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rscaler_api::types as api;

    use super::*;

    #[tokio::test]
    async fn its_documents_are_of_the_api() {
        let process = Command::new("true").spawn().unwrap();
        for document in (DemoJvm { _process: process, port: 1 }).documents() {
            let read = match document["kind"].as_str().unwrap() {
                "jvm-profile" => api::read_document::<api::JvmProfile>(document.clone()).map(|_| ()),
                "counter" => api::read_document::<api::Counter>(document.clone()).map(|_| ()),
                _ => api::read_document::<api::Action>(document.clone()).map(|_| ()),
            };
            assert_eq!(read, Ok(()), "{document}");
        }
    }
}
