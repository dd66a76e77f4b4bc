//! The child: the same program, with a JVM in it.
//!
//! Questions come on standard input, answers go where standard output was: Java itself prints on standard output when something is
//! wrong, so that is sent to standard error first of all. The process ends when its input does, which is when the peer ends in
//! whatever way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jni::objects::{JByteArray, JClass, JObject, JValue};
use jni::refs::Global;
use jni::vm::JavaVM;
use jni::{Env, jni_sig, jni_str};
use parking_lot::{Condvar, Mutex};

use super::embed;
use super::frame::Frame;

/// Our classes, each as `length u32 | bytes`, compiled from `java/rscaler`; the one that is called comes first. They are kept beside
/// their source, so that building takes no JDK; a test compiles them again and compares.
const CLASSES: &[u8] = include_bytes!("java/rscaler.bin");
/// Questions that are answered at once.
const THREADS_MAX: usize = 64;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);
const STACK_BYTES: usize = 512 << 10;
/// How often the connections of a question that is over time are closed, until it ends.
const CLOSE_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep of the watchdog while something is asked.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// Kinds of a fault in an answer, as `Fault.java` numbers them.
pub(super) const TIMED_OUT: u8 = 7;
pub(super) const OTHER: u8 = 8;

/// A question that waits or is being answered.
struct Job {
    id: u64,
    target: u64,
    limit: Duration,
    deadline: Instant,
    question: Vec<u8>,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<Job>,
    /// Targets that are being asked: each has one question at a time.
    busy: HashSet<u64>,
    /// By question: target, deadline, and when its connections were closed last.
    running: HashMap<u64, (u64, Instant, Option<Instant>)>,
    threads: usize,
    idle: usize,
}

struct Worker {
    vm: JavaVM,
    class: Global<JClass<'static>>,
    work: Mutex<Work>,
    /// Something waits, or a target is free again.
    ready: Condvar,
    /// Something runs.
    began: Condvar,
    out: Mutex<File>,
}

/// Runs until standard input ends.
pub fn run(libjvm: &Path) -> ExitCode {
    match serve(libjvm) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

fn serve(libjvm: &Path) -> Result<(), String> {
    let out = keep_output().map_err(|error| format!("standard output: {error}"))?;
    let vm = embed::start(libjvm, OPTIONS.iter().map(|option| (*option).to_string()))?;
    let class =
        vm.attach_current_thread(load).map_err(|error| format!("Java does not take our classes: {error}"))?;
    let worker = Arc::new(Worker {
        vm,
        class,
        work: Mutex::default(),
        ready: Condvar::new(),
        began: Condvar::new(),
        out: Mutex::new(out),
    });
    worker.send(&Frame::Ready { version: worker.version() });
    let watchdog = Arc::clone(&worker);
    spawn("watchdog", move || watchdog.watch()).map_err(|error| format!("no thread: {error}"))?;
    let mut input = std::io::BufReader::new(std::io::stdin().lock());
    loop {
        match Frame::read(&mut input) {
            Ok(Some(frame)) => worker.take(frame),
            // The peer is gone. Threads may hang in Java: they end with the process.
            Ok(None) => std::process::exit(0),
            Err(error) => return Err(format!("standard input: {error}")),
        }
    }
}

/// Keeps standard output for frames alone, and sends what is printed there to standard error.
fn keep_output() -> std::io::Result<File> {
    let kept: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(File::from(kept))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_string()).stack_size(STACK_BYTES).spawn(body).map(|_| ())
}

/// How Java is started.
const OPTIONS: &[&str] = &[
    // Small, and steady: full compilation takes 40 MB more and is no faster at this.
    "-Xms8m",
    "-Xmx96m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=32m",
    "-XX:MaxMetaspaceSize=64m",
    "-XX:MinHeapFreeRatio=10",
    "-XX:MaxHeapFreeRatio=30",
    "-XX:-UsePerfData",
    "-XX:-CreateCoredumpOnCrash",
    "-XX:ErrorFile=/dev/stderr",
    // Signals are the process's own.
    "-Xrs",
    "-Djava.awt.headless=true",
    // What would fill the heap is refused before it is made, as far as can be told from outside; for the rest see `Memory.java`.
    // Java is not told to end when memory runs out: then nobody knew whose answer it was, and it would be asked for again.
    "-Djdk.serialFilter=maxarray=1048576;maxdepth=200;maxrefs=1000000",
    // The last of three bounds on time; those of each question are shorter.
    "-Dsun.rmi.transport.tcp.handshakeTimeout=10000",
    "-Dsun.rmi.transport.tcp.responseTimeout=90000000",
    // Connections stay open between readings that are far apart.
    "-Dsun.rmi.transport.connectionTimeout=3600000",
    "-Djava.rmi.server.disableHttp=true",
    "-Djava.rmi.server.useCodebaseOnly=true",
    // For what goes by the right address instead of the one that a JVM names.
    "--add-opens=java.rmi/sun.rmi.transport=ALL-UNNAMED",
    "--add-opens=java.rmi/sun.rmi.transport.tcp=ALL-UNNAMED",
    "--add-opens=java.rmi/sun.rmi.server=ALL-UNNAMED",
];

/// Defines our classes and starts what they do.
fn load(env: &mut Env<'_>) -> jni::errors::Result<Global<JClass<'static>>> {
    let class = embed::define(env, CLASSES)?.into_iter().next();
    let class = class.ok_or(jni::errors::Error::NullPtr("there are no classes"))?;
    embed::call(env, &class, jni_str!("start"))?;
    Ok(class)
}

impl Worker {
    fn version(&self) -> String {
        let read = self.vm.attach_current_thread(|env| -> jni::errors::Result<String> {
            let version =
                env.call_static_method(&self.class, jni_str!("version"), jni_sig!("()[B"), &[])?.l()?;
            let version = env.cast_local::<JByteArray>(version)?;
            Ok(String::from_utf8_lossy(&env.convert_byte_array(&version)?).into_owned())
        });
        read.unwrap_or_default()
    }

    fn send(&self, frame: &Frame) {
        let bytes = frame.encode();
        if self.out.lock().write_all(&bytes).is_err() {
            std::process::exit(0);
        }
    }

    fn take(self: &Arc<Self>, frame: Frame) {
        match frame {
            Frame::Define { target, spec } => self.define(target, &spec),
            Frame::Forget { target } => {
                self.tell(jni_str!("forget"), target);
                self.work.lock().waiting.retain(|job| job.target != target);
            }
            Frame::Ask { id, target, limit_ms, question } => {
                let limit = Duration::from_millis(u64::from(limit_ms));
                let mut work = self.work.lock();
                let was_idle = work.waiting.is_empty() && work.running.is_empty();
                work.waiting.push_back(Job { id, target, limit, deadline: Instant::now() + limit, question });
                if work.idle == 0 && work.threads < THREADS_MAX {
                    let this = Arc::clone(self);
                    if spawn("jmx", move || this.serve()).is_ok() {
                        work.threads += 1;
                    }
                }
                drop(work);
                self.ready.notify_one();
                if was_idle {
                    self.began.notify_one();
                }
            }
            Frame::Ready { .. } | Frame::Answer { .. } => {}
        }
    }

    fn define(&self, target: u64, spec: &[u8]) {
        let defined = self.vm.attach_current_thread(|env| -> jni::errors::Result<()> {
            let spec = env.byte_array_from_slice(spec)?;
            let args = [JValue::Long(target.cast_signed()), JValue::Object(&spec)];
            env.call_static_method(&self.class, jni_str!("define"), jni_sig!("(J[B)V"), &args)?;
            Ok(())
        });
        if let Err(error) = defined {
            eprintln!("a target was not understood: {error}");
        }
    }

    fn tell(&self, method: &'static jni::strings::JNIStr, target: u64) {
        let told = self.vm.attach_current_thread(|env| -> jni::errors::Result<()> {
            let args = [JValue::Long(target.cast_signed())];
            env.call_static_method(&self.class, method, jni_sig!("(J)V"), &args)?;
            Ok(())
        });
        if let Err(error) = told {
            eprintln!("{method}: {error}");
        }
    }

    /// A thread that answers questions until there are none for a while.
    fn serve(&self) {
        while let Some(job) = self.next() {
            let answer = if Instant::now() >= job.deadline {
                late(&job)
            } else {
                let answer = self.ask(&job);
                if Instant::now() >= job.deadline && answer.first() != Some(&0) { late(&job) } else { answer }
            };
            let mut work = self.work.lock();
            work.busy.remove(&job.target);
            work.running.remove(&job.id);
            drop(work);
            self.ready.notify_one();
            self.send(&Frame::Answer { id: job.id, answer });
        }
    }

    /// The next question whose target is free. None where this thread is not needed any more.
    fn next(&self) -> Option<Job> {
        let mut work = self.work.lock();
        loop {
            let free = work.waiting.iter().position(|job| !work.busy.contains(&job.target));
            if let Some(job) = free.and_then(|at| work.waiting.remove(at)) {
                work.busy.insert(job.target);
                work.running.insert(job.id, (job.target, job.deadline, None));
                return Some(job);
            }
            work.idle += 1;
            let waited = self.ready.wait_for(&mut work, IDLE);
            work.idle -= 1;
            if waited.timed_out() && work.threads > 1 && work.waiting.is_empty() {
                work.threads -= 1;
                return None;
            }
        }
    }

    fn ask(&self, job: &Job) -> Vec<u8> {
        let asked = self.vm.attach_current_thread(|env| -> jni::errors::Result<Vec<u8>> {
            let question = env.byte_array_from_slice(&job.question)?;
            let args = [JValue::Long(job.target.cast_signed()), JValue::Object(&question)];
            let answer: JObject<'_> =
                env.call_static_method(&self.class, jni_str!("call"), jni_sig!("(J[B)[B"), &args)?.l()?;
            let answer = env.cast_local::<JByteArray>(answer)?;
            env.convert_byte_array(&answer)
        });
        asked.unwrap_or_else(|error| fault(OTHER, &format!("Java failed: {error}")))
    }

    /// Closes the connections of what takes longer than it may, so that it ends, and answers what waited too long behind it.
    fn watch(&self) {
        loop {
            let mut over = Vec::new();
            let mut work = self.work.lock();
            let now = Instant::now();
            let (overdue, waiting): (VecDeque<Job>, VecDeque<Job>) =
                std::mem::take(&mut work.waiting).into_iter().partition(|job| now >= job.deadline);
            work.waiting = waiting;
            if !overdue.is_empty() {
                drop(work);
                for job in overdue {
                    self.send(&Frame::Answer { id: job.id, answer: late(&job) });
                }
                continue;
            }
            for (target, deadline, closed) in work.running.values_mut() {
                let again = closed.is_none_or(|at| now.duration_since(at) >= CLOSE_EVERY);
                if now >= *deadline && again {
                    *closed = Some(now);
                    over.push(*target);
                }
            }
            if over.is_empty() {
                let running = work.running.values().map(|(_, deadline, _)| *deadline);
                // What waits is not running yet, and may be before this one looks again.
                let next = running.chain(work.waiting.iter().map(|job| job.deadline)).min();
                let least = Duration::from_millis(10);
                match next {
                    Some(next) => {
                        let sleep = next.saturating_duration_since(now).clamp(least, WATCH_EVERY);
                        let _ = self.began.wait_for(&mut work, sleep);
                    }
                    None => {
                        let _ = self.began.wait_for(&mut work, Duration::from_secs(60));
                    }
                }
                continue;
            }
            drop(work);
            for target in over {
                self.tell(jni_str!("shut"), target);
            }
        }
    }
}

fn late(job: &Job) -> Vec<u8> {
    fault(TIMED_OUT, &format!("no answer within {:?}", job.limit))
}

fn fault(kind: u8, text: &str) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend(text.as_bytes());
    out
}
