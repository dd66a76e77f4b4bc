use std::fmt;

use rscaler_raft::model::{self, Kind, Name};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::variants::same_variants;
use super::{Document, Span, Step};

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

same_variants! {
    Operator { Greater, GreaterOrEqual, Less, LessOrEqual, Equal, NotEqual }
    Aggregate { Each, Avg, Min, Max, Sum, Count }
    Per { Trigger, Node }
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
            steps: trigger.steps.into_iter().map(Into::into).collect(),
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
            steps: trigger.steps.iter().map(Into::into).collect(),
        }
    }
}
