use std::fmt;

use rscaler_raft::model::{self, Kind, Name};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Document, Evidence, Span, Time};

/// A condition over a cluster's counters that must hold for a time, with ordered steps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The cluster it watches.
    #[schema(value_type = String, example = "web")]
    pub cluster: Name,
    /// 1 to 16 conditions.
    pub when: Vec<Condition>,
    /// Whether any or all of them must hold.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// How long they must hold on one series; `0s`: at once.
    #[serde(default, rename = "for")]
    #[schema(default = "0s")]
    pub hold: Span,
    /// Each series alone, or one value over the cluster.
    #[serde(default)]
    pub aggregate: Aggregate,
    /// Whether it fires once, or for every node by itself.
    #[serde(default)]
    pub per: Per,
    /// After a firing, at least this long until the next.
    #[serde(default)]
    #[schema(default = "0s")]
    pub cooldown: Span,
    /// What missing samples mean.
    #[serde(default)]
    pub no_data: NoData,
    /// A disabled trigger keeps no state and does not fire.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub enabled: bool,
    /// What is done when it fires, in order: 1 to 64.
    pub steps: Vec<Step>,
}

fn yes() -> bool {
    true
}

impl Document for Trigger {
    const KIND: Kind = Kind::Trigger;
}

/// One comparison of a counter's value with a threshold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The counter.
    #[schema(value_type = String, example = "load1")]
    pub counter: Name,
    /// Only this instance of it; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The comparison `value op threshold`.
    pub op: Operator,
    /// Finite.
    pub threshold: f64,
    /// Once firing, the condition counts as over only when `value op recover` is false too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<f64>,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub enum Operator {
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
}

/// How several conditions combine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// One suffices.
    #[default]
    Any,
    /// All must hold at the same time.
    All,
}

/// How a cluster's series become the compared value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// Each series alone.
    #[default]
    Each,
    /// The mean over the cluster.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The sum.
    Sum,
    /// How many series have data.
    Count,
}

/// For what a trigger fires.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Once, whichever series held.
    #[default]
    Trigger,
    /// Every node by itself.
    Node,
}

/// What the absence of samples means: `ignore` or `{fire_after: 3m}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NoData {
    /// It neither holds nor breaks a condition.
    #[default]
    Ignore,
    /// This long without samples is a firing.
    FireAfter(Span),
}

impl Serialize for NoData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            NoData::Ignore => serializer.serialize_str("ignore"),
            NoData::FireAfter(after) => serializer.collect_map([("fire_after", after)]),
        }
    }
}

impl<'de> Deserialize<'de> for NoData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NoData, D::Error> {
        struct NoDataVisitor;
        impl<'de> Visitor<'de> for NoDataVisitor {
            type Value = NoData;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of ignore, {fire_after: 3m}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<NoData, E> {
                if text == "ignore" {
                    Ok(NoData::Ignore)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoData, A::Error> {
                let mut after = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "fire_after" {
                        return Err(de::Error::unknown_field(&key, &["fire_after"]));
                    }
                    after = Some(map.next_value()?);
                }
                after.map(NoData::FireAfter).ok_or_else(|| de::Error::missing_field("fire_after"))
            }
        }
        deserializer.deserialize_any(NoDataVisitor)
    }
}

impl PartialSchema for NoData {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        OneOfBuilder::new()
            .item(text().enum_values(Some(["ignore"])))
            .item(
                ObjectBuilder::new()
                    .property("fire_after", text().examples([serde_json::json!("3m")]))
                    .required("fire_after"),
            )
            .default(Some(serde_json::json!("ignore")))
            .description(Some("What missing samples mean."))
            .into()
    }
}

impl ToSchema for NoData {}

/// An action with its target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The action.
    #[schema(value_type = String)]
    pub action: Name,
    /// Where; absent where the action needs no node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What a failure means for the steps after it.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Where a step acts: `cluster`, `node`, `last-node`, `firing-node` or `{node: NAME}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Every node of the run's cluster.
    Cluster,
    /// The run's node.
    Node,
    /// The node that joined the run's cluster last.
    LastNode,
    /// The node whose series fired.
    FiringNode,
    /// A node by name.
    Named(Name),
}

const TARGETS: [(&str, Target); 4] = [
    ("cluster", Target::Cluster),
    ("node", Target::Node),
    ("last-node", Target::LastNode),
    ("firing-node", Target::FiringNode),
];

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Target::Named(name) => serializer.collect_map([("node", name)]),
            plain => {
                let name =
                    TARGETS.iter().find(|(_, target)| target == plain).map_or("node", |(name, _)| name);
                serializer.serialize_str(name)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
        struct TargetVisitor;
        impl<'de> Visitor<'de> for TargetVisitor {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of cluster, node, last-node, firing-node, {node: NAME}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Target, E> {
                let found = TARGETS.into_iter().find(|(name, _)| *name == text).map(|(_, target)| target);
                found.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Target, A::Error> {
                let mut node = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "node" {
                        return Err(de::Error::unknown_field(&key, &["node"]));
                    }
                    node = Some(map.next_value()?);
                }
                node.map(Target::Named).ok_or_else(|| de::Error::missing_field("node"))
            }
        }
        deserializer.deserialize_any(TargetVisitor)
    }
}

impl PartialSchema for Target {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        OneOfBuilder::new()
            .item(text().enum_values(Some(TARGETS.map(|(name, _)| name))))
            .item(ObjectBuilder::new().property("node", text()).required("node"))
            .description(Some("Where a step acts."))
            .into()
    }
}

impl ToSchema for Target {}

/// What a failed step means for those after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They are not run.
    #[default]
    Stop,
    /// They are run all the same.
    Continue,
}

impl From<Option<Target>> for TargetModel {
    fn from(target: Option<Target>) -> Self {
        TargetModel(match target {
            None => model::Target::Nowhere,
            Some(Target::Cluster) => model::Target::Cluster,
            Some(Target::Node) => model::Target::Node,
            Some(Target::LastNode) => model::Target::LastNode,
            Some(Target::FiringNode) => model::Target::FiringNode,
            Some(Target::Named(name)) => model::Target::Named(name),
        })
    }
}

/// Carries a conversion between two types that are not ours to join directly.
pub(crate) struct TargetModel(pub(crate) model::Target);

pub(crate) fn target_of(target: &model::Target) -> Option<Target> {
    Some(match target {
        model::Target::Nowhere => return None,
        model::Target::Cluster => Target::Cluster,
        model::Target::Node => Target::Node,
        model::Target::LastNode => Target::LastNode,
        model::Target::FiringNode => Target::FiringNode,
        model::Target::Named(name) => Target::Named(name.clone()),
    })
}

/// Pairs each of our variants with the replicated one, and makes both conversions of it.
macro_rules! same_variants {
    ($($type:ident { $($variant:ident),* })*) => {$(
        impl From<$type> for model::$type {
            fn from(value: $type) -> Self {
                match value { $($type::$variant => model::$type::$variant,)* }
            }
        }
        impl From<model::$type> for $type {
            fn from(value: model::$type) -> Self {
                match value { $(model::$type::$variant => $type::$variant,)* }
            }
        }
    )*};
}
pub(crate) use same_variants;

same_variants! {
    Operator { Greater, GreaterOrEqual, Less, LessOrEqual, Equal, NotEqual }
    Aggregate { Each, Avg, Min, Max, Sum, Count }
    Per { Trigger, Node }
    OnFailure { Stop, Continue }
}

impl From<Trigger> for model::Trigger {
    fn from(trigger: Trigger) -> Self {
        let condition = |condition: Condition| model::Condition {
            counter: condition.counter,
            instance: condition.instance,
            op: condition.op.into(),
            threshold: condition.threshold,
            recover: condition.recover,
        };
        let step = |step: Step| model::Step {
            action: step.action,
            target: TargetModel::from(step.target).0,
            on_failure: step.on_failure.into(),
        };
        model::Trigger {
            cluster: trigger.cluster,
            conditions: trigger.when.into_iter().map(condition).collect(),
            matching: match trigger.matching {
                Match::Any => model::Matching::Any,
                Match::All => model::Matching::All,
            },
            hold: trigger.hold.into(),
            aggregate: trigger.aggregate.into(),
            per: trigger.per.into(),
            cooldown: trigger.cooldown.into(),
            no_data: match trigger.no_data {
                NoData::Ignore => model::NoData::Ignore,
                NoData::FireAfter(after) => model::NoData::FireAfter(after.into()),
            },
            enabled: trigger.enabled,
            steps: trigger.steps.into_iter().map(step).collect(),
        }
    }
}

impl From<&model::Trigger> for Trigger {
    fn from(trigger: &model::Trigger) -> Self {
        let condition = |condition: &model::Condition| Condition {
            counter: condition.counter.clone(),
            instance: condition.instance.clone(),
            op: condition.op.into(),
            threshold: condition.threshold,
            recover: condition.recover,
        };
        let step = |step: &model::Step| Step {
            action: step.action.clone(),
            target: target_of(&step.target),
            on_failure: step.on_failure.into(),
        };
        Trigger {
            cluster: trigger.cluster.clone(),
            when: trigger.conditions.iter().map(condition).collect(),
            matching: match trigger.matching {
                model::Matching::Any => Match::Any,
                model::Matching::All => Match::All,
            },
            hold: trigger.hold.into(),
            aggregate: trigger.aggregate.into(),
            per: trigger.per.into(),
            cooldown: trigger.cooldown.into(),
            no_data: match trigger.no_data {
                model::NoData::Ignore => NoData::Ignore,
                model::NoData::FireAfter(after) => NoData::FireAfter(after.into()),
            },
            enabled: trigger.enabled,
            steps: trigger.steps.iter().map(step).collect(),
        }
    }
}

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
