//! A task's output: as text with its gaps marked, or in chunks; what is kept, or as it comes.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use rscaler_raft::handle::Handle;
use rscaler_raft::model::TaskId;
use rscaler_raft::replica::Committed;
use rscaler_raft::state::Notice;
use tokio::sync::broadcast::{self, error::RecvError};

use super::endpoint::{Answer, Endpoint};
use super::reply;
use super::runs::find_task;
use super::stream::{answer, place};
use crate::auth::Access;
use crate::context::Context;
use crate::error::Problem;
use crate::request::Request;
use crate::types::{Output, OutputChunk, Stream, TaskOutput};

/// Bytes taken under the state's lock at once.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// A follower hears something at least this often.
const HEARTBEAT: Duration = Duration::from_secs(15);
const NDJSON: &str = "application/x-ndjson";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/tasks/{id}/output", Access::VIEWER, "Gives a task's output", output)
            .describe(
                "As text, with what was cut marked where it was. `Accept: application/json` gives chunks; with \
                 `follow`, one JSON object a line (application/x-ndjson), empty lines between keep it alive.",
            )
            .query("follow", "`true`: goes on as it comes, until the task has ended.")
            .query("stream", "`stdout`, `stderr` or `note` alone.")
            .query("from", "Begin at this sequence number: the `next` of an answer before.")
            .answers_as(200, "The output.", "text/plain; charset=utf-8")
            .answers::<Output>(200, "The output.")
            .answers_as(200, "The output.", NDJSON),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

async fn output(request: Request) -> Answer {
    let id: TaskId = request.id(0, "task")?;
    let mut query = request.query()?;
    let follow = query.flag("follow")?;
    let only = query.word::<Stream>("stream")?;
    let from = query.value::<u64>("from")?.unwrap_or(0);
    query.finish()?;
    find_task(&request, id)?;
    let json = request.accepts("application/json") || request.accepts(NDJSON);
    let reader = Reader { handle: request.ctx.handle().clone(), task: id, only, next: from, mid_line: false };
    if follow {
        let form = if json { Form::Json } else { Form::Text };
        return follow_output(&request.ctx, reader, form);
    }
    whole(reader, if json { Form::Json } else { Form::Text })
}

/// All that is kept: at most 4 MiB.
fn whole(mut reader: Reader, form: Form) -> Answer {
    let mut text = Vec::new();
    let mut chunks = Vec::new();
    loop {
        let mut piece = reader.take().ok_or_else(|| Problem::not_found("task", reader.task))?;
        let read_all = piece.read_all;
        match form {
            Form::Text => text.extend_from_slice(&piece.text(&mut reader.mid_line)),
            Form::Json => chunks.append(&mut piece.output.chunks),
        }
        if !read_all {
            continue;
        }
        return match form {
            Form::Text => reply::text("text/plain; charset=utf-8", text),
            Form::Json => reply::ok(&Output { chunks, ..piece.rest() }),
        };
    }
}

fn follow_output(ctx: &Context, reader: Reader, form: Form) -> Answer {
    let place = place(ctx)?;
    let committed = ctx.handle().subscribe();
    let following = Following { reader, committed, form, state: Step::Read };
    let pieces = stream::unfold(following, |mut following| async move {
        let piece = following.next().await?;
        Some((Ok(piece), following))
    });
    let media = if form == Form::Json { NDJSON } else { "text/plain; charset=utf-8" };
    Ok(answer(ctx, place, media, Box::pin(pieces)))
}

enum Step {
    Read,
    Wait,
    Ended,
}

struct Following {
    reader: Reader,
    committed: broadcast::Receiver<Committed>,
    form: Form,
    state: Step,
}

impl Following {
    /// The next bytes to send; `None` when the task has ended and all is told.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.state {
                Step::Ended => return None,
                Step::Read => {
                    // A task that was forgotten meanwhile has ended long ago.
                    let piece = self.reader.take()?;
                    self.state = match (piece.read_all, piece.output.complete) {
                        (true, true) => Step::Ended,
                        (true, false) => Step::Wait,
                        (false, _) => Step::Read,
                    };
                    let news = !piece.output.chunks.is_empty() || piece.gap > 0 || piece.output.complete;
                    let bytes = match self.form {
                        Form::Text => Bytes::from(piece.text(&mut self.reader.mid_line)),
                        Form::Json if news => piece.line(),
                        Form::Json => Bytes::new(),
                    };
                    if !bytes.is_empty() {
                        return Some(bytes);
                    }
                }
                Step::Wait => match tokio::time::timeout(HEARTBEAT, self.committed.recv()).await {
                    Ok(Ok(committed)) if !concerns(&committed, self.reader.task) => {}
                    Ok(Ok(_) | Err(RecvError::Lagged(_))) => self.state = Step::Read,
                    Ok(Err(RecvError::Closed)) => return None,
                    Err(_) if self.form == Form::Json => return Some(Bytes::from_static(b"\n")),
                    Err(_) => {}
                },
            }
        }
    }
}

fn concerns(committed: &Committed, task: TaskId) -> bool {
    let notices = &committed.notices;
    notices.contains(&Notice::Output(task))
        || notices.contains(&Notice::Task(task))
        || notices.contains(&Notice::Everything)
}

/// Reads a task's output piece by piece.
struct Reader {
    handle: Handle,
    task: TaskId,
    only: Option<Stream>,
    next: u64,
    /// Whether the text so far ends within a line.
    mid_line: bool,
}

/// A piece of output.
struct Piece {
    output: Output,
    /// Chunks that were cut before the first one, in how many places does not matter.
    gap: u64,
    /// Where in `output.chunks` the gap lies.
    gap_at: usize,
    /// Whether this reaches to the end of what is there now.
    read_all: bool,
    /// Whether remarks are wanted.
    notes: bool,
}

impl Reader {
    /// The next piece; `None` where there is no such task any more.
    fn take(&mut self) -> Option<Piece> {
        let only = self.only;
        let from = self.next;
        let (task, chunks, read_all) = self.handle.read(|state| {
            let task = state.task(self.task)?.clone();
            let mut chunks = Vec::new();
            let mut bytes = 0;
            for (seq, chunk) in state.output(self.task, from) {
                if bytes >= PIECE_BYTES_MAX {
                    return Some((task, chunks, false));
                }
                bytes += chunk.bytes.len();
                chunks.push((seq, chunk.clone()));
            }
            Some((task, chunks, true))
        })?;
        let mut gap = 0;
        let mut gap_at = 0;
        let mut shown = Vec::new();
        let mut expected = from;
        for (seq, chunk) in &chunks {
            if *seq > expected {
                gap += seq - expected;
                gap_at = shown.len();
            }
            expected = seq + 1;
            let stream = Stream::from(chunk.stream);
            if only.is_none_or(|only| only == stream) {
                shown.push(OutputChunk::new(*seq, chunk));
            }
        }
        if read_all && task.output.next > expected {
            gap += task.output.next - expected;
            gap_at = shown.len();
            expected = task.output.next;
        }
        self.next = expected;
        let output = Output {
            task: self.task.0,
            state: task.state.into(),
            chunks: shown,
            next: expected,
            complete: read_all && task.state.is_final(),
            bytes: TaskOutput::from(task.output),
        };
        Some(Piece { output, gap, gap_at, read_all, notes: only.is_none_or(|only| only == Stream::Note) })
    }
}

impl Piece {
    fn text(&self, mid_line: &mut bool) -> Vec<u8> {
        let mut text = Text { bytes: Vec::new(), mid_line: *mid_line };
        for (at, chunk) in self.output.chunks.iter().enumerate() {
            if self.gap > 0 && self.gap_at == at {
                self.mark_gap(&mut text);
            }
            match chunk.stream {
                Stream::Note if self.notes => text.remark(&String::from_utf8_lossy(&chunk.bytes())),
                Stream::Note => {}
                Stream::Stdout | Stream::Stderr => text.push(&chunk.bytes()),
            }
        }
        if self.gap > 0 && self.gap_at == self.output.chunks.len() {
            self.mark_gap(&mut text);
        }
        let missed = self.output.bytes.missed;
        if self.output.complete && missed > 0 {
            text.remark(&format!("{missed} bytes came faster than they could be kept and are missing"));
        }
        *mid_line = text.mid_line;
        text.bytes
    }

    fn mark_gap(&self, text: &mut Text) {
        text.remark(&format!("{} bytes are cut here", self.output.bytes.cut));
    }

    fn line(&self) -> Bytes {
        let mut line = serde_json::to_vec(&self.output).unwrap_or_default();
        line.push(b'\n');
        Bytes::from(line)
    }

    fn rest(self) -> Output {
        self.output
    }
}

/// Output as people read it.
struct Text {
    bytes: Vec<u8>,
    mid_line: bool,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(last) = bytes.last() {
            self.mid_line = *last != b'\n';
        }
    }

    /// A remark of the control plane's own, on a line of its own.
    fn remark(&mut self, remark: &str) {
        if self.mid_line {
            self.push(b"\n");
        }
        self.push(format!("[rscaler: {remark}]\n").as_bytes());
    }
}
