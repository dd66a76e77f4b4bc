//! One function for each thing that comes over HTTP, as a fuzzer calls it: see `tests/fuzz`, and `rscaler_raft::fuzz`, which
//! has the same for what lies below. Whatever the bytes, it is read or refused.
#![allow(clippy::unwrap_used, missing_docs)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::{
    Action, Cluster, Counter, ExecuteTrigger, File, HostKeys, JoinToken, Login, MaintenanceWindow, NewLeader,
    Node, Pushed, RunRequest, Secret, Settings, Span, SshProfile, TestTrigger, Time, Token, Trigger, User,
};

/// Every target of this package.
pub const TARGETS: &[rscaler_raft::fuzz::Target] = &[
    ("bodies", bodies),
    ("documents", crate::routes::fuzz_documents),
    ("event_lines", crate::client::fuzz_events),
    ("queries", crate::routes::fuzz_queries),
];

/// Gives `data` to the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.expect("fuzzers name targets that there are").1(data);
}

/// A body of one shape: what is read can be written and read again.
fn stable<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    let Ok(read) = crate::types::read::<T>(value) else { return };
    let written = serde_json::to_value(&read).unwrap();
    let again = crate::types::read::<T>(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), written);
}

fn scalars(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
    }
    if let Ok(time) = text.parse::<Time>() {
        assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
    }
}

/// Every shape, by its place: append only, for seeds begin with it.
const SHAPES: &[fn(&[u8])] = &[
    stable::<Pushed>,
    stable::<RunRequest>,
    stable::<Settings>,
    stable::<Login>,
    stable::<ExecuteTrigger>,
    stable::<TestTrigger>,
    stable::<NewLeader>,
    stable::<JoinToken>,
    stable::<HostKeys>,
    stable::<Cluster>,
    stable::<Node>,
    stable::<SshProfile>,
    stable::<Counter>,
    stable::<Trigger>,
    stable::<Action>,
    stable::<File>,
    stable::<Secret>,
    stable::<User>,
    stable::<Token>,
    stable::<MaintenanceWindow>,
    scalars,
    crate::routes::fuzz_pushed,
    crate::routes::fuzz_puts,
];

/// The first byte says what the rest may be.
fn bodies(data: &[u8]) {
    let Some((&which, body)) = data.split_first() else { return };
    SHAPES[usize::from(which) % SHAPES.len()](body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzers_begin_with_and_what_they_found_harms_nobody() {
        rscaler_raft::fuzz::replay(TARGETS);
    }
}
