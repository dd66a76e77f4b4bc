use std::collections::VecDeque;

const BYTES_MAX: usize = 16 << 20;
const ENTRIES_MAX: usize = 50_000;

/// Which of the newest entries the log below surely holds in memory. It keeps twice this and drops the oldest
/// first, so what is in here need not be read from disk.
#[derive(Default)]
pub(super) struct Tail {
    sizes: VecDeque<usize>,
    next: u64,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, index: u64, bytes: usize) {
        if index != self.next {
            *self = Tail { next: index, ..Tail::default() };
        }
        self.sizes.push_back(bytes);
        self.bytes += bytes;
        self.next += 1;
        while self.bytes > BYTES_MAX || self.sizes.len() > ENTRIES_MAX {
            let Some(oldest) = self.sizes.pop_front() else { break };
            self.bytes -= oldest;
        }
    }

    pub(super) fn truncate_from(&mut self, index: u64) {
        while self.next > index {
            self.next -= 1;
            if let Some(newest) = self.sizes.pop_back() {
                self.bytes -= newest;
            }
        }
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        index + self.sizes.len() as u64 >= self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_cached() {
        let mut tail = Tail::default();
        for index in 5..105 {
            tail.push(index, 1 << 20);
        }
        assert!(tail.contains(104) && tail.contains(105 - 16) && !tail.contains(105 - 17));
        tail.truncate_from(100);
        assert!(tail.contains(99) && !tail.contains(105 - 17));
        tail.push(100, 1);
        assert!(tail.contains(100));
        tail.push(1000, 1);
        assert!(tail.contains(1000) && !tail.contains(100));
    }
}
