//! When which counter is read. Pure: times come in as milliseconds since the Unix epoch.
//!
//! ```text
//!   tick k          tick k+1        tick k+2       multiples of the interval: the timestamps of samples
//!   |-----offset--->x               |              x: when the counter is read on this node
//! ```
//!
//! Offsets spread the work: over the interval by node, and over a part of it by counter, so that what belongs to one
//! node comes at nearly the same time and travels in one batch. They are derived from names, so that a node keeps its
//! rhythm when another peer takes it over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The largest part of an interval over which the counters of one node are spread: 1 / this.
const WITHIN_NODE: i64 = 8;
/// The same in time.
const WITHIN_NODE_MAX_MS: i64 = 500;

/// The rhythm of one counter on one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cadence {
    interval_ms: i64,
    offset_ms: i64,
}

/// One reading that is to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    /// The timestamp of its samples: a multiple of the interval.
    pub(super) tick_ms: i64,
    /// When it is to be made: less than an interval after `tick_ms`.
    pub(super) at_ms: i64,
}

impl Cadence {
    pub(super) fn new(interval: Duration, node: &str, counter: &str) -> Cadence {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let within = (interval_ms / WITHIN_NODE).clamp(1, WITHIN_NODE_MAX_MS);
        let by_node = remainder(hash(&[node]), interval_ms);
        let by_counter = remainder(hash(&[counter, node]), within);
        Cadence { interval_ms, offset_ms: (by_node + by_counter) % interval_ms }
    }

    /// The last reading that is due at `now` or was before.
    pub(super) fn last_due(&self, now_ms: i64) -> Due {
        let tick = (now_ms - self.offset_ms).div_euclid(self.interval_ms) * self.interval_ms;
        Due { tick_ms: tick, at_ms: tick + self.offset_ms }
    }

    /// The first reading that is due after `now`.
    pub(super) fn next_due(&self, now_ms: i64) -> Due {
        let last = self.last_due(now_ms);
        Due { tick_ms: last.tick_ms + self.interval_ms, at_ms: last.at_ms + self.interval_ms }
    }

    /// How many readings were due after `from` and up to `to`, both moments when one was due.
    pub(super) fn between(&self, from: Due, to: Due) -> u64 {
        u64::try_from((to.tick_ms - from.tick_ms) / self.interval_ms).unwrap_or(0)
    }
}

fn remainder(hash: u64, of: i64) -> i64 {
    let of = u64::try_from(of).unwrap_or(1).max(1);
    i64::try_from(hash % of).unwrap_or(0)
}

/// FNV-1a with a final mix: the same on every peer and in every build, which the standard library's is not.
fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Everything that is to come, soonest first. One for all counters of this peer.
pub(super) struct Agenda<K> {
    heap: BinaryHeap<Reverse<(i64, u64, K)>>,
    next: u64,
}

impl<K: Ord> Agenda<K> {
    pub(super) fn new() -> Agenda<K> {
        Agenda { heap: BinaryHeap::new(), next: 0 }
    }

    pub(super) fn add(&mut self, at_ms: i64, key: K) {
        // Numbered, so that what is due at one moment comes in the order in which it was added.
        self.heap.push(Reverse((at_ms, self.next, key)));
        self.next += 1;
    }

    /// The next entry that is due at `now`.
    pub(super) fn pop_due(&mut self, now_ms: i64) -> Option<K> {
        if self.next_at()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, key))| key)
    }

    pub(super) fn next_at(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rhythm_of_a_series_never_changes() {
        // Pinned: another value here means that all series jump at the upgrade.
        let cadence = Cadence::new(Duration::from_secs(10), "web01", "load1");
        assert_eq!(cadence.interval_ms, 10_000);
        assert_eq!(cadence, Cadence::new(Duration::from_secs(10), "web01", "load1"));
        assert_eq!(hash(&["web01"]), hash(&["web01"]));
        assert_ne!(hash(&["a", "bc"]), hash(&["ab", "c"]));
    }

    #[test]
    fn nodes_are_spread_over_the_interval_and_counters_stay_together() {
        let interval = Duration::from_secs(10);
        let offsets: Vec<i64> =
            (0..1000).map(|i| Cadence::new(interval, &format!("n{i}"), "load1").offset_ms).collect();
        for tenth in 0..10 {
            let count = offsets.iter().filter(|offset| **offset / 1000 == tenth).count();
            assert!((60..150).contains(&count), "{count} nodes in second {tenth}");
        }
        let of_node: Vec<i64> =
            (0..50).map(|i| Cadence::new(interval, "n1", &format!("c{i}")).offset_ms).collect();
        let first = of_node[0];
        let far = of_node.iter().map(|o| (o - first).rem_euclid(10_000)).filter(|d| *d > 500 && *d < 9_500);
        assert_eq!(far.count(), 0);
    }

    #[test]
    fn the_agenda_gives_what_is_due_in_order() {
        let mut agenda = Agenda::new();
        agenda.add(30, "c");
        agenda.add(10, "a");
        agenda.add(10, "b");
        assert_eq!(agenda.next_at(), Some(10));
        assert_eq!(agenda.pop_due(9), None);
        let due: Vec<_> = std::iter::from_fn(|| agenda.pop_due(20)).collect();
        assert_eq!(due, ["a", "b"]);
        assert_eq!(agenda.pop_due(30), Some("c"));
        assert_eq!(agenda.next_at(), None);
    }

    proptest! {
        #[test]
        fn timestamps_are_aligned_and_readings_follow_within_the_interval(
            seconds in 1u64..100_000, node in "[a-z0-9]{1,20}", counter in "[a-z0-9]{1,20}",
            now in 0i64..4_000_000_000_000,
        ) {
            let cadence = Cadence::new(Duration::from_secs(seconds), &node, &counter);
            let (last, next) = (cadence.last_due(now), cadence.next_due(now));
            for due in [last, next] {
                prop_assert_eq!(due.tick_ms.rem_euclid(cadence.interval_ms), 0);
                prop_assert!((0..cadence.interval_ms).contains(&(due.at_ms - due.tick_ms)));
            }
            prop_assert!(last.at_ms <= now && now < next.at_ms);
            prop_assert_eq!(next.at_ms - last.at_ms, cadence.interval_ms);
            prop_assert_eq!(cadence.between(last, next), 1);
        }

        #[test]
        fn the_next_reading_of_the_next_is_one_interval_later(
            seconds in 1u64..1000, now in 0i64..4_000_000_000_000, steps in 1usize..50,
        ) {
            let cadence = Cadence::new(Duration::from_secs(seconds), "n", "c");
            let mut due = cadence.next_due(now);
            let first = due;
            for _ in 0..steps {
                let next = cadence.next_due(due.at_ms);
                prop_assert_eq!(next.tick_ms - due.tick_ms, cadence.interval_ms);
                due = next;
            }
            prop_assert_eq!(cadence.between(first, due), steps as u64);
        }
    }
}
