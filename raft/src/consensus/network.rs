//! openraft's view of the transport: entries in their own lane, heartbeats and votes in another, snapshots in a
//! third.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::time::Instant;

use super::convert::RaftVote;
use super::transfer::{SnapshotData, SnapshotOf, Snapshots};
use super::types::{PeerAddress, TypeConfig};
use super::wire::{Append, AskPreVote, AskVote, TransferLeader};
use crate::model::PeerId;
use crate::network::client::{CallError, Lane, Link, Pending};
use crate::network::frame::GROUP;
use crate::network::links::Links;
use crate::network::message::FailureCode;

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// How long an answer to entries may take. They are synced to a disk before; a peer that is gone is found
/// sooner, by its connection.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);
/// How many batches of entries may wait for their answers. Each has at most 1 MiB, or one entry.
const PIPELINE_MAX: usize = 16;

/// Makes openraft's clients.
pub(super) struct NetworkFactory {
    pub(super) local: u64,
    pub(super) links: Arc<Links>,
    pub(super) snapshots: Arc<Snapshots>,
}

impl NetworkFactory {
    fn network(&self, target: u64, node: &PeerAddress, appends: Lane) -> Network {
        let link = |lane| self.links.get(PeerId(target), &node.addr, lane);
        Network {
            local: self.local,
            target,
            appends: link(appends),
            control: link(Lane::Control),
            bulk: link(Lane::Bulk),
            snapshots: Arc::clone(&self.snapshots),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &PeerAddress) -> Network {
        self.network(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerAddress) -> Network {
        self.network(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &PeerAddress) -> Network {
        self.network(target, node, Lane::Bulk)
    }
}

/// openraft's client for one peer.
pub(super) struct Network {
    local: u64,
    target: u64,
    appends: Link,
    control: Link,
    bulk: Link,
    snapshots: Arc<Snapshots>,
}

impl Network {
    fn rpc_error(&self, error: CallError, action: RPCTypes, timeout: Duration) -> RPCError<TypeConfig> {
        match error {
            CallError::TimedOut => {
                RPCError::Timeout(Timeout { action, id: self.local, target: self.target, timeout })
            }
            CallError::Lost(_) => RPCError::Network(NetworkError::from_string(error)),
            CallError::Failed(ref failure) if failure.code == FailureCode::Busy => {
                RPCError::Network(NetworkError::from_string(error))
            }
            // openraft waits before it tries an unreachable peer again: right for all that will last.
            CallError::Unreachable(_) | CallError::Failed(_) | CallError::Format(_) => {
                RPCError::Unreachable(Unreachable::from_string(error))
            }
        }
    }

    fn unreadable(&self, error: crate::codec::Error) -> RPCError<TypeConfig> {
        RPCError::Unreachable(Unreachable::from_string(error))
    }
}

/// One stream of appends: what comes, and what waits for its answer, in order.
struct Appends<'s, S> {
    network: &'s Network,
    input: Option<S>,
    pending: VecDeque<(Pending<Append>, Instant)>,
    ended: bool,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Appends<'_, S> {
    /// The next answer. Sends on meanwhile, so that the peer has always something to do.
    async fn next(&mut self) -> Option<Rpc<StreamAppendResult<TypeConfig>>> {
        while !self.ended {
            let may_send = self.input.is_some() && self.pending.len() < PIPELINE_MAX;
            tokio::select! {
                biased;
                answer = first_answer(&mut self.pending), if !self.pending.is_empty() => {
                    self.pending.pop_front();
                    let answer = answer.map(StreamAppendResult::from).map_err(|error| {
                        self.network.rpc_error(error, RPCTypes::AppendEntries, APPEND_PATIENCE)
                    });
                    // What follows a refusal is refused too: openraft begins a new stream.
                    self.ended = !matches!(answer, Ok(Ok(_)));
                    return Some(answer);
                }
                request = next_request(&mut self.input), if may_send => match request {
                    Some(request) => if let Err(error) = self.send(&request).await {
                        self.ended = true;
                        return Some(Err(error));
                    },
                    None => self.input = None,
                },
                else => break,
            }
        }
        None
    }

    async fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> Rpc<()> {
        let append = Append::from_raft(request).map_err(|error| self.network.unreadable(error))?;
        let deadline = Instant::now() + APPEND_PATIENCE;
        let pending = self.network.appends.start(GROUP, &append, deadline).await;
        let pending = pending
            .map_err(|error| self.network.rpc_error(error, RPCTypes::AppendEntries, APPEND_PATIENCE))?;
        self.pending.push_back((pending, deadline));
        Ok(())
    }
}

async fn first_answer(
    pending: &mut VecDeque<(Pending<Append>, Instant)>,
) -> Result<super::wire::Appended, CallError> {
    match pending.front_mut() {
        Some((pending, deadline)) => pending.answer(*deadline).await,
        None => std::future::pending().await,
    }
}

async fn next_request<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    match input {
        Some(input) => input.next().await,
        None => None,
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let append = Append::from_raft(&request).map_err(|error| self.unreadable(error))?;
        let deadline = Instant::now() + option.hard_ttl();
        let appended = self
            .appends
            .call(GROUP, &append, deadline)
            .await
            .map_err(|error| self.rpc_error(error, RPCTypes::AppendEntries, option.hard_ttl()))?;
        Ok(StreamAppendResult::from(appended).into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let appends = Appends { network: self, input: Some(input), pending: VecDeque::new(), ended: false };
        let answers = futures::stream::unfold(appends, |mut appends| async move {
            let answer = appends.next().await?;
            Some((answer, appends))
        });
        async move { Ok(answers.boxed()) }.boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        let deadline = Instant::now() + option.hard_ttl();
        match self.control.call(GROUP, &AskVote::from(request), deadline).await {
            Ok(voted) => Ok(voted.into()),
            Err(error) => Err(self.rpc_error(error, RPCTypes::Vote, option.hard_ttl())),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        let deadline = Instant::now() + option.hard_ttl();
        match self.control.call(GROUP, &AskPreVote(request.into()), deadline).await {
            Ok(voted) => Ok(voted.into()),
            Err(error) => Err(self.rpc_error(error, RPCTypes::Vote, option.hard_ttl())),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: SnapshotOf,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let timeout = option.hard_ttl();
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.snapshots.send(&self.bulk, vote, snapshot, Instant::now() + timeout) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(self.rpc_error(error, RPCTypes::InstallSnapshot, timeout).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let deadline = Instant::now() + option.hard_ttl();
        match self.control.call(GROUP, &TransferLeader::from(request), deadline).await {
            Ok(transferred) => Ok(transferred.into()),
            Err(error) => Err(self.rpc_error(error, RPCTypes::TransferLeader, option.hard_ttl())),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let waits = (0u32..).map(|nth| Duration::from_millis((20u64 << nth.min(5)).min(500)));
        Some(Backoff::new(waits))
    }
}
