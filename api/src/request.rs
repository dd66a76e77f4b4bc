//! A request that has found its route, as handlers see it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use rscaler_raft::command::{Command, Expect, Reply};
use rscaler_raft::handle::SubmitError;
use rscaler_raft::model::{Actor, Kind, Name, RequestId};
use serde::de::DeserializeOwned;
use warp::http::{HeaderMap, Method, header};

use crate::auth::Caller;
use crate::context::Context;
use crate::error::Problem;
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
        Ok(Some(RequestId(u128::from_be_bytes(id))))
    }

    /// Proposes a command as the caller, once where the client gave a key.
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
        let Some(mut body) = self.body.take() else { return Ok(Bytes::new()) };
        let read = async {
            let mut whole = BytesMut::new();
            while let Some(chunk) = body.next().await {
                let chunk =
                    chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
                if whole.len() + chunk.len() > bytes_max {
                    return Err(too_large());
                }
                whole.extend_from_slice(&chunk);
            }
            Ok(whole.freeze())
        };
        tokio::time::timeout(self.ctx.limits().body_timeout, read).await.map_err(|_| {
            Problem::new(
                warp::http::StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the body took too long to arrive",
            )
        })?
    }

    /// A JSON body as a value.
    pub(crate) async fn json_value(
        &mut self,
        bytes_max: usize,
        also: Option<&str>,
    ) -> Result<serde_json::Value, Problem> {
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
        serde_json::from_slice(&body)
            .map_err(|error| Problem::malformed(format!("this is not JSON: {error}")))
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

/// The query string, taken apart one parameter after the other. What nobody took is a mistake.
pub(crate) struct Query {
    given: BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
}

impl Query {
    /// Reads `a=1&b=x%20y`.
    pub(crate) fn parse(text: &str) -> Result<Query, Problem> {
        let mut given = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unescape(key)?, unescape(value)?);
            if given.insert(key.clone(), value).is_some() {
                return Err(Problem::malformed(format!("parameter `{key}` is given twice")));
            }
        }
        Ok(Query { given, known: BTreeSet::new() })
    }

    /// A parameter as text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.known.insert(key);
        self.given.remove(key)
    }

    /// A parameter of a type.
    pub(crate) fn value<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        self.text(key)
            .map(|text| {
                text.parse().map_err(|error| Problem::malformed(format!("parameter `{key}`: {error}")))
            })
            .transpose()
    }

    /// A parameter that is one of some words.
    pub(crate) fn word<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>, Problem> {
        self.text(key)
            .map(|text| {
                serde_json::from_value(serde_json::Value::String(text))
                    .map_err(|error| Problem::malformed(format!("parameter `{key}`: {error}")))
            })
            .transpose()
    }

    /// A parameter that is `true` or `false`; without a value it is true.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, Problem> {
        match self.text(key).as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::malformed(format!("parameter `{key}` is true or false"))),
        }
    }

    /// How many items a page shall have.
    pub(crate) fn limit(&mut self) -> Result<usize, Problem> {
        const LIMIT_DEFAULT: usize = 100;
        const LIMIT_MAX: usize = 1000;
        match self.value::<usize>("limit")? {
            None => Ok(LIMIT_DEFAULT),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::malformed(format!("parameter `limit` is 1 to {LIMIT_MAX}"))),
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        // Taken before the handler runs.
        self.given.remove("consistency");
        self.known.insert("consistency");
        match self.given.keys().next() {
            None => Ok(()),
            Some(key) => {
                let known: Vec<&str> = self.known.iter().copied().collect();
                let key: String = key.chars().take(40).collect();
                Err(Problem::malformed(format!(
                    "there is no parameter `{key}` here; there are: {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// Undoes percent-encoding.
pub(crate) fn unescape(text: &str) -> Result<String, Problem> {
    let malformed = || Problem::malformed("the URL is not well escaped");
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = text.get(at + 1..at + 3).ok_or_else(malformed)?;
                out.push(u8::from_str_radix(pair, 16).map_err(|_| malformed())?);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| malformed())
}

/// Labels that objects must carry: `app=web,tier!=db,owner,!old`.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Selector(Vec<(String, Wanted)>);

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Is(String),
    IsNot(String),
    There,
    NotThere,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        let mut wanted = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, want) = if let Some((key, value)) = part.split_once("!=") {
                (key, Wanted::IsNot(value.trim().to_string()))
            } else if let Some((key, value)) = part.split_once('=') {
                (key, Wanted::Is(value.trim().to_string()))
            } else if let Some(key) = part.strip_prefix('!') {
                (key, Wanted::NotThere)
            } else {
                (part, Wanted::There)
            };
            if key.trim().is_empty() {
                return Err("a selector is `key=value`, `key!=value`, `key` or `!key`, with commas between"
                    .to_string());
            }
            wanted.push((key.trim().to_string(), want));
        }
        Ok(Selector(wanted))
    }
}

impl Selector {
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, wanted)| match (wanted, labels.get(key)) {
            (Wanted::Is(value), found) => found == Some(value),
            (Wanted::IsNot(value), found) => found != Some(value),
            (Wanted::There, found) => found.is_some(),
            (Wanted::NotThere, found) => found.is_none(),
        })
    }
}

/// What a document of a kind is called where it is missing.
pub(crate) fn missing(kind: Kind, name: &Name) -> Problem {
    Problem::not_found(kind, name)
}

/// Labels that a document may not set.
pub(crate) fn own_labels(labels: &BTreeMap<String, String>) -> Option<FieldError> {
    let own = labels.keys().find(|key| key.starts_with(crate::auth::OWN_LABELS))?;
    Some(FieldError::new(
        "/labels",
        format!("`{own}`: labels that begin with `rscaler/` are set by rscaler alone"),
    ))
}

/// A request's name in logs and answers.
#[derive(Clone, Debug)]
pub(crate) struct RequestName(pub(crate) Arc<str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_query_string_is_taken_apart() {
        let mut query = Query::parse("limit=5&name=a%20b+c&flag&%78=1").unwrap();
        assert_eq!(query.limit().unwrap(), 5);
        assert_eq!(query.text("name").unwrap(), "a b c");
        assert!(query.flag("flag").unwrap());
        let left = query.finish().unwrap_err();
        assert_eq!(left.status, 400);
        assert!(left.detail.contains("no parameter `x`") && left.detail.contains("limit"), "{}", left.detail);
    }

    #[test]
    fn a_bad_query_is_a_400() {
        for bad in ["a=%zz", "a=%f", "a=%ff", "a=1&a=2"] {
            assert_eq!(Query::parse(bad).err().unwrap().status, 400, "{bad}");
        }
        for (text, key) in [("limit=0", "limit"), ("limit=x", "limit"), ("limit=1001", "limit")] {
            let problem = Query::parse(text).unwrap().limit().unwrap_err();
            assert!(problem.status == 400 && problem.detail.contains(key), "{}", problem.detail);
        }
        assert!(Query::parse("a=maybe").unwrap().flag("a").is_err());
    }

    #[test]
    fn selectors_choose_by_labels() {
        let labels = BTreeMap::from([("app".to_string(), "web".to_string())]);
        for (text, fits) in [
            ("app=web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app", true),
            ("!app", false),
            ("!old", true),
            ("app=web, tier=x", false),
            ("", true),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&labels), fits, "{text}");
        }
        assert!("=x".parse::<Selector>().is_err());
    }

    #[test]
    fn etags_are_versions() {
        assert_eq!(parse_tag("\"3\""), Some(3));
        assert_eq!(parse_tag("W/\"3\""), Some(3));
        assert_eq!(parse_tag("3"), None);
        assert_eq!(parse_tag("\"x\""), None);
    }
}
