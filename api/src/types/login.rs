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

/// Who begins a browser's session: a user with their password, the bearer of a token, or of another session's ticket.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// The user.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub user: Option<Name>,
    /// Their password.
    #[schema(write_only)]
    #[serde(default)]
    pub password: Option<String>,
    /// A token, in place of user and password.
    #[schema(write_only)]
    #[serde(default)]
    pub token: Option<String>,
    /// A ticket of a session at another peer.
    #[schema(write_only)]
    #[serde(default)]
    pub ticket: Option<String>,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSession").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A browser's session.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// `user/NAME` or `token/NAME`.
    pub actor: String,
    /// What it may do.
    pub role: Role,
    /// Until when it works; for ever where absent.
    pub expires: Option<Time>,
    /// The peer that answers.
    pub peer: u64,
    /// For the header `X-CSRF-Token` of what changes something.
    pub csrf: Option<String>,
    /// Begins a session of the same rights at a peer with another address; works for 15 minutes.
    pub ticket: Option<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("actor", &self.actor).field("csrf", &"***").finish_non_exhaustive()
    }
}
