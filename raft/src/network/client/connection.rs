//! One connection that was dialled: a reader, a writer, and what waits for answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{CallError, Connected, Dialer, Lane, Stream};
use crate::model::PeerId;
use crate::network::frame::{self, Bounds, FRAME_BYTES_MAX, Frame, GROUP, Kind};
use crate::network::message::{self, Ping};

const QUEUE_FRAMES_MAX: usize = 1024;
/// In units of [`BYTES_UNIT`].
const QUEUE_UNITS_MAX: u32 = 32 << 10;
const BYTES_UNIT: usize = 1 << 10;
const FRAMES_PER_FLUSH_MAX: usize = 64;
const STALL_MAX: Duration = Duration::from_secs(10);
const IDLE_MAX: Duration = Duration::from_secs(24 * 3600);

impl Lane {
    /// How long a peer may owe answers without a sign of life before the connection is given up. A ping goes
    /// out at half of it.
    fn silence_max(self) -> Duration {
        match self {
            Lane::Control | Lane::Log => Duration::from_secs(1),
            Lane::Bulk => Duration::from_secs(20),
        }
    }
}

type Answer = Result<Frame, Arc<str>>;

/// A connection. Ends when it breaks, stands still, is closed, or its peer's certificate is refused.
pub(super) struct Connection {
    queue: mpsc::Sender<(Frame, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    closed: CancellationToken,
}

struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// Since when the peer owes a sign of life. Stays when nobody waits for the answer any more.
    owed_since: Option<Instant>,
    /// Set when the connection has ended: what comes later is told at once.
    ended: Option<Arc<str>>,
}

impl Connection {
    /// Starts reader, writer and watch over a connection on which both sides have greeted.
    pub(super) fn run(
        dialer: &Arc<Dialer>,
        target: PeerId,
        lane: Lane,
        Connected { stream, refused }: Connected,
    ) -> Arc<Connection> {
        let (queue, queued) = mpsc::channel(QUEUE_FRAMES_MAX);
        let connection = Arc::new(Connection {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_UNITS_MAX as usize)),
            next: AtomicU64::new(1),
            waiting: Mutex::new(Waiting { answers: HashMap::new(), owed_since: None, ended: None }),
            closed: CancellationToken::new(),
        });
        let (input, output) = tokio::io::split(stream);
        let this = Arc::clone(&connection);
        let dialer = Arc::clone(dialer);
        let runtime = dialer.runtime.clone();
        runtime.spawn(async move {
            let reason: Arc<str> = tokio::select! {
                biased;
                () = dialer.stop.cancelled() => "this peer is stopping".into(),
                () = this.closed.cancelled() => "closed".into(),
                () = refused => "the peer's certificate is refused".into(),
                reason = this.read(input) => reason,
                reason = write(output, queued) => reason,
                reason = this.watch(lane) => reason,
            };
            debug!(peer = %target, ?lane, %reason, "connection ended");
            this.end(reason);
        });
        connection
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().ended.is_some()
    }

    pub(super) fn close(&self, reason: &str) {
        self.end(reason.into());
    }

    fn end(&self, reason: Arc<str>) {
        self.closed.cancel();
        let answers = {
            let mut waiting = self.waiting.lock();
            waiting.ended.get_or_insert_with(|| Arc::clone(&reason));
            std::mem::take(&mut waiting.answers)
        };
        for (_, answer) in answers {
            let _ = answer.send(Err(Arc::clone(&reason)));
        }
    }

    /// Queues a request.
    pub(super) async fn send(
        &self,
        kind: Kind,
        group: u32,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<(u64, oneshot::Receiver<Answer>), CallError> {
        let full = |_| CallError::Unreachable("the connection's queue is full".into());
        let ended = || {
            let reason = self.waiting.lock().ended.clone();
            CallError::Unreachable(reason.unwrap_or_else(|| "the connection has ended".into()))
        };
        let units = u32::try_from(body.len() / BYTES_UNIT + 1).unwrap_or(u32::MAX).min(QUEUE_UNITS_MAX);
        let room = tokio::time::timeout_at(deadline, Arc::clone(&self.room).acquire_many_owned(units))
            .await
            .map_err(full)?
            .map_err(|_| ended())?;
        let slot = tokio::time::timeout_at(deadline, self.queue.reserve())
            .await
            .map_err(full)?
            .map_err(|_| ended())?;
        let req = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if let Some(reason) = &waiting.ended {
                return Err(CallError::Unreachable(Arc::clone(reason)));
            }
            waiting.owed_since.get_or_insert_with(Instant::now);
            waiting.answers.insert(req, answer);
        }
        slot.send((Frame::request(req, kind, group, body), room));
        Ok((req, answered))
    }

    /// Nobody waits for this answer any more.
    pub(super) fn forget(&self, req: u64) {
        self.waiting.lock().answers.remove(&req);
    }

    async fn read(&self, mut input: ReadHalf<Box<dyn Stream>>) -> Arc<str> {
        let bounds = Bounds { bytes_max: FRAME_BYTES_MAX, idle_max: IDLE_MAX, stall_max: STALL_MAX };
        loop {
            let frame = match frame::read(&mut input, bounds).await {
                Ok(Some(frame)) if frame.is_answer => frame,
                Ok(Some(_)) => return "the peer asks where it should answer".into(),
                Ok(None) => return "the peer closed it".into(),
                Err(error) => return error.to_string().into(),
            };
            let answer = {
                let mut waiting = self.waiting.lock();
                let answer = waiting.answers.remove(&frame.req);
                waiting.owed_since = (!waiting.answers.is_empty()).then(Instant::now);
                answer
            };
            if let Some(answer) = answer {
                // The one who asked may have gone.
                let _ = answer.send(Ok(frame));
            }
        }
    }

    /// Returns when the peer owes answers and gives no sign of life, not even to a ping.
    async fn watch(&self, lane: Lane) -> Arc<str> {
        let silence_max = lane.silence_max();
        let mut ticker = tokio::time::interval(silence_max / 4);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticker.tick().await;
            let owed_since = self.waiting.lock().owed_since;
            let quiet = owed_since.map_or(Duration::ZERO, |since| since.elapsed());
            if quiet > silence_max {
                return format!("no sign of life for {} ms", quiet.as_millis()).into();
            }
            if quiet > silence_max / 2 {
                self.ping();
            }
        }
    }

    /// Asks for a sign of life, whose content does not matter. Skipped where the queue is full.
    fn ping(&self) {
        let (Ok(room), Ok(body)) = (Arc::clone(&self.room).try_acquire_owned(), message::encode(1, &Ping {}))
        else {
            return;
        };
        let req = self.next.fetch_add(1, Ordering::Relaxed);
        let _ = self.queue.try_send((Frame::request(req, Kind::Ping, GROUP, body), room));
    }
}

async fn write(
    output: WriteHalf<Box<dyn Stream>>,
    mut queued: mpsc::Receiver<(Frame, OwnedSemaphorePermit)>,
) -> Arc<str> {
    let mut output = BufWriter::with_capacity(64 << 10, output);
    while let Some((frame, room)) = queued.recv().await {
        let written = async {
            frame::write(&mut output, &frame).await?;
            drop(room);
            for _ in 1..FRAMES_PER_FLUSH_MAX {
                let Ok((frame, room)) = queued.try_recv() else { break };
                frame::write(&mut output, &frame).await?;
                drop(room);
            }
            output.flush().await.map_err(frame::Error::from)
        };
        match tokio::time::timeout(STALL_MAX, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string().into(),
            Err(_) => return format!("the peer takes nothing for {STALL_MAX:?}").into(),
        }
    }
    "no longer needed".into()
}
