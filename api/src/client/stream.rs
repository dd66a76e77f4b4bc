//! Answers without an end in sight: changes, and output as it comes. They survive the loss of a peer.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use reqwest::header::{ACCEPT, HeaderName};

use super::{Call, Client, Error, chain, endpoint_of};
use crate::types::{Changes, Output};

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;
/// Changes as they come.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Error>> + Send>>;
/// Output as it comes; ends with the task.
pub type FollowedOutput = Pin<Box<dyn Stream<Item = Result<Output, Error>> + Send>>;

/// Peers say something at least every 15 s; after this much silence the connection counts as broken.
const SILENCE_MAX: Duration = Duration::from_secs(45);
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
const LINE_BYTES_MAX: usize = 16 << 20;

/// What a watcher learns.
#[derive(Clone, PartialEq, Debug)]
pub enum WatchEvent {
    /// What changed.
    Changes(Changes),
    /// Changes were missed: read again what matters. The stream goes on after this index.
    Reset(u64),
}

/// Lines of a body.
struct Lines {
    body: ByteStream,
    buffer: BytesMut,
}

impl Lines {
    fn new(body: ByteStream) -> Lines {
        Lines { body, buffer: BytesMut::new() }
    }

    /// The next line without its end; `None` at the end of the body.
    async fn next(&mut self) -> Result<Option<String>, String> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(searched + at + 1);
                line.truncate(line.len() - 1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len() - 1);
                }
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            searched = self.buffer.len();
            if searched > LINE_BYTES_MAX {
                return Err("a line of the answer has no end".to_string());
            }
            match tokio::time::timeout(SILENCE_MAX, self.body.next()).await {
                Err(_) => return Err(format!("nothing came for {} s", SILENCE_MAX.as_secs())),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(Some(Ok(mut chunk))) => {
                    self.buffer.extend_from_slice(&chunk);
                    chunk.advance(chunk.len());
                }
            }
        }
    }
}

/// One server-sent event.
#[derive(Default, PartialEq, Debug)]
struct SseEvent {
    id: Option<String>,
    name: Option<String>,
    data: String,
}

impl SseEvent {
    /// Takes a line; true where it ends the event.
    fn take(&mut self, line: &str) -> bool {
        if line.is_empty() {
            return true;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_string()),
            "event" => self.name = Some(value.to_string()),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments keep the connection alive; other fields mean nothing here.
            _ => {}
        }
        false
    }
}

/// For `crate::fuzz`: an answer that a peer, or who pretends to be one, sends to a watcher; in two pieces.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_events(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let (first, second) = data.split_at(usize::from(cut).min(data.len()));
    let pieces = [first, second].map(|piece| Ok(Bytes::copy_from_slice(piece)));
    let mut lines = Lines::new(Box::pin(stream::iter(pieces)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let read = async {
        let (mut event, mut count) = (SseEvent::default(), 0);
        while let Ok(Some(line)) = lines.next().await {
            count += 1;
            let _ = serde_json::from_str::<Output>(&line);
            if event.take(&line) {
                let event = std::mem::take(&mut event);
                let _ = (event.id.map(|id| id.parse::<u64>()), serde_json::from_str::<Changes>(&event.data));
            }
        }
        assert_eq!(count, data.iter().filter(|byte| **byte == b'\n').count());
    };
    if let Ok(runtime) = runtime {
        runtime.block_on(read);
    }
}

/// Reconnects for as long as the error may pass.
struct Watching {
    client: Client,
    kinds: Vec<String>,
    last: Option<u64>,
    lines: Option<Lines>,
}

impl Watching {
    async fn connect(&mut self) -> Result<(), Error> {
        let mut call = Call::get("/api/v1/watch").header(ACCEPT, "text/event-stream").streams();
        if !self.kinds.is_empty() {
            call = call.query("kinds", self.kinds.join(","));
        }
        if let Some(last) = self.last {
            call = call.header(HeaderName::from_static("last-event-id"), &last.to_string());
        }
        self.lines = Some(Lines::new(self.client.bytes(call).await?));
        Ok(())
    }

    async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            let Some(lines) = &mut self.lines else {
                self.connect().await?;
                continue;
            };
            let mut event = SseEvent::default();
            let ended = loop {
                match lines.next().await {
                    Ok(Some(line)) if event.take(&line) => break false,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break true,
                }
            };
            if ended {
                self.lines = None;
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            }
            if event.data.is_empty() {
                continue;
            }
            let changes: Changes = serde_json::from_str(&event.data).map_err(|error| Error::Unexpected {
                endpoint: "the watched peer".to_string(),
                why: format!("an event cannot be read: {error}"),
            })?;
            self.last = Some(changes.index);
            return Ok(match event.name.as_deref() {
                Some("reset") => WatchEvent::Reset(changes.index),
                _ => WatchEvent::Changes(changes),
            });
        }
    }
}

struct Following {
    client: Client,
    task: u64,
    next: u64,
    complete: bool,
    lines: Option<Lines>,
}

impl Following {
    async fn next(&mut self) -> Result<Option<Output>, Error> {
        loop {
            if self.complete {
                return Ok(None);
            }
            let Some(lines) = &mut self.lines else {
                let call = Call::get(format!("/api/v1/tasks/{}/output", self.task))
                    .query("follow", true)
                    .query("from", self.next)
                    .header(ACCEPT, "application/x-ndjson")
                    .streams();
                self.lines = Some(Lines::new(self.client.bytes(call).await?));
                continue;
            };
            match lines.next().await {
                Ok(Some(line)) if line.is_empty() => {}
                Ok(Some(line)) => {
                    let output: Output = serde_json::from_str(&line).map_err(|error| Error::Unexpected {
                        endpoint: "the followed peer".to_string(),
                        why: format!("a line cannot be read: {error}"),
                    })?;
                    self.next = output.next;
                    self.complete = output.complete;
                    return Ok(Some(output));
                }
                Ok(None) | Err(_) => {
                    self.lines = None;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }
}

impl Client {
    /// Sends, and gives the body as it comes.
    pub(crate) async fn bytes(&self, call: Call) -> Result<ByteStream, Error> {
        let response = self.send(call).await?;
        let endpoint = endpoint_of(&response);
        let body = response.bytes_stream();
        Ok(Box::pin(body.map(move |chunk| {
            chunk.map_err(|error| Error::Broken { endpoint: endpoint.clone(), why: chain(&error) })
        })))
    }

    /// Follows changes, from `after` on where given (an index that a read or an event gave). `kinds` narrows them;
    /// none means all but samples and output. Goes on with another peer when one is lost; ends only with an error
    /// that does not pass.
    pub fn watch(&self, kinds: &[&str], after: Option<u64>) -> WatchStream {
        let kinds = kinds.iter().map(|kind| (*kind).to_string()).collect();
        let watching = Watching { client: self.clone(), kinds, last: after, lines: None };
        Box::pin(stream::unfold(Some(watching), |watching| async {
            let mut watching = watching?;
            match watching.next().await {
                Ok(event) => Some((Ok(event), Some(watching))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Follows a task's output from sequence number `from` on, until the task has ended. Goes on with another peer
    /// when one is lost.
    pub fn follow(&self, task: u64, from: u64) -> FollowedOutput {
        let following = Following { client: self.clone(), task, next: from, complete: false, lines: None };
        Box::pin(stream::unfold(Some(following), |following| async {
            let mut following = following?;
            match following.next().await {
                Ok(Some(output)) => Some((Ok(output), Some(following))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lines(chunks: &[&'static str]) -> Lines {
        let chunks: Vec<Result<Bytes, Error>> = chunks.iter().map(|chunk| Ok(Bytes::from(*chunk))).collect();
        Lines::new(Box::pin(stream::iter(chunks)))
    }

    #[tokio::test]
    async fn lines_are_found_however_the_body_is_cut() {
        let mut lines = lines(&["a", "b\r", "\n\nc", "d\ne\n", "rest"]);
        for expected in ["ab", "", "cd", "e"] {
            assert_eq!(lines.next().await.unwrap().unwrap(), expected);
        }
        assert_eq!(lines.next().await.unwrap(), None);
    }

    #[test]
    fn an_event_is_made_of_its_fields() {
        let mut event = SseEvent::default();
        for line in [": alive", "id: 7", "event:changes", "data: {", "data: }", "retry: 5"] {
            assert!(!event.take(line));
        }
        assert!(event.take(""));
        let expected = SseEvent { id: Some("7".into()), name: Some("changes".into()), data: "{\n}".into() };
        assert_eq!(event, expected);
    }
}
