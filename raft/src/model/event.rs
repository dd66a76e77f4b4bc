//! Who did what, what fired, what failed.

use serde::{Deserialize, Serialize};

use super::{EventId, Kind, Name, PeerId, RunId, SeriesKey, TaskId, Timestamp};

/// Something that people will want to look up later. The newest [`Event::KEPT_MAX`] are kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// When, on the replicated wall clock.
    pub at: Timestamp,
    /// Who made it happen.
    pub actor: Actor,
    /// What happened.
    pub kind: EventKind,
    /// In words.
    pub message: String,
}

impl Event {
    /// How many events are kept.
    pub const KEPT_MAX: usize = 20_000;
}

/// Who made something happen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Actor {
    /// The control plane itself.
    System,
    /// A person who logged in.
    User(Name),
    /// The bearer of a token.
    Token(Name),
    /// A peer.
    Peer(PeerId),
}

/// What happened, with what it happened to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum EventKind {
    /// An object was created.
    Created(Kind, Name),
    /// An object was changed.
    Updated(Kind, Name),
    /// An object was deleted.
    Deleted(Kind, Name),
    /// A trigger fired.
    TriggerFired {
        /// The trigger.
        trigger: Name,
        /// The run that followed.
        run: Option<RunId>,
        /// What it saw.
        evidence: Vec<Evidence>,
    },
    /// A trigger would have fired, but maintenance silenced it.
    TriggerSilenced(Name),
    /// A trigger recovered.
    TriggerRecovered(Name),
    /// A run was started.
    RunStarted(RunId),
    /// A run ended.
    RunFinished(RunId),
    /// A task's executor died.
    TaskLost(TaskId),
    /// A peer was admitted.
    PeerJoined(PeerId),
    /// A peer's role changed.
    PeerChanged(PeerId),
    /// A peer was removed.
    PeerRemoved(PeerId),
    /// A peer's session ended without a word.
    PeerLost(PeerId),
    /// A peer's session began.
    PeerStarted(PeerId),
    /// A node's host key was recorded or forgotten.
    HostKey(Name),
    /// A node's collection began to fail, or works again.
    NodeReachability(Name),
    /// Settings of the control plane were changed.
    SettingsChanged,
}

/// A sample that made a trigger fire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The series.
    pub series: SeriesKey,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured; absent where missing data was the cause.
    pub value: Option<f64>,
}
