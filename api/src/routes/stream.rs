//! Answers without an end in sight: counted, bounded, and ended when the peer stops.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use warp::http::{HeaderValue, header};
use warp::reply::{Reply as _, Response};

use crate::context::Context;
use crate::error::Problem;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// Why a stream broke off.
pub(crate) type StreamError = Box<dyn std::error::Error + Send + Sync>;
/// Bytes of an answer as they come.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>;

/// A place among the streams that may be open at once.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.streams(-1);
    }
}

/// Takes a place, or says that there is none.
pub(crate) fn place(ctx: &Context) -> Result<Place, Problem> {
    let permit = ctx.streams().clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable("too many streams are open at this peer: ask another, or try again")
    })?;
    ctx.metrics().streams(1);
    Ok(Place { _permit: permit, metrics: ctx.metrics().clone() })
}

/// An answer that goes on until the stream ends or the peer stops.
pub(crate) fn answer(ctx: &Context, place: Place, media: &'static str, stream: ByteStream) -> Response {
    let closing = ctx.closing().clone().cancelled_owned();
    let stream = stream.take_until(Box::pin(closing)).map(move |item| {
        let _held = &place;
        item
    });
    let mut response = warp::reply::stream(Shared::new(stream)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather an answer before they pass it on would hold it for ever.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
