use rscaler_raft::model::{self, Kind, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Document;

/// A managed host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The cluster it belongs to.
    #[schema(value_type = String, example = "web")]
    pub cluster: Name,
    /// A host name or an IP address.
    #[schema(example = "10.0.0.11")]
    pub hostname: String,
    /// The SSH port; the profile's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How to reach it over SSH. A node without one and without JVMs is fed by pushed samples only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ssh_profile: Option<Name>,
    /// JVM profiles of the JVMs that run on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub jvms: Vec<Name>,
}

impl Document for Node {
    const KIND: Kind = Kind::Node;
}

impl From<Node> for model::Node {
    fn from(node: Node) -> Self {
        let Node { cluster, hostname, port, ssh_profile, jvms } = node;
        model::Node { cluster, hostname, port, ssh_profile, jvms }
    }
}

impl From<&model::Node> for Node {
    fn from(node: &model::Node) -> Self {
        let model::Node { cluster, hostname, port, ssh_profile, jvms } = node.clone();
        Node { cluster, hostname, port, ssh_profile, jvms }
    }
}
