//! A request that has found its route, as handlers see it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use rscaler_raft::command::{Command, Expect, Reply};
use rscaler_raft::handle::SubmitError;
use rscaler_raft::model::{Actor, Kind, Name, Object, RequestId};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use warp::http::{HeaderMap, Method, header};

use crate::auth::Caller;
use crate::context::{BODY_UNIT_BYTES, Context};
use crate::error::Problem;
pub(crate) use crate::query::{Query, Selector, unescape};
use crate::shared::Shared;
use crate::types::{self, FieldError};

/// A body as it arrives.
pub(crate) type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// The longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 255;

/// A request that has found its route and may be answered.
pub(crate) struct Request {
    pub(crate) ctx: Context,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) params: Vec<String>,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<BodyStream>,
    /// Room for the body, until the request is answered.
    pub(crate) room: Option<OwnedSemaphorePermit>,
    pub(crate) caller: Option<Caller>,
    pub(crate) address: IpAddr,
}

/// What a write expects to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// Nothing is said.
    None,
    /// `If-Match: "3"`
    Version(u64),
    /// `If-Match: *`
    Present,
    /// `If-None-Match: *`
    Absent,
}

impl Guard {
    pub(crate) fn expect(self) -> Expect {
        match self {
            Guard::None => Expect::Any,
            Guard::Version(version) => Expect::Version(version),
            Guard::Present => Expect::Present,
            Guard::Absent => Expect::Absent,
        }
    }
}

impl Request {
    /// Who asks. Routes that anybody may call have nobody.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        self.caller.as_ref().ok_or_else(|| Problem::unauthenticated("this needs a token"))
    }

    pub(crate) fn actor(&self) -> Result<Actor, Problem> {
        Ok(self.caller()?.actor.clone())
    }

    /// A path parameter.
    pub(crate) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// A path parameter that names something; what is no name names nothing.
    pub(crate) fn name(&self, index: usize, kind: impl std::fmt::Display) -> Result<Name, Problem> {
        let text = self.param(index);
        Name::new(text).map_err(|_| {
            let shown: String = text.chars().take(80).collect();
            Problem::not_found(kind, shown)
        })
    }

    /// A path parameter that is a number.
    pub(crate) fn id<T: FromStr>(&self, index: usize, what: &str) -> Result<T, Problem> {
        let text = self.param(index);
        text.parse().map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            Problem::not_found(what, shown)
        })
    }

    /// The query string.
    pub(crate) fn query(&self) -> Result<Query, Problem> {
        Query::parse(&self.query)
    }

    fn header(&self, name: impl header::AsHeaderName) -> Result<Option<&str>, Problem> {
        match self.headers.get(name) {
            None => Ok(None),
            Some(value) => value
                .to_str()
                .map(Some)
                .map_err(|_| Problem::malformed("a header holds bytes that are no text")),
        }
    }

    /// What `If-Match` and `If-None-Match` say.
    pub(crate) fn guard(&self) -> Result<Guard, Problem> {
        let matching = self.header(header::IF_MATCH)?;
        let none_matching = self.header(header::IF_NONE_MATCH)?;
        match (matching.map(str::trim), none_matching.map(str::trim)) {
            (None, None) => Ok(Guard::None),
            (Some("*"), None) => Ok(Guard::Present),
            (Some(tag), None) => parse_tag(tag).map(Guard::Version).ok_or_else(|| {
                Problem::malformed("If-Match takes one ETag as an answer gave it, such as \"3\", or *")
            }),
            (None, Some("*")) => Ok(Guard::Absent),
            (None, Some(_)) => Err(Problem::malformed("on a write, If-None-Match takes * only")),
            (Some(_), Some(_)) => Err(Problem::malformed("give If-Match or If-None-Match, not both")),
        }
    }

    /// Whether the client has this version already.
    pub(crate) fn has_version(&self, version: u64) -> bool {
        let tags = self.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        tags.is_some_and(|tags| tags.split(',').any(|tag| parse_tag(tag.trim()) == Some(version)))
    }

    /// What the client accepts, roughly: whether `media` is named before anything else.
    pub(crate) fn accepts(&self, media: &str) -> bool {
        let accept = self.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        let first = accept.split(',').next().unwrap_or("");
        first.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(media)
    }

    /// The media type of the body, in lower case without parameters; absent where none is said.
    pub(crate) fn media_type(&self) -> Result<Option<String>, Problem> {
        let said = self.header(header::CONTENT_TYPE)?;
        Ok(said.map(|said| said.split(';').next().unwrap_or("").trim().to_ascii_lowercase()))
    }

    /// Names the request, where the client gave a key: the same client, method, path and key is the same request.
    /// `part` tells commands of one request apart.
    pub(crate) fn request_id(&self, part: u32) -> Result<Option<RequestId>, Problem> {
        let Some(key) = self.header("idempotency-key")? else { return Ok(None) };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Problem::malformed(format!("an Idempotency-Key takes 1 to {KEY_BYTES_MAX} bytes")));
        }
        let who = self.caller.as_ref().map_or_else(String::new, |caller| types::actor_text(&caller.actor));
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for text in ["rscaler request", &who, self.method.as_str(), &self.path, key] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.update(&part.to_be_bytes());
        let digest = context.finish();
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_ref()[..16]);
        Ok(Some(RequestId::named(u128::from_be_bytes(id))))
    }

    /// Proposes a command as the caller. It is applied once; where the client gave a key, once for all requests with it.
    pub(crate) async fn propose(
        &self,
        part: u32,
        command: Command,
    ) -> Result<Result<Reply, SubmitError>, Problem> {
        let actor = self.actor()?;
        let handle = self.ctx.handle();
        Ok(match self.request_id(part)? {
            Some(request) => handle.submit_once(request, actor, command).await,
            None => handle.submit(actor, command).await,
        })
    }

    /// Proposes a command, and turns a refusal into the answer.
    pub(crate) async fn submit(&self, part: u32, command: Command) -> Result<Reply, Problem> {
        self.propose(part, command).await?.map_err(Into::into)
    }

    /// The whole body, at most `bytes_max`.
    pub(crate) async fn bytes(&mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        let too_large = || Problem::too_large(format!("a body takes at most {bytes_max} bytes here"));
        let declared = self.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if declared.and_then(|text| text.parse::<u64>().ok()).is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(too_large());
        }
        // Nothing is unpacked here, so that no body is larger than it came.
        if let Some(encoding) = self.header(header::CONTENT_ENCODING)?.map(str::trim)
            && !encoding.eq_ignore_ascii_case("identity")
        {
            let shown: String = encoding.chars().take(40).collect();
            return Err(Problem::media_type(format!("a body is taken as it is, not encoded as `{shown}`")));
        }
        let Some(mut body) = self.body.take() else { return Ok(Bytes::new()) };
        let ctx = self.ctx.clone();
        let mut room = self.room.take();
        let read = async {
            let mut whole = BytesMut::new();
            while let Some(chunk) = body.next().await {
                let chunk =
                    chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
                if whole.len() + chunk.len() > bytes_max {
                    return Err(too_large());
                }
                widen(&mut room, &ctx, whole.len() + chunk.len())?;
                whole.extend_from_slice(&chunk);
            }
            Ok(whole.freeze())
        };
        let read = tokio::time::timeout(self.ctx.limits().body_timeout, read).await.map_err(|_| {
            Problem::new(
                warp::http::StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the body took too long to arrive",
            )
        })?;
        self.room = room;
        read
    }

    /// A JSON body as a value.
    pub(crate) async fn json_value(
        &mut self,
        bytes_max: usize,
        also: Option<&str>,
    ) -> Result<serde_json::Value, Problem> {
        json_of(&self.json_body(bytes_max, also).await?)
    }

    /// A JSON body as it was sent.
    pub(crate) async fn json_bytes(&mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        self.json_body(bytes_max, None).await
    }

    async fn json_body(&mut self, bytes_max: usize, also: Option<&str>) -> Result<Bytes, Problem> {
        match self.media_type()?.as_deref() {
            None | Some("application/json") => {}
            Some(media) if Some(media) == also => {}
            Some(media) => {
                return Err(Problem::media_type(format!(
                    "`{media}` is not understood here: send JSON with `Content-Type: {}`",
                    also.unwrap_or("application/json")
                )));
            }
        }
        let body = self.bytes(bytes_max).await?;
        if body.is_empty() {
            return Err(Problem::malformed("this takes a JSON body, and there is none"));
        }
        Ok(body)
    }

    /// A JSON body of a known shape.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        let bytes_max = self.ctx.limits().body_bytes_max;
        let value = self.json_value(bytes_max, None).await?;
        read_as(value)
    }

    /// A JSON body of a known shape, which may be left out.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, Problem> {
        let empty = self.headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && self.headers.get(header::CONTENT_TYPE).is_none()
            && self.headers.get(header::TRANSFER_ENCODING).is_none();
        if empty {
            return Ok(T::default());
        }
        let bytes_max = self.ctx.limits().body_bytes_max;
        let body = self.bytes(bytes_max).await?;
        if body.is_empty() {
            return Ok(T::default());
        }
        self.body = Some(Box::pin(futures::stream::once(async { Ok(body) })));
        self.json().await
    }
}

/// A body as a value.
pub(crate) fn json_of(body: &[u8]) -> Result<serde_json::Value, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::malformed(format!("this is not JSON: {error}")))
}

/// Takes room for a body that has grown to `bytes`. Waiting for others to make room could be for ever: they may wait too.
fn widen(room: &mut Option<OwnedSemaphorePermit>, ctx: &Context, bytes: usize) -> Result<(), Problem> {
    let has = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = bytes.div_ceil(BODY_UNIT_BYTES).saturating_sub(has);
    let units = u32::try_from(more).unwrap_or(u32::MAX);
    let full = |_| Problem::unavailable("too many large bodies are on their way: send it again in a moment");
    let wider = Arc::clone(ctx.bodies()).try_acquire_many_owned(units).map_err(full)?;
    match room {
        Some(room) => room.merge(wider),
        None => *room = Some(wider),
    }
    Ok(())
}

/// Reads a value strictly; a wrong field is a 422.
pub(crate) fn read_as<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    types::read(value).map_err(|error| Problem::invalid(vec![error]))
}

/// Gives a body's chunks as bytes.
pub(crate) fn body_stream<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
) -> BodyStream {
    let body = body.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining())));
    Box::pin(Shared::new(Box::pin(body)))
}

fn parse_tag(tag: &str) -> Option<u64> {
    tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// What a document of a kind is called where it is missing.
pub(crate) fn missing(kind: Kind, name: &Name) -> Problem {
    Problem::not_found(kind, name)
}

/// The labels to put: those of the document, and the API's own as they are. A document may repeat those, as it read
/// them, and set none.
pub(crate) fn labels(
    mut said: BTreeMap<String, String>,
    existing: Option<&Object>,
) -> Result<BTreeMap<String, String>, FieldError> {
    let own = |key: &str| key.starts_with(crate::auth::OWN_LABELS);
    let there = existing.map(|object| &object.meta.labels);
    for (key, value) in said.iter().filter(|(key, _)| own(key)) {
        if there.and_then(|labels| labels.get(key)) != Some(value) {
            let detail = format!("`{key}`: labels that begin with `rscaler/` are set by rscaler alone");
            return Err(FieldError::new("/labels", detail));
        }
    }
    for (key, value) in there.into_iter().flatten().filter(|(key, _)| own(key)) {
        said.insert(key.clone(), value.clone());
    }
    Ok(said)
}

/// A request's name in logs and answers.
#[derive(Clone, Debug)]
pub(crate) struct RequestName(pub(crate) Arc<str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn etags_are_versions() {
        assert_eq!(parse_tag("\"3\""), Some(3));
        assert_eq!(parse_tag("W/\"3\""), Some(3));
        assert_eq!(parse_tag("3"), None);
        assert_eq!(parse_tag("\"x\""), None);
    }
}
