//! A served control plane of one peer, and the ways to ask it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response};
use rscaler_api::Context;
use rscaler_api::client::{Client, Trust};
use rscaler_api::context::{Backup, CopyStream, Hooks, JoinTokenText, JoinTokens, Limits};
use rscaler_api::server::Server;
use rscaler_raft::command::{Change, Command, Expect};
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{Actor, Name, Role, Spec, Timestamp, Token};
use rscaler_raft::network::join::JoinToken;
use rscaler_raft::secrets::hash_token;
use rscaler_raft::solo::Solo;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const ADMIN: &str = "rsc_admin";
pub(crate) const OPERATOR: &str = "rsc_operator";
pub(crate) const VIEWER: &str = "rsc_viewer";
/// Whatever is waited for comes long before this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A backup whose bytes are known.
struct KnownBackup;

#[async_trait::async_trait]
impl Backup for KnownBackup {
    async fn begin(&self) -> Result<CopyStream, String> {
        let pieces = ["a copy ", "in two pieces"].map(|piece| Ok(Bytes::from(piece)));
        Ok(Box::pin(futures::stream::iter(pieces)))
    }
}

struct Tokens;

impl JoinTokens for Tokens {
    fn token(&self, secret: [u8; 32]) -> JoinTokenText {
        let token = JoinToken::of(b"authority", secret);
        JoinTokenText { text: token.to_string(), hash: token.hash() }
    }
}

pub(crate) fn hooks() -> Hooks {
    Hooks { backup: Arc::new(KnownBackup), join_tokens: Arc::new(Tokens), readiness: Vec::new() }
}

pub(crate) struct Fixture {
    pub(crate) handle: Handle,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<()>,
    http: reqwest::Client,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) async fn start() -> Fixture {
    start_with(Limits::default()).await
}

pub(crate) async fn start_with(limits: Limits) -> Fixture {
    let handle = Solo::start().await;
    serve(handle, limits).await
}

/// Serves a control plane, with a token for each role.
pub(crate) async fn serve(handle: Handle, limits: Limits) -> Fixture {
    let tokens = [(ADMIN, Role::Admin), (OPERATOR, Role::Operator), (VIEWER, Role::Viewer)];
    let changes = tokens.map(|(text, role)| Change::Put {
        name: name(&text.replace("rsc_", "")),
        spec: Spec::Token(Token { role, hash: hash_token(text), expires: None }),
        labels: Default::default(),
        description: String::new(),
        expect: Expect::Any,
    });
    handle.submit(Actor::System, Command::Configure(changes.to_vec())).await.unwrap();
    // The clock of a control plane whose leader ticks.
    let wall = Timestamp(jiff::Timestamp::now().as_millisecond());
    let tick = Command::Tick { term: 1, first: false, delta_ms: 0, wall };
    handle.submit(Actor::System, tick).await.unwrap();
    let context = Context::new(handle.clone(), hooks(), limits);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None, context).await.unwrap();
    let address = server.address().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(server.run(shutdown.clone()));
    Fixture { handle, address, shutdown, server, http: http() }
}

/// A plain HTTP client, to look at statuses and headers.
pub(crate) fn http() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build().unwrap()
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Answer {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem's code.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("").to_string()
    }
}

impl Fixture {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn client(&self, token: &str) -> Client {
        Client::builder().endpoint(self.url()).token(token).trust(Trust::Insecure).build().unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url())).bearer_auth(token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::read(self.request(Method::GET, path, ADMIN).send().await.unwrap()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        Answer::read(self.request(method, path, ADMIN).json(&body).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    /// A cluster with two nodes, a profile, counters, an action and a trigger.
    pub(crate) async fn seed(&self) {
        let answer = self
            .request(Method::POST, "/api/v1/apply", ADMIN)
            .header("content-type", "application/yaml")
            .body(SEED)
            .send()
            .await
            .unwrap();
        let answer = Answer::read(answer).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Ends the server, and waits for that.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.server).await.expect("the server ends").unwrap();
    }
}

pub(crate) const SEED: &str = r#"
{kind: secret, name: ops-key, value: "not a key"}
---
{kind: file, name: load.sh, content: "cut -d' ' -f1 /proc/loadavg\n"}
---
{kind: ssh-profile, name: ops, user: ops, key: {secret: ops-key}, host_key: accept-new}
---
{kind: cluster, name: web, labels: {app: shop}}
---
{kind: node, name: web01, cluster: web, hostname: 10.0.0.11, ssh_profile: ops, labels: {app: shop}}
---
{kind: node, name: web02, cluster: web, hostname: 10.0.0.12, ssh_profile: ops, jvms: [tomcat], labels: {app: shop, old: "yes"}}
---
{kind: counter, name: load1, type: ssh, script: {file: load.sh}, interval: 10s, unit: load, clusters: [web]}
---
{kind: jvm-profile, name: tomcat, port: 9010, user: monitor, password: {secret: ops-key}}
---
{kind: counter, name: used, type: jmx, mbean: "java.lang:type=Memory", attribute: HeapMemoryUsage, key: used, clusters: [web]}
---
{kind: action, name: trim, type: jmx-invoke, jvm: tomcat, mbean: "java.lang:type=Memory", operation: gc}
---
{kind: counter, name: queue, type: push, interval: 10s, unit: jobs, clusters: [web]}
---
{kind: action, name: tidy, type: command, script: "echo tidy", args: [a, b], env: {MODE: soft}, timeout: 30s, retry: {attempts: 3}}
---
kind: trigger
name: busy
cluster: web
when: [{counter: queue, op: ">", threshold: 4, recover: 3}]
for: 20s
cooldown: 1m
steps: [{action: tidy, target: firing-node}]
---
{kind: maintenance-window, name: upgrade, node: web02, from: "2026-01-01T00:00:00Z", to: "2026-01-01T01:00:00Z", reason: kernel}
---
{kind: user, name: ada, role: operator, password: "correct horse"}
"#;
