use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many documents are applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApplyOptions {
    /// Answer the difference, change nothing.
    pub dry_run: bool,
    /// Remove what is absent. Users and tokens are never removed, secrets only where the documents hold some.
    pub prune: bool,
    /// With `prune`: remove only objects with these labels (`app=web,tier=front`).
    pub selector: Option<String>,
}

/// What an apply did, or would do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApplyAnswer {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// One for each document, in order, then what was pruned.
    pub changes: Vec<Applied>,
}

/// What became of one object.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// `created`, `updated`, `unchanged` or `deleted`.
    pub effect: String,
    /// The object's version now; its last where it was deleted. Of a dry run, what it would be.
    pub version: u64,
    /// What differs, field by field; only of a dry run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Difference>,
    /// The text of a token that was created. It is shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl std::fmt::Debug for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} (version {})", self.kind, self.name, self.effect, self.version)
    }
}

/// A field that differs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// JSON pointer to the field.
    pub pointer: String,
    /// What it is; absent where the field is new. Secret values show as `***`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// What it would be; absent where the field goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
}
