//! Pure decisions that apply calls: no clock, no I/O. The same input gives the same answer, on every peer.

pub mod hold;
pub mod place;
pub mod replay;
pub mod spread;
pub mod threshold;
pub mod watch;
