//! A running command: feeds its stdin, passes on its output, and ends it when it has to end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::super::channel::{Event, Session};
use super::super::connection::Inner;
use super::super::error::Error;
use super::{Finished, Outcome, Output, Request, Running, Spare, Sudo, script, start};

/// Output that waits for the caller, beyond which there is a gap.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// The same in pieces: a node may print a byte here and a byte there, each of which is one.
const WAITING_PIECES_MAX: usize = 8 * 1024;
/// How long a full buffer holds up the reading before output is dropped. Reading is held up for everybody on the connection, so this
/// is for a caller who is late for a moment, not for one who is slow.
const PATIENCE: Duration = Duration::from_millis(200);
/// The largest piece of output.
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Pieces in the channel to the caller.
const PIECES_MAX: usize = 16;
/// How long output may go on after the end, as a process left behind makes it.
const LINGER: Duration = Duration::from_secs(2);
/// How long a killed command may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the script on `session` and sees it through, in a future of its own that ends with the command.
pub(super) fn spawn(inner: Arc<Inner>, session: Session, request: Request, group: u32) -> Running {
    let (send, output) = mpsc::channel(PIECES_MAX);
    let (finish, finished) = oneshot::channel();
    let cancel = CancellationToken::new();
    let address = inner.endpoint.address();
    let now = Instant::now();
    let drive = Drive {
        deadline: now + request.timeout,
        started: now,
        inner,
        request,
        group,
        cancel: cancel.clone(),
        waiting: Waiting::default(),
        output_bytes: 0,
        exit: None,
        stop: None,
    };
    tokio::spawn(drive.run(session, send, finish));
    Running { output, finished: Some(finished), cancel, address }
}

struct Drive {
    inner: Arc<Inner>,
    request: Request,
    group: u32,
    cancel: CancellationToken,
    started: Instant,
    /// When the next thing has to be done about it: its time is over, its grace, its killing, its lingering.
    deadline: Instant,
    waiting: Waiting,
    output_bytes: u64,
    exit: Option<Outcome>,
    stop: Option<Stop>,
}

/// Why it is being ended, and how far that is.
struct Stop {
    outcome: Outcome,
    killed: bool,
}

impl Drive {
    async fn run(
        mut self,
        mut session: Session,
        send: mpsc::Sender<Output>,
        finish: oneshot::Sender<Result<Finished, Error>>,
    ) {
        // Writing goes on beside reading: with both windows full, each would wait for the other.
        let writer = session.writer();
        let (line, stdin) = (script::payload(&self.request), std::mem::take(&mut self.request.stdin));
        let feeding = tokio::spawn(async move {
            // It fails when the command does not read all of it or the connection is gone: the reading side tells which.
            if writer.data_bytes(line).await.is_ok() && writer.data_bytes(stdin).await.is_ok() {
                let _ = writer.eof().await;
            }
        });
        let result = self.watch(&mut session, &send).await;
        feeding.abort();
        drop(session);
        Spare::prepare(&self.inner);
        let _ = finish.send(result);
        while let Some(piece) = self.waiting.take() {
            if send.send(piece).await.is_err() {
                return;
            }
        }
    }

    async fn watch(&mut self, session: &mut Session, send: &mpsc::Sender<Output>) -> Result<Finished, Error> {
        loop {
            while !self.waiting.is_empty() {
                match send.try_reserve() {
                    Ok(place) => {
                        if let Some(piece) = self.waiting.take() {
                            place.send(piece);
                        }
                    }
                    Err(mpsc::error::TrySendError::Full(())) => break,
                    Err(mpsc::error::TrySendError::Closed(())) => self.waiting.discard(),
                }
            }
            let is_waiting = !self.waiting.is_empty();
            let held_up_until = self.waiting.hold_up();
            tokio::select! {
                biased;
                () = self.cancel.cancelled(), if self.stop.is_none() && self.exit.is_none() => {
                    self.end(Outcome::Cancelled);
                }
                () = sleep_until(self.deadline) => {
                    if let Some(result) = self.time_is_over() {
                        return result;
                    }
                }
                () = sleep_until(held_up_until.unwrap_or(self.deadline)), if held_up_until.is_some() => {
                    self.waiting.give_up();
                }
                event = session.next(), if held_up_until.is_none() => match event {
                    Event::Stdout(data) => self.take(Stream::Stdout, &data),
                    Event::Stderr(data) => self.take(Stream::Stderr, &data),
                    Event::Exit(code) => self.ended(Outcome::Exited(i32::try_from(code).unwrap_or(i32::MAX))),
                    Event::Signal(name) => self.ended(Outcome::Signalled(name)),
                    Event::Closed => return self.closed(),
                    Event::Eof | Event::Failure => {}
                },
                _ = send.reserve(), if is_waiting => {}
            }
        }
    }

    fn take(&mut self, stream: Stream, data: &[u8]) {
        self.output_bytes += data.len() as u64;
        self.waiting.put(stream, data);
        if self.output_bytes > self.request.output_bytes_max && self.stop.is_none() && self.exit.is_none() {
            self.end(Outcome::TooMuchOutput);
        }
    }

    fn ended(&mut self, outcome: Outcome) {
        if self.exit.is_none() {
            self.exit = Some(outcome);
            self.deadline = Instant::now() + LINGER;
        }
    }

    /// Begins to end it.
    fn end(&mut self, outcome: Outcome) {
        debug!(host = %self.inner.endpoint.address(), group = self.group, ?outcome, "ending a command");
        self.stop = Some(Stop { outcome, killed: false });
        self.deadline = Instant::now() + self.request.grace;
        self.signal("TERM");
    }

    fn time_is_over(&mut self) -> Option<Result<Finished, Error>> {
        if self.exit.is_some() {
            // What it left behind goes on writing; that is its own affair.
            return Some(Ok(self.finished(true)));
        }
        match &mut self.stop {
            None => {
                self.end(Outcome::TimedOut);
                None
            }
            Some(stop) if !stop.killed => {
                stop.killed = true;
                self.deadline = Instant::now() + KILL_TIMEOUT;
                self.signal("KILL");
                None
            }
            Some(stop) => Some(Err(Error::ConnectionLost {
                host: self.inner.endpoint.address(),
                detail: format!(
                    "the command was to be ended ({:?}), but the node does not say that it was",
                    stop.outcome
                ),
            })),
        }
    }

    fn closed(&mut self) -> Result<Finished, Error> {
        if self.exit.is_some() { Ok(self.finished(false)) } else { Err(self.inner.lost()) }
    }

    fn finished(&mut self, left_processes: bool) -> Finished {
        let duration = self.started.elapsed();
        let outcome = match (self.stop.take(), self.exit.take()) {
            (Some(stop), _) => stop.outcome,
            // The node's own time limit was faster than we.
            (None, Some(Outcome::Exited(124 | 137))) if duration >= self.request.timeout => Outcome::TimedOut,
            (None, Some(exit)) => exit,
            (None, None) => Outcome::Signalled("unknown".into()),
        };
        Finished { outcome, duration, output_bytes: self.output_bytes, left_processes }
    }

    /// Sends a signal to the command's group, from another session; with sudo if the command runs so.
    fn signal(&self, signal: &'static str) {
        tokio::spawn(send_signal(self.inner.clone(), signal, self.group, self.request.sudo.clone()));
    }
}

/// Sends a signal to a process group, beside everything else on the connection. A failure is only logged: who sends it watches what
/// becomes of the group.
pub(super) async fn send_signal(inner: Arc<Inner>, signal: &'static str, group: u32, sudo: Option<Sudo>) {
    match sudo {
        None => {
            inner.run_aside(&format!("kill -s {signal} -- -{group}")).await;
        }
        Some(sudo) => signal_with_sudo(inner, signal, group, sudo).await,
    }
}

async fn signal_with_sudo(inner: Arc<Inner>, signal: &str, group: u32, sudo: Sudo) {
    let request = Request {
        args: vec![signal.to_owned(), group.to_string()],
        sudo: Some(sudo),
        timeout: KILL_TIMEOUT,
        start_within: KILL_TIMEOUT,
        ..Request::new(script::KILL)
    };
    let sent = timeout(KILL_TIMEOUT, async {
        let soon = Instant::now() + KILL_TIMEOUT / 5;
        match start::begin(inner.clone(), request.clone(), soon, None).await {
            Ok(running) => running.wait().await,
            // No session is free: on another connection then.
            Err(refused) => {
                let Some(another) = inner.another().await else { return Err(refused) };
                let deadline = Instant::now() + KILL_TIMEOUT;
                let sent = match start::begin(another.clone(), request, deadline, None).await {
                    Ok(running) => running.wait().await,
                    Err(error) => Err(error),
                };
                another.close();
                sent
            }
        }
    })
    .await;
    if !matches!(sent, Ok(Ok(_))) {
        debug!(host = %inner.endpoint.address(), group, signal, "a signal could not be sent");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// Output on its way to the caller: bounded, small pieces joined.
#[derive(Default)]
struct Waiting {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Nobody wants it any more.
    discarded: bool,
    /// Since when it is full.
    full_since: Option<Instant>,
    /// It was full for too long: from now on what does not fit is dropped, until the caller has taken everything.
    dropping: bool,
}

enum Piece {
    Data(Stream, BytesMut),
    Gap(u64),
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn discard(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
        self.discarded = true;
    }

    /// Until when nothing is to be read, if it is full.
    fn hold_up(&mut self) -> Option<Instant> {
        if self.pieces.is_empty() {
            self.dropping = false;
        }
        let has_room =
            self.bytes + PIECE_BYTES_MAX <= WAITING_BYTES_MAX && self.pieces.len() < WAITING_PIECES_MAX;
        if self.dropping || has_room {
            self.full_since = None;
            return None;
        }
        Some(*self.full_since.get_or_insert_with(Instant::now) + PATIENCE)
    }

    /// Stops holding up.
    fn give_up(&mut self) {
        self.dropping = true;
    }

    fn put(&mut self, stream: Stream, data: &[u8]) {
        if self.discarded {
            return;
        }
        for part in data.chunks(PIECE_BYTES_MAX) {
            if self.bytes + part.len() > WAITING_BYTES_MAX || self.pieces.len() >= WAITING_PIECES_MAX {
                match self.pieces.back_mut() {
                    Some(Piece::Gap(bytes)) => *bytes += part.len() as u64,
                    _ => self.pieces.push_back(Piece::Gap(part.len() as u64)),
                }
                continue;
            }
            self.bytes += part.len();
            match self.pieces.back_mut() {
                Some(Piece::Data(last, bytes))
                    if *last == stream && bytes.len() + part.len() <= PIECE_BYTES_MAX =>
                {
                    bytes.extend_from_slice(part);
                }
                _ => self.pieces.push_back(Piece::Data(stream, BytesMut::from(part))),
            }
        }
    }

    fn take(&mut self) -> Option<Output> {
        Some(match self.pieces.pop_front()? {
            Piece::Gap(bytes) => Output::Gap(bytes),
            Piece::Data(stream, bytes) => {
                self.bytes -= bytes.len();
                match stream {
                    Stream::Stdout => Output::Stdout(bytes.freeze()),
                    Stream::Stderr => Output::Stderr(bytes.freeze()),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_joined_and_streams_stay_apart() {
        let mut waiting = Waiting::default();
        waiting.put(Stream::Stdout, b"a");
        waiting.put(Stream::Stdout, b"b");
        waiting.put(Stream::Stderr, b"c");
        waiting.put(Stream::Stdout, b"d");
        let taken: Vec<Output> = std::iter::from_fn(|| waiting.take()).collect();
        let expected = [Output::Stdout("ab".into()), Output::Stderr("c".into()), Output::Stdout("d".into())];
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_byte_here_and_a_byte_there_are_bounded_too() {
        let mut waiting = Waiting::default();
        for _ in 0..WAITING_PIECES_MAX {
            waiting.put(Stream::Stdout, b"a");
            waiting.put(Stream::Stderr, b"b");
        }
        assert!(waiting.pieces.len() <= WAITING_PIECES_MAX + 1, "{}", waiting.pieces.len());
        assert!(waiting.hold_up().is_some());
        let taken: Vec<Output> = std::iter::from_fn(|| waiting.take()).collect();
        assert_eq!(taken.last(), Some(&Output::Gap(WAITING_PIECES_MAX as u64)));
    }

    #[test]
    fn what_does_not_fit_is_one_gap_in_its_place() {
        let mut waiting = Waiting::default();
        waiting.put(Stream::Stdout, &vec![0; WAITING_BYTES_MAX]);
        waiting.put(Stream::Stdout, b"lost");
        waiting.put(Stream::Stderr, b"too");
        let mut kept = 0;
        while let Some(output) = waiting.take() {
            match output {
                Output::Stdout(data) => kept += data.len(),
                Output::Gap(bytes) => assert_eq!(bytes, 7),
                Output::Stderr(_) => panic!("it did not fit"),
            }
        }
        assert_eq!(kept, WAITING_BYTES_MAX);
        waiting.put(Stream::Stdout, b"again");
        assert_eq!(waiting.take(), Some(Output::Stdout("again".into())));
    }
}
