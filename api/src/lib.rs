//! The HTTP API of rscaler, and the typed client that speaks it.
//!
//! A handler reads the replicated state or proposes a command; it never executes anything and never decides. What
//! it may reach is in [`context`]. Wire types live in [`types`], apart from the replicated ones, so that each can
//! change without the other. Start reading at `routes`, which lists every endpoint; a request goes
//! `server` -> `routes::endpoint` (authentication, role, consistency) -> handler.

pub mod client;
pub mod context;
pub mod error;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod metrics;
pub mod openapi;
pub mod server;
pub mod types;

mod auth;
mod changes;
mod puts;
mod query;
mod request;
mod routes;
mod shared;

pub use context::Context;
pub use error::Problem;
pub use routes::hash_password;
