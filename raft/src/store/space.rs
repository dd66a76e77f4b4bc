use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::{Error, files};

/// Whether there is room to go on writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// There is.
    Ok,
    /// There is too little: refuse proposals and hand leadership on. What was acknowledged stays safe even when
    /// the disk is quite full.
    Low {
        /// Bytes left.
        free_bytes: u64,
    },
}

/// Watches the space left where the data lies.
pub struct SpaceWatch {
    dir: PathBuf,
    threshold_bytes: u64,
    space: watch::Sender<Space>,
}

impl SpaceWatch {
    /// Below this much, by default, [`Space::Low`] is told.
    pub const THRESHOLD_BYTES: u64 = 64 << 20;
    const EVERY: Duration = Duration::from_secs(1);

    /// Looks at the file system that holds `dir`, once now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(dir: impl Into<PathBuf>, threshold_bytes: u64) -> Result<SpaceWatch, Error> {
        let watch = SpaceWatch { dir: dir.into(), threshold_bytes, space: watch::Sender::new(Space::Ok) };
        watch.check()?;
        Ok(watch)
    }

    /// What was last seen, and changes from it.
    pub fn subscribe(&self) -> watch::Receiver<Space> {
        self.space.subscribe()
    }

    /// Looks once. Reads the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn check(&self) -> Result<Space, Error> {
        let free_bytes = files::free_bytes(&self.dir)?;
        let before = *self.space.borrow();
        // A little more is needed to leave the state than to enter it, so that it does not flap.
        let limit = match before {
            Space::Ok => self.threshold_bytes,
            Space::Low { .. } => self.threshold_bytes + self.threshold_bytes / 8,
        };
        let now = if free_bytes < limit { Space::Low { free_bytes } } else { Space::Ok };
        match (before, now) {
            (Space::Ok, Space::Low { .. }) => {
                tracing::warn!(free_bytes, dir = %self.dir.display(), "the disk is nearly full: writes are refused");
            }
            (Space::Low { .. }, Space::Ok) => tracing::info!(free_bytes, "there is room on the disk again"),
            _ => {}
        }
        self.space.send_if_modified(|space| std::mem::replace(space, now) != now);
        Ok(now)
    }

    /// Looks every second until cancelled. A look that fails is told once and counts as no change.
    pub async fn run(self: std::sync::Arc<Self>) {
        let mut ticker = tokio::time::interval(Self::EVERY);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut failing = false;
        loop {
            ticker.tick().await;
            let watch = std::sync::Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || watch.check()).await;
            if let Ok(Err(error)) = &looked
                && !failing
            {
                tracing::warn!(error = error.chain(), "the space on the disk is not known");
            }
            failing = !matches!(looked, Ok(Ok(_)));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn low_space_is_told_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = SpaceWatch::new(dir.path(), 0).unwrap();
        let seen = watch.subscribe();
        assert_eq!(*seen.borrow(), Space::Ok);
        watch.threshold_bytes = u64::MAX / 2;
        assert!(matches!(watch.check().unwrap(), Space::Low { free_bytes } if free_bytes > 0));
        assert!(matches!(*seen.borrow(), Space::Low { .. }));
        watch.threshold_bytes = 0;
        assert_eq!(watch.check().unwrap(), Space::Ok);
        assert_eq!(*seen.borrow(), Space::Ok);
    }
}
