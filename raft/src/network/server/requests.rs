//! What is asked on a peer's connection: handed to the [`Service`], bounded, answered in any order.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::codec;
use crate::model::PeerId;
use crate::network::frame::{self, Bounds, FRAME_BYTES_MAX, Frame, GROUP, Kind};
use crate::network::message::{self, Failure, FailureCode, Join, Joined, Request};

const REQUESTS_MAX: usize = 512;
/// Bytes of requests under way on one connection, in units of [`BYTES_UNIT`].
const REQUEST_UNITS_MAX: usize = 64 << 10;
const BYTES_UNIT: usize = 1 << 10;
const ANSWERS_QUEUED_MAX: usize = 1024;
const APPENDS_QUEUED_MAX: usize = 128;
const FRAMES_PER_FLUSH_MAX: usize = 64;

/// What serves the requests of peers.
pub trait Service: Send + Sync + 'static {
    /// Serves one request. Called at once for each; the order does not matter.
    fn serve(self: Arc<Self>, request: Incoming) -> BoxFuture<'static, ()>;

    /// Serves the [`Kind::Append`] requests of one connection in their order, until there are no more.
    fn serve_appends(self: Arc<Self>, requests: mpsc::Receiver<Incoming>) -> BoxFuture<'static, ()>;

    /// Admits a new peer.
    fn join(self: Arc<Self>, join: Join) -> BoxFuture<'static, Result<Joined, Failure>>;
}

/// A request of another peer. Dropped unanswered, it answers that nobody served it.
pub struct Incoming {
    /// Who asks.
    pub from: PeerId,
    /// What about.
    pub kind: Kind,
    /// Which Raft group.
    pub group: u32,
    body: Vec<u8>,
    reply: Option<Reply>,
}

struct Reply {
    req: u64,
    answers: mpsc::Sender<Frame>,
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Incoming {
    /// Reads the request, once: its bytes are let go.
    ///
    /// # Errors
    /// [`Failure`] to answer with.
    pub fn read<R: Request>(&mut self) -> Result<R, Failure> {
        message::decode(R::SCHEMA, &std::mem::take(&mut self.body))
            .map_err(|error| Failure::new(FailureCode::NotUnderstood, error.to_string()))
    }

    /// Answers.
    pub async fn answer<R: Request>(mut self, answer: Result<R::Answer, Failure>) {
        let Some(reply) = self.reply.take() else { return };
        let frame = match answer {
            Ok(answer) => match message::encode(R::SCHEMA, &answer) {
                Ok(body) => Frame::answer(reply.req, R::KIND, self.group, body),
                Err(error) => failure(reply.req, &Failure::new(FailureCode::Unknown, error.to_string())),
            },
            Err(why) => failure(reply.req, &why),
        };
        // The connection may have ended; then nobody waits.
        let _ = reply.answers.send(frame).await;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let why = Failure::new(FailureCode::Unknown, "the request was given up");
            let _ = reply.answers.try_send(failure(reply.req, &why));
        }
    }
}

pub(super) fn failure(req: u64, failure: &Failure) -> Frame {
    // A failure is a few words: it fits.
    let body = message::encode(1, failure).unwrap_or_default();
    Frame::answer(req, Kind::Failure, GROUP, body)
}

impl From<codec::Error> for Failure {
    fn from(error: codec::Error) -> Failure {
        Failure::new(FailureCode::NotUnderstood, error.to_string())
    }
}

/// Serves a connection on which `from` has shown who it is, until it ends or `refused` is ready.
///
/// # Errors
/// Why it ended, in words.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite,
    from: PeerId,
    refused: impl Future<Output = ()>,
    limits: Limits,
    service: &Arc<dyn Service>,
) -> Result<(), String> {
    let (input, output) = tokio::io::split(stream);
    let (answers, queued) = mpsc::channel(ANSWERS_QUEUED_MAX);
    // Requests that are under way end with their connection: nobody would hear their answers.
    let under_way = Requests::default();
    tokio::select! {
        biased;
        () = refused => Err(format!("peer {from} is refused from now on")),
        ended = read_requests(input, from, limits, service, answers, &under_way) => ended,
        ended = write_answers(output, queued, limits.stall_max) => ended,
    }
}

async fn read_requests(
    mut input: ReadHalf<impl AsyncRead + AsyncWrite>,
    from: PeerId,
    limits: Limits,
    service: &Arc<dyn Service>,
    answers: mpsc::Sender<Frame>,
    under_way: &Requests,
) -> Result<(), String> {
    let bounds =
        Bounds { bytes_max: FRAME_BYTES_MAX, idle_max: limits.idle_max, stall_max: limits.stall_max };
    let (appends, appends_queued) = mpsc::channel(APPENDS_QUEUED_MAX);
    let mut appends_queued = Some(appends_queued);
    loop {
        let frame = frame::read(&mut input, bounds).await.map_err(|error| error.to_string())?;
        let Some(frame) = frame else { return Ok(()) };
        if frame.is_answer {
            return Err("it answers where it should ask".to_string());
        }
        let req = frame.req;
        let incoming = match admit(frame, from, &answers, under_way) {
            Ok(incoming) => incoming,
            Err(why) => {
                // Waiting here holds up this peer's own connection only.
                let _ = answers.send(failure(req, &why)).await;
                continue;
            }
        };
        if incoming.kind == Kind::Append {
            if let Some(queued) = appends_queued.take() {
                under_way.spawn(Arc::clone(service).serve_appends(queued));
            }
            if appends.send(incoming).await.is_err() {
                return Err("entries are no longer taken".to_string());
            }
        } else {
            under_way.spawn(Arc::clone(service).serve(incoming));
        }
    }
}

/// Takes a request, where there is room for it.
fn admit(
    frame: Frame,
    from: PeerId,
    answers: &mpsc::Sender<Frame>,
    under_way: &Requests,
) -> Result<Incoming, Failure> {
    let kind = frame.kind.map_err(|number| {
        let message = format!("requests of kind {number} are not known to this version: upgrade this peer");
        Failure::new(FailureCode::NotUnderstood, message)
    })?;
    if matches!(kind, Kind::Hello | Kind::Failure | Kind::Join) {
        return Err(Failure::new(FailureCode::Refused, "not at this point of a connection"));
    }
    if frame.group != GROUP {
        let message = format!("there is no Raft group {} here", frame.group);
        return Err(Failure::new(FailureCode::Refused, message));
    }
    let units = u32::try_from(frame.body.len() / BYTES_UNIT + 1).unwrap_or(u32::MAX);
    let permits = Arc::clone(&under_way.places)
        .try_acquire_owned()
        .ok()
        .zip(Arc::clone(&under_way.room).try_acquire_many_owned(units).ok());
    let permits = permits.ok_or_else(|| {
        Failure::new(FailureCode::Busy, "too many requests are under way on this connection")
    })?;
    let reply = Reply { req: frame.req, answers: answers.clone(), _permits: permits };
    Ok(Incoming { from, kind, group: frame.group, body: frame.body, reply: Some(reply) })
}

/// The requests of one connection that are being served; ended when dropped.
struct Requests {
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Default for Requests {
    fn default() -> Self {
        Requests {
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            room: Arc::new(Semaphore::new(REQUEST_UNITS_MAX)),
            stop: CancellationToken::new(),
        }
    }
}

impl Requests {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = future => {}
            }
        });
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn write_answers(
    output: WriteHalf<impl AsyncRead + AsyncWrite>,
    mut queued: mpsc::Receiver<Frame>,
    stall_max: Duration,
) -> Result<(), String> {
    let mut output = BufWriter::with_capacity(64 << 10, output);
    while let Some(frame) = queued.recv().await {
        let written = async {
            frame::write(&mut output, &frame).await?;
            for _ in 1..FRAMES_PER_FLUSH_MAX {
                let Ok(frame) = queued.try_recv() else { break };
                frame::write(&mut output, &frame).await?;
            }
            output.flush().await.map_err(frame::Error::from)
        };
        match tokio::time::timeout(stall_max, written).await {
            Ok(written) => written.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("it takes no answers for {stall_max:?}")),
        }
    }
    Ok(())
}
