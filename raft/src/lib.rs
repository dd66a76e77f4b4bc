//! The replicated control plane.

pub mod series;
