//! Every change there is. A [`Proposal`] is what one entry of the Raft log holds; applying it yields an
//! [`Outcome`]. Variants are only ever appended (`raft/DESIGN.md`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Action, Actor, Capabilities, CheckOutput, FailureKind, File, Kind, Name, OnFailure, OutputChunk, PeerId,
    PeerRole, RequestId, RunId, Scope, SeriesKey, Settings, Spec, Target, TaskId, Timestamp,
};
pub use crate::series::rows::{RowSeries, SampleRow};

/// A command with who asked for it, as the log holds it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Makes a retry answer what the first try answered. Absent where a repetition does no harm.
    pub request: Option<RequestId>,
    /// Who asked.
    pub actor: Actor,
    /// What to change.
    pub command: Command,
}

/// What one entry changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Moves the replicated clock; proposed by the leader, at least every second. Deadlines pass here.
    Tick {
        /// The term in which the proposer leads. A tick of an earlier term than one applied before is refused: the
        /// time it tells of has passed for the new leader too.
        term: u64,
        /// Whether it is the leader's first since it was elected: every session gets a full life once more.
        first: bool,
        /// Monotonic time since the leader's own last tick, in ms; 0 for its first. At most 2,000.
        delta_ms: u32,
        /// The leader's wall clock.
        wall: Timestamp,
    },
    /// Creates, changes and deletes configuration objects: all of them or none.
    Configure(Vec<Change>),
    /// Samples of one source.
    Samples(SampleBatch),
    /// What became of readings; see [`CheckReport`].
    Checks(CheckBatch),
    /// A peer that has started asks for work.
    OpenSession {
        /// The peer.
        peer: PeerId,
        /// New for each session. The upper half is random and new at each start of its process, the lower half at each session.
        boot: u128,
        /// What it can do.
        capabilities: Capabilities,
        /// Where its API answers, which may change between starts.
        api_url: String,
    },
    /// A peer says that it lives.
    RenewSession {
        /// The peer.
        peer: PeerId,
        /// The session's epoch.
        epoch: u64,
    },
    /// A peer that is about to stop takes no new work, or hands back all it has.
    CloseSession {
        /// The peer.
        peer: PeerId,
        /// The session's epoch.
        epoch: u64,
        /// True: it goes on with what it has; false: it has stopped.
        draining: bool,
    },
    /// Starts a run.
    StartRun(StartRun),
    /// Runs a trigger's steps by hand.
    ExecuteTrigger {
        /// The trigger.
        trigger: Name,
        /// The node that [`Target::FiringNode`] means.
        node: Option<Name>,
    },
    /// Asks for a run and its tasks to end.
    CancelRun(RunId),
    /// Asks for a task to end.
    CancelTask(TaskId),
    /// Starts a run with the same steps as one that has ended.
    RetryRun(RunId),
    /// What executors report, several at once. Each is judged alone; refused ones change nothing.
    TaskReports(Vec<TaskReport>),
    /// Records the first key seen of a host; loses against an earlier one.
    RecordHostKey {
        /// The node.
        node: Name,
        /// In OpenSSH's public form, without a comment.
        key: String,
    },
    /// Replaces a node's recorded keys; an empty list forgets them.
    SetHostKeys {
        /// The node.
        node: Name,
        /// In OpenSSH's public form, without comments; at most 8.
        keys: Vec<String>,
    },
    /// Makes a right to join.
    CreateJoinToken {
        /// SHA-256 of the token's secret.
        hash: [u8; 32],
        /// Its life, in ms: at most an hour.
        ttl_ms: u32,
        /// What the peer will be.
        role: PeerRole,
    },
    /// Uses up a join token and gives the peer its number.
    AdmitPeer {
        /// SHA-256 of the token's secret; absent for the peer that begins a control plane, which must be the first.
        token: Option<[u8; 32]>,
        /// Chosen by the peer.
        name: String,
        /// Where other peers reach it.
        peer_addr: String,
        /// Where clients reach its API.
        api_url: String,
    },
    /// Records the certificate a peer was given.
    RecordCertificate {
        /// The peer.
        peer: PeerId,
        /// The certificate's serial number.
        serial: Vec<u8>,
    },
    /// Changes what a peer is meant to be; membership follows.
    SetPeerRole {
        /// The peer.
        peer: PeerId,
        /// Its new role.
        role: PeerRole,
    },
    /// Removes a peer and revokes its certificate; membership follows.
    RemovePeer(PeerId),
    /// Changes the settings of the whole control plane.
    ChangeSettings(Settings),
    /// Compares state: the digest as the leader computed it when `index` was applied.
    VerifyDigest {
        /// The entry after which it was computed.
        index: u64,
        /// [`crate::state::State::digest`].
        digest: [u8; 32],
    },
    /// A peer is reached elsewhere than before; membership follows.
    MovePeer {
        /// The peer.
        peer: PeerId,
        /// Where other peers reach it now.
        peer_addr: String,
    },
    /// Replaces contents of files; see [`FilePut`]. Each is judged alone: one that is refused leaves the others valid.
    PutFiles(Vec<FilePut>),
}

/// Replaces the content of a file, and leaves what else it carries; creates it where there is none. See [`FILE_CHURN`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FilePut {
    /// Its name.
    pub name: Name,
    /// Its content.
    pub file: File,
    /// What must be true of the present object.
    pub expect: Expect,
}

impl FilePut {
    /// The most that one entry may hold.
    pub const PUTS_MAX: usize = 1024;
}

/// A content that stood for less than this when a [`FilePut`] replaces it leaves neither a version nor an event:
/// what programs write all the time must not push out what people wrote.
pub const FILE_CHURN: Duration = Duration::from_secs(60);

/// One change of a configuration object.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// Creates or replaces an object.
    Put {
        /// Its name.
        name: Name,
        /// Its content; decides the kind.
        spec: Spec,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Its description.
        description: String,
        /// What must be true of the present object.
        expect: Expect,
    },
    /// Deletes an object.
    Delete {
        /// The kind.
        kind: Kind,
        /// The name.
        name: Name,
        /// What must be true of the present object.
        expect: Expect,
    },
}

/// What a change expects to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Expect {
    /// Anything.
    Any,
    /// No object of that name.
    Absent,
    /// An object of that name.
    Present,
    /// An object at this version.
    Version(u64),
}

/// Samples of one source, at most [`SampleBatch::ROWS_MAX`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SampleBatch {
    /// Who measured.
    pub source: SampleSource,
    /// Series that may not be known yet; rows refer to them by [`RowSeries::New`].
    pub keys: Vec<SeriesKey>,
    /// The samples.
    #[serde(with = "crate::series::rows")]
    pub rows: Vec<SampleRow>,
}

impl SampleBatch {
    /// The most rows one entry may hold.
    pub const ROWS_MAX: usize = 4096;
}

/// Who measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum SampleSource {
    /// A peer, under its assignment of a node; refused when the assignment has moved on.
    Collector {
        /// The node.
        node: Name,
        /// The assignment's epoch.
        epoch: u64,
    },
    /// A client that pushes.
    Push,
}

/// What became of one node's readings since the last batch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckBatch {
    /// The node.
    pub node: Name,
    /// The assignment's epoch.
    pub epoch: u64,
    /// At most one per counter.
    pub reports: Vec<CheckReport>,
}

/// What became of a counter's reading: sent when it changes between success and failure, when its failure
/// changes, and with the script's output at most every few seconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// The counter.
    pub counter: Name,
    /// When the reading was due.
    pub at: Timestamp,
    /// Why it failed or what was wrong with a part of it, if anything was; the text is at most 512 bytes.
    pub failure: Option<(FailureKind, String)>,
    /// Failed readings since the last report, this one included.
    pub failures: u32,
    /// What the script printed, where it is news.
    pub output: Option<CheckOutput>,
}

/// Starts a run of ordered steps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StartRun {
    /// What it is about.
    pub scope: Scope,
    /// 1 to 64, in order.
    pub steps: Vec<StartStep>,
}

/// A step to run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StartStep {
    /// What is done.
    pub what: What,
    /// Where.
    pub target: Target,
    /// Whether the steps after it run when it failed.
    pub on_failure: OnFailure,
}

/// What a step does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum What {
    /// A named action, as it is when the entry is applied.
    Named(Name),
    /// An action given with the request.
    Inline(Box<Action>),
}

/// What an executor says of a task. Refused unless it comes from the task's current attempt and session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// The executor's session epoch.
    pub session: u64,
    /// What happened.
    pub progress: Progress,
}

/// What happened to a task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Progress {
    /// It begins; the effect may be tried once this is committed.
    Started,
    /// It printed something.
    Output {
        /// In order.
        chunks: Vec<OutputChunk>,
        /// Bytes that had to be dropped before these.
        missed_bytes: u64,
    },
    /// It waits for a person's input, or no longer does.
    AwaitingInput(bool),
    /// It is over.
    Finished(Ending),
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// The result.
    pub result: EndingResult,
    /// Exit code, where there is one.
    pub exit_code: Option<i32>,
    /// In words, where there is something to say; at most 1 KiB.
    pub reason: Option<String>,
}

/// The result of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EndingResult {
    /// It did what it should.
    Succeeded,
    /// It did not.
    Failed,
    /// It was ended on request.
    Cancelled,
    /// It was ended because its time was over.
    TimedOut,
    /// The connection broke in the middle; what it did is not known.
    Unknown,
    /// It never began; another peer may take it. Costs no attempt.
    HandedBack,
}

/// What applying a proposal answers, the same on every peer.
pub type Outcome = Result<Reply, Rejection>;

/// The answer to a command that was accepted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// What each change of [`Command::Configure`] did, in its order.
    Configured(Vec<Changed>),
    /// How many samples were taken.
    Samples {
        /// Taken.
        accepted: u32,
        /// Not taken: duplicates, out of order, in the future, not finite, unknown series.
        dropped: u32,
    },
    /// The session's epoch.
    Session {
        /// Fences what the session does.
        epoch: u64,
        /// How long it lives without renewal, in ms.
        ttl_ms: u32,
    },
    /// The new run.
    Run(RunId),
    /// Keys now recorded for a host.
    HostKeys(Vec<String>),
    /// The new peer.
    Peer(PeerId),
    /// For each report, whether it was taken.
    Reports(Vec<bool>),
    /// What each put of [`Command::PutFiles`] did, in its order.
    Files(Vec<Result<Stored, Rejection>>),
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// Created, updated, or unchanged.
    pub effect: Effect,
    /// Its version now.
    pub version: u64,
}

/// What one change did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Changed {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: Name,
    /// What was done.
    pub effect: Effect,
    /// The object's version now; its last where it was deleted.
    pub version: u64,
}

/// What a change did to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// It is new.
    Created,
    /// It is different.
    Updated,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// Why a command was refused. A value of apply: the same on every peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What kind of refusal.
    pub kind: RejectionKind,
    /// In words, with the names concerned.
    pub message: String,
    /// Which fields, where fields are the cause.
    pub fields: Vec<FieldError>,
}

/// The kinds of refusal, by what the client can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RejectionKind {
    /// There is no such thing.
    NotFound,
    /// It clashes with what is there: a name taken, an object in use, a state that does not allow it.
    Conflict,
    /// The object has another version than expected.
    VersionMoved,
    /// A field has a value that cannot be.
    Invalid,
    /// The proposer's claim (assignment, session, attempt) is no longer valid.
    Stale,
    /// A bound is reached.
    TooMany,
}

/// A field with a value that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FieldError {
    /// Which of the changes of a [`Command::Configure`], from 0; 0 for other commands.
    pub document: u32,
    /// JSON pointer into the document: `/when/0/counter`.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Rejection {
    /// A refusal without fields.
    pub fn new(kind: RejectionKind, message: impl Into<String>) -> Rejection {
        Rejection { kind, message: message.into(), fields: Vec::new() }
    }

    /// There is no `what` called `name`.
    pub fn not_found(what: impl std::fmt::Display, name: impl std::fmt::Display) -> Rejection {
        Rejection::new(RejectionKind::NotFound, format!("there is no {what} `{name}`"))
    }

    /// It clashes with what is there.
    pub fn conflict(message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Conflict, message)
    }

    /// The claim is no longer valid.
    pub fn stale(message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Stale, message)
    }
}
