//! Which shell a check gets.
//!
//! A connection has a few shells, so that a slow check does not hold up the node's fast ones; they are started as needed and each
//! serves one check at a time, first come, first served. Scripts known to be slow may not take all of them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::super::connection::{Connection, Inner, OpenError};
use super::super::error::Error;
use super::kept::{Kept, Parked, Started};
use super::{CheckLimits, CheckOutput, bootstrap, raw};

/// The longest script of a check.
const SCRIPT_BYTES_MAX: usize = 1024 * 1024;
/// A script that took this long is slow.
const SLOW: Duration = Duration::from_millis(500);
/// Scripts whose pace is remembered.
const PACES_MAX: usize = 1024;
/// How long a second or third shell waits for its next check.
const SPARE_TIMEOUT: Duration = Duration::from_secs(60);

/// The shells of one connection.
pub(in crate::ssh) struct Shells {
    places: Arc<Semaphore>,
    /// Places for scripts known to be slow: one less than all.
    slow_places: Arc<Semaphore>,
    /// Shells without a check, the one used last at the end.
    idle: Mutex<Vec<Parked>>,
    /// How many places there are; fewer than configured once the server turned out to allow fewer sessions.
    max: Mutex<usize>,
    /// What the node said in place of giving us a shell.
    no_shell: Mutex<Option<String>>,
    /// How long each script took last, by its hash.
    paces: Mutex<HashMap<u64, Duration>>,
    /// Shells started on this connection so far.
    started: AtomicUsize,
}

impl Shells {
    pub(in crate::ssh) fn new(max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max)),
            slow_places: Arc::new(Semaphore::new((max - 1).max(1))),
            idle: Mutex::default(),
            max: Mutex::new(max),
            no_shell: Mutex::default(),
            paces: Mutex::default(),
            started: AtomicUsize::new(0),
        }
    }

    /// Ends a shell that has nothing to do, if there is one, to make place among the server's sessions.
    pub(in crate::ssh) fn close_one_idle(&self) {
        let idle = {
            let mut idle = self.idle.lock();
            if idle.is_empty() { None } else { Some(idle.remove(0)) }
        };
        drop(idle);
    }

    /// Ends shells beyond the first that had nothing to do for some time.
    pub(in crate::ssh) fn close_spare(&self) {
        let spare: Vec<_> = {
            let mut idle = self.idle.lock();
            let last = idle.len().saturating_sub(1);
            let count = idle[..last].iter().filter(|parked| parked.since.elapsed() > SPARE_TIMEOUT).count();
            idle.drain(..count).collect()
        };
        drop(spare);
    }

    /// Ends all shells that have nothing to do. They hold their connection, so a connection that is given up must call this.
    pub(in crate::ssh) fn close_all(&self) {
        let all = std::mem::take(&mut *self.idle.lock());
        drop(all);
    }

    #[cfg(test)]
    pub(super) fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// Called by who holds a place and found the server full: answers whether another place is taken too, so that this
    /// one can be given up for good.
    fn do_with_one_less(&self) -> bool {
        let mut max = self.max.lock();
        let others = max.saturating_sub(self.places.available_permits() + 1);
        if others > 0 {
            *max -= 1;
        }
        others > 0
    }

    async fn take_idle(&self) -> Option<Kept> {
        loop {
            let parked = self.idle.lock().pop()?;
            if let Some(kept) = parked.claim().await {
                return Some(kept);
            }
        }
    }

    /// Lets a shell wait for its next check, if there is to be one.
    fn park(&self, inner: &Inner, kept: Kept) {
        if !inner.is_usable() {
            return;
        }
        self.idle.lock().push(kept.park());
        // Closed in between? Then nobody else would end it.
        if !inner.is_usable() {
            self.close_all();
        }
    }

    fn is_slow(&self, script: u64) -> bool {
        self.paces.lock().get(&script).is_some_and(|pace| *pace >= SLOW)
    }

    fn remember_pace(&self, script: u64, pace: Duration) {
        let mut paces = self.paces.lock();
        if paces.len() >= PACES_MAX && !paces.contains_key(&script) {
            paces.clear();
        }
        paces.insert(script, pace);
    }
}

/// See [`Connection::run_check`].
pub(in crate::ssh) async fn run(
    connection: &Connection,
    script: &str,
    limit: Duration,
    limits: CheckLimits,
) -> Result<CheckOutput, Error> {
    if script.contains('\0') {
        return Err(Error::Invalid("a script can't hold a NUL byte".into()));
    }
    if script.len() > SCRIPT_BYTES_MAX {
        return Err(Error::Invalid(format!("a check's script has at most {SCRIPT_BYTES_MAX} bytes")));
    }
    let inner = &connection.inner;
    let shells = &inner.shells;
    let hash = {
        let mut hasher = DefaultHasher::new();
        script.hash(&mut hasher);
        hasher.finish()
    };
    let (permits, way) = find(inner, hash, limit).await?;
    let output = match way {
        Way::Shell(kept) => {
            let (output, back) = kept.run(script, limit, limits, permits).await;
            if let Some(back) = back {
                shells.park(inner, back);
            }
            output?
        }
        Way::Raw => raw::run(inner, script, limit, limits, permits).await?,
    };
    shells.remember_pace(hash, output.duration);
    Ok(output)
}

enum Way {
    Shell(Kept),
    /// The script is handed to the node as it is: there is no POSIX shell.
    Raw,
}

/// Finds a shell, starts one, or finds out that there can't be one.
async fn find(
    inner: &Arc<Inner>,
    script: u64,
    limit: Duration,
) -> Result<(Vec<OwnedSemaphorePermit>, Way), Error> {
    let shells = &inner.shells;
    let deadline = Instant::now() + limit;
    let busy = || inner.took_too_long("waiting for a free shell (nothing was started)", limit);
    let mut permits = Vec::with_capacity(2);
    if shells.is_slow(script) {
        let slow =
            timeout_at(deadline, shells.slow_places.clone().acquire_owned()).await.map_err(|_| busy())?;
        permits.extend(slow.ok());
    }
    loop {
        let place = timeout_at(deadline, shells.places.clone().acquire_owned()).await.map_err(|_| busy())?;
        let Ok(place) = place else { return Err(inner.lost()) };
        if shells.no_shell.lock().is_some() {
            permits.push(place);
            return Ok((permits, Way::Raw));
        }
        if let Some(kept) = shells.take_idle().await {
            permits.push(place);
            return Ok((permits, Way::Shell(kept)));
        }
        // In the background, so that a slow login delays this check no longer than its time, and serves the next one.
        let (send, receive) = oneshot::channel();
        let starting = inner.clone();
        tokio::spawn(async move {
            let started = start(&starting, place, deadline).await;
            if let Err(Ok(Beginning::Shell(kept, place))) = send.send(started) {
                starting.shells.park(&starting, kept);
                drop(place);
            }
        });
        let started = timeout_at(deadline, receive).await.map_err(|_| busy())?;
        match started.unwrap_or_else(|_| Err(inner.lost()))? {
            Beginning::Shell(kept, place) => {
                permits.push(place);
                return Ok((permits, Way::Shell(kept)));
            }
            Beginning::Raw(place) => {
                permits.push(place);
                return Ok((permits, Way::Raw));
            }
            Beginning::OneLess => {}
        }
    }
}

/// What came of wanting a new shell.
enum Beginning {
    Shell(Kept, OwnedSemaphorePermit),
    /// The node has none.
    Raw(OwnedSemaphorePermit),
    /// The server has no session for it, so that the place was given up; there are others.
    OneLess,
}

async fn start(
    inner: &Arc<Inner>,
    place: OwnedSemaphorePermit,
    deadline: Instant,
) -> Result<Beginning, Error> {
    let shells = &inner.shells;
    let session = match inner.open(bootstrap::COMMAND.to_owned()).await {
        Ok(session) => session,
        Err(OpenError::Other(error)) => return Err(error),
        Err(OpenError::Full) if inner.spare.close() => {
            inner.open_when_free(bootstrap::COMMAND, deadline).await?
        }
        Err(OpenError::Full) if shells.do_with_one_less() => {
            debug!(host = %inner.endpoint.address(), "the server's MaxSessions allows fewer shells");
            place.forget();
            return Ok(Beginning::OneLess);
        }
        Err(OpenError::Full) => inner.open_when_free(bootstrap::COMMAND, deadline).await?,
    };
    match Kept::start(inner, session).await? {
        Started::Shell(kept) => {
            shells.started.fetch_add(1, Ordering::Relaxed);
            Ok(Beginning::Shell(kept, place))
        }
        Started::NoShell(said) => {
            warn!(host = %inner.endpoint.address(), said, "no POSIX shell, each check gets a session of its own");
            *shells.no_shell.lock() = Some(said);
            Ok(Beginning::Raw(place))
        }
    }
}
