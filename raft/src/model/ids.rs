use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

numeric_id!(
    /// One peer of the control plane. From a replicated counter, starting at 1; never used again for another.
    PeerId
);
numeric_id!(
    /// One run. From a replicated counter, starting at 1.
    RunId
);
numeric_id!(
    /// One task. From a replicated counter, starting at 1.
    TaskId
);
numeric_id!(
    /// One event. From a replicated counter, starting at 1; events are listed newest first by it.
    EventId
);

/// Names one request of a client, so that a retry is answered with the first outcome. Made by the proposer:
/// random, or derived from who asks and the `Idempotency-Key` they sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RequestId(pub u128);
