//! The replicated data: what a control plane is told, and what it knows.
//!
//! Configuration objects ([`Spec`]) are written by people; runs, tasks, sessions, assignments and events
//! are made by [`crate::state::State`]. Nothing here does I/O or reads a clock. Every type is part of the
//! stored and sent format: variants and fields are only ever appended, under a new schema number
//! (`raft/DESIGN.md`).

mod action;
mod check;
mod counter;
mod credentials;
mod event;
mod ids;
mod inventory;
mod name;
mod object;
mod peer;
mod run;
mod service_url;
mod settings;
mod task;
mod time;
mod trigger;
mod trigger_state;
mod value;

pub use crate::series::{SeriesId, SeriesKey};
pub use action::{
    Action, ActionKind, CommandAction, JmxInvokeAction, OnExecutorLoss, PauseAction, Retry, RetryOn, Spread,
};
pub use check::{CheckOutput, CheckStatus, FailureKind};
pub use counter::{ClusterSelector, Counter, CounterSource, JmxCounter, Parse, SshCounter};
pub use credentials::{Role, Sealed, Secret, Token, User};
pub use event::{Actor, Event, EventKind, Evidence};
pub use ids::{EventId, PeerId, RequestId, RunId, TaskId};
pub use inventory::{
    Cluster, File, HostKeyPolicy, JvmProfile, JvmTransport, MaintenanceWindow, Node, SshProfile, WindowScope,
};
pub use name::{InvalidName, Name};
pub use object::{Kind, Meta, Object, Spec};
pub use peer::{Assignment, Capabilities, JoinToken, Peer, PeerRole, Session};
pub use run::{Cause, Run, RunState, RunStep, Scope, StepState};
pub use service_url::ServiceUrl;
pub use settings::Settings;
pub use task::{Attempt, Executor, OutputChunk, OutputTotals, Stream, Task, TaskState};
pub use time::{Clock, Elapsed, Timestamp};
pub use trigger::{Aggregate, Condition, Matching, NoData, OnFailure, Operator, Per, Step, Target, Trigger};
pub use trigger_state::{
    Bell, BellReport, Held, Phase, Subject, SubjectReport, Tracked, TriggerReport, Watched,
};
pub use value::Value;
