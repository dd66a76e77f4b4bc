//! The state machine: what the log's entries make of one another.
//!
//! [`State::apply`] is a pure function of the state and the entry. It reads no clock, no random source and no
//! unordered map; time enters with [`Command::Tick`] and with samples. A bad command is a [`Rejection`], the
//! same on every peer. Decisions are made here: triggers, who collects a node, who executes a task.
//!
//! One file per area: `config` (objects), `files` (their versions), `samples` (samples and checks), `triggers`, `runs` and `tasks`,
//! `sessions` (who is alive, who does what), `peers` (who belongs), `clock` (what passes with time), `events`.

mod clock;
mod config;
mod digest;
mod dispatch;
mod events;
mod files;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
pub(crate) mod golden;
mod keys;
mod notice;
mod peers;
mod runs;
mod samples;
mod sessions;
mod settings;
mod table;
mod tasks;
mod trigger_keys;
mod triggers;
mod validate;

#[cfg(test)]
mod apply_test;
#[cfg(test)]
mod config_test;
#[cfg(test)]
mod jvms_test;
#[cfg(test)]
mod runs_test;
#[cfg(test)]
mod sessions_test;
#[cfg(test)]
mod tasks_test;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod testing;
#[cfg(test)]
mod triggers_test;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use config::{After, Before, Preview};
pub use digest::{StateDigest, Undigested, digests_differ};
pub use notice::Notice;
pub use table::Table;
use table::{Marks, Purpose, Rows};

use crate::codec;
use crate::command::{Command, Outcome, Proposal, Rejection, RejectionKind, Reply};
use crate::model::{
    Actor, Assignment, Bell, CheckStatus, Clock, Elapsed, Event, EventId, JoinToken, Kind, Name, Object,
    OutputChunk, Peer, PeerId, RequestId, Run, RunId, Session, Settings, Subject, Task, TaskId, Timestamp,
    Tracked, Watched,
};
use crate::planted::{Bug, is_planted};
use crate::series::{self, BlockMeta, Drain, MakeValue, RowChange, SeriesStore};

/// How long a peer's session lives without renewal.
pub const SESSION_TTL: std::time::Duration = std::time::Duration::from_secs(2);
/// How many outcomes of named requests are remembered, and for how long.
const REQUESTS_KEPT_MAX: usize = 50_000;
const REQUESTS_KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// The same for what is tried again within seconds or not at all. There is much of it, and as the first to expire it is
/// also the first to go when the bound is reached.
const PASSING_REQUESTS_KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(300);
/// How many finished runs are kept.
const FINISHED_RUNS_KEPT_MAX: usize = 10_000;

/// Everything the control plane knows. See the module for what may change it.
pub struct State {
    globals: Globals,
    globals_changed: Marks,
    objects: Table<(Kind, Name), Object>,
    file_versions: Table<(Name, u64), FileVersion>,
    host_keys: Table<Name, Vec<String>>,
    checks: Table<(Name, Name), CheckStatus>,
    peers: Table<PeerId, Peer>,
    join_tokens: Table<[u8; 32], JoinToken>,
    sessions: Table<PeerId, Session>,
    assignments: Table<Name, Assignment>,
    runs: Table<RunId, Run>,
    tasks: Table<TaskId, Task>,
    outputs: Table<(TaskId, u64), OutputChunk>,
    events: Table<EventId, Event>,
    requests: Table<RequestId, Remembered>,
    watched: Table<Name, Watched>,
    tracked: Table<(Name, Subject), Tracked>,
    bells: Table<(Name, Option<Name>), Bell>,
    series: SeriesStore,

    indexes: Indexes,
    watching: triggers::Watching,
    notices: BTreeSet<Notice>,
}

/// Counters and the clock: one row.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Globals {
    clock: Clock,
    /// The term of the last tick.
    tick_term: u64,
    next_peer: u64,
    next_session: u64,
    next_assignment: u64,
    next_run: u64,
    next_task: u64,
    next_event: u64,
    /// The last tick at which old samples were let go.
    expired_at: Elapsed,
    /// Since when, by the wall clock, the control plane runs without a pause.
    resumed: Timestamp,
    settings: Settings,
    /// Serial numbers of certificates that are refused.
    revoked: BTreeSet<Vec<u8>>,
}

/// A checkpoint that is not one.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A row of the state.
    #[error(transparent)]
    Row(#[from] codec::Error),
    /// A row of the series store.
    #[error("samples cannot be restored")]
    Series(#[from] series::Error),
}

/// An older content of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileVersion {
    /// When it was put, on the replicated wall clock.
    pub at: Timestamp,
    /// The content.
    #[serde(with = "codec::bytes")]
    pub content: std::sync::Arc<[u8]>,
}

/// The outcome of a named request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Remembered {
    expires: Elapsed,
    outcome: Outcome,
}

/// Derived from the tables, rebuilt at load, never stored.
#[derive(Default)]
struct Indexes {
    /// Nodes by cluster.
    nodes: BTreeMap<Name, BTreeSet<Name>>,
    /// Tokens by hash.
    tokens: BTreeMap<[u8; 32], Name>,
    /// Triggers by the counter they read.
    triggers: BTreeMap<Name, BTreeSet<Name>>,
    /// Tasks that have not ended.
    open_tasks: BTreeSet<TaskId>,
    /// Tasks that a peer may take now, in the order they came.
    ready_tasks: BTreeSet<TaskId>,
    /// Tasks that wait for a peer with Java to have room.
    java_tasks: BTreeSet<TaskId>,
    /// Tasks that wait for another task of their node to end.
    blocked_tasks: BTreeMap<Name, BTreeSet<TaskId>>,
    /// Tasks that wait for their back-off to pass.
    waiting_tasks: BTreeSet<(Elapsed, TaskId)>,
    /// Tasks that a peer has, by when the control plane ends them itself.
    deadlines: BTreeSet<(Elapsed, TaskId)>,
    /// How many tasks each peer has.
    tasks_by_peer: BTreeMap<PeerId, u32>,
    /// How many tasks act on each node.
    tasks_by_node: BTreeMap<Name, u32>,
    /// Runs that have ended, in the order they ended.
    finished_runs: BTreeSet<(Timestamp, RunId)>,
    /// Bytes of output kept, over all tasks.
    output_bytes: u64,
    /// Runs that have not ended.
    open_runs: BTreeSet<RunId>,
    /// Named requests by when they are forgotten.
    request_expiry: BTreeSet<(Elapsed, RequestId)>,
}

/// Prefix bytes of the tables' rows. They are the format: never reuse one. The series store has `d`, `h`, `i`.
mod prefix {
    pub(super) const GLOBALS: u8 = b'g';
    pub(super) const OBJECTS: u8 = b'O';
    pub(super) const FILE_VERSIONS: u8 = b'F';
    pub(super) const HOST_KEYS: u8 = b'K';
    pub(super) const CHECKS: u8 = b'C';
    pub(super) const PEERS: u8 = b'P';
    pub(super) const JOIN_TOKENS: u8 = b'J';
    pub(super) const SESSIONS: u8 = b'S';
    pub(super) const ASSIGNMENTS: u8 = b'A';
    pub(super) const RUNS: u8 = b'R';
    pub(super) const TASKS: u8 = b'T';
    pub(super) const OUTPUTS: u8 = b'U';
    pub(super) const EVENTS: u8 = b'E';
    pub(super) const REQUESTS: u8 = b'Q';
    pub(super) const WATCHED: u8 = b'G';
    pub(super) const TRACKED: u8 = b'V';
    pub(super) const BELLS: u8 = b'B';
}

impl Default for State {
    fn default() -> Self {
        State::new()
    }
}

impl State {
    /// The state before the first entry.
    pub fn new() -> State {
        State {
            globals: Globals::default(),
            globals_changed: Marks::ALL,
            objects: Table::new(prefix::OBJECTS),
            file_versions: Table::new(prefix::FILE_VERSIONS),
            host_keys: Table::new(prefix::HOST_KEYS),
            checks: Table::new(prefix::CHECKS),
            peers: Table::new(prefix::PEERS),
            join_tokens: Table::new(prefix::JOIN_TOKENS),
            sessions: Table::new(prefix::SESSIONS),
            assignments: Table::new(prefix::ASSIGNMENTS),
            runs: Table::new(prefix::RUNS),
            tasks: Table::new(prefix::TASKS),
            outputs: Table::new(prefix::OUTPUTS),
            events: Table::new(prefix::EVENTS),
            requests: Table::new(prefix::REQUESTS),
            watched: Table::new(prefix::WATCHED),
            tracked: Table::new(prefix::TRACKED),
            bells: Table::new(prefix::BELLS),
            series: SeriesStore::new(),
            indexes: Indexes::default(),
            watching: triggers::Watching::default(),
            notices: BTreeSet::new(),
        }
    }

    /// Applies the entry at `index`. Pure: the same state and the same entry give the same state and outcome.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Outcome {
        if let Some(request) = proposal.request
            && let Some(remembered) = self.requests.get(&request)
            && !is_planted(Bug::NotDeduplicated)
        {
            return remembered.outcome.clone();
        }
        let outcome = self.apply_command(index, proposal);
        if let Some(request) = proposal.request {
            let kept_for = match proposal.actor {
                Actor::Peer(_) => PASSING_REQUESTS_KEPT_FOR,
                _ if request.is_passing() => PASSING_REQUESTS_KEPT_FOR,
                _ => REQUESTS_KEPT_FOR,
            };
            self.remember(request, kept_for, outcome.clone());
        }
        outcome
    }

    fn apply_command(&mut self, index: u64, proposal: &Proposal) -> Outcome {
        let actor = &proposal.actor;
        match &proposal.command {
            Command::Tick { term, first, delta_ms, wall } => {
                self.tick(index, *term, *first, *delta_ms, *wall)
            }
            Command::Configure(changes) => self.configure(index, actor, changes),
            Command::Samples(batch) => self.take_samples(index, batch),
            Command::Checks(batch) => self.take_checks(batch),
            Command::OpenSession { peer, boot, capabilities, api_url } => {
                self.open_session(*peer, *boot, capabilities, api_url)
            }
            Command::RenewSession { peer, epoch } => self.renew_session(*peer, *epoch),
            Command::CloseSession { peer, epoch, draining } => self.close_session(*peer, *epoch, *draining),
            Command::StartRun(start) => self.start_run(actor, start),
            Command::ExecuteTrigger { trigger, node } => self.execute_trigger(actor, trigger, node.as_ref()),
            Command::CancelRun(run) => self.cancel_run(*run),
            Command::CancelTask(task) => self.cancel_task(*task),
            Command::RetryRun(run) => self.retry_run(actor, *run),
            Command::TaskReports(reports) => self.take_reports(reports),
            Command::RecordHostKey { node, key } => self.record_host_key(node, key),
            Command::SetHostKeys { node, keys } => self.set_host_keys(actor, node, keys),
            Command::CreateJoinToken { hash, ttl_ms, role } => self.create_join_token(*hash, *ttl_ms, *role),
            Command::AdmitPeer { token, name, peer_addr, api_url } => {
                self.admit_peer(token.as_ref(), name, peer_addr, api_url)
            }
            Command::RecordCertificate { peer, serial } => self.record_certificate(*peer, serial),
            Command::SetPeerRole { peer, role } => self.set_peer_role(actor, *peer, *role),
            Command::RemovePeer(peer) => self.remove_peer(actor, *peer),
            Command::MovePeer { peer, peer_addr } => self.move_peer(*peer, peer_addr),
            Command::PutFiles(puts) => self.put_files(index, actor, puts),
            Command::ChangeSettings(settings) => self.change_settings(actor, settings),
            // The machine that applies compares; state does not change.
            Command::VerifyDigest { .. } => Ok(Reply::Done),
        }
    }

    fn remember(&mut self, request: RequestId, kept_for: std::time::Duration, outcome: Outcome) {
        while self.requests.len() >= REQUESTS_KEPT_MAX {
            let Some((_, oldest)) = self.indexes.request_expiry.pop_first() else { break };
            self.requests.remove(&oldest);
        }
        let expires = self.globals.clock.elapsed + kept_for;
        self.indexes.request_expiry.insert((expires, request));
        self.requests.insert(request, Remembered { expires, outcome });
    }

    /// What a named request was answered, while that is remembered.
    pub fn outcome_of(&self, request: RequestId) -> Option<&Outcome> {
        self.requests.get(&request).map(|remembered| &remembered.outcome)
    }

    fn notify(&mut self, notice: Notice) {
        self.notices.insert(notice);
    }

    /// What changed since the last call.
    pub fn take_notices(&mut self) -> BTreeSet<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn tables(&self) -> [&dyn Rows; 16] {
        [
            &self.objects,
            &self.file_versions,
            &self.host_keys,
            &self.checks,
            &self.peers,
            &self.join_tokens,
            &self.sessions,
            &self.assignments,
            &self.runs,
            &self.tasks,
            &self.outputs,
            &self.events,
            &self.requests,
            &self.watched,
            &self.tracked,
            &self.bells,
        ]
    }

    fn tables_mut(&mut self) -> [&mut dyn Rows; 16] {
        [
            &mut self.objects,
            &mut self.file_versions,
            &mut self.host_keys,
            &mut self.checks,
            &mut self.peers,
            &mut self.join_tokens,
            &mut self.sessions,
            &mut self.assignments,
            &mut self.runs,
            &mut self.tasks,
            &mut self.outputs,
            &mut self.events,
            &mut self.requests,
            &mut self.watched,
            &mut self.tracked,
            &mut self.bells,
        ]
    }

    fn drain_rows(&mut self, purpose: Purpose, out: &mut Vec<RowChange>) {
        if self.globals_changed.take(purpose) {
            let globals = self.globals.clone();
            let value: MakeValue = Box::new(move || codec::encode_plain(&globals));
            out.push(RowChange { key: vec![prefix::GLOBALS], value: Some(value) });
        }
        for table in self.tables_mut() {
            table.drain_changes(purpose, out);
        }
    }

    /// What changed since the last call, for the checkpoint: rows, and blocks that may go once the rows are durable.
    pub fn drain(&mut self) -> Drain {
        let mut drained = self.series.drain();
        self.drain_rows(Purpose::Checkpoint, &mut drained.rows);
        drained
    }

    /// What changed since the last call, or since it was loaded, for a [`StateDigest`].
    pub fn undigested(&mut self) -> Undigested {
        let (mut rows, mut series) = (Vec::new(), Vec::new());
        self.drain_rows(Purpose::Digest, &mut rows);
        let samples = self.series.digest_each(|id, hash| series.push((id, hash)));
        Undigested { rows, series, samples }
    }

    /// The state that was drained after the entry at index `applied`. `blocks` are all that are stored.
    ///
    /// # Errors
    /// [`LoadError`] where a row is damaged or of a table that this version does not know.
    pub fn load(
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        blocks: impl IntoIterator<Item = BlockMeta>,
        applied: u64,
    ) -> Result<State, LoadError> {
        let mut state = State::new();
        let mut of_series = Vec::new();
        for (key, value) in rows {
            match key.first() {
                Some(&(series::DICTIONARY_PREFIX | series::HEAD_PREFIX | series::INFO_PREFIX)) => {
                    of_series.push((key, value));
                }
                _ => state.load_row(&key, &value)?,
            }
        }
        state.series = SeriesStore::load(of_series, blocks, applied)?;
        state.globals_changed = Marks::LOADED;
        state.rebuild_indexes();
        Ok(state)
    }

    fn load_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), codec::Error> {
        let (table, rest) = key.split_first().ok_or_else(|| codec::Error::corrupt("row key"))?;
        if *table == prefix::GLOBALS {
            self.globals = codec::decode_plain(value)?;
            return Ok(());
        }
        match self.tables_mut().into_iter().find(|rows| rows.prefix() == *table) {
            Some(rows) => rows.load(rest, value),
            None => Err(codec::Error::Corrupt {
                what: "checkpoint".to_string(),
                detail: format!("it has a table `{}` that this version does not know", table.escape_ascii()),
            }),
        }
    }

    fn rebuild_indexes(&mut self) {
        self.indexes = Indexes::default();
        let objects: Vec<_> = self.objects.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        for ((_, name), object) in &objects {
            self.index_object(name, object);
        }
        self.index_runs();
        for (request, remembered) in self.requests.iter() {
            self.indexes.request_expiry.insert((remembered.expires, *request));
        }
        self.rebuild_watches();
    }

    /// A digest of the whole logical state, equal on peers that have applied the same entries. Encodes everything:
    /// a [`StateDigest`] that follows [`State::undigested`] has the same for less.
    pub fn digest(&self) -> [u8; 32] {
        let value = |value: Vec<u8>| Some(Box::new(move || value) as MakeValue);
        let globals = codec::encode_plain(&self.globals);
        let mut rows = vec![RowChange { key: vec![prefix::GLOBALS], value: value(globals) }];
        for table in self.tables() {
            table.each(&mut |key, row| rows.push(RowChange { key, value: value(row) }));
        }
        let mut series = Vec::new();
        let samples = self.series.digest_each(|id, hash| series.push((id, hash)));
        let mut digest = StateDigest::default();
        digest.absorb(Undigested { rows, series, samples });
        digest.finish()
    }

    /// The encoded value of a row, by its key, with the table's byte.
    pub fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (table, rest) = key.split_first()?;
        if *table == prefix::GLOBALS {
            return Some(codec::encode_plain(&self.globals));
        }
        self.tables().into_iter().find(|rows| rows.prefix() == *table)?.value(rest)
    }

    /// Settings of the whole control plane.
    pub fn settings(&self) -> &Settings {
        &self.globals.settings
    }

    /// The replicated clock.
    pub fn clock(&self) -> Clock {
        self.globals.clock
    }

    /// Samples.
    pub fn series(&self) -> &SeriesStore {
        &self.series
    }

    /// Samples, to confirm blocks that are stored. Nothing else outside apply may change them.
    pub fn series_mut(&mut self) -> &mut SeriesStore {
        &mut self.series
    }

    fn too_many(message: String) -> Rejection {
        Rejection::new(RejectionKind::TooMany, message)
    }
}
