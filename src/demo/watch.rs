//! Looks again and again, for as long as the demo runs.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::view::{View, Viewer};

/// How often is looked: at least as often as any counter of the demo is read, so that no sample goes uncounted.
const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_MANY: Duration = Duration::from_secs(2);
/// From how many hosts on is looked less often.
const HOSTS_MANY: usize = 20;

/// Views that come by themselves. Dropping it ends them.
pub(super) struct Watch {
    views: mpsc::Receiver<Result<View, String>>,
    _looking: AbortOnDropHandle<()>,
}

impl Watch {
    /// Begins to look.
    pub(super) fn start(mut viewer: Viewer, hosts: usize) -> Watch {
        let (sender, views) = mpsc::channel(1);
        let looking = tokio::spawn(async move {
            let mut ticks = interval(if hosts < HOSTS_MANY { PERIOD } else { PERIOD_MANY });
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let view = viewer.look().await.map_err(|error| format!("{error:#}"));
                if sender.send(view).await.is_err() {
                    return;
                }
            }
        });
        Watch { views, _looking: AbortOnDropHandle::new(looking) }
    }

    /// The next view, or why there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<View, String> {
        match self.views.recv().await {
            Some(view) => view,
            // It looks until this is dropped, so it can only have failed.
            None => std::future::pending().await,
        }
    }
}
