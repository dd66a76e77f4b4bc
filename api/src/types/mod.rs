//! Request and response bodies, one file per resource.
//!
//! A configuration object is one document, the same in YAML files and in JSON bodies: `name`, `labels`,
//! `description` and the fields of its kind ([`Resource`]). Unknown fields are errors. Durations are strings
//! ([`Span`]), timestamps RFC 3339 ([`Time`]), and `{secret: NAME}` or `{file: NAME}` may stand where a value
//! lives elsewhere ([`Text`]).

mod resource;
mod scalar;
mod variants;

mod action;
mod cluster;
mod counter;
mod file;
mod jvm_profile;
mod maintenance_window;
mod node;
mod secret;
mod ssh_profile;
mod step;
mod token;
mod trigger;
mod user;

mod apply;
mod check;
mod event;
mod login;
mod mbean;
mod peer;
mod run;
mod sample;
mod settings;
mod task;
mod trigger_state;
mod watch;

pub use action::{Action, ActionType, ExecutorLoss, Percent, Retry, RetryOn};
pub use apply::{Applied, ApplyAnswer, ApplyOptions, Difference};
pub use check::{Check, CheckFailure, CheckOutput, HostKeys};
pub use cluster::Cluster;
pub use counter::{Counter, CounterType, Parse};
pub(crate) use event::actor_text;
pub use event::{Event, Evidence};
pub(crate) use file::sha256_hex;
pub use file::{File, FileVersion};
pub use jvm_profile::{JvmProfile, JvmTransport};
pub use login::{Identity, Login, LoginAnswer, NewSession, Session};
pub use maintenance_window::MaintenanceWindow;
pub use mbean::{JvmAnswer, JvmQuestion, Mbean, MbeanArgument, MbeanAttribute, MbeanOperation, Mbeans};
pub use node::Node;
pub use peer::{IssuedToken, JoinToken, NewLeader, Peer, PeerRole};
pub use resource::{Document, Draft, FieldError, List, Resource, read_document};
pub(crate) use resource::{NAME_PATTERN, Patch, read};
pub use run::{Cause, Invoke, Run, RunRequest, RunStarted, RunState, RunStep, StepState};
pub use sample::{Agg, Pushed, Sample, SampleQuery, SamplesAnswer, SamplesPushed, SeriesInfo, SeriesPoints};
pub use scalar::{InvalidSpan, Span, Text, Time};
pub use secret::Secret;
pub use settings::Settings;
pub use ssh_profile::{HostKeyPolicy, SshProfile};
pub use step::{OnFailure, Step, Target};
pub use task::{Attempt, Output, OutputChunk, Stream, Task, TaskOutput, TaskState};
pub use token::{Expiry, Token};
pub use trigger::{Aggregate, Condition, Match, NoData, Operator, Per, Trigger};
pub use trigger_state::{
    ExecuteTrigger, TestFiring, TestTrigger, TriggerFiring, TriggerState, TriggerSubject, TriggerTest,
};
pub use user::{Role, User};
pub use watch::{Change, Changes};

pub use rscaler_raft::model::{Kind, Name};
