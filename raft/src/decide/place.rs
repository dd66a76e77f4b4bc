//! Which peer executes a task.

use crate::model::PeerId;

/// A peer that could take a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The peer.
    pub peer: PeerId,
    /// Tasks it has.
    pub tasks: u32,
    /// Tasks it takes at once.
    pub tasks_max: u32,
}

impl Candidate {
    /// Whether it takes one more.
    pub fn has_room(&self) -> bool {
        self.tasks < self.tasks_max
    }
}

/// The peer for a task: `home`, which holds the node's connection, while it has room; else the one with most
/// room in proportion, ties to the smaller id. None where all are full.
pub fn choose(candidates: &[Candidate], home: Option<PeerId>) -> Option<PeerId> {
    let free = || candidates.iter().filter(|c| c.has_room());
    if let Some(home) = free().find(|c| Some(c.peer) == home) {
        return Some(home.peer);
    }
    // tasks/tasks_max compared crosswise: exact, and without floats.
    free()
        .min_by(|a, b| {
            let left = u64::from(a.tasks) * u64::from(b.tasks_max);
            let right = u64::from(b.tasks) * u64::from(a.tasks_max);
            left.cmp(&right).then(a.peer.cmp(&b.peer))
        })
        .map(|c| c.peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(peer: u64, tasks: u32, tasks_max: u32) -> Candidate {
        Candidate { peer: PeerId(peer), tasks, tasks_max }
    }

    #[test]
    fn home_is_preferred_while_it_has_room() {
        let peers = [candidate(1, 0, 8), candidate(2, 7, 8)];
        assert_eq!(choose(&peers, Some(PeerId(2))), Some(PeerId(2)));
        let peers = [candidate(1, 0, 8), candidate(2, 8, 8)];
        assert_eq!(choose(&peers, Some(PeerId(2))), Some(PeerId(1)));
    }

    #[test]
    fn the_emptiest_in_proportion_takes_it_and_a_full_house_nobody() {
        assert_eq!(choose(&[candidate(1, 2, 4), candidate(2, 3, 8)], None), Some(PeerId(2)));
        assert_eq!(choose(&[candidate(1, 1, 4), candidate(2, 1, 4)], None), Some(PeerId(1)));
        assert_eq!(choose(&[candidate(1, 4, 4)], None), None);
        assert_eq!(choose(&[], None), None);
    }
}
