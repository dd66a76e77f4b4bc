//! Counters of the nodes that are assigned to this peer: reading what a managed host printed, and turning it into samples.
//!
//! ```text
//!  assignments, counters ---> [fleet]: what is read when ---> [ssh]: one reading ---> parse ---> [outbox] ---> the log
//!                                ^      one agenda for all                                          |
//!                                +------------------ less, where samples wait ----------------------+
//! ```
//!
//! A node costs only itself: a reading is bounded in time and output, a node has a few readings at once and one connection,
//! and what it fails to give is told as the reason of its series. Of its JVMs all that is due at one time is one question ([jmx]). Nothing is read without a lease, nor of a node whose
//! assignment has moved on; what was read all the same is refused by the assignment's epoch.

mod fleet;
mod jmx;
mod outbox;
mod outcome;
pub mod parse;
mod plan;
mod schedule;
mod ssh;
mod status;

use std::sync::Arc;

use rscaler_raft::handle::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::fleet::Fleet;
use self::jmx::JmxReader;
use self::outbox::Outbox;
use self::ssh::Reader;
use crate::inventory::{JvmTargets, Targets};
use crate::jvm::Jvms;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::ssh::Pool;

/// Results that wait to be sorted into batches.
const PARCELS_MAX: usize = 16 * 1024;

/// Bounds of the [`Collectors`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Readings of one node that go on at once. More than its shells, so that a slow one keeps no fast one waiting.
    pub readings_per_node: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { readings_per_node: 8 }
    }
}

/// Reads the counters of the nodes that are assigned to this peer.
pub struct Collectors {
    fleet: Fleet,
    outbox: Outbox,
}

impl Collectors {
    /// Collectors that reach nodes through `pool`, as `targets` says, and act under `lease`.
    pub fn new(
        handle: Handle,
        lease: Lease,
        targets: Arc<Targets>,
        pool: Pool,
        jvms: (Arc<JvmTargets>, Arc<Jvms>),
        options: Options,
        metrics: Arc<Metrics>,
    ) -> Collectors {
        let (parcels, receive) = mpsc::channel(PARCELS_MAX);
        let outbox = Outbox::new(handle.clone(), Arc::clone(&metrics), receive);
        let reader = Arc::new(Reader {
            handle: handle.clone(),
            targets,
            pool,
            jmx: JmxReader { targets: jvms.0, jvms: jvms.1 },
        });
        let fleet = Fleet::new(handle, lease, reader, options, metrics, parcels, outbox.backlog());
        Collectors { fleet, outbox }
    }

    /// Collects until `stop`; then nothing is begun any more, and what was read is sent within two seconds.
    pub async fn run(self, stop: CancellationToken) {
        let sent = CancellationToken::new();
        let read = async {
            self.fleet.run(stop).await;
            sent.cancel();
        };
        tokio::join!(read, self.outbox.run(sent.clone()));
    }
}

#[cfg(test)]
mod collectors_test;
