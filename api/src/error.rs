//! Errors as RFC 9457 `application/problem+json`: status, a stable `code`, and words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::types::FieldError;

/// An error of the API, as it is sent and as the client receives it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// `urn:rscaler:problem:` and the code.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, and what would be right.
    #[serde(default)]
    pub detail: String,
    /// Stable and for programs: `not_found`, `conflict`, `version_moved`, `invalid`, `unavailable`, `unknown`, ...
    #[serde(default)]
    pub code: String,
    /// Names the request in the peer's log.
    #[serde(default)]
    pub request_id: String,
    /// Which fields are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}
