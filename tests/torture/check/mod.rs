//! Checkers: what clients saw, judged against what the control plane promises. They know nothing of peers or of HTTP, and
//! need nothing but the standard library.

pub(crate) mod linear;
pub(crate) mod register;
