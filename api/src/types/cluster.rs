use rscaler_raft::model::{self, Kind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Document;

/// A named group of nodes that do the same work.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {}

impl Document for Cluster {
    const KIND: Kind = Kind::Cluster;
}

impl From<Cluster> for model::Cluster {
    fn from(_: Cluster) -> Self {
        model::Cluster {}
    }
}

impl From<&model::Cluster> for Cluster {
    fn from(_: &model::Cluster) -> Self {
        Cluster {}
    }
}
