//! The others that read JVMs, with the same attributes: a plain Java client that keeps its connections, and Zabbix's Java gateway.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ATTRIBUTES, POLLS};
use crate::jvms::{compile, free_port};
use crate::process::Usage;
use crate::wait::until;

const GATEWAY: &str = "/usr/sbin/zabbix-java-gateway.jar";
/// Readings of all JVMs through the gateway, which takes some ten times as long, and those before them that do not count.
const GATEWAY_POLLS: usize = 400;
const GATEWAY_WARM: usize = 100;
/// What a poll of one JVM may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What a run of another came to.
pub(super) struct Other {
    /// CPU an attribute, in ms.
    pub(super) cpu_ms: f64,
    pub(super) rss_mb: f64,
}

impl Other {
    fn of(pid: u32, before: Usage, polls: usize, jvms: usize) -> Other {
        let used = Usage::of(&[pid]).since(before);
        Other { cpu_ms: used.cpu * 1000.0 / (polls * jvms * ATTRIBUTES.len()) as f64, rss_mb: used.rss_mb }
    }
}

/// A process that ends with its handle.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One run of the plain client. It has the collector that takes least, and a heap that it does not fill.
pub(super) fn kept_client(ports: &[u16]) -> Other {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jmx/KeptClient.java");
    compile(&[source], dir.path(), "");
    let ports_text: Vec<String> = ports.iter().map(u16::to_string).collect();
    let wanted =
        ATTRIBUTES.map(|(mbean, attribute, key, least)| format!("{mbean}|{attribute}|{key}|{least}"));
    let process = Command::new("java")
        .args(["-Xmx64m", "-XX:+UseSerialGC", "-cp"])
        .arg(dir.path())
        .args(["KeptClient", &ports_text.join(",")])
        .args(wanted)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Ends(process);
    let pid = process.0.id();
    let mut input = process.0.stdin.take().unwrap();
    let mut output = BufReader::new(process.0.stdout.take().unwrap());
    said(&mut output, "READY");
    let mut poll = |times: usize| {
        writeln!(input, "{times}").unwrap();
        said(&mut output, "DONE");
    };
    poll(POLLS / 10);
    let before = Usage::of(&[pid]);
    poll(POLLS);
    Other::of(pid, before, POLLS, ports.len())
}

fn said(output: &mut BufReader<ChildStdout>, word: &str) {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), word, "the plain client has ended");
}

pub(super) fn gateway_is_installed() -> bool {
    Path::new(GATEWAY).is_file()
}

/// One run of the gateway, started as Debian's unit starts it, but for where it listens and what it logs to.
pub(super) async fn gateway(ports: &[u16]) -> Other {
    let dir = tempfile::tempdir().unwrap();
    let logging = dir.path().join("logback.xml");
    std::fs::write(&logging, "<configuration><root level=\"off\"/></configuration>").unwrap();
    let port = free_port();
    let process = Command::new("java")
        .args(["-Xmx256m", "-server", "-Dzabbix.listenIP=127.0.0.1", "-Dzabbix.startPollers=5"])
        .args(["-Dzabbix.timeout=3", "-Dsun.rmi.transport.tcp.responseTimeout=3000"])
        .arg(format!("-Dzabbix.listenPort={port}"))
        .arg(format!("-Dzabbix.pidFile={}", dir.path().join("pid").display()))
        .arg(format!("-Dlogback.configurationFile={}", logging.display()))
        .args(["-jar", GATEWAY])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Ends(process);
    let pid = process.0.id();
    until("Zabbix's gateway to listen", LIMIT, || TcpStream::connect(("127.0.0.1", port))).await;
    let poll = || async { join_all(ports.iter().map(|jvm| ask(port, *jvm))).await };
    for _ in 0..GATEWAY_WARM {
        poll().await;
    }
    let before = Usage::of(&[pid]);
    for _ in 0..GATEWAY_POLLS {
        poll().await;
    }
    Other::of(pid, before, GATEWAY_POLLS, ports.len())
}

/// What a poller of Zabbix's server does with one JVM: a connection, one request with all keys, one answer.
async fn ask(gateway: u16, jvm: u16) {
    let keys = ATTRIBUTES.map(|(mbean, attribute, key, _)| {
        let path = if key.is_empty() { attribute.to_string() } else { format!("{attribute}.{key}") };
        format!("jmx[\"{mbean}\",\"{path}\"]")
    });
    let request = json!({
        "request": "java gateway jmx",
        "jmx_endpoint": format!("service:jmx:rmi:///jndi/rmi://127.0.0.1:{jvm}/jmxrmi"),
        "keys": keys,
    });
    let body = request.to_string().into_bytes();
    let mut frame = b"ZBXD\x01".to_vec();
    frame.extend_from_slice(&(body.len() as u64).to_le_bytes());
    frame.extend_from_slice(&body);
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway)).await?;
        stream.write_all(&frame).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await.expect("the gateway answers").unwrap();
    let answer: Value = serde_json::from_slice(answer.get(13..).unwrap_or_default()).unwrap();
    for (at, (mbean, attribute, key, least)) in ATTRIBUTES.iter().enumerate() {
        let value = answer["data"][at]["value"].as_str().and_then(|text| text.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value >= *least), "{mbean} {attribute} {key}: {answer}");
    }
}
