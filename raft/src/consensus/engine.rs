//! Agreement as the rest of the program sees it: one peer of the Raft group.
//!
//! A proposal goes to openraft where this peer leads, else in a batch to the leader. It is tried again while there
//! is time, always with the same bytes; what may have happened is never called failed. openraft, the connections
//! of peers and the loops here live on a runtime of their own ([`super::runtime`]), so that nothing else a peer
//! does can hold up a heartbeat.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::compare::Comparison;
use super::forward::{self, Forward};
use super::leadership::Status;
use super::log::LogStore;
use super::machine::Machine;
use super::network::NetworkFactory;
use super::progress;
use super::reads::{self, ReadRequest};
use super::timers::Timers;
use super::transfer::Snapshots;
use super::types::{Payload, PeerAddress, TypeConfig};
use super::wire::{AskPeer, HandOver, Proposed};
use crate::command::Outcome;
use crate::handle::{Answerer, Engine, EngineError, Leadership, Member};
use crate::model::PeerId;
use crate::network::client::{CallError, Lane, Link};
use crate::network::frame::GROUP;
use crate::network::links::Links;
use crate::network::message::{Blob, FailureCode, Pong};
use crate::replica::Replica;
use crate::store::{Fatal, Space};

pub(super) type Raft = openraft::Raft<TypeConfig, Machine>;
pub(super) type Metrics = RaftMetrics<TypeConfig>;

/// The largest proposal. With its surroundings it must fit a frame and a record of the log.
pub const PROPOSAL_BYTES_MAX: usize = 8 << 20;
/// Bytes of proposals under way on this peer, in units of [`BYTES_UNIT`]: 64 MiB.
const ROOM_UNITS: usize = 64 << 10;
const BYTES_UNIT: usize = 1 << 10;
/// How long a refusal that another leader could lift is waited out.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(100);
/// How long a peer that stops tries to hand leadership on: a voter that is there takes it at once.
const HANDOVER_MAX: Duration = Duration::from_secs(2);

/// What a peer of the Raft group is made of.
pub struct Parts {
    /// Which one.
    pub local: PeerId,
    /// See [`Timers`].
    pub timers: Timers,
    /// How many entries the log keeps behind a snapshot.
    pub log_entries_kept: u64,
    /// The log and the vote.
    pub log: LogStore,
    /// The state machine.
    pub machine: Machine,
    /// How snapshots travel.
    pub snapshots: Arc<Snapshots>,
    /// The state that the machine applies to.
    pub replica: Arc<Replica>,
    /// The connections to other peers.
    pub links: Arc<Links>,
    /// Whether the disk has room: while it has not, this peer takes no writes.
    pub space: watch::Receiver<Space>,
    /// Where what must stop the peer is reported.
    pub fatal: Fatal,
    /// Where peers were when this one joined, for the time before it knows the membership.
    pub seeds: BTreeMap<PeerId, String>,
}

/// Why a peer of the Raft group could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The timers don't fit each other.
    #[error("the timers of Raft don't fit each other")]
    Timers(#[from] openraft::ConfigError),
    /// The storage failed.
    #[error("Raft could not start: {0}")]
    Fatal(String),
    /// The control plane could not be begun.
    #[error("the control plane could not be begun: {0}")]
    Initialize(String),
}

/// One peer of the Raft group.
pub struct Consensus {
    pub(super) local: PeerId,
    pub(super) raft: Raft,
    pub(super) replica: Arc<Replica>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) comparison: Arc<Comparison>,
    pub(super) links: Arc<Links>,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) statuses: Mutex<BTreeMap<PeerId, Status>>,
    pub(super) seeds: BTreeMap<PeerId, String>,
    /// Answers what other peers ask beyond what is said here.
    pub(super) answerer: OnceLock<Arc<dyn Answerer>>,
    forward: mpsc::Sender<Forward>,
    reads: mpsc::Sender<ReadRequest>,
    room: Semaphore,
    pub(super) space: watch::Receiver<Space>,
    pub(super) fatal: Fatal,
    pub(super) stop: CancellationToken,
    loops: TaskTracker,
}

/// What one try to commit came to.
enum Attempt {
    Applied(Outcome),
    /// Certainly nothing; another try may do better.
    Retry(String),
    /// Perhaps; another try finds out.
    Maybe(String),
    /// The leader takes nothing; another one may.
    Refused(String),
}

impl From<Proposed> for Attempt {
    fn from(proposed: Proposed) -> Attempt {
        match proposed {
            Proposed::Applied(outcome) => Attempt::Applied(outcome),
            Proposed::NotLeader => Attempt::Retry("the leader changes".to_string()),
            Proposed::Refused(reason) => Attempt::Refused(reason),
            Proposed::Unknown(reason) => Attempt::Maybe(reason),
        }
    }
}

impl Consensus {
    /// Starts a peer; call it on the runtime that it shall live on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start(parts: Parts) -> Result<Arc<Consensus>, Error> {
        let config = Arc::new(parts.timers.raft_config(parts.log_entries_kept)?);
        let factory = NetworkFactory {
            local: parts.local.0,
            links: Arc::clone(&parts.links),
            snapshots: Arc::clone(&parts.snapshots),
        };
        let comparison = Arc::clone(parts.machine.comparison());
        let raft = Raft::new(parts.local.0, config, factory, parts.log, parts.machine)
            .await
            .map_err(|error| Error::Fatal(error.to_string()))?;
        let (forward, forwarded) = mpsc::channel(forward::QUEUE_MAX);
        let (reads, read_requests) = mpsc::channel(reads::QUEUE_MAX);
        let consensus = Arc::new(Consensus {
            local: parts.local,
            raft,
            replica: parts.replica,
            snapshots: parts.snapshots,
            comparison,
            links: parts.links,
            leadership: watch::Sender::new(Leadership { local: parts.local, leader: None, term: 0 }),
            statuses: Mutex::default(),
            seeds: parts.seeds,
            answerer: OnceLock::new(),
            forward,
            reads,
            room: Semaphore::new(ROOM_UNITS),
            space: parts.space,
            fatal: parts.fatal,
            stop: CancellationToken::new(),
            loops: TaskTracker::new(),
        });
        consensus.spawn(Arc::clone(&consensus).follow_raft());
        consensus.spawn(Arc::clone(&consensus).ask_around());
        consensus.spawn(Arc::clone(&consensus).hand_over_when_refusing());
        consensus.spawn(forward::run(Arc::clone(&consensus), forwarded));
        consensus.spawn(reads::run(Arc::clone(&consensus), read_requests));
        consensus.spawn(super::membership::run(Arc::clone(&consensus)));
        consensus.spawn(super::mend::run(Arc::clone(&consensus)));
        Ok(consensus)
    }

    /// Begins a control plane of this peer alone; nothing where it has begun already.
    ///
    /// # Errors
    /// [`Error::Initialize`].
    pub async fn initialize(&self, addr: &str) -> Result<(), Error> {
        let failed = |error: String| Error::Initialize(error);
        if self.raft.is_initialized().await.map_err(|error| failed(error.to_string()))? {
            return Ok(());
        }
        let members = BTreeMap::from([(self.local.0, PeerAddress { addr: addr.to_string() })]);
        self.raft.initialize(members).await.map_err(|error| failed(error.to_string()))
    }

    /// Raft's members, as known here.
    pub fn member_ids(&self) -> std::collections::BTreeSet<PeerId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().nodes().map(|(id, _)| PeerId(*id)).collect()
    }

    /// Asks Raft for a snapshot; it may put that off.
    pub async fn trigger_snapshot(&self) {
        if let Err(error) = self.raft.trigger().snapshot().await {
            debug!(%error, "no snapshot: Raft is stopping");
        }
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.loops.spawn_on(
            async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = future => {}
                }
            },
            &Handle::current(),
        );
    }

    /// What openraft says of itself, now.
    pub(super) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    /// What other peers last said of themselves.
    pub(super) fn statuses(&self) -> BTreeMap<PeerId, Status> {
        self.statuses.lock().clone()
    }

    /// Why this peer takes no writes, if it does not.
    pub(super) fn refuses(&self) -> Option<String> {
        match *self.space.borrow() {
            Space::Ok => None,
            Space::Low { free_bytes } => Some(format!(
                "the disk of peer {} is nearly full ({} MiB left)",
                self.local,
                free_bytes >> 20
            )),
        }
    }

    /// How this peer is doing.
    pub(super) fn pong(&self) -> Pong {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Pong {
            term: metrics.current_term,
            leader: self.leadership.borrow().leader,
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: self.replica.applied(),
            refuses: self.refuses(),
        }
    }

    /// The connection to another peer, wherever its address is known from.
    pub(super) fn link(&self, peer: PeerId, lane: Lane) -> Option<Link> {
        let member =
            self.raft.metrics().borrow_watched().membership_config.membership().get_node(&peer.0).cloned();
        let addr = member
            .map(|member| member.addr)
            .or_else(|| self.replica.read(|state| state.peer(peer).map(|peer| peer.peer_addr.clone())))
            .or_else(|| self.seeds.get(&peer).cloned())?;
        Some(self.links.get(peer, &addr, lane))
    }

    async fn try_propose(&self, leader: PeerId, payload: &Payload, deadline: Instant) -> Attempt {
        if leader == self.local {
            self.commit(payload.clone()).await.into()
        } else {
            self.forward_to(leader, payload.clone(), deadline).await
        }
    }

    /// Commits a payload, as the leader.
    pub(super) async fn commit(&self, payload: Payload) -> Proposed {
        if let Some(reason) = self.refuses() {
            return Proposed::Refused(reason);
        }
        match self.raft.client_write(payload).await {
            Ok(response) => applied(response.data.0),
            Err(error) => not_written(error),
        }
    }

    async fn forward_to(&self, leader: PeerId, payload: Payload, deadline: Instant) -> Attempt {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let forward = Forward { leader, payload, deadline, answer };
        if self.forward.send(forward).await.is_err() {
            return Attempt::Retry("this peer is stopping".to_string());
        }
        match answered.await {
            Ok(Ok(proposed)) => proposed.into(),
            Ok(Err(error)) if error.is_unsent() => {
                Attempt::Retry(format!("the leader, peer {leader}: {error}"))
            }
            Ok(Err(error)) => Attempt::Maybe(format!("the leader, peer {leader}: {error}")),
            Err(_) => Attempt::Maybe("this peer is stopping".to_string()),
        }
    }

    /// Confirms that this peer leads, and gives the index that a linearizable read must have applied.
    pub(super) async fn read_index_here(&self) -> Option<u64> {
        let confirmed = self.raft.get_read_log_id(openraft::ReadPolicy::ReadIndex).await;
        match confirmed {
            Ok((read, _)) => Some(read.index()),
            Err(error) => {
                debug!(%error, "leadership is not confirmed");
                None
            }
        }
    }

    /// Steps back and stops: leadership goes to another voter first, where there is one.
    pub async fn shutdown(&self, grace: Duration) {
        if self.leadership.borrow().is_local()
            && let Some(to) = self.best_successor()
            && let Err(error) = self.transfer_here(to, Instant::now() + grace.min(HANDOVER_MAX)).await
        {
            info!(%error, "leadership was not handed over before stopping");
        }
        self.stop.cancel();
        self.loops.close();
        self.loops.wait().await;
        if let Err(error) = self.raft.shutdown().await {
            warn!(%error, "Raft did not stop in order");
        }
    }
}

/// The answer of an entry that was applied.
pub(super) fn applied(outcome: Option<Outcome>) -> Proposed {
    match outcome {
        Some(outcome) => Proposed::Applied(outcome),
        None => Proposed::Unknown("the entry had no outcome".to_string()),
    }
}

/// What it means that openraft did not say that a payload was applied.
pub(super) fn not_written(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Proposed {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Proposed::NotLeader,
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
            Proposed::Unknown("the leader changed".to_string())
        }
        RaftError::APIError(error) => Proposed::Refused(error.to_string()),
        RaftError::Fatal(error) => Proposed::Unknown(format!("the leader is stopping: {error}")),
    }
}

#[async_trait::async_trait]
impl Engine for Consensus {
    async fn propose(&self, payload: Payload, deadline: Instant) -> Result<Outcome, EngineError> {
        let bytes = payload.0.len();
        if bytes > PROPOSAL_BYTES_MAX {
            let message =
                format!("the command takes {bytes} bytes; at most {PROPOSAL_BYTES_MAX} are taken at once");
            return Err(EngineError::Refused(message));
        }
        let units = u32::try_from(bytes / BYTES_UNIT + 1).unwrap_or(u32::MAX);
        let Ok(Ok(_room)) = tokio::time::timeout_at(deadline, self.room.acquire_many(units)).await else {
            return Err(EngineError::Unavailable("too much is being written at once".to_string()));
        };

        let mut leadership = self.leadership.subscribe();
        let mut wait = RETRY_MIN;
        let mut maybe: Option<String> = None;
        let mut refused_since: Option<Instant> = None;
        let mut reason = "no leader is known".to_string();
        loop {
            let now = *leadership.borrow_and_update();
            if let Some(leader) = now.leader.or_else(|| self.rumoured_leader()) {
                let attempt = tokio::select! {
                    biased;
                    attempt = self.try_propose(leader, &payload, deadline) => attempt,
                    () = tokio::time::sleep_until(deadline) => Attempt::Maybe("no answer in time".to_string()),
                    // A leader that is gone answers nobody: better to ask the next one, with the same payload.
                    () = replaced(&mut leadership, now) => Attempt::Maybe("the leader changed".to_string()),
                };
                match attempt {
                    Attempt::Applied(outcome) => return Ok(outcome),
                    Attempt::Retry(why) => reason = why,
                    Attempt::Maybe(why) => maybe = Some(why),
                    Attempt::Refused(why) => {
                        let since = *refused_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > REFUSAL_PATIENCE && maybe.is_none() {
                            // The disk may have room again, or another peer lead.
                            return Err(EngineError::Unavailable(why));
                        }
                        reason = why;
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(match maybe {
                    Some(why) => EngineError::Unknown(why),
                    None => EngineError::Unavailable(reason),
                });
            }
            // A change of leadership ends the wait at once.
            let until = deadline.min(Instant::now() + wait);
            if tokio::time::timeout_at(until, leadership.changed()).await.is_ok_and(|r| r.is_err()) {
                return Err(EngineError::Unavailable("this peer is stopping".to_string()));
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn ask(&self, peer: PeerId, question: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, EngineError> {
        if peer == self.local {
            let answerer = self.answerer.get().map(Arc::clone);
            let none = || EngineError::Unavailable("this peer is still starting".to_string());
            let answer = tokio::time::timeout_at(deadline, answerer.ok_or_else(none)?.answer(question)).await;
            return match answer {
                Ok(answer) => answer.map_err(EngineError::Refused),
                Err(_) => Err(EngineError::Unknown("no answer in time".to_string())),
            };
        }
        let link = self.link(peer, Lane::Bulk);
        let link = link.ok_or_else(|| EngineError::Unavailable(format!("peer {peer} can't be reached")))?;
        let answer = link.call(GROUP, &AskPeer { question: Blob(question.into()) }, deadline).await;
        answer
            .map(|answer| answer.0.to_vec())
            .map_err(|error| EngineError::Unavailable(format!("peer {peer}: {error}")))
    }

    fn answer_with(&self, answerer: Arc<dyn Answerer>) {
        let _ = self.answerer.set(answerer);
    }

    async fn read_index(&self, deadline: Instant) -> Result<u64, EngineError> {
        reads::ask(&self.reads, deadline).await
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    async fn members(&self) -> Vec<Member> {
        progress::members(self).await
    }

    fn can_decide(&self) -> bool {
        let metrics = self.raft.metrics();
        let voters: Vec<u64> = metrics.borrow_watched().membership_config.membership().voter_ids().collect();
        let reached = |id: u64| id == self.local.0 || self.is_reached(PeerId(id));
        voters.iter().filter(|id| reached(**id)).count() > voters.len() / 2
    }

    async fn transfer_leader(&self, to: PeerId, deadline: Instant) -> Result<(), EngineError> {
        let mut leadership = self.leadership.subscribe();
        let known = tokio::time::timeout_at(deadline, leadership.wait_for(|now| now.leader.is_some()))
            .await
            .map(|known| known.ok().and_then(|now| now.leader));
        let Ok(Some(leader)) = known else {
            return Err(EngineError::Unavailable("no leader is known".to_string()));
        };
        if leader == to {
            return Ok(());
        }
        if leader == self.local {
            return self.transfer_here(to, deadline).await;
        }
        let Some(link) = self.link(leader, Lane::Control) else {
            return Err(EngineError::Unavailable(format!("where peer {leader} is, is not known")));
        };
        link.call(GROUP, &HandOver { to: to.0 }, deadline).await.map_err(|error| match error {
            CallError::Failed(failure) if failure.code == FailureCode::Refused => {
                EngineError::Refused(failure.message)
            }
            error if error.is_unsent() => EngineError::Unavailable(error.to_string()),
            error => EngineError::Unknown(error.to_string()),
        })
    }
}

/// Returns once another leader than `then` is known.
async fn replaced(leadership: &mut watch::Receiver<Leadership>, then: Leadership) {
    let other = leadership
        .wait_for(|now| now.term > then.term && now.leader.is_some() && now.leader != then.leader)
        .await
        .is_ok();
    if !other {
        std::future::pending::<()>().await;
    }
}
