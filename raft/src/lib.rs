//! The replicated control plane: data model, commands, state machine, samples, storage and transport.
//!
//! A change of intent goes request -> [`command::Command`] -> Raft log -> [`state::State::apply`], on every peer
//! alike. This package never reaches a managed host, and what `apply` calls never reads a clock, a random source
//! or an unordered map. Other packages come in through [`handle`] alone. `DESIGN.md` tells the life of a
//! command, the formats and their versions, and what survives which crash.

pub mod backup;
pub mod codec;
pub mod command;
pub mod consensus;
pub mod decide;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod fuzz_seeds;
#[cfg(test)]
mod golden;
pub mod handle;
pub mod identity;
pub mod model;
pub mod network;
pub mod peer;
pub mod planted;
pub mod replica;
pub mod secrets;
pub mod series;
pub mod solo;
pub mod state;
pub mod store;
