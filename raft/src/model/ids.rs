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

/// Names one request, so that a retry is answered with the first outcome. Made by the proposer: [`RequestId::passing`]
/// or [`RequestId::named`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RequestId(pub u128);

impl RequestId {
    /// Set in the numbers of requests that nobody repeats later.
    const PASSING: u128 = 1 << 127;

    /// Of a request that only the peer that proposes it tries again, within seconds. `number` is random.
    pub const fn passing(number: u128) -> RequestId {
        RequestId(number | Self::PASSING)
    }

    /// Of a request that whoever made it can name again, much later. `number` is derived from who that is and from
    /// how they named it.
    pub const fn named(number: u128) -> RequestId {
        RequestId(number & !Self::PASSING)
    }

    /// Whether nobody repeats it later.
    pub const fn is_passing(self) -> bool {
        self.0 & Self::PASSING != 0
    }
}
