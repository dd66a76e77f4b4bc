//! The state machine, for [`crate::fuzz`]: entries that a log may hold, and rows that a snapshot may.
#![allow(clippy::unwrap_used)]

use super::State;
use super::testing::{Driver, trigger};
use crate::codec;
use crate::command::{Command, Proposal};
use crate::fuzz::{parts, stable};
use crate::model::Timestamp;
use crate::series::fuzz::sealed;
use crate::series::{DICTIONARY_PREFIX, HEAD_PREFIX, INFO_PREFIX};

/// A control plane as entries find it.
pub(crate) fn settled() -> Driver {
    let mut driver = Driver::with_peers(2);
    driver.fleet(&["web01", "web02"]);
    driver.put("hot", trigger(|_| ()));
    driver
}

/// Proposals, applied one after the other. An empty part lets a second pass, one of a single byte is a restart.
pub(crate) fn apply(data: &[u8]) {
    let mut driver = settled();
    for part in parts(data) {
        match part {
            [] => {
                let wall = Timestamp(driver.state.clock().wall.0.saturating_add(1000));
                let _ = driver.apply(Command::Tick { term: u64::MAX, first: false, delta_ms: 1000, wall });
            }
            [_] => driver.restart(),
            _ => {
                if let Some(proposal) = stable::<Proposal>(part) {
                    let _ = driver.propose(proposal);
                }
            }
        }
    }
    driver.restart();
    let _ = driver.state.next_deadline();
}

/// Rows of a snapshot, each with one byte before its key that says how long that is.
pub(crate) fn rows(data: &[u8]) {
    let mut rows = Vec::new();
    for part in parts(data) {
        let Some((len, rest)) = part.split_first() else { continue };
        let (key, value) = rest.split_at(usize::from(*len).min(rest.len()));
        let of_series =
            [DICTIONARY_PREFIX, HEAD_PREFIX, INFO_PREFIX].iter().any(|prefix| key.first() == Some(prefix));
        rows.push((key.to_vec(), if of_series { sealed(value) } else { value.to_vec() }));
    }
    let Ok(mut state) = State::load(rows, [], 9) else { return };
    let digest = state.digest();
    for change in state.undigested().rows {
        let value = change.value.map(|make| make());
        assert_eq!(state.row(&change.key), value, "{:?}", codec::encode_plain(&change.key));
    }
    assert_eq!(state.digest(), digest);
    let wall = Timestamp(state.clock().wall.0.saturating_add(1000));
    let tick = Command::Tick { term: u64::MAX, first: true, delta_ms: 1000, wall };
    let _ = state.apply(10, &Proposal { request: None, actor: crate::model::Actor::System, command: tick });
}
