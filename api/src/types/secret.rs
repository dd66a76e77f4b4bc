use std::fmt;

use rscaler_raft::model::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Document;

/// Replicated content that no API ever returns: sealed with the control plane's key before it is proposed.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The value as text. Give this or `value_base64` to create it; a change without either keeps the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub value: Option<String>,
    /// The value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub value_base64: Option<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Document for Secret {
    const KIND: Kind = Kind::Secret;
}
