//! Between peers: who may speak, how bytes travel, and how a new peer joins. Knows nothing of Raft; what is said
//! in its frames is defined where it is served, in [`crate::consensus`]. `DESIGN.md`, "Between peers".

pub mod certificate;
pub mod client;
pub mod frame;
pub mod join;
pub mod links;
pub mod message;
pub mod server;
pub mod tls;

#[cfg(test)]
mod tests;
