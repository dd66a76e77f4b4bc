//! A session opened ahead of the next command.
//!
//! Most of the time from a request to its script goes into the session: sshd starts a process for it, that a login shell with its
//! start-up files, and that our outer shell. Where a command has run, another one often follows; so once a connection is at rest
//! after a command, the next one's session is opened, and waits at the point where nothing has been asked of it yet.
//!
//! It knows what was there when it was opened. So that a command sees what those before it on this connection have changed for logins,
//! one is opened only while no command runs, given up when one begins meanwhile, and kept for a limited time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::channel::{Event, Session};
use super::super::connection::{Inner, OpenError};
use super::script;

/// How long after a command the next session is opened: what comes in a burst is not to compete with that.
const REST: Duration = Duration::from_millis(300);
/// How long it waits for a command.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// What start-up files may print while it waits.
const NOISE_MAX: usize = 64 * 1024;

/// The place for one such session on a connection.
#[derive(Default)]
pub(in crate::ssh) struct Spare {
    waiting: Mutex<Option<Waiting>>,
    /// Commands that have begun so far.
    begun: AtomicU64,
    /// One is being opened, or about to be.
    is_coming: AtomicBool,
    /// The server has no place for one, or the sessions it gives don't last.
    is_useless: AtomicBool,
}

/// A session that waits. Dropped, it ends.
struct Waiting {
    claim: oneshot::Sender<oneshot::Sender<Session>>,
    since: Instant,
}

impl Spare {
    /// A command begins: the session that waits for it, if there is one that still stands.
    pub(super) async fn take(&self) -> Option<Session> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let waiting = self.waiting.lock().take()?;
        let (send, receive) = oneshot::channel();
        waiting.claim.send(send).ok()?;
        receive.await.ok()
    }

    /// A command has ended: opens a session for the next one, in a while, unless commands go on.
    pub(super) fn prepare(inner: &Arc<Inner>) {
        let spare = &inner.spare;
        if spare.is_useless.load(Ordering::SeqCst) || spare.is_coming.swap(true, Ordering::SeqCst) {
            return;
        }
        let inner = Arc::downgrade(inner);
        tokio::spawn(async move {
            sleep(REST).await;
            if let Some(inner) = inner.upgrade() {
                open(&inner).await;
                inner.spare.is_coming.store(false, Ordering::SeqCst);
            }
        });
    }

    /// Ends the session that waits, to make place among the server's sessions. Whether there was one.
    pub(in crate::ssh) fn close(&self) -> bool {
        self.waiting.lock().take().is_some()
    }

    /// Ends one that nobody wanted for long.
    pub(in crate::ssh) fn close_old(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.as_ref().is_some_and(|waiting| waiting.since.elapsed() > WAIT_MAX) {
            *waiting = None;
        }
    }

    #[cfg(test)]
    pub(in crate::ssh) fn is_there(&self) -> bool {
        self.waiting.lock().as_ref().is_some_and(|waiting| !waiting.claim.is_closed())
    }

    #[cfg(test)]
    pub(in crate::ssh) fn is_coming(&self) -> bool {
        self.is_coming.load(Ordering::SeqCst)
    }
}

async fn open(inner: &Arc<Inner>) {
    let (spare, places) = (&inner.spare, inner.dialer.options.commands_per_connection.max(1));
    let begun = spare.begun.load(Ordering::SeqCst);
    if !inner.is_usable() || inner.commands.available_permits() < places || spare.waiting.lock().is_some() {
        return;
    }
    let session = match inner.open(script::command()).await {
        Ok(session) => session,
        Err(OpenError::Full) => return spare.is_useless.store(true, Ordering::SeqCst),
        Err(OpenError::Other(_)) => return,
    };
    if spare.begun.load(Ordering::SeqCst) != begun {
        return;
    }
    let (claim, claimed) = oneshot::channel();
    tokio::spawn(wait_for_claim(session, claimed));
    *spare.waiting.lock() = Some(Waiting { claim, since: Instant::now() });
    // Closed in between? Then nobody else would end it.
    if !inner.is_usable() {
        spare.close();
    }
}

/// Reads what the session says meanwhile, or it would hold up the whole connection; no session is left where it ends.
async fn wait_for_claim(mut session: Session, mut claimed: oneshot::Receiver<oneshot::Sender<Session>>) {
    let mut noise = 0;
    loop {
        let event = tokio::select! {
            biased;
            by = &mut claimed => {
                // With nobody to take it, it ends.
                if let Ok(by) = by {
                    drop(by.send(session));
                }
                return;
            }
            event = session.next() => event,
        };
        match event {
            Event::Stdout(data) | Event::Stderr(data) if noise + data.len() <= NOISE_MAX => {
                noise += data.len();
            }
            _ => return,
        }
    }
}
