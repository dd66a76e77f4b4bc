use rscaler_raft::model::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Role, Span, Time};

/// A user's name and password.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user.
    #[schema(value_type = String)]
    pub user: Name,
    /// Their password.
    #[schema(write_only)]
    pub password: String,
    /// How long the token works: at most 30 d; 12 h where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"***").finish()
    }
}

/// A token that a login gave. It does no more than its user may, and ends when their password changes.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoginAnswer {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// Until when it works.
    pub expires: Time,
    /// What it may do.
    pub role: Role,
}

impl std::fmt::Debug for LoginAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginAnswer").field("token", &"***").field("expires", &self.expires).finish()
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// `user/NAME` or `token/NAME`.
    pub actor: String,
    /// What they may do.
    pub role: Role,
    /// Until when the token works; for ever where absent.
    pub expires: Option<Time>,
}
