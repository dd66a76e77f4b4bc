//! Contents of many files over one request: the way for programs that write all the time. A program sends puts one after
//! the other and reads an answer to each, in the same order, while it sends on. It spares what a request costs.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{Buf, Bytes, BytesMut};
use futures::{FutureExt, StreamExt};
use rscaler_raft::command::{Expect, FilePut, Stored};
use rscaler_raft::model::{Actor, File, Name, Role};
use warp::http::{HeaderMap, Method};

use super::endpoint::{Answer, Endpoint};
use super::stream::{answer, place};
use crate::auth::{self, Access};
use crate::context::Context;
use crate::error::Problem;
use crate::puts::SMALL_BYTES_MAX;
use crate::request::{BodyStream, Request};

/// Puts that are committed together at most, of one connection.
const TOGETHER_MAX: usize = FilePut::PUTS_MAX;
/// Bytes of puts that are read ahead of what is being committed.
const AHEAD_BYTES_MAX: usize = 256 << 10;
const MEDIA: &str = "application/x-ndjson";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/puts", Access::ADMIN, "Writes contents of files, one after the other", puts)
            .describe(
                "The body is a row of puts, each `length of the name (1 byte) | name | length of the content (4 bytes, big-endian) | \
                 content`, with contents of at most 32 KiB. The answer is a line of JSON for each, in the same order, as soon as it \
                 is committed: `{\"version\":3}`, or a problem, which leaves the other puts valid. Both go on at once: a program \
                 may wait for each answer before it sends more, or not. Each means what `PUT /files/{name}/content` means.",
            )
            .takes("application/octet-stream")
            .answers_as(200, "A line for each put.", MEDIA),
    ]
}

async fn puts(mut request: Request) -> Answer {
    request.query()?.finish()?;
    let place = place(&request.ctx)?;
    let actor = request.actor()?;
    let (headers, address) = (request.headers.clone(), request.address);
    let Some(body) = request.body.take() else { return Err(Problem::malformed("there is no body")) };
    let session = Session {
        ctx: request.ctx.clone(),
        actor,
        headers,
        address,
        body,
        read: BytesMut::new(),
        is_over: false,
    };
    let lines = futures::stream::unfold(session, |mut session| async move {
        let lines = session.next().await?;
        Some((Ok(lines), session))
    });
    Ok(answer(&request.ctx, place, MEDIA, Box::pin(lines)))
}

/// One request that goes on.
struct Session {
    ctx: Context,
    actor: Actor,
    headers: HeaderMap,
    address: IpAddr,
    body: BodyStream,
    read: BytesMut,
    is_over: bool,
}

impl Session {
    /// The answers to the next puts; none once there are no more.
    async fn next(&mut self) -> Option<Bytes> {
        let mut lines = String::new();
        while lines.is_empty() {
            if self.is_over {
                return None;
            }
            let mut puts = Vec::new();
            let broken = loop {
                match take_put(&mut self.read) {
                    Ok(Some(put)) if puts.len() < TOGETHER_MAX => puts.push(put),
                    Ok(Some(put)) => {
                        puts.push(put);
                        break None;
                    }
                    // What is there already comes along; only where nothing is do we wait for more.
                    Ok(None) if puts.is_empty() => match self.body.next().await {
                        Some(chunk) => {
                            if let Err(problem) = self.add(chunk) {
                                break Some(problem);
                            }
                        }
                        None => break self.end(),
                    },
                    Ok(None) => match self.body.next().now_or_never() {
                        Some(Some(chunk)) => {
                            if let Err(problem) = self.add(chunk) {
                                break Some(problem);
                            }
                        }
                        Some(None) => break self.end(),
                        None => break None,
                    },
                    Err(problem) => break Some(problem),
                }
                if self.read.len() > AHEAD_BYTES_MAX && !puts.is_empty() {
                    break None;
                }
            };
            if !puts.is_empty() {
                for stored in self.store(puts).await {
                    line(&mut lines, stored);
                }
            }
            if let Some(problem) = broken {
                self.is_over = true;
                line(&mut lines, Err(problem));
            }
        }
        Some(Bytes::from(lines))
    }

    fn add(&mut self, chunk: Result<Bytes, warp::Error>) -> Result<(), Problem> {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
        self.read.extend_from_slice(&chunk);
        Ok(())
    }

    /// The body is over; a put that was cut off is a mistake.
    fn end(&mut self) -> Option<Problem> {
        self.is_over = true;
        let is_whole = self.read.is_empty();
        (!is_whole).then(|| Problem::malformed("the body ends in the middle of a put"))
    }

    /// Whether the token may still do this: it may have been deleted since the request began. Each put counts as one.
    async fn may_write(&self, count: usize) -> Result<(), Problem> {
        let caller = auth::authenticate(&self.ctx, &Method::POST, &self.headers, self.address).await?;
        auth::authorize(&caller, Role::Admin)?;
        self.ctx.limiter().check_requests(&caller.token, count - 1)
    }

    async fn store(&self, puts: Vec<FilePut>) -> Vec<Result<Stored, Problem>> {
        let count = puts.len();
        if let Err(refused) = self.may_write(count).await {
            return vec![Err(refused); count];
        }
        match self.ctx.puts().put_all(self.ctx.handle(), self.actor.clone(), puts).await {
            Ok(stored) => stored.into_iter().map(|stored| stored.map_err(Problem::from)).collect(),
            Err(error) => vec![Err(Problem::from(error)); count],
        }
    }
}

/// The next put that was read whole. After an error nothing that follows can be told apart.
fn take_put(read: &mut BytesMut) -> Result<Option<FilePut>, Problem> {
    let Some(name_bytes) = read.first().map(|length| usize::from(*length)) else { return Ok(None) };
    let head_bytes = 1 + name_bytes + 4;
    if read.len() < head_bytes {
        return Ok(None);
    }
    let name = std::str::from_utf8(&read[1..=name_bytes]).ok().and_then(|text| Name::new(text).ok());
    let name = name
        .ok_or_else(|| Problem::malformed("a put begins with the length of a file's name, and the name"))?;
    let content_bytes = (&read[1 + name_bytes..head_bytes]).get_u32() as usize;
    if content_bytes > SMALL_BYTES_MAX {
        return Err(Problem::too_large(format!("a content takes at most {SMALL_BYTES_MAX} bytes here")));
    }
    if read.len() < head_bytes + content_bytes {
        return Ok(None);
    }
    let file = File { content: read[head_bytes..head_bytes + content_bytes].into() };
    read.advance(head_bytes + content_bytes);
    Ok(Some(FilePut { name, file, expect: Expect::Any }))
}

/// Reads `data` as puts that come in pieces: wherever it is cut, the same puts are found, and none is too large.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_puts(data: &[u8]) {
    let take_all = |piece: usize| {
        let (mut read, mut puts) = (BytesMut::new(), Vec::new());
        for chunk in data.chunks(piece) {
            read.extend_from_slice(chunk);
            loop {
                match take_put(&mut read) {
                    Ok(Some(put)) => puts.push((put.name, put.file.content)),
                    Ok(None) => break,
                    Err(_) => return (puts, None),
                }
            }
        }
        (puts, Some(read.len()))
    };
    let whole = take_all(data.len().max(1));
    assert!(whole.0.iter().all(|(_, content)| content.len() <= SMALL_BYTES_MAX));
    assert_eq!(whole, take_all(7));
}

fn line(lines: &mut String, stored: Result<Stored, Problem>) {
    match stored {
        Ok(stored) => {
            let _ = writeln!(lines, "{{\"version\":{}}}", stored.version);
        }
        Err(problem) => {
            lines.push_str(&serde_json::to_string(&problem).unwrap_or_default());
            lines.push('\n');
        }
    }
}
