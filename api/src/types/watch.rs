use rscaler_raft::model::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What changed up to a log index: the data of an event named `changes`. An event named `reset` says that changes
/// were missed, so that everything is to be read again; it carries the same with no changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// The log index; also the event's id. A read whose `X-Rscaler-Applied` is at least this sees the changes.
    pub index: u64,
    /// What changed.
    pub changes: Vec<Change>,
}

/// One thing that changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// A kind of configuration object (`node`), or `run`, `task`, `output`, `assignment`, `host-keys`, `session`,
    /// `peer`, `samples`, `check`, `trigger-state`, `event`.
    pub kind: String,
    /// The object's, node's or trigger's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Name>,
    /// The number of the run, task, peer or event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// With `check`: the counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub counter: Option<Name>,
}
