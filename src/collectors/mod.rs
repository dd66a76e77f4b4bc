//! Counters assigned to this peer: reading what a managed host printed and turning it into samples.
pub mod parse;
