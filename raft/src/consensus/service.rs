//! What this peer answers to the others.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::convert::RaftVote;
use super::engine::{Consensus, Raft, applied, not_written};
use super::transfer::{MAKE_PATIENCE, ReceiveError, SnapshotOffer, SnapshotPart, SnapshotRequest, Snapshots};
use super::types::{Payload, TypeConfig};
use super::wire::{
    Append, AskPeer, AskPreVote, AskProgress, AskRows, AskVote, HandOver, Propose, Proposed, ReadIndex,
    TransferLeader, Vote, Voted,
};
use crate::handle::EngineError;
use crate::network::client::Lane;
use crate::network::frame::Kind;
use crate::network::message::{Blob, Failure, FailureCode, Join, Joined, Ping, Pong};
use crate::network::server::{Incoming, Service};

/// Batches of entries handed to openraft before the first of them is answered.
const APPENDS_UNDER_WAY_MAX: usize = 64;
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);
const MAKE_PAUSE: Duration = Duration::from_millis(100);

/// Admits new peers.
pub trait Admission: Send + Sync + 'static {
    /// Decides on a request to join.
    fn admit(self: Arc<Self>, join: Join) -> BoxFuture<'static, Result<Joined, Failure>>;
}

/// The requests of peers, served from the moment the peer port opens: those for Raft once Raft has started.
pub struct PeerService {
    snapshots: Arc<Snapshots>,
    started: OnceLock<Started>,
}

struct Started {
    consensus: Arc<Consensus>,
    admission: Arc<dyn Admission>,
}

impl PeerService {
    /// Serves parts of snapshots, and nothing else yet.
    pub fn new(snapshots: Arc<Snapshots>) -> Arc<PeerService> {
        Arc::new(PeerService { snapshots, started: OnceLock::new() })
    }

    /// Serves everything from now on. Call it once.
    pub fn start(&self, consensus: Arc<Consensus>, admission: Arc<dyn Admission>) {
        let _ = self.started.set(Started { consensus, admission });
    }

    fn consensus(&self) -> Result<&Arc<Consensus>, Failure> {
        let started = self.started.get();
        started
            .map(|started| &started.consensus)
            .ok_or_else(|| Failure::new(FailureCode::Unavailable, "this peer is still starting"))
    }
}

fn stopped(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::Unavailable, format!("this peer is stopping: {error}"))
}

impl Service for PeerService {
    fn serve(self: Arc<Self>, request: Incoming) -> BoxFuture<'static, ()> {
        async move {
            match request.kind {
                Kind::Ping => self.ping(request).await,
                Kind::Vote => self.vote(request).await,
                Kind::PreVote => self.pre_vote(request).await,
                Kind::TransferLeader => self.transfer_leader(request).await,
                Kind::Propose => self.propose(request).await,
                Kind::ReadIndex => self.read_index(request).await,
                Kind::HandOver => self.hand_over(request).await,
                Kind::Progress => self.progress(request).await,
                Kind::Rows => self.rows(request).await,
                Kind::Ask => self.ask(request).await,
                Kind::SnapshotOffer => self.snapshot_offer(request).await,
                Kind::SnapshotPart => self.snapshot_part(request).await,
                Kind::SnapshotRequest => self.snapshot_request(request).await,
                // The server handles these itself.
                Kind::Hello | Kind::Failure | Kind::Append | Kind::Join => {}
            }
        }
        .boxed()
    }

    fn serve_appends(self: Arc<Self>, requests: mpsc::Receiver<Incoming>) -> BoxFuture<'static, ()> {
        async move {
            let mut requests = requests;
            while let Some(first) = requests.recv().await {
                match self.consensus() {
                    Ok(consensus) => append_stream(&consensus.raft, first, &mut requests).await,
                    Err(failure) => first.answer::<Append>(Err(failure)).await,
                }
            }
        }
        .boxed()
    }

    fn join(self: Arc<Self>, join: Join) -> BoxFuture<'static, Result<Joined, Failure>> {
        match self.started.get() {
            Some(started) => Arc::clone(&started.admission).admit(join),
            None => {
                let failure = Failure::new(FailureCode::Unavailable, "this peer is still starting");
                async move { Err(failure) }.boxed()
            }
        }
    }
}

/// Serves appends until one is refused: openraft ends its stream there, and the leader's ends too.
async fn append_stream(raft: &Raft, first: Incoming, requests: &mut mpsc::Receiver<Incoming>) {
    let (feed, mut fed) = mpsc::channel::<AppendEntriesRequest<TypeConfig>>(APPENDS_UNDER_WAY_MAX);
    let input = futures::stream::poll_fn(move |context| fed.poll_recv(context));
    let mut results = raft_results(raft, input);
    let mut under_way: VecDeque<Incoming> = VecDeque::new();
    let mut next = Some(first);
    loop {
        if let Some(mut request) = next.take() {
            match request.read::<Append>().and_then(|append| append.into_raft().map_err(Failure::from)) {
                Ok(append) => {
                    // There is room: no more are under way than it holds.
                    if feed.send(append).await.is_err() {
                        return request.answer::<Append>(Err(stopped("appends end"))).await;
                    }
                    under_way.push_back(request);
                }
                Err(failure) => request.answer::<Append>(Err(failure)).await,
            }
        }
        tokio::select! {
            biased;
            result = results.next(), if !under_way.is_empty() => {
                let Some(request) = under_way.pop_front() else { continue };
                match result {
                    Some(Ok(result)) => {
                        let ended = result.is_err();
                        request.answer::<Append>(Ok(result.into())).await;
                        if ended {
                            break;
                        }
                    }
                    Some(Err(error)) => {
                        request.answer::<Append>(Err(stopped(error))).await;
                        break;
                    }
                    None => {
                        request.answer::<Append>(Err(stopped("appends end"))).await;
                        break;
                    }
                }
            }
            request = requests.recv(), if under_way.len() < APPENDS_UNDER_WAY_MAX => match request {
                Some(request) => next = Some(request),
                None => return,
            },
        }
    }
    for request in under_way {
        let failure = Failure::new(FailureCode::Unavailable, "an earlier batch of entries was refused");
        request.answer::<Append>(Err(failure)).await;
    }
}

type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;

fn raft_results(
    raft: &Raft,
    input: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static,
) -> futures::stream::BoxStream<'static, Result<AppendResult, openraft::errors::Fatal<TypeConfig>>> {
    raft.stream_append(input).boxed()
}

impl PeerService {
    async fn ping(&self, request: Incoming) {
        // Also before Raft has started: the connection lives.
        let pong = self.consensus().map_or_else(|_| Pong::default(), |consensus| consensus.pong());
        request.answer::<Ping>(Ok(pong)).await;
    }

    async fn vote(&self, mut request: Incoming) {
        let answer = async {
            let ask: AskVote = request.read()?;
            let response = self.consensus()?.raft.vote(ask.into()).await.map_err(stopped)?;
            Ok(Voted::from(response))
        };
        let answer = answer.await;
        request.answer::<AskVote>(answer).await;
    }

    async fn pre_vote(&self, mut request: Incoming) {
        let answer = async {
            let ask: AskPreVote = request.read()?;
            let response = self.consensus()?.raft.pre_vote(ask.0.into()).await.map_err(stopped)?;
            Ok(Voted::from(response))
        };
        let answer = answer.await;
        request.answer::<AskPreVote>(answer).await;
    }

    async fn transfer_leader(&self, mut request: Incoming) {
        let answer = async {
            let transfer: TransferLeader = request.read()?;
            let raft = &self.consensus()?.raft;
            Ok(raft.handle_transfer_leader(transfer.into()).await.map_err(stopped)?.into())
        };
        let answer = answer.await;
        request.answer::<TransferLeader>(answer).await;
    }

    async fn propose(&self, mut request: Incoming) {
        let answer = async {
            let propose: Propose = request.read()?;
            Ok(commit_all(self.consensus()?, propose).await)
        };
        let answer = answer.await;
        request.answer::<Propose>(answer).await;
    }

    async fn read_index(&self, request: Incoming) {
        let answer = async {
            let index = self.consensus()?.read_index_here().await;
            index.ok_or_else(|| Failure::new(FailureCode::Unavailable, "this peer does not lead"))
        };
        let answer = answer.await;
        request.answer::<ReadIndex>(answer).await;
    }

    async fn hand_over(&self, mut request: Incoming) {
        let answer = async {
            let hand_over: HandOver = request.read()?;
            let deadline = Instant::now() + HAND_OVER_PATIENCE;
            let to = crate::model::PeerId(hand_over.to);
            let done = self.consensus()?.transfer_as_leader(to, deadline).await;
            done.map_err(|error| match error {
                EngineError::Refused(why) => Failure::new(FailureCode::Refused, why),
                EngineError::Unavailable(why) => Failure::new(FailureCode::Unavailable, why),
                EngineError::Unknown(why) => Failure::new(FailureCode::Unknown, why),
            })
        };
        let answer = answer.await;
        request.answer::<HandOver>(answer).await;
    }

    async fn progress(&self, request: Incoming) {
        let answer = self.consensus().and_then(|consensus| {
            let progress = consensus.progress_as_leader();
            progress.ok_or_else(|| Failure::new(FailureCode::Unavailable, "this peer does not lead"))
        });
        request.answer::<AskProgress>(answer).await;
    }

    async fn rows(&self, mut request: Incoming) {
        let answer = async {
            let ask: AskRows = request.read()?;
            self.consensus()?.answer_rows(&ask)
        };
        let answer = answer.await;
        request.answer::<AskRows>(answer).await;
    }

    async fn ask(&self, mut request: Incoming) {
        let answer = async {
            let ask: AskPeer = request.read()?;
            let answerer = self.consensus()?.answerer.get();
            let none = || Failure::new(FailureCode::Unavailable, "this peer is still starting");
            let answer = Arc::clone(answerer.ok_or_else(none)?).answer(ask.question.0.to_vec()).await;
            answer.map(|bytes| Blob(bytes.into())).map_err(|why| Failure::new(FailureCode::Refused, why))
        };
        let answer = answer.await;
        request.answer::<AskPeer>(answer).await;
    }

    async fn snapshot_offer(&self, mut request: Incoming) {
        let answer = async {
            let offer: SnapshotOffer = request.read()?;
            take_snapshot(self.consensus()?, request.from, offer).await
        };
        let answer = answer.await;
        request.answer::<SnapshotOffer>(answer).await;
    }

    async fn snapshot_part(&self, mut request: Incoming) {
        let answer = async {
            let part: SnapshotPart = request.read()?;
            self.snapshots.part(part).await
        };
        let answer = answer.await;
        request.answer::<SnapshotPart>(answer).await;
    }

    async fn snapshot_request(&self, mut request: Incoming) {
        let answer = async {
            let wanted: SnapshotRequest = request.read()?;
            manifest_with(self.consensus()?, wanted.index).await
        };
        let answer = answer.await;
        request.answer::<SnapshotRequest>(answer).await;
    }
}

/// Commits forwarded payloads together.
async fn commit_all(consensus: &Consensus, propose: Propose) -> Vec<Proposed> {
    let count = propose.payloads.len();
    let all = |proposed: Proposed| vec![proposed; count];
    if let Some(reason) = consensus.refuses() {
        return all(Proposed::Refused(reason));
    }
    let payloads = propose.payloads.into_iter().map(|payload| Payload(payload.0));
    let mut results = match consensus.raft.client_write_many(payloads).await {
        Ok(results) => results,
        Err(error) => return all(Proposed::Unknown(format!("the leader is stopping: {error}"))),
    };
    let mut proposed = Vec::with_capacity(count);
    while let Some(result) = results.next().await {
        proposed.push(match result {
            Ok(Ok(written)) => applied(written.response.0),
            Ok(Err(error)) => not_written(openraft::errors::RaftError::APIError(error)),
            Err(error) => Proposed::Unknown(format!("the leader is stopping: {error}")),
        });
    }
    proposed
}

/// The manifest of a snapshot for a peer that has lost its state; made now if there is none that will do.
async fn manifest_with(consensus: &Consensus, index: u64) -> Result<Blob, Failure> {
    let deadline = Instant::now() + MAKE_PATIENCE;
    while Instant::now() < deadline {
        if let Some(manifest) = consensus.snapshots.manifest_with(index) {
            return Ok(manifest?);
        }
        if consensus.replica.applied() < index {
            break;
        }
        // Raft puts it off while another one, or a checkpoint, is being made.
        consensus.raft.trigger().snapshot().await.map_err(stopped)?;
        tokio::time::sleep(MAKE_PAUSE).await;
    }
    Err(Failure::new(FailureCode::Unavailable, format!("there is no snapshot with entry {index} yet")))
}

async fn take_snapshot(
    consensus: &Consensus,
    from: crate::model::PeerId,
    offer: SnapshotOffer,
) -> Result<Vote, Failure> {
    let vote = RaftVote::from(offer.vote);
    let own = consensus.metrics().vote;
    if own > vote {
        return Ok(own.into());
    }
    let link = consensus.link(from, Lane::Bulk).ok_or_else(|| {
        Failure::new(FailureCode::Unavailable, "where the offering peer is, is not known here")
    })?;
    let snapshot = consensus.snapshots.receive(&link, &offer.manifest.0).await.map_err(|error| {
        warn!(%from, error = &error as &dyn std::error::Error, "a snapshot was not received");
        let code = match error {
            ReceiveError::Format(_) => FailureCode::NotUnderstood,
            ReceiveError::Call(_) | ReceiveError::Store(_) => FailureCode::Unavailable,
        };
        Failure::new(code, error.to_string())
    })?;
    let snapshot = super::snapshot_of(snapshot)?;
    let installed = consensus.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
    Ok(installed.vote.into())
}
