//! openraft's view of the state: entries in, outcomes out, checkpoints and snapshots beside.
//!
//! The state lives in memory, in the [`Replica`]. What is durable is its last checkpoint: after a start the entries
//! behind it are applied again from the log. Nothing here decides anything: entries are decoded, applied in order,
//! and answered.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::compare::{Comparer, Comparison, Digest};
use super::convert::{self, LogId, RaftMembership, SnapshotMeta};
use super::runtime::aside;
use super::types::{Answer, LogPosition, PeerAddress, TypeConfig};
use super::upkeep::{Since, UpkeepConfig};
use crate::command::{Command, Outcome, Proposal};
use crate::replica::Replica;
use crate::series;
use crate::state::{LoadError, State};
use crate::store::{
    Applied, BlockInfos, Changes, Error, Log, MembershipRecord, RowSource, SnapshotHandle, Store,
    StoredMembership,
};

/// Entries and bytes that are applied under one lock.
const BATCH_ENTRIES_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What an entry counts for besides its content.
const ENTRY_BYTES: usize = 64;
const COUNT_BYTES_MAX: usize = 1 << 20;
/// More than this is applied beside the thread that heartbeats go through.
const QUICK_ENTRIES_MAX: usize = 64;
const QUICK_BYTES_MAX: usize = 64 << 10;

/// A snapshot in openraft's form.
pub(super) type Snapshot = openraft::Snapshot<convert::Term, u64, PeerAddress, SnapshotHandle>;

/// The state machine as openraft uses it.
pub struct Machine {
    core: Arc<Core>,
}

/// What apply, checkpoints and snapshots share.
pub(super) struct Core {
    pub(super) store: Store,
    pub(super) replica: Arc<Replica>,
    pub(super) config: UpkeepConfig,
    /// Held while entries are applied and while what they changed is taken: a checkpoint is of one position.
    progress: Mutex<Progress>,
    /// One checkpoint, snapshot or installation at a time. Between taking changes and their end nothing else may.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Something may be due.
    pub(super) wake: Notify,
    /// What was applied was taken, to be stored.
    taken: Notify,
    comparer: Comparer,
}

#[derive(Default)]
struct Progress {
    applied: Applied,
    since_checkpoint: Since,
    since_snapshot: Since,
}

/// Makes the snapshot that was begun when it was asked for.
pub struct SnapshotBuilder {
    core: Arc<Core>,
    begun: Option<Result<crate::store::PendingSnapshot, Error>>,
    gate: Option<tokio::sync::OwnedMutexGuard<()>>,
}

/// An entry, decoded.
struct Decoded {
    position: LogPosition,
    bytes: usize,
    content: Content,
    responder: Option<ApplyResponder<TypeConfig>>,
}

enum Content {
    Blank,
    Membership(MembershipRecord),
    Proposal(Box<Proposal>),
}

impl Machine {
    /// Reads the last checkpoint.
    ///
    /// # Errors
    /// [`Error`]; the peer cannot start.
    pub async fn open(store: Store, config: UpkeepConfig) -> Result<Machine, Error> {
        let (state, applied) = store
            .load(|rows, blocks, applied| Ok((read_state(rows, blocks, applied)?, applied.clone())))
            .await?;
        let replica = Replica::new(state, applied.position.map_or(0, |position| position.index));
        let comparer = Comparer::start(replica.with_state_mut(State::undigested), store.is_in_place())?;
        let progress = Progress { applied, ..Progress::default() };
        Ok(Machine {
            core: Arc::new(Core {
                store,
                replica,
                config,
                progress: Mutex::new(progress),
                gate: Arc::default(),
                wake: Notify::new(),
                taken: Notify::new(),
                comparer,
            }),
        })
    }

    /// Counts what the log holds behind the last snapshot towards the next one, as if this peer had never stopped. What
    /// is behind the checkpoint is counted when it is applied again.
    ///
    /// # Errors
    /// [`Error::Io`]; fatal.
    pub async fn count_log(&self, wal: Arc<dyn Log>) -> Result<(), Error> {
        let from = self.core.store.current_snapshot().map_or(0, |snapshot| snapshot.manifest().id());
        let to = self.core.progress.lock().applied.next_index();
        let counted = self.core.store.blocking(move || {
            let (mut next, mut since) = (from.max(wal.state().first_index()), Since::default());
            while next < to {
                let records = wal.read(next, to, COUNT_BYTES_MAX)?;
                let Some((last, _)) = records.last() else { break };
                next = last.index + 1;
                records.iter().for_each(|(_, record)| since.add(record.proposed_bytes() + ENTRY_BYTES));
            }
            Ok(since)
        });
        let counted = counted.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let since = counted.map_err(|error| Error::io("counting the log", error))?;
        self.core.progress.lock().since_snapshot = since;
        Ok(())
    }

    /// The state, for everybody else.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.core.replica
    }

    /// Where it is stored.
    pub fn store(&self) -> &Store {
        &self.core.store
    }

    /// Whether the state is the leader's.
    pub fn comparison(&self) -> &Arc<Comparison> {
        self.core.comparer.comparison()
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Installs a snapshot before Raft has started, where [`crate::store::Opened::NeedsSnapshot`] said so.
    ///
    /// # Errors
    /// [`Error`]; fatal.
    pub async fn install(&mut self, handle: SnapshotHandle) -> Result<(), Error> {
        self.core.install(handle).await
    }
}

/// A snapshot as openraft hands it to [`RaftStateMachine::install_snapshot`].
///
/// # Errors
/// [`crate::codec::Error`] where its membership cannot be.
pub fn snapshot_of(handle: SnapshotHandle) -> Result<Snapshot, crate::codec::Error> {
    Ok(Snapshot { meta: convert::snapshot_meta_from(&handle.manifest().applied)?, snapshot: handle })
}

/// Makes a state of what is stored.
pub(crate) fn read_state(
    rows: RowSource<'_>,
    blocks: BlockInfos<'_>,
    applied: &Applied,
) -> Result<State, Error> {
    // What ends the rows or the blocks early is the error, whatever the state says of the rest.
    let mut failed = None;
    let mut failed_block = None;
    let rows = std::iter::from_fn(|| rows.next()?.map_err(|error| failed = Some(error)).ok());
    let metas = std::iter::from_fn(|| {
        let meta = blocks.next()?.and_then(|info| info.meta());
        meta.map_err(|error| failed_block = Some(error)).ok()
    });
    let state = State::load(rows, metas, applied.position.map_or(0, |position| position.index));
    if let Some(error) = failed.or(failed_block) {
        return Err(error);
    }
    state.map_err(|error| match error {
        LoadError::Row(error) => error.into(),
        LoadError::Series(error @ series::Error::Version { .. }) => Error::Refused(error.to_string()),
        LoadError::Series(error) => Error::corrupt("the stored samples", error.to_string()),
    })
}

fn decode(entry: convert::Entry, responder: Option<ApplyResponder<TypeConfig>>) -> Result<Decoded, Error> {
    let position = LogPosition::from(entry.log_id);
    let (bytes, content) = match entry.payload {
        EntryPayload::Blank => (0, Content::Blank),
        EntryPayload::Membership(membership) => (0, Content::Membership((&membership).into())),
        EntryPayload::Normal(payload) => match payload.decode() {
            Ok(proposal) => (payload.0.len(), Content::Proposal(Box::new(proposal))),
            Err(error) => {
                return Err(Error::Refused(format!("entry {} cannot be applied: {error}", position.index)));
            }
        },
    };
    Ok(Decoded { position, bytes: bytes + ENTRY_BYTES, content, responder })
}

/// Entries that are applied together, and who waits for them.
#[derive(Default)]
struct Run {
    proposals: Vec<(u64, Proposal)>,
    /// In the order of the log; whether it is a proposal.
    waiting: Vec<(Option<ApplyResponder<TypeConfig>>, bool)>,
}

type Replies = Vec<(ApplyResponder<TypeConfig>, Answer)>;

impl Core {
    /// Applies entries in order and answers each: a client waits for every kind.
    fn apply(&self, batch: Vec<Decoded>) {
        let bytes: usize = batch.iter().map(|entry| entry.bytes).sum();
        let is_quick = batch.len() <= QUICK_ENTRIES_MAX
            && bytes <= QUICK_BYTES_MAX
            && !batch.iter().any(|entry| self.config.is_digest_due(entry.position.index))
            && !self.progress.is_locked()
            && !self.replica.is_in_use();
        if is_quick { self.apply_now(batch) } else { aside(|| self.apply_now(batch)) }
    }

    fn apply_now(&self, batch: Vec<Decoded>) {
        let mut replies = Replies::new();
        {
            let mut progress = self.progress.lock();
            let mut run = Run::default();
            for Decoded { position, bytes, content, responder } in batch {
                let mut is_proposal = false;
                match content {
                    Content::Blank => {}
                    Content::Membership(membership) => {
                        progress.applied.membership =
                            StoredMembership { position: Some(position), membership };
                    }
                    Content::Proposal(proposal) => {
                        if let Command::VerifyDigest { index, digest } = &proposal.command {
                            self.comparer.verify(Digest { index: *index, digest: *digest });
                        }
                        is_proposal = true;
                        run.proposals.push((position.index, *proposal));
                    }
                }
                run.waiting.push((responder, is_proposal));
                progress.applied.position = Some(position);
                progress.since_checkpoint.add(bytes);
                progress.since_snapshot.add(bytes);
                if self.config.is_digest_due(position.index) {
                    self.apply_run(&mut run, position.index, &mut replies);
                    let changed = self.replica.with_state_mut(State::undigested);
                    self.comparer.digest(position.index, changed);
                }
            }
            let last = progress.applied.position.map_or(0, |position| position.index);
            self.apply_run(&mut run, last, &mut replies);
            self.replica.set_storage_behind(self.config.is_storage_behind(&progress.since_checkpoint));
            if self.config.is_checkpoint_due_by_size(&progress.since_checkpoint) {
                self.wake.notify_one();
            }
        }
        for (responder, answer) in replies {
            responder.send(answer);
        }
    }

    fn apply_run(&self, run: &mut Run, last: u64, replies: &mut Replies) {
        let mut outcomes = self.replica.apply(&run.proposals).into_iter();
        if run.proposals.last().is_none_or(|(index, _)| *index != last) {
            self.replica.advance(last);
        }
        run.proposals.clear();
        for (responder, is_proposal) in run.waiting.drain(..) {
            let outcome: Option<Outcome> = if is_proposal { outcomes.next() } else { None };
            if let Some(responder) = responder {
                replies.push((responder, Answer(outcome)));
            }
        }
    }

    /// Takes what changed since the last time, with the position it leads to.
    fn take_changes(&self) -> Changes {
        let mut progress = self.progress.lock();
        let log_bytes = std::mem::take(&mut progress.since_checkpoint).bytes;
        self.replica.set_storage_behind(false);
        self.taken.notify_one();
        let drain = self.replica.with_state_mut(State::drain);
        Changes { drain, applied: progress.applied.clone(), log_bytes }
    }

    /// Waits while more was applied than a checkpoint should hold. What is not stored yet is in memory, and is written all at once:
    /// where the storage is slower than the log, the log waits on the disk, where it is safe already.
    async fn wait_for_storage(&self) -> io::Result<()> {
        while self.config.must_wait_for_storage(&self.progress.lock().since_checkpoint) {
            self.wake.notify_one();
            tokio::select! {
                () = self.taken.notified() => {}
                reason = self.store.fatal().failed() => return Err(io::Error::other(reason.to_string())),
            }
        }
        Ok(())
    }

    /// What was applied since the last checkpoint and since the last snapshot.
    pub(super) fn since(&self) -> (Since, Since) {
        let progress = self.progress.lock();
        (progress.since_checkpoint, progress.since_snapshot)
    }

    /// Writes a checkpoint of what is applied now, if anything was since the last.
    pub(super) async fn checkpoint(&self) -> Result<(), Error> {
        let _gate = self.gate.lock().await;
        if self.progress.lock().since_checkpoint.entries == 0 {
            return Ok(());
        }
        self.store.checkpoint(|| self.take_changes()).await?;
        self.note_checkpoint();
        Ok(())
    }

    /// Blocks sealed up to the checkpoint may now be merged.
    fn note_checkpoint(&self) {
        let next_index = *self.store.checkpointed().borrow();
        if let Some(index) = next_index.checked_sub(1) {
            self.replica.with_state_mut(|state| state.series_mut().checkpointed(index));
        }
    }

    async fn install(&self, handle: SnapshotHandle) -> Result<(), Error> {
        let _gate = self.gate.lock().await;
        let applied = handle.manifest().applied.clone();
        let state = self.store.install(handle, read_state).await?;
        let mut progress = self.progress.lock();
        self.replica.install(state, applied.position.map_or(0, |position| position.index));
        self.comparer.begin(self.replica.with_state_mut(State::undigested));
        *progress = Progress { applied, ..Progress::default() };
        Ok(())
    }

    fn fail(&self, error: Error) -> io::Error {
        self.store.fatal().report(error.chain());
        error.into()
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = SnapshotBuilder;

    // Asked at a start only, when what is applied is what the checkpoint holds, and again once Raft has applied what
    // the log holds behind it.
    async fn applied_state(&mut self) -> Result<(Option<LogId>, RaftMembership), io::Error> {
        let applied = self.core.progress.lock().applied.clone();
        let membership = convert::stored_membership_from(&applied.membership).map_err(Error::from)?;
        Ok((applied.position.map(LogId::from), membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            // Outside the lock: decoding is most of the work.
            let decoded = decode(entry, responder).map_err(|error| self.core.fail(error))?;
            bytes += decoded.bytes;
            batch.push(decoded);
            if batch.len() >= BATCH_ENTRIES_MAX || bytes >= BATCH_BYTES_MAX {
                bytes = 0;
                self.core.wait_for_storage().await?;
                self.core.apply(std::mem::take(&mut batch));
            }
        }
        if !batch.is_empty() {
            self.core.wait_for_storage().await?;
            self.core.apply(batch);
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let gate = match Arc::clone(&self.core.gate).try_lock_owned() {
            Ok(gate) => gate,
            // A checkpoint is being written. Entries wait behind this call, so only who must have it waits.
            Err(_) if force => Arc::clone(&self.core.gate).lock_owned().await,
            Err(_) => return None,
        };
        Some(self.core.begin_snapshot(gate).await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let gate = Arc::clone(&self.core.gate).lock_owned().await;
        self.core.begin_snapshot(gate).await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotHandle,
    ) -> Result<(), io::Error> {
        if Applied::from(meta) != snapshot.manifest().applied {
            let error = Error::corrupt("a snapshot", "its manifest is of another position than Raft says");
            return Err(self.core.fail(error));
        }
        Ok(self.core.install(snapshot).await?)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        match self.core.store.current_snapshot() {
            Some(handle) => Ok(Some(snapshot_of(handle).map_err(Error::from)?)),
            None => Ok(None),
        }
    }
}

impl Core {
    /// Takes what is applied now, as the snapshot's view: what is applied later does not change it.
    async fn begin_snapshot(self: &Arc<Self>, gate: tokio::sync::OwnedMutexGuard<()>) -> SnapshotBuilder {
        let begun = self
            .store
            .begin_snapshot(|| {
                let changes = self.take_changes();
                self.progress.lock().since_snapshot = Since::default();
                changes
            })
            .await;
        SnapshotBuilder { core: Arc::clone(self), begun: Some(begun), gate: Some(gate) }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let begun = self.begun.take().unwrap_or(Err(Error::Closed));
        let handle = match begun {
            Ok(pending) => pending.wait().await,
            Err(error) => Err(error),
        };
        self.gate = None;
        let handle = handle.map_err(|error| self.core.fail(error))?;
        self.core.note_checkpoint();
        Ok(snapshot_of(handle).map_err(Error::from)?)
    }
}
