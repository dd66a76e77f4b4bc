//! Waiting for a named condition, with a deadline and the last thing seen.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// Asks `look` until it says `Ok`, for at most `patience`; panics with what it said last.
pub(crate) async fn until<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        let last = match look().await {
            Ok(seen) => return seen,
            Err(last) => last,
        };
        assert!(began.elapsed() < patience, "waited {patience:?} for {what}; last: {last:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
