use std::fmt;

use rscaler_raft::model::{self, Kind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Document;
use super::variants::same_variants;

/// What somebody may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read everything but secrets.
    Viewer,
    /// Also run, cancel, scale.
    Operator,
    /// Everything.
    Admin,
}

same_variants! { Role { Viewer, Operator, Admin } }

impl Role {
    /// As written in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// A person who logs in.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What they may do.
    pub role: Role,
    /// 8 to 1024 bytes. Needed to create a user; a change without it keeps the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub password: Option<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("role", &self.role).field("password", &"***").finish()
    }
}

impl Document for User {
    const KIND: Kind = Kind::User;
}
