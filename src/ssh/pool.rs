//! One kept connection per node.
//!
//! ```text
//!            asked for                  logged in
//!   absent ------------> dialling ------------------> ready
//!     ^                     | failed                    | lost, idle, closed,
//!     |                     v                           | or the endpoint changed
//!     +---- time ------ backing off <-------------------+ (backs off only if it lived a short time)
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backoff;
use super::connection::{Connection, Inner};
use super::dial::Dialer;
use super::endpoint::{Endpoint, Identity};
use super::error::Error;
use super::exec::{self, Request, Running, probe::Probe};
use super::host_keys::HostKeys;
use super::orphans::{Marked, Orphans};
use super::shell::{CheckLimits, CheckOutput};

/// Jump hosts in a row.
const JUMPS_MAX: usize = 8;
/// A connection that lived shorter counts as a failed dial, so that a server that throws us out is not dialled for ever.
const SHORT_LIFE: Duration = Duration::from_secs(5);

/// Times and bounds of a [`Pool`]. The defaults suit hundreds of nodes per peer and OpenSSH's own limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the TCP connection, or for the jump host to make it.
    pub connect_timeout: Duration,
    /// For the SSH handshake, and again for the login.
    pub login_timeout: Duration,
    /// For a whole dial, with the wait for its turn and the jump hosts before it.
    pub dial_timeout: Duration,
    /// A server that was silent this long is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// Unanswered signs of life after which the connection counts as lost.
    pub keepalive_max: usize,
    /// A connection that nobody used this long is closed. Longer than the longest counter interval, or each sample dials.
    pub idle_close: Duration,
    /// Dials under way in all.
    pub dials_total: usize,
    /// Dials under way to one server (sshd drops unauthenticated connections at random from 10 on).
    pub dials_per_host: usize,
    /// The wait after a first failed dial; doubles.
    pub backoff_min: Duration,
    /// The longest wait after a failed dial.
    pub backoff_max: Duration,
    /// Shells for checks on one connection. With the commands it should stay below sshd's MaxSessions, 10 by default.
    pub shells_per_connection: usize,
    /// Commands at the same time on one connection; more wait.
    pub commands_per_connection: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            login_timeout: Duration::from_secs(15),
            dial_timeout: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(5),
            keepalive_max: 3,
            idle_close: Duration::from_secs(15 * 60),
            dials_total: 64,
            dials_per_host: 4,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            shells_per_connection: 3,
            commands_per_connection: 5,
        }
    }
}

/// Whether a dial may be put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// After a failed dial, answer its error until the backoff is over. For what is repeated anyway: counters.
    Background,
    /// Dial now, whatever failed before. For what somebody waits for: commands.
    Now,
}

/// All connections of this peer. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    dialer: Arc<Dialer>,
    slots: Mutex<HashMap<Key, Slot>>,
    shut_down: CancellationToken,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// A node, as the caller names it.
    Node(String),
    /// A jump host, shared by all nodes behind it.
    Jump(Identity),
}

type DialResult = Option<Result<Arc<Inner>, Error>>;

struct Slot {
    identity: Identity,
    /// Of this identity: seen again, it need not be hashed again.
    endpoint: Arc<Endpoint>,
    ready: Option<(Arc<Inner>, Instant)>,
    dialling: Option<Dialling>,
    failures: u32,
    /// After a failure: when to dial again, and what went wrong.
    put_off: Option<(Instant, Error)>,
    orphans: Arc<Orphans>,
}

/// One dial to be made.
struct Dial {
    key: Key,
    identity: Identity,
    endpoint: Arc<Endpoint>,
    orphans: Arc<Orphans>,
    urgency: Urgency,
    depth: usize,
    cancel: CancellationToken,
}

/// One dial that is being made.
struct Dialling {
    result: watch::Receiver<DialResult>,
    cancel: CancellationToken,
}

impl Slot {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            identity: endpoint.identity(),
            endpoint: Arc::clone(endpoint),
            ready: None,
            dialling: None,
            failures: 0,
            put_off: None,
            orphans: Arc::default(),
        }
    }

    /// Whether it is a slot for this endpoint.
    fn is_for(&mut self, endpoint: &Arc<Endpoint>) -> bool {
        if Arc::ptr_eq(&self.endpoint, endpoint) {
            return true;
        }
        let is_same = self.identity == endpoint.identity();
        if is_same {
            self.endpoint = Arc::clone(endpoint);
        }
        is_same
    }

    /// Ends whatever there is.
    fn close(&mut self) {
        if let Some((inner, _)) = self.ready.take() {
            inner.close();
        }
        if let Some(dialling) = self.dialling.take() {
            dialling.cancel.cancel();
        }
    }

    fn failed(&mut self, error: Error, options: &Options) {
        self.failures = self.failures.saturating_add(1);
        let spread = rand::random::<f64>();
        let wait = backoff::delay(self.failures, options.backoff_min, options.backoff_max, spread);
        self.put_off = Some((Instant::now() + wait, error));
    }

    /// Drops a connection that has ended.
    fn drop_if_dead(&mut self, options: &Options) {
        if let Some((inner, since)) = &self.ready
            && !inner.is_usable()
        {
            let (inner, lived) = (inner.clone(), since.elapsed());
            self.ready = None;
            inner.close();
            if lived < SHORT_LIFE {
                self.failed(inner.unreachable("the connection ended right after the login"), options);
            }
        }
    }
}

impl Pool {
    /// A pool without connections. Its owner runs [`Pool::maintain`] beside it and ends it with [`Pool::shutdown`].
    pub fn new(options: Options, host_keys: Arc<dyn HostKeys>) -> Self {
        Self(Arc::new(Shared {
            dialer: Arc::new(Dialer::new(options, host_keys)),
            slots: Mutex::default(),
            shut_down: CancellationToken::new(),
        }))
    }

    /// The connection to `node`, dialled if there is none or if `endpoint` is not the one it was dialled with. Many callers
    /// at once cost one dial. Takes at most the `dial_timeout` of the options. Cancel safe: the dial goes on for the next caller.
    ///
    /// # Errors
    /// Everything but [`Error::ConnectionLost`] and [`Error::Fenced`]; nothing was started.
    pub async fn connection(
        &self,
        node: &str,
        endpoint: &Arc<Endpoint>,
        urgency: Urgency,
    ) -> Result<Connection, Error> {
        Shared::connection(&self.0, Key::Node(node.to_owned()), endpoint, urgency, 0).await
    }

    /// [`Connection::run_check`] on the connection of `node`.
    pub async fn run_check(
        &self,
        node: &str,
        endpoint: &Arc<Endpoint>,
        script: &str,
        limit: Duration,
        limits: CheckLimits,
    ) -> Result<CheckOutput, Error> {
        self.connection(node, endpoint, Urgency::Background).await?.run_check(script, limit, limits).await
    }

    /// [`Connection::exec`] on the connection of `node`.
    pub async fn exec(
        &self,
        node: &str,
        endpoint: &Arc<Endpoint>,
        request: Request,
    ) -> Result<Running, Error> {
        self.connection(node, endpoint, Urgency::Now).await?.exec(request).await
    }

    /// [`Connection::probe`] on the connection of `node`.
    pub async fn probe(&self, node: &str, endpoint: &Arc<Endpoint>, token: &str) -> Result<Probe, Error> {
        self.connection(node, endpoint, Urgency::Now).await?.probe(token).await
    }

    /// Ends a command whose connection was lost, over the one there is now. Answers whether it has ended; takes somewhat longer than
    /// its grace at most, after the dial.
    ///
    /// # Errors
    /// As [`Pool::connection`] and [`Pool::probe`]: nothing is known of the command then.
    pub async fn end(&self, node: &str, endpoint: &Arc<Endpoint>, command: &Marked) -> Result<bool, Error> {
        exec::end(&self.connection(node, endpoint, Urgency::Now).await?.inner, command).await
    }

    /// Ends a command whose connection was lost, as soon as there is one again, whoever asks for it. Does not wait.
    pub fn end_when_back(&self, node: &str, endpoint: &Arc<Endpoint>, command: Marked) {
        let mut slots = self.0.slots.lock();
        let slot = slots.entry(Key::Node(node.to_owned())).or_insert_with(|| Slot::new(endpoint));
        slot.orphans.add_command(command);
        if let Some((inner, _)) = &slot.ready
            && inner.is_usable()
        {
            Orphans::reap(inner);
        }
    }

    /// Closes the connection of `node` and forgets it, its backoff included: for a node that was deleted or handed to
    /// another peer. Work under way there ends with [`Error::ConnectionLost`].
    pub fn close(&self, node: &str) {
        if let Some(mut slot) = self.0.slots.lock().remove(&Key::Node(node.to_owned())) {
            slot.close();
        }
    }

    /// Connections that stand, jump hosts included.
    pub fn open_connections(&self) -> usize {
        let slots = self.0.slots.lock();
        slots.values().filter(|slot| slot.ready.as_ref().is_some_and(|(inner, _)| inner.is_usable())).count()
    }

    /// Closes what is idle and forgets what is dead, until the pool is shut down.
    pub async fn maintain(&self) {
        let options = &self.0.dialer.options;
        let mut tick =
            interval((options.idle_close / 10).clamp(Duration::from_millis(100), Duration::from_secs(5)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.0.shut_down.cancelled() => return,
                _ = tick.tick() => self.0.sweep(),
            }
        }
    }

    /// Closes everything and waits for it, a few seconds at most; from now on everybody gets [`Error::ShutDown`].
    pub async fn shutdown(&self) {
        self.0.shut_down.cancel();
        let slots: Vec<Slot> = self.0.slots.lock().drain().map(|(_, slot)| slot).collect();
        let mut ending = Vec::new();
        for mut slot in slots {
            ending.extend(slot.ready.as_ref().map(|(inner, _)| inner.clone()));
            slot.close();
        }
        let all_ended = async {
            while ending.iter().any(|inner| !inner.is_ended()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(Duration::from_secs(5), all_ended).await.is_err() {
            debug!("some ssh connections did not end in time");
        }
    }
}

impl Shared {
    fn connection<'a>(
        this: &'a Arc<Self>,
        key: Key,
        endpoint: &'a Arc<Endpoint>,
        urgency: Urgency,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send + 'a>> {
        Box::pin(async move {
            let mut result = match this.look(&key, endpoint, urgency, depth)? {
                Found::Ready(connection) => return Ok(connection),
                Found::Dialling(result) => result,
            };
            let answered = result.wait_for(Option::is_some).await.map_err(|_| Error::ShutDown)?;
            match &*answered {
                Some(Ok(inner)) => Ok(Connection::from_inner(inner)),
                Some(Err(error)) => Err(error.clone()),
                None => Err(Error::ShutDown),
            }
        })
    }

    /// What there is for `key` now; starts a dial if there is nothing.
    fn look(
        self: &Arc<Self>,
        key: &Key,
        endpoint: &Arc<Endpoint>,
        urgency: Urgency,
        depth: usize,
    ) -> Result<Found, Error> {
        if self.shut_down.is_cancelled() {
            return Err(Error::ShutDown);
        }
        if depth > JUMPS_MAX {
            return Err(Error::Invalid(format!("more than {JUMPS_MAX} jump hosts in a row")));
        }
        let mut slots = self.slots.lock();
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot::new(endpoint));
        if !slot.is_for(endpoint) {
            slot.close();
            // What goes on at the node is the same however it is reached.
            let orphans = slot.orphans.clone();
            *slot = Slot { orphans, ..Slot::new(endpoint) };
        }
        slot.drop_if_dead(&self.dialer.options);
        if let Some((inner, _)) = &slot.ready {
            return Ok(Found::Ready(Connection::from_inner(inner)));
        }
        if let Some(dialling) = &slot.dialling {
            return Ok(Found::Dialling(dialling.result.clone()));
        }
        if let Some((until, error)) = &slot.put_off
            && urgency == Urgency::Background
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let (send, result) = watch::channel(None);
        let cancel = self.shut_down.child_token();
        slot.dialling = Some(Dialling { result: result.clone(), cancel: cancel.clone() });
        let dial = Dial {
            key: key.clone(),
            identity: slot.identity,
            endpoint: endpoint.clone(),
            orphans: slot.orphans.clone(),
            urgency,
            depth,
            cancel,
        };
        let this = self.clone();
        tokio::spawn(async move { this.dial(dial, send).await });
        Ok(Found::Dialling(result))
    }

    async fn dial(self: Arc<Self>, dial: Dial, send: watch::Sender<DialResult>) {
        let limit = self.dialer.options.dial_timeout;
        let endpoint = &dial.endpoint;
        let dialled = tokio::select! {
            biased;
            () = dial.cancel.cancelled() => Err(Error::ShutDown),
            dialled = timeout(limit, self.reach(&dial)) => dialled.unwrap_or_else(|_| {
                let what = "connecting, with the wait for its turn (nothing was started)".to_owned();
                Err(Error::Timeout { host: endpoint.address(), what, after: limit })
            }),
        };
        if let Err(error) = &dialled {
            debug!(host = %endpoint.address(), %error, "dial failed");
        }
        {
            let mut slots = self.slots.lock();
            // The slot may have been closed or given another endpoint meanwhile; then nobody is to find this.
            match slots.get_mut(&dial.key) {
                Some(slot) if slot.identity == dial.identity && !dial.cancel.is_cancelled() => {
                    slot.dialling = None;
                    match &dialled {
                        Ok(inner) => {
                            slot.ready = Some((inner.clone(), Instant::now()));
                            slot.failures = 0;
                            slot.put_off = None;
                        }
                        Err(error) => slot.failed(error.clone(), &self.dialer.options),
                    }
                }
                _ => {
                    if let Ok(inner) = &dialled {
                        inner.close();
                    }
                }
            }
        }
        if let Ok(inner) = &dialled {
            Orphans::reap(inner);
        }
        let _ = send.send(Some(dialled));
    }

    async fn reach(self: &Arc<Self>, dial: &Dial) -> Result<Arc<Inner>, Error> {
        let endpoint = &dial.endpoint;
        let via = match &endpoint.jump {
            Some(jump) => {
                let key = Key::Jump(jump.identity());
                Some(Self::connection(self, key, jump, dial.urgency, dial.depth + 1).await?)
            }
            None => None,
        };
        let dialled = self.dialer.dial(endpoint, via.as_ref()).await?;
        Ok(Inner::new(endpoint.clone(), self.dialer.clone(), dialled, via, dial.orphans.clone()))
    }

    fn sweep(&self) {
        let options = &self.dialer.options;
        self.slots.lock().retain(|_, slot| {
            slot.drop_if_dead(options);
            if let Some((inner, _)) = &slot.ready {
                inner.shells.close_spare();
                inner.spare.close_old();
                Orphans::reap(inner);
                if inner.idle_for() < options.idle_close {
                    return true;
                }
                slot.close();
            }
            let put_off =
                slot.put_off.as_ref().is_some_and(|(until, _)| Instant::now() < *until + options.backoff_max);
            slot.dialling.is_some() || put_off || slot.orphans.has_commands()
        });
    }
}

enum Found {
    Ready(Connection),
    Dialling(watch::Receiver<DialResult>),
}

#[cfg(test)]
#[path = "pool_test.rs"]
mod tests;
