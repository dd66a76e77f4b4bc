//! What the API says while the control plane cannot agree, and at a peer that lags behind.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use rscaler_api::client::{Client, Trust};
use rscaler_api::context::Limits;
use rscaler_raft::command::{Outcome, Proposal};
use rscaler_raft::consensus::Payload;
use rscaler_raft::handle::{Engine, EngineError, Handle, Leadership, Member};
use rscaler_raft::model::PeerId;
use rscaler_raft::replica::Replica;
use rscaler_raft::secrets::{Keyring, SecretBytes};
use rscaler_raft::series::{BlockId, BlockSource, Error};
use rscaler_raft::state::State;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::{ADMIN, Fixture, serve};

struct NoBlocks;

impl BlockSource for NoBlocks {
    fn get(&self, _: &BlockId) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(None)
    }
}

/// A follower: the leader's answer comes some time before the entry is applied here.
struct Follower {
    leader: Arc<Replica>,
    local: Arc<Replica>,
    next: Mutex<u64>,
    lag: Duration,
    /// How often each entry is committed: its answer is lost with the leader, all but the last time.
    tries: u32,
    /// What is answered instead, from now on.
    trouble: Arc<Mutex<Option<EngineError>>>,
    leadership: watch::Sender<Leadership>,
}

impl Follower {
    fn trouble(&self) -> Result<(), EngineError> {
        self.trouble.lock().clone().map_or(Ok(()), Err)
    }
}

#[async_trait::async_trait]
impl Engine for Follower {
    async fn propose(&self, payload: Payload, _: Instant) -> Result<Outcome, EngineError> {
        self.trouble()?;
        let proposal: Proposal = payload.decode().map_err(|error| EngineError::Refused(error.to_string()))?;
        let mut outcome = Err(EngineError::Unavailable("nothing was committed".to_string()));
        for _ in 0..self.tries {
            let index = {
                let mut next = self.next.lock();
                *next += 1;
                *next
            };
            outcome = Ok(self.leader.apply(&[(index, proposal.clone())]).remove(0));
            let (local, lag, proposal) = (Arc::clone(&self.local), self.lag, proposal.clone());
            tokio::spawn(async move {
                tokio::time::sleep(lag).await;
                local.apply(&[(index, proposal)]);
            });
        }
        outcome
    }

    async fn read_index(&self, _: Instant) -> Result<u64, EngineError> {
        self.trouble()?;
        Ok(self.leader.applied())
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    async fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    async fn transfer_leader(&self, _: PeerId, _: Instant) -> Result<(), EngineError> {
        self.trouble()
    }
}

async fn follower(lag: Duration) -> (Fixture, Arc<Mutex<Option<EngineError>>>) {
    follower_that_tries(1, lag).await
}

async fn follower_that_tries(tries: u32, lag: Duration) -> (Fixture, Arc<Mutex<Option<EngineError>>>) {
    let local = Replica::new(State::new(), 0);
    let trouble = Arc::new(Mutex::new(None));
    let engine = Follower {
        leader: Replica::new(State::new(), 0),
        local: Arc::clone(&local),
        next: Mutex::new(0),
        lag,
        tries,
        trouble: Arc::clone(&trouble),
        leadership: watch::Sender::new(Leadership { local: PeerId(2), leader: Some(PeerId(1)), term: 3 }),
    };
    let keyring = Keyring::generate(SecretBytes::new(b"key".to_vec())).unwrap();
    let handle = Handle::new(local, Arc::new(engine), Arc::new(NoBlocks), Arc::new(keyring));
    let fixture = serve(handle, Limits::default()).await;
    fixture.handle.linearize().await.unwrap();
    (fixture, trouble)
}

#[tokio::test]
async fn a_write_is_seen_at_once_at_the_peer_that_took_it() {
    let (fixture, _) = follower(Duration::from_millis(50)).await;
    let created = fixture.post("/api/v1/clusters", json!({"name": "web"})).await;
    assert_eq!((created.status, &created.json()["version"]), (201, &json!(1)));
    assert_eq!(fixture.get("/api/v1/clusters/web").await.status, 200);
    fixture.seed().await;
    let run = fixture.post("/api/v1/clusters/web/run", json!({"action": "tidy"})).await;
    assert_eq!(fixture.get(run.header("location").unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_linearizable_read_waits_for_what_was_acknowledged() {
    let (fixture, _) = follower(Duration::from_millis(200)).await;
    let change = rscaler_raft::command::Change::Put {
        name: crate::support::name("web"),
        spec: rscaler_raft::model::Spec::Cluster(Default::default()),
        labels: Default::default(),
        description: String::new(),
        expect: rscaler_raft::command::Expect::Absent,
    };
    let command = rscaler_raft::command::Command::Configure(vec![change]);
    fixture.handle.submit(rscaler_raft::model::Actor::System, command).await.unwrap();
    assert_eq!(fixture.get("/api/v1/clusters/web").await.status, 404, "a local read may be old");
    assert_eq!(fixture.get("/api/v1/clusters/web?consistency=linearizable").await.status, 200);
}

#[tokio::test]
async fn a_write_that_is_proposed_again_because_its_answer_was_lost_happens_once() {
    let (fixture, _) = follower_that_tries(2, Duration::ZERO).await;
    let created = fixture.post("/api/v1/clusters", json!({"name": "web"})).await;
    assert_eq!(created.status, 201, "{}", created.text());
    fixture.seed().await;
    let run = fixture.post("/api/v1/clusters/web/run", json!({"action": "tidy"})).await;
    assert_eq!(run.status, 202, "{}", run.text());
    assert_eq!(fixture.get("/api/v1/runs").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_that_a_lagging_peer_has_not_heard_of_works_there() {
    let (fixture, trouble) = follower(Duration::from_millis(200)).await;
    let make = |text: &'static str| {
        let change = rscaler_raft::command::Change::Put {
            name: crate::support::name(text),
            spec: rscaler_raft::model::Spec::Token(rscaler_raft::model::Token {
                role: rscaler_raft::model::Role::Viewer,
                hash: rscaler_raft::secrets::hash_token(text),
                expires: None,
            }),
            labels: Default::default(),
            description: String::new(),
            expect: rscaler_raft::command::Expect::Absent,
        };
        let command = rscaler_raft::command::Command::Configure(vec![change]);
        fixture.handle.submit(rscaler_raft::model::Actor::System, command)
    };
    make("new").await.unwrap();
    let get =
        async |token| fixture.request(Method::GET, "/api/v1/clusters", token).send().await.unwrap().status();
    assert_eq!(get("new").await, 200);
    assert_eq!(get("nobody").await, 401);

    make("newer").await.unwrap();
    *trouble.lock() = Some(EngineError::Unavailable("no leader is known".to_string()));
    assert_eq!(get("newer").await, 503, "it can not be said that it does not work");
}

#[tokio::test]
async fn without_a_leader_reads_go_on_and_writes_say_that_nothing_happened() {
    let (fixture, trouble) = follower(Duration::ZERO).await;
    *trouble.lock() = Some(EngineError::Unavailable("no leader is known".to_string()));
    assert_eq!(fixture.get("/api/v1/clusters").await.status, 200);
    let refused = fixture.post("/api/v1/clusters", json!({"name": "web"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.text().contains("nothing was changed"), "{}", refused.text());
    let read = fixture.get("/api/v1/clusters?consistency=linearizable").await;
    assert_eq!((read.status, read.code().as_str()), (503, "unavailable"));
    let ready = fixture.get("/readyz").await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "not_ready"));
    assert_eq!(ready.json()["errors"][0]["pointer"], json!("/log"));
}

#[tokio::test]
async fn an_unknown_outcome_is_told_as_such() {
    let (fixture, trouble) = follower(Duration::ZERO).await;
    *trouble.lock() = Some(EngineError::Unknown("the leader changed".to_string()));
    let unknown = fixture.post("/api/v1/clusters", json!({"name": "web"})).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (503, "unknown"));
    assert!(unknown.text().contains("it may have happened"), "{}", unknown.text());
    *trouble.lock() = Some(EngineError::Refused("the command takes 9 MiB".to_string()));
    let refused = fixture.post("/api/v1/clusters", json!({"name": "web"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "refused"));
}

#[tokio::test]
async fn the_client_waits_for_a_leader_and_repeats_the_request_once() {
    let (fixture, trouble) = follower(Duration::ZERO).await;
    *trouble.lock() = Some(EngineError::Unknown("the leader changed".to_string()));
    let client =
        Client::builder().endpoint(fixture.url()).token(ADMIN).trust(Trust::Insecure).build().unwrap();
    let healed = Arc::clone(&trouble);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        *healed.lock() = None;
    });
    let cluster =
        rscaler_api::types::Resource::draft(crate::support::name("web"), rscaler_api::types::Cluster {});
    assert_eq!(client.create(&cluster).await.unwrap().version, 1);
}
