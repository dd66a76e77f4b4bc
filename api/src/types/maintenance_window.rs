use rscaler_raft::model::{self, Kind, Name, WindowScope};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Document, FieldError, Time};

/// A time in which triggers of a cluster or a node stay silent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceWindow {
    /// Every trigger of this cluster. Give this or `node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cluster: Option<Name>,
    /// The series of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub node: Option<Name>,
    /// First moment, inclusive.
    pub from: Time,
    /// Last moment, exclusive.
    pub to: Time,
    /// Why, for those who wonder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Document for MaintenanceWindow {
    const KIND: Kind = Kind::MaintenanceWindow;
}

impl TryFrom<MaintenanceWindow> for model::MaintenanceWindow {
    type Error = Vec<FieldError>;

    fn try_from(window: MaintenanceWindow) -> Result<Self, Self::Error> {
        let scope = match (window.cluster, window.node) {
            (Some(cluster), None) => WindowScope::Cluster(cluster),
            (None, Some(node)) => WindowScope::Node(node),
            (None, None) => {
                return Err(vec![FieldError::new(
                    "/cluster",
                    "give the `cluster` or the `node` that it silences",
                )]);
            }
            (Some(_), Some(_)) => {
                return Err(vec![FieldError::new("/node", "give `cluster` or `node`, not both")]);
            }
        };
        Ok(model::MaintenanceWindow { scope, from: window.from.0, to: window.to.0, reason: window.reason })
    }
}

impl From<&model::MaintenanceWindow> for MaintenanceWindow {
    fn from(window: &model::MaintenanceWindow) -> Self {
        let (cluster, node) = match &window.scope {
            WindowScope::Cluster(cluster) => (Some(cluster.clone()), None),
            WindowScope::Node(node) => (None, Some(node.clone())),
        };
        MaintenanceWindow {
            cluster,
            node,
            from: window.from.into(),
            to: window.to.into(),
            reason: window.reason.clone(),
        }
    }
}
