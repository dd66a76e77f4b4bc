use std::fmt;

use rscaler_raft::model::{self, Name};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::variants::same_variants;

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

impl From<Step> for model::Step {
    fn from(step: Step) -> Self {
        let target = match step.target {
            None => model::Target::Nowhere,
            Some(Target::Cluster) => model::Target::Cluster,
            Some(Target::Node) => model::Target::Node,
            Some(Target::LastNode) => model::Target::LastNode,
            Some(Target::FiringNode) => model::Target::FiringNode,
            Some(Target::Named(name)) => model::Target::Named(name),
        };
        model::Step { action: step.action, target, on_failure: step.on_failure.into() }
    }
}

impl From<&model::Step> for Step {
    fn from(step: &model::Step) -> Self {
        Step {
            action: step.action.clone(),
            target: target_of(&step.target),
            on_failure: step.on_failure.into(),
        }
    }
}

/// Where a step acts, where that is somewhere.
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

same_variants! {
    OnFailure { Stop, Continue }
}
