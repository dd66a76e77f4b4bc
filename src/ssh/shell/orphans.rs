//! Shells that could not be killed when they had to be.
//!
//! When a connection breaks, a check that hangs at that moment goes on at the node for ever, and with every break one more. So what
//! was not killed is remembered beyond the connection, and killed on the next one.

use std::sync::Arc;

use parking_lot::Mutex;

use super::super::connection::Inner;
use super::bootstrap::Identity;

/// Beyond this the oldest are forgotten.
const ORPHANS_MAX: usize = 64;

/// The shells of one node that still have to be killed.
#[derive(Default)]
pub(in crate::ssh) struct Orphans {
    all: Mutex<Vec<Identity>>,
}

impl Orphans {
    pub(super) fn add(&self, orphan: Identity) {
        let mut all = self.all.lock();
        if all.len() >= ORPHANS_MAX {
            all.remove(0);
        }
        all.push(orphan);
    }

    pub(super) fn remove(&self, orphan: Identity) {
        self.all.lock().retain(|other| *other != orphan);
    }

    /// Kills all of them on `connection`, in the background.
    pub(in crate::ssh) fn reap(connection: &Arc<Inner>) {
        let orphans = std::mem::take(&mut *connection.orphans.all.lock());
        let script: String = orphans.iter().map(Identity::kill_if_same).collect();
        if script.is_empty() {
            return;
        }
        let connection = connection.clone();
        tokio::spawn(async move {
            if !connection.run_aside(&script).await {
                for orphan in orphans {
                    connection.orphans.add(orphan);
                }
            }
        });
    }
}
