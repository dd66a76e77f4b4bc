//! A stream that may be shared between threads, because nobody polls it but through `&mut`.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use parking_lot::Mutex;

/// A stream made `Sync`, which warp asks of bodies; the lock is never taken.
pub(crate) struct Shared<S>(Mutex<S>);

impl<S> Shared<S> {
    pub(crate) fn new(stream: S) -> Shared<S> {
        Shared(Mutex::new(stream))
    }
}

impl<S: Stream + Unpin> Stream for Shared<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(self.0.get_mut()).poll_next(cx)
    }
}
