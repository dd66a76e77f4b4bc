//! The child that embeds Java: started at the first need, watched, and started again.
//!
//! ```text
//!            a question          Ready                no question for long
//!   none -----------------> starting ----> running ------------------------> none
//!    ^                         |             |
//!    |   after a pause that    |  it died, or does not answer any more: whoever waits is told at once
//!    +--- grows with failures -+-------------+
//! ```

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::error::{Fault, FaultKind};
use super::frame::{self, Frame};
use super::wire;

/// Questions that wait for the child, and frames for its pipe.
const ASKS_MAX: usize = 4096;
const FRAMES_MAX: usize = 4096;
/// How long Java may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How much later than it should the child may say that something took too long. Its own watchdog is the first to act.
const GRACE: Duration = Duration::from_secs(2);
/// A child that owes an answer for so long, or so many of them, does not live any more.
const STUCK_AFTER: Duration = Duration::from_secs(5);
const STUCK_MAX: usize = 32;
/// A child that lived for so long died of something else than its start.
const SETTLED: Duration = Duration::from_secs(30);
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A child without questions for so long is ended, and a target forgotten.
const IDLE: Duration = Duration::from_secs(15 * 60);
const LAST_WORDS_BYTES_MAX: usize = 300;

/// How Java is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Java's library; absent where there is no Java.
    pub libjvm: Option<PathBuf>,
    /// The program that becomes the child: this one.
    pub program: PathBuf,
}

impl Options {
    /// This program with the Java that `choice` names.
    pub fn new(choice: &super::JavaChoice) -> Options {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("rscaler"));
        Options { libjvm: super::libjvm(choice), program }
    }
}

/// Where questions are put. Cheap to clone.
#[derive(Clone)]
pub struct Java {
    asks: mpsc::Sender<Ask>,
    has_java: bool,
    /// The child's process id, 0 where there is none: for those who look after it.
    pid: Arc<AtomicU64>,
}

/// A JVM as the child knows it.
pub(super) struct Target {
    id: u64,
    spec: Vec<u8>,
}

impl Target {
    /// A new target; each has a number of its own.
    pub(super) fn new(spec: Vec<u8>) -> Target {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Target { id: NEXT.fetch_add(1, Ordering::Relaxed), spec }
    }
}

// The spec holds a password.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({}, ***)", self.id)
    }
}

struct Ask {
    target: Arc<Target>,
    question: Vec<u8>,
    limit: Duration,
    answer: oneshot::Sender<Result<Vec<u8>, Fault>>,
}

/// The door to the child, and the loop that looks after it.
pub fn java(options: Options) -> (Java, Supervisor) {
    let (asks, receive) = mpsc::channel(ASKS_MAX);
    let pid = Arc::new(AtomicU64::new(0));
    let java = Java { asks, has_java: options.libjvm.is_some(), pid: Arc::clone(&pid) };
    let supervisor = Supervisor {
        options,
        asks: receive,
        pid,
        child: None,
        next_id: 0,
        failures: 0,
        not_before: Instant::now(),
        last_words: Arc::default(),
    };
    (java, supervisor)
}

impl Java {
    /// Whether there is a Java runtime.
    pub fn has_java(&self) -> bool {
        self.has_java
    }

    /// The child's process id, while there is one.
    pub fn pid(&self) -> Option<u32> {
        u32::try_from(self.pid.load(Ordering::Relaxed)).ok().filter(|pid| *pid != 0)
    }

    /// Puts a question about a target, and waits for its answer: little longer than `limit`.
    pub(super) async fn ask(
        &self,
        target: &Arc<Target>,
        question: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { target: Arc::clone(target), question, limit, answer };
        self.asks.try_send(ask).map_err(|_| Fault::unavailable("too many questions wait for Java"))?;
        answered.await.unwrap_or_else(|_| Err(Fault::unavailable("this peer stops")))
    }
}

/// The loop that has the child.
pub struct Supervisor {
    options: Options,
    asks: mpsc::Receiver<Ask>,
    pid: Arc<AtomicU64>,
    child: Option<Child>,
    next_id: u64,
    failures: u32,
    /// When the child may be started again.
    not_before: Instant,
    last_words: Arc<Mutex<String>>,
}

/// A child that runs.
struct Child {
    process: Process,
    frames: mpsc::Sender<Vec<u8>>,
    events: mpsc::Receiver<Event>,
    waiting: HashMap<u64, Waiting>,
    /// Questions whose askers have gone, by when.
    overdue: HashMap<u64, Instant>,
    /// Targets that it knows, by when they were asked last.
    defined: HashMap<u64, Instant>,
    began: Instant,
    asked: Instant,
    is_ready: bool,
    /// Its pipes.
    _pipes: JoinSet<()>,
}

struct Waiting {
    until: Instant,
    limit: Duration,
    answer: oneshot::Sender<Result<Vec<u8>, Fault>>,
}

enum Event {
    Frame(Frame),
    Ended,
}

impl Supervisor {
    /// Runs until nobody can ask any more. Dropped, it ends the child.
    pub async fn run(mut self) {
        loop {
            let wake = self.wake();
            let event = async {
                match &mut self.child {
                    Some(child) => child.events.recv().await.unwrap_or(Event::Ended),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = event => self.event(event),
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => break,
                },
                () = sleep_until(wake) => self.tend(),
            }
        }
        self.end("this peer stops");
    }

    fn wake(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(60);
        let Some(child) = &self.child else { return far };
        let start = (!child.is_ready).then_some(child.began + START_TIMEOUT);
        let stuck = child.overdue.values().min().map(|since| *since + STUCK_AFTER);
        child
            .waiting
            .values()
            .map(|waiting| waiting.until)
            .chain(start)
            .chain(stuck)
            .min()
            .unwrap_or(far)
            .min(far)
    }

    fn take(&mut self, ask: Ask) {
        let now = Instant::now();
        if self.child.is_none() {
            if now < self.not_before {
                let again = self.not_before.duration_since(now);
                let why = self.last_words.lock().clone();
                let text = format!("Java ended and is started again in {again:.1?}: {why}");
                let _ = ask.answer.send(Err(Fault::unavailable(text)));
                return;
            }
            if let Err(fault) = self.start() {
                let _ = ask.answer.send(Err(fault));
                return;
            }
        }
        let Some(child) = &mut self.child else { return };
        child.asked = now;
        self.next_id += 1;
        let id = self.next_id;
        let limit_ms = u32::try_from(ask.limit.as_millis()).unwrap_or(u32::MAX);
        let mut frames = Vec::new();
        if child.defined.insert(ask.target.id, now).is_none() {
            frames.push(Frame::Define { target: ask.target.id, spec: ask.target.spec.clone() });
        }
        frames.push(Frame::Ask { id, target: ask.target.id, limit_ms, question: ask.question });
        for frame in frames {
            if child.frames.try_send(frame.encode()).is_err() {
                // It reads nothing any more.
                let _ = ask.answer.send(Err(Fault::unavailable("Java takes no questions")));
                return self.kill("it takes no questions any more");
            }
        }
        let until = now + ask.limit + GRACE;
        child.waiting.insert(id, Waiting { until, limit: ask.limit, answer: ask.answer });
    }

    fn start(&mut self) -> Result<(), Fault> {
        let Some(libjvm) = &self.options.libjvm else {
            return Err(Fault::new(FaultKind::NoJava, "this peer has no Java runtime"));
        };
        let spawned = Command::new(&self.options.program)
            .arg(super::WORKER_COMMAND)
            .arg(libjvm)
            // What others want of Java is not for this one.
            .env_remove("JAVA_TOOL_OPTIONS")
            .env_remove("_JAVA_OPTIONS")
            .env_remove("JDK_JAVA_OPTIONS")
            .env_remove("CLASSPATH")
            // One arena for each core would take more memory than Java's heap.
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => {
                self.failed(&format!("it can't be started: {error}"));
                return Err(Fault::unavailable(format!("Java can't be started: {error}")));
            }
        };
        let (Some(input), Some(output), Some(said)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(Fault::unavailable("Java has no pipes"));
        };
        self.pid.store(process.id().map_or(0, u64::from), Ordering::Relaxed);
        let (frames, to_write) = mpsc::channel(FRAMES_MAX);
        let (send, events) = mpsc::channel(FRAMES_MAX);
        let mut pipes = JoinSet::new();
        pipes.spawn(write(input, to_write));
        pipes.spawn(read(output, send));
        pipes.spawn(listen(said, Arc::clone(&self.last_words)));
        let now = Instant::now();
        self.child = Some(Child {
            process,
            frames,
            events,
            waiting: HashMap::new(),
            overdue: HashMap::new(),
            defined: HashMap::new(),
            began: now,
            asked: now,
            is_ready: false,
            _pipes: pipes,
        });
        Ok(())
    }

    fn event(&mut self, event: Event) {
        let Some(child) = &mut self.child else { return };
        match event {
            Event::Frame(Frame::Ready { version }) => {
                child.is_ready = true;
                info!(version, after = ?child.began.elapsed(), "Java runs");
            }
            Event::Frame(Frame::Answer { id, answer }) => {
                child.overdue.remove(&id);
                if let Some(waiting) = child.waiting.remove(&id) {
                    let _ = waiting.answer.send(wire::judge(answer));
                }
            }
            Event::Frame(_) => self.kill("it says what is not understood"),
            Event::Ended => self.kill("it ended"),
        }
    }

    /// Tells those who waited too long, and ends a child that does not live any more.
    fn tend(&mut self) {
        let now = Instant::now();
        let Some(child) = &mut self.child else { return };
        let late: Vec<u64> =
            child.waiting.iter().filter(|(_, waiting)| waiting.until <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(waiting) = child.waiting.remove(&id) {
                child.overdue.insert(id, now);
                let text = format!("no answer within {:?}", waiting.limit);
                let _ = waiting.answer.send(Err(Fault::new(FaultKind::TimedOut, text)));
            }
        }
        let stuck = child.overdue.len() >= STUCK_MAX
            || child.overdue.values().any(|since| now.duration_since(*since) >= STUCK_AFTER);
        if stuck || (!child.is_ready && now >= child.began + START_TIMEOUT) {
            return self.kill("it does not answer any more");
        }
        let old: Vec<u64> = child
            .defined
            .iter()
            .filter(|(_, asked)| now.duration_since(**asked) >= IDLE)
            .map(|(target, _)| *target)
            .collect();
        for target in old {
            child.defined.remove(&target);
            let _ = child.frames.try_send(Frame::Forget { target }.encode());
        }
        if child.waiting.is_empty() && now.duration_since(child.asked) >= IDLE {
            info!("Java ends: nobody asks");
            self.end("nobody asks");
        }
    }

    fn kill(&mut self, why: &str) {
        let settled = self.child.as_ref().is_some_and(|child| child.began.elapsed() >= SETTLED);
        if settled {
            self.failures = 0;
        }
        let words = self.last_words.lock().clone();
        warn!(why, words, "Java is started again at the next question");
        self.failed(why);
        self.end(why);
    }

    /// The next start waits: not at all after the first failure of one that ran well, longer after each more.
    fn failed(&mut self, why: &str) {
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => (PAUSE_FIRST * 2u32.saturating_pow(failures.min(16) - 1)).min(PAUSE_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + pause;
        let mut words = self.last_words.lock();
        if words.is_empty() {
            *words = why.to_string();
        }
    }

    /// Ends the child, and tells whoever waits.
    fn end(&mut self, why: &str) {
        self.pid.store(0, Ordering::Relaxed);
        let Some(mut child) = self.child.take() else { return };
        let _ = child.process.start_kill();
        for (_, waiting) in child.waiting.drain() {
            let text = format!("Java had to be started again: {why}");
            let _ = waiting.answer.send(Err(Fault::unavailable(text)));
        }
        // Somebody has to take note of its end.
        tokio::spawn(async move {
            let _ = child.process.wait().await;
        });
    }
}

async fn write(mut input: ChildStdin, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut bytes) = frames.recv().await {
        while bytes.len() < 64 << 10
            && let Ok(more) = frames.try_recv()
        {
            bytes.extend(more);
        }
        if input.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read(output: ChildStdout, events: mpsc::Sender<Event>) {
    let mut output = BufReader::new(output);
    loop {
        let mut length = [0; 4];
        let frame = async {
            output.read_exact(&mut length).await?;
            let mut bytes = vec![0; frame::checked(length)?];
            output.read_exact(&mut bytes).await?;
            Frame::decode(&bytes).ok_or_else(frame::damaged)
        };
        let event = frame.await.map_or(Event::Ended, Event::Frame);
        let is_last = matches!(event, Event::Ended);
        if events.send(event).await.is_err() || is_last {
            return;
        }
    }
}

/// Logs what the child and Java in it have to say, and keeps the last of it.
async fn listen(said: tokio::process::ChildStderr, last: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(said.take(64 << 20)).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let text: String = String::from_utf8_lossy(&line[..line.len().min(LAST_WORDS_BYTES_MAX)])
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let text = text.trim().trim_start_matches('#').trim();
        if !text.is_empty() {
            tracing::debug!(text, "Java says");
            *last.lock() = text.to_string();
        }
    }
}
