//! The shapes of answers.

use serde::Serialize;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::endpoint::Answer;
use super::resources::cursor;
use crate::error::Problem;
use crate::request::Query;
use crate::types::List;

/// JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).map_err(|error| Problem::internal(&error))?;
    let mut response = body.into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// JSON, status 200.
pub(crate) fn ok(body: &impl Serialize) -> Answer {
    json(StatusCode::OK, body)
}

/// A list that is read whole, a page of it: the cursor is how many items came before.
pub(crate) fn paged<T: Serialize>(mut query: Query, items: impl IntoIterator<Item = T>) -> Answer {
    let limit = query.limit()?;
    let before = cursor::<usize>(&mut query)?.unwrap_or(0);
    query.finish()?;
    let mut items: Vec<T> = items.into_iter().skip(before).take(limit.saturating_add(1)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = more.then(|| (before + limit).to_string());
    ok(&List { items, next })
}

/// JSON of a configuration object, with its ETag.
pub(crate) fn object(status: StatusCode, body: &impl Serialize, version: u64) -> Answer {
    Ok(tagged(json(status, body)?, version))
}

/// With a version as ETag.
pub(crate) fn tagged(mut response: Response, version: u64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// JSON, with where it can be found from now on.
pub(crate) fn located(mut response: Response, location: &str) -> Response {
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Nothing to say.
pub(crate) fn no_content() -> Answer {
    let mut response = warp::reply().into_response();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Text of some media type.
pub(crate) fn text(media: &'static str, body: impl Into<Vec<u8>>) -> Answer {
    let mut response = body.into().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(response)
}
