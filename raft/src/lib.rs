//! The replicated control plane.
