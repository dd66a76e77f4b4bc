//! The order in which a peer ends.
//!
//! ```text
//!  1 requests     no new ones; those begun are answered
//!  2 drain        the session takes no new work: nodes go to other peers at once, tasks not begun are handed back
//!  3 leadership   goes to another voter, so that time passes there while we finish
//!  4 collection   stops, what was read is sent
//!  5 attempts     may finish for as long as there is time, then they are ended
//!  6 session      closed: nobody has to wait until it runs out
//!  7 connections  to nodes
//!  8 stores       with the replicated part
//! ```
//!
//! One grace period bounds the whole. When most voters are gone, as where all peers are stopped at the same time, steps
//! 2 to 6 can't be done any more, and what is left of them is skipped. A peer whose replicated part has failed has nobody to tell and goes through the
//! same steps in a few seconds.

use std::time::Duration;

use rscaler_raft::handle::Handle;
use rscaler_raft::model::PeerId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Running;
use super::services::Services;

/// The grace of a peer that has failed.
const FAILED_GRACE: Duration = Duration::from_secs(3);
/// What of the grace is kept for the steps after the attempts.
const REST: Duration = Duration::from_secs(8);
/// How long each of the short steps may take.
const STEP: Duration = Duration::from_secs(4);
/// How long most voters are gone before that is believed: longer than it takes to connect again to one that lives.
const ALONE_AFTER: Duration = Duration::from_millis(600);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long answers that are under way may take then.
const ALONE_STEP: Duration = Duration::from_millis(300);

/// The signals that end services, in the order in which they are given.
#[derive(Default)]
pub(super) struct Stops {
    pub(super) requests: CancellationToken,
    pub(super) drain: CancellationToken,
    pub(super) collection: CancellationToken,
    pub(super) attempts: CancellationToken,
    pub(super) session: CancellationToken,
    pub(super) leadership: CancellationToken,
}

impl Running {
    /// Ends the peer in order; see the module.
    pub async fn end(self, has_failed: bool) {
        let Running { handle, control_plane, pool, mut services, stops, grace } = self;
        let grace = if has_failed { grace.min(FAILED_GRACE) } else { grace };
        let limits = Limits { grace, deadline: Instant::now() + grace };
        stops.requests.cancel();
        stops.drain.cancel();
        let is_alone = tokio::select! {
            biased;
            () = in_order(&handle, &mut services, &stops, &limits, has_failed) => false,
            () = majority_lost(&handle), if !has_failed => true,
        };
        let mut left = limits.left().max(Duration::from_secs(1));
        if is_alone {
            info!("most voters are gone: there is nobody to hand anything to");
            // Scripts go on where they run. Who has their tasks next finds what became of them.
            services.ended("api", ALONE_STEP).await;
            left = Duration::ZERO;
        }
        pool.shutdown().await;
        services.abort().await;
        control_plane.shutdown(left).await;
        info!("peer ended");
    }
}

/// How long things may take.
struct Limits {
    grace: Duration,
    deadline: Instant,
}

impl Limits {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn step(&self) -> Duration {
        STEP.min(self.left().max(Duration::from_millis(200)))
    }
}

/// Steps 2 to 6.
async fn in_order(
    handle: &Handle,
    services: &mut Services,
    stops: &Stops,
    limits: &Limits,
    has_failed: bool,
) {
    if !has_failed {
        wait_drained(handle, limits.step()).await;
        if timeout(limits.step(), step_down(handle)).await.is_err() {
            warn!("leadership could not be handed on in time");
        }
    }
    stops.collection.cancel();
    services.ended("api", limits.step()).await;
    services.ended("collectors", limits.step()).await;

    let for_attempts = limits.left().saturating_sub(REST.min(limits.grace / 2));
    if !services.ended("executors", for_attempts).await {
        stops.attempts.cancel();
        services.ended("executors", limits.left().min(REST)).await;
    }

    stops.session.cancel();
    services.ended("session", limits.step()).await;
    stops.leadership.cancel();
    services.ended("leadership", limits.step()).await;
}

/// Waits until too few voters are connected to decide anything, and stay so.
async fn majority_lost(handle: &Handle) {
    let mut since: Option<Instant> = None;
    loop {
        if handle.can_decide() {
            since = None;
        } else if since.get_or_insert_with(Instant::now).elapsed() >= ALONE_AFTER {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until the state knows that this peer drains, so that its nodes are collected by others before it stops.
async fn wait_drained(handle: &Handle, limit: Duration) {
    let local = handle.local();
    let is_drained = || handle.read(|state| state.session(local).is_none_or(|session| session.draining));
    let mut notices = handle.subscribe();
    let wait = async {
        while !is_drained() {
            // Any notice will do, and a missed one is made up for by the timeout.
            let _ = timeout(Duration::from_millis(200), notices.recv()).await;
        }
    };
    if timeout(limit, wait).await.is_err() {
        warn!("the others were not told in time that this peer stops");
    }
}

/// Hands leadership to the voter whose log is longest, where this peer leads and there is another.
async fn step_down(handle: &Handle) {
    if !handle.leadership().borrow().is_local() {
        return;
    }
    let local = handle.local();
    let alive: Vec<PeerId> = handle.read(|state| {
        state.sessions().filter(|(_, session)| !session.draining).map(|(peer, _)| peer).collect()
    });
    let mut voters: Vec<_> = handle.members().await;
    voters.retain(|member| member.voter && member.peer != local);
    // A voter without a session may be dead; try it only where there is nothing better.
    voters.sort_by_key(|member| {
        (!alive.contains(&member.peer), std::cmp::Reverse(member.last_log), member.peer)
    });
    for voter in voters {
        match handle.transfer_leader(voter.peer).await {
            Ok(()) => {
                info!(to = voter.peer.0, "leadership handed on");
                return;
            }
            Err(error) => warn!(to = voter.peer.0, %error, "leadership could not be handed on"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The signals that ask a process to stop.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and gives its name. Cancel safe.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
