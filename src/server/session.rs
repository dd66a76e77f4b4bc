//! This peer's session: its claim to be alive, under which it is given work.
//!
//! ```text
//!            opened and renewed              renewed in time
//!   none ------------------------> held <-------------------+
//!     ^                             |  |                    |
//!     | stale, or not renewed       |  +--------------------+
//!     | in time by our own clock    |
//!     +-----------------------------+--- drain: takes no new work --- stop: closed
//! ```
//!
//! A session that lapsed here is given up for good, even where the control plane still knows it: what was done
//! under it has been dropped, and only a new session (a new boot id) says so to the others at once.

use std::time::Duration;

use rscaler_raft::command::{Command, Reply};
use rscaler_raft::handle::{Handle, SubmitError};
use rscaler_raft::model::{Actor, Capabilities};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::lease::{self, Keeper, Moment};

/// How long one try at opening or renewing takes at most: shorter than a session's life, for an answer that comes
/// later is worth nothing.
const PATIENCE: Duration = Duration::from_millis(1000);
/// The pause after a try that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a refusal, which does not go away by itself.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How often the lease is looked at.
const PULSE: Duration = Duration::from_millis(50);
/// So much of suspended time gives up the session whatever its lease says.
const SUSPENDED_MAX: Duration = Duration::from_secs(1);
/// How long closing is tried.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// What a session says of its peer, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often it is renewed: well below the lease's usable time.
    pub renew_every: Duration,
    /// What this peer can do.
    pub capabilities: Capabilities,
    /// Where its API answers.
    pub api_url: String,
}

/// The loop that keeps this peer's session.
pub struct Session {
    handle: Handle,
    options: Options,
    keeper: Keeper,
    /// The upper half of its boot ids: tells this process from earlier ones of the same peer.
    process: u64,
}

/// Why a held session ended.
enum End {
    /// We stop.
    Stopped,
    /// It is over, for this reason.
    Lost(String),
}

impl Session {
    /// A loop that keeps `keeper`'s lease.
    pub fn new(handle: Handle, options: Options, keeper: Keeper) -> Session {
        Session { handle, options, keeper, process: rand::random() }
    }

    /// Opens a session and keeps it, again and again. `drain` asks for no new work, `stop` ends the session and then
    /// the loop.
    pub async fn run(self, drain: CancellationToken, stop: CancellationToken) {
        while !drain.is_cancelled() {
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = drain.cancelled() => break,
                opened = self.open() => opened,
            };
            match self.hold(opened, &drain, &stop).await {
                End::Stopped => {
                    self.keeper.lapse();
                    self.close(opened, false).await;
                    return;
                }
                End::Lost(why) => {
                    self.keeper.lapse();
                    warn!(session = opened, why, "the session is over, all work under it stops");
                }
            }
        }
        stop.cancelled().await;
    }

    /// Opens a session under a new boot id.
    async fn open(&self) -> u64 {
        let boot = u128::from(self.process) << 64 | u128::from(rand::random::<u64>());
        loop {
            let command = Command::OpenSession {
                peer: self.handle.local(),
                boot,
                capabilities: self.options.capabilities.clone(),
                api_url: self.options.api_url.clone(),
            };
            match self.submit(PATIENCE, command).await {
                Ok(Reply::Session { epoch, .. }) => {
                    info!(session = epoch, "session opened");
                    return epoch;
                }
                Ok(other) => warn!(?other, "an unexpected answer to the opening of a session"),
                Err(SubmitError::Rejected(rejection)) => {
                    warn!(%rejection, "no session is opened for this peer");
                    sleep(REFUSED_PAUSE).await;
                }
                Err(SubmitError::Engine(error)) => {
                    debug!(%error, "a session could not be opened yet");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn hold(&self, session: u64, drain: &CancellationToken, stop: &CancellationToken) -> End {
        // What answered the opening may have been an earlier try: only a renewal says when the life began.
        let deadline = Instant::now() + rscaler_raft::state::SESSION_TTL * 2;
        let mut has_begun = false;
        let mut next = Instant::now();
        let mut renewal = None;
        let mut leadership = self.handle.leadership();
        let mut pulse = Pulse::new(self.keeper.now());
        let mut draining = std::pin::pin!(async {
            drain.cancelled().await;
            self.close(session, true).await;
            std::future::pending::<()>().await;
        });
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = sleep(PULSE) => {
                    if let Some(gap) = pulse.suspended(self.keeper.now(), Instant::now()) {
                        return End::Lost(format!("the machine was suspended for {gap:?}"));
                    }
                    if has_begun && !self.keeper.is_valid() {
                        return End::Lost("it could not be renewed in time".to_string());
                    }
                    if !has_begun && Instant::now() > deadline {
                        return End::Lost("it was never renewed".to_string());
                    }
                }
                (sent, answer) = async { renewal.as_mut().expect("guarded by the condition").await },
                    if renewal.is_some() =>
                {
                    renewal = None;
                    next = Instant::now() + RETRY_PAUSE;
                    match answer {
                        Ok(Reply::Session { ttl_ms, .. }) => {
                            let ttl = Duration::from_millis(u64::from(ttl_ms));
                            self.keeper.hold(session, sent + lease::usable(ttl));
                            has_begun = true;
                            next = Instant::now() + self.options.renew_every;
                        }
                        Ok(other) => return End::Lost(format!("an unexpected answer: {other:?}")),
                        Err(SubmitError::Rejected(rejection)) => return End::Lost(rejection.message),
                        Err(SubmitError::Engine(error)) => debug!(session, %error, "not renewed"),
                    }
                }
                Ok(()) = leadership.changed() => {
                    if leadership.borrow_and_update().leader.is_some() {
                        // A life counts from when its renewal was sent. One that waited for this leader would be half
                        // over when it is answered.
                        renewal = None;
                        next = Instant::now();
                    }
                }
                () = sleep_until(next), if renewal.is_none() => {
                    let peer = self.handle.local();
                    renewal = Some(Box::pin(async move {
                        let sent = self.keeper.now();
                        let command = Command::RenewSession { peer, epoch: session };
                        (sent, self.submit(PATIENCE, command).await)
                    }));
                }
                () = &mut draining => {}
            }
        }
    }

    async fn close(&self, session: u64, draining: bool) {
        let deadline = Instant::now() + CLOSE_PATIENCE;
        while Instant::now() < deadline {
            let command = Command::CloseSession { peer: self.handle.local(), epoch: session, draining };
            match self.submit(PATIENCE, command).await {
                Ok(_) => {
                    info!(session, draining, "session closed");
                    return;
                }
                Err(SubmitError::Rejected(rejection)) => {
                    debug!(session, %rejection, "the session was over already");
                    return;
                }
                Err(SubmitError::Engine(error)) => {
                    debug!(session, %error, "the session could not be closed");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
        warn!(session, draining, "the session could not be closed: the others wait until it runs out");
    }

    async fn submit(&self, patience: Duration, command: Command) -> Result<Reply, SubmitError> {
        let actor = Actor::Peer(self.handle.local());
        self.handle.submit_within(patience, None, actor, command).await
    }
}

/// Compares the clock that counts suspended time with the one that does not.
struct Pulse {
    moment: Moment,
    instant: Instant,
}

impl Pulse {
    fn new(moment: Moment) -> Pulse {
        Pulse { moment, instant: Instant::now() }
    }

    /// How long the machine was suspended since the last call, where that is too long.
    fn suspended(&mut self, moment: Moment, instant: Instant) -> Option<Duration> {
        let all = moment.since(self.moment);
        let awake = instant.saturating_duration_since(self.instant);
        (self.moment, self.instant) = (moment, instant);
        Some(all.saturating_sub(awake)).filter(|gap| *gap > SUSPENDED_MAX)
    }
}

#[cfg(test)]
#[path = "session_test.rs"]
mod tests;
