//! What the replicated state says about reaching nodes, made into values that the SSH module takes.
//!
//! Shared by collectors and executors. Secrets are opened here at the moment of use and go nowhere but into
//! endpoints and requests, which print them as `***`. Start at [`Targets`].

mod host_keys;
mod jvms;
mod questions;
mod targets;
mod values;

pub use host_keys::ReplicatedHostKeys;
pub use jvms::{JvmError, JvmTargets};
pub use questions::JvmAnswerer;
pub use targets::{TargetError, Targets};
pub use values::{ValueError, bytes, text};
