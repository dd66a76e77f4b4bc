//! How many connections each address has: one client, or one that was taken over, must not take all places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::auth::network;

/// Connections of each address. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address, until it is dropped.
pub(super) struct Member {
    crowd: Crowd,
    whose: IpAddr,
}

impl Crowd {
    /// One more connection, and how many there are with it.
    pub(super) fn enter(&self, address: IpAddr) -> (Member, usize) {
        let whose = network(address);
        let mut counts = self.0.lock();
        let count = counts.entry(whose).or_default();
        *count += 1;
        (Member { crowd: self.clone(), whose }, *count)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock();
        if let Some(count) = counts.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn connections_are_counted_by_who_has_them() {
        let crowd = Crowd::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = crowd.enter(address("10.0.0.1"));
        assert_eq!(crowd.enter(address("::ffff:10.0.0.1")).1, 2, "the same address, written in the new way");
        assert_eq!(crowd.enter(address("10.0.0.2")).1, 1);
        let _other = crowd.enter(address("2001:db8::1"));
        assert_eq!(crowd.enter(address("2001:db8::ffff")).1, 2, "one network");
        assert_eq!(crowd.enter(address("2001:db8:0:1::1")).1, 1);
        drop(first);
        assert_eq!(crowd.enter(address("10.0.0.1")).1, 1);
    }
}
