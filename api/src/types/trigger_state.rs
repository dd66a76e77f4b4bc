//! How triggers stand, by hand and against the past.

use rscaler_raft::model::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Evidence, Span, Time};

/// How a trigger stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriggerState {
    /// The trigger.
    #[schema(value_type = String)]
    pub trigger: Name,
    /// Whether it is watched at all.
    pub enabled: bool,
    /// The worst state of its subjects: `firing`, `recovering`, `pending`, `ok`.
    pub state: String,
    /// Since when, in samples' time; absent while ok.
    pub since: Option<Time>,
    /// Samples before this moment are not judged: the trigger was created, enabled or changed then.
    pub watched_from: Option<Time>,
    /// What fires: one for the trigger, or with `per: node` one a node. Those that never fired and are not held
    /// back are absent.
    pub firings: Vec<TriggerFiring>,
    /// What is judged.
    pub subjects: Vec<TriggerSubject>,
    /// How many more subjects there are.
    pub more: usize,
}

/// The last firing of a trigger, or of one of its nodes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriggerFiring {
    /// The node, with `per: node`.
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
    /// Whether it has fired and not recovered since.
    pub active: bool,
    /// When it last fired, in samples' time.
    pub fired: Option<Time>,
    /// The run that followed.
    pub run: Option<u64>,
    /// Why no run followed.
    pub refused: Option<String>,
    /// Why it does not fire now although it would: `cooldown`, or `maintenance NAME`.
    pub held_back: Option<String>,
    /// Until when it does not fire again.
    pub cooldown_until: Option<Time>,
}

/// One thing that a trigger judges.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriggerSubject {
    /// The node it is about; absent where it is about the cluster.
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
    /// The counter, where it is about a single series.
    pub counter: Option<String>,
    /// The JVM, where it is about one.
    pub jvm: Option<String>,
    /// The instance, where it is about one.
    pub instance: Option<String>,
    /// Position of the condition in `when`; absent where all of them are judged together.
    pub condition: Option<u8>,
    /// Whether it is about the absence of samples.
    pub no_data: bool,
    /// `ok`, `pending`, `firing` or `recovering`.
    pub state: String,
    /// Since when, in samples' time; absent while ok.
    pub since: Option<Time>,
    /// How much of `for` it has held.
    pub held: Span,
    /// What is compared.
    pub value: Option<f64>,
    /// When that was measured.
    pub at: Option<Time>,
    /// What it is made of.
    pub samples: Vec<Evidence>,
}

/// Runs a trigger's steps by hand.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExecuteTrigger {
    /// The node that `firing-node` means.
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
}

/// Asks when a trigger would have fired.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestTrigger {
    /// How far back stored samples are replayed; a day where absent.
    pub since: Option<Span>,
    /// A trigger to test in place of the stored one: its document.
    #[schema(value_type = Option<Object>)]
    pub trigger: Option<serde_json::Value>,
}

/// When a trigger would have fired.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriggerTest {
    /// The trigger.
    #[schema(value_type = String)]
    pub trigger: Name,
    /// From when on samples were replayed.
    pub from: Time,
    /// Until when.
    pub to: Time,
    /// How many samples were replayed.
    pub samples: u64,
    /// Oldest first.
    pub firings: Vec<TestFiring>,
    /// Whether there would have been more than are listed.
    pub truncated: bool,
}

/// One time a trigger would have fired.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TestFiring {
    /// When, in samples' time.
    pub at: Time,
    /// The node, with `per: node`.
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
    /// When it would have recovered; absent where it had not by the end.
    pub recovered: Option<Time>,
    /// What it would have seen.
    pub evidence: Vec<Evidence>,
}
