//! The only door of this package: propose commands, read state, wait for changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::codec;
use crate::command::{Command, Outcome, Proposal, Rejection, Reply};
use crate::consensus::Payload;
use crate::model::{Actor, PeerId, RequestId};
use crate::replica::{Committed, Replica};
use crate::secrets::Keyring;
use crate::series::BlockSource;
use crate::state::State;

/// How long a proposal is tried before the caller is told that no leader could be found.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What agreement offers. Implemented over openraft by [`crate::consensus`], and by a single in-memory peer for
/// tests of other packages ([`crate::solo`]).
#[async_trait::async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Commits a payload and gives its outcome. Followers forward to the leader; elections are waited for until
    /// `deadline`, with the same payload.
    async fn propose(&self, payload: Payload, deadline: Instant) -> Result<Outcome, EngineError>;
    /// An index such that a local read after it is linearizable.
    async fn read_index(&self, deadline: Instant) -> Result<u64, EngineError>;
    /// Who leads, as known here.
    fn leadership(&self) -> watch::Receiver<Leadership>;
    /// Raft's members, as known here; how far each has come as the leader knows it, where it answers soon.
    async fn members(&self) -> Vec<Member>;
    /// Whether a majority of the voters is connected to this peer now; without one nothing can be committed.
    fn can_decide(&self) -> bool {
        true
    }
    /// Hands leadership to a voter.
    async fn transfer_leader(&self, to: PeerId, deadline: Instant) -> Result<(), EngineError>;
    /// Asks a peer, which may be this one, what its [`Answerer`] answers.
    async fn ask(&self, peer: PeerId, _: Vec<u8>, _: Instant) -> Result<Vec<u8>, EngineError> {
        Err(EngineError::Refused(format!("peer {peer} answers no questions")))
    }
    /// Who answers here. The first one stays.
    fn answer_with(&self, _: Arc<dyn Answerer>) {}
}

/// Answers questions of peers that this package only carries: bytes that carry their own version.
#[async_trait::async_trait]
pub trait Answerer: Send + Sync + 'static {
    /// The answer, or why there is none. At most some 12 MiB.
    async fn answer(&self, question: Vec<u8>) -> Result<Vec<u8>, String>;
}

/// Why agreement could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nothing happened; it may be tried again: nobody leads, or who leads has no room on its disk.
    #[error("{0}")]
    Unavailable(String),
    /// It may have happened. The same request may be repeated only under the same request id.
    #[error("it is not known whether this happened: {0}")]
    Unknown(String),
    /// It cannot be done: too large, no such peer.
    #[error("{0}")]
    Refused(String),
}

/// Who leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leadership {
    /// This peer.
    pub local: PeerId,
    /// The leader, where one is known.
    pub leader: Option<PeerId>,
    /// The term.
    pub term: u64,
}

impl Leadership {
    /// Whether this peer leads.
    pub fn is_local(&self) -> bool {
        self.leader == Some(self.local)
    }
}

/// A member of the Raft group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The peer.
    pub peer: PeerId,
    /// Where it is reached by peers.
    pub addr: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it was heard of in the last seconds.
    pub answers: bool,
    /// The last entry known to be in its log; absent where nobody knows.
    pub last_log: Option<u64>,
    /// The last entry it has applied, where known.
    pub applied: Option<u64>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The state refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Agreement could not be had.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A peer, from inside. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    replica: Arc<Replica>,
    engine: Arc<dyn Engine>,
    blocks: Arc<dyn BlockSource>,
    keyring: Arc<Keyring>,
}

impl Handle {
    /// Joins the parts of a peer.
    pub fn new(
        replica: Arc<Replica>,
        engine: Arc<dyn Engine>,
        blocks: Arc<dyn BlockSource>,
        keyring: Arc<Keyring>,
    ) -> Handle {
        Handle { replica, engine, blocks, keyring }
    }

    /// Commits a command, and gives its reply. It is applied once, however often it has to be proposed.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Reply, SubmitError> {
        self.submit_once(RequestId::passing(rand::random()), actor, command).await
    }

    /// Commits a command under a request id: a repetition is answered as the first try was.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit_once(
        &self,
        request: RequestId,
        actor: Actor,
        command: Command,
    ) -> Result<Reply, SubmitError> {
        self.submit_within(PATIENCE, Some(request), actor, command).await
    }

    /// Commits a command, trying for `patience` to find a leader. Without a request id it must be one that may be applied
    /// again without harm: a try whose end is not known is followed by another.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit_within(
        &self,
        patience: Duration,
        request: Option<RequestId>,
        actor: Actor,
        command: Command,
    ) -> Result<Reply, SubmitError> {
        let payload =
            Payload::encode(&Proposal { request, actor, command }).map_err(|error| match error {
                codec::Error::TooLarge { .. } => EngineError::Refused(error.to_string()),
                other => EngineError::Refused(format!("the command cannot be encoded: {other}")),
            })?;
        Ok(self.engine.propose(payload, Instant::now() + patience).await??)
    }

    /// Reads the state as applied here. `look` runs under a lock that holds up apply: copy and return.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.replica.read(look)
    }

    /// Waits until reads here see everything that was acknowledged anywhere before this call.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] where no leader confirms in time or this peer lags too far behind.
    pub async fn linearize(&self) -> Result<u64, EngineError> {
        let deadline = Instant::now() + PATIENCE;
        let index = self.engine.read_index(deadline).await?;
        let patience = deadline.saturating_duration_since(Instant::now());
        if self.replica.wait_applied(index, patience).await {
            Ok(index)
        } else {
            Err(EngineError::Unavailable("this peer lags behind the leader".to_string()))
        }
    }

    /// The index of the last entry applied here.
    pub fn applied(&self) -> u64 {
        self.replica.applied()
    }

    /// See [`Replica::is_storage_behind`].
    pub fn is_storage_behind(&self) -> bool {
        self.replica.is_storage_behind()
    }

    /// What is changed from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.replica.subscribe()
    }

    /// What is changed from now on, where it may change what this peer has to do.
    pub fn subscribe_to_work(&self) -> broadcast::Receiver<Committed> {
        self.replica.subscribe_to_work()
    }

    /// Who leads; changes as elections do.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.engine.leadership()
    }

    /// This peer.
    pub fn local(&self) -> PeerId {
        self.engine.leadership().borrow().local
    }

    /// Raft's members, as known here; how far each has come as the leader knows it. Takes half a second at most.
    pub async fn members(&self) -> Vec<Member> {
        self.engine.members().await
    }

    /// Whether a majority of the voters is connected to this peer now. A connection that broke is made again within
    /// half a second where the other side lives, so believe it only when it lasts.
    pub fn can_decide(&self) -> bool {
        self.engine.can_decide()
    }

    /// Why a peer can't be demoted or removed now, if it can't: too few of the other voters answer.
    pub async fn why_needed(&self, peer: PeerId) -> Option<String> {
        crate::consensus::why_needed(&self.members().await, peer)
    }

    /// Hands leadership to a voter.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn transfer_leader(&self, to: PeerId) -> Result<(), EngineError> {
        self.engine.transfer_leader(to, Instant::now() + PATIENCE).await
    }

    /// Asks a peer, which may be this one, what its [`Answerer`] answers.
    ///
    /// # Errors
    /// [`EngineError`]; it refuses what the peer does not answer.
    pub async fn ask(
        &self,
        peer: PeerId,
        question: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, EngineError> {
        self.engine.ask(peer, question, Instant::now() + patience).await
    }

    /// Has questions of peers answered. Call it once.
    pub fn answer_with(&self, answerer: Arc<dyn Answerer>) {
        self.engine.answer_with(answerer);
    }

    /// Sealed blocks of samples.
    pub fn blocks(&self) -> &Arc<dyn BlockSource> {
        &self.blocks
    }

    /// Seals and opens secrets.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }
}
