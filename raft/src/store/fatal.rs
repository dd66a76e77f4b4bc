use std::sync::Arc;

use tokio::sync::watch;

/// Where a failure that the peer must not survive is reported. The first reason counts; who runs the process
/// waits for it, says it, and exits, without waiting for the storage, which may never come back. After a failed
/// write or fsync nobody knows what is on disk, so going on would risk what was acknowledged.
#[derive(Clone, Debug)]
pub struct Fatal {
    reason: Arc<watch::Sender<Option<Arc<str>>>>,
}

impl Default for Fatal {
    fn default() -> Self {
        Fatal::new()
    }
}

impl Fatal {
    /// Nothing has failed yet.
    pub fn new() -> Fatal {
        Fatal { reason: Arc::new(watch::Sender::new(None)) }
    }

    /// Reports a failure. Later ones are dropped: they follow from the first.
    pub fn report(&self, reason: impl Into<String>) {
        let reason: Arc<str> = reason.into().into();
        let first = self.reason.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(Arc::clone(&reason));
            }
            first
        });
        if first {
            tracing::error!(%reason, "the peer must stop");
        }
    }

    /// The reason, if something has failed.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.reason.borrow().clone()
    }

    /// Waits for a failure. Cancel safe.
    pub async fn failed(&self) -> Arc<str> {
        let mut watch = self.reason.subscribe();
        loop {
            if let Some(reason) = watch.borrow_and_update().clone() {
                return reason;
            }
            if watch.changed().await.is_err() {
                // Cannot be: `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}
