//! Whether this peer may act: the lease of its session, as those who work under it see it.
//!
//! The session loop ([`crate::server::session`]) keeps the lease; collectors and executors obey it. It is judged by
//! this machine's own clock and never by an answer that did not come: a peer that is cut off stops by itself before
//! the others take its work.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// The part of a session's life that its owner does not use: it covers the replicated clock's steps
/// ([`crate::scheduler::tick`]) and clocks that run at different rates.
pub const MARGIN_PERCENT: u32 = 20;

/// A moment on the clock that also counts while the machine is suspended. A stopped process sees it move on, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Moment(Duration);

impl Moment {
    /// So long after the clock began.
    pub fn after(begin: Duration) -> Moment {
        Moment(begin)
    }

    /// Now.
    pub fn now() -> Moment {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Moment(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// How long a session with this life may be used after its last acknowledged renewal was sent.
pub fn usable(ttl: Duration) -> Duration {
    ttl * (100 - MARGIN_PERCENT) / 100
}

/// What tells the moment: [`Moment::now`], or the clock of another world.
pub type Clock = fn() -> Moment;

/// The keeper's side of a lease: one per peer.
pub struct Keeper {
    clock: Clock,
    session: watch::Sender<Option<u64>>,
    until_nanos: Arc<AtomicU64>,
}

/// A peer's lease. Cheap to clone.
#[derive(Clone)]
pub struct Lease {
    clock: Clock,
    session: watch::Receiver<Option<u64>>,
    until_nanos: Arc<AtomicU64>,
}

/// A keeper without a session, and the lease it keeps, both judged by this machine's clock.
pub fn lease() -> (Keeper, Lease) {
    lease_by(Moment::now)
}

/// As [`lease`], by another clock.
pub fn lease_by(clock: Clock) -> (Keeper, Lease) {
    let (session, seen) = watch::channel(None);
    let until_nanos = Arc::new(AtomicU64::new(0));
    (
        Keeper { clock, session, until_nanos: Arc::clone(&until_nanos) },
        Lease { clock, session: seen, until_nanos },
    )
}

impl Keeper {
    /// The session may be used until `until`.
    pub fn hold(&self, session: u64, until: Moment) {
        // First the time, then the session: nobody may see a new session with an old time as lapsed, and the
        // session before it was let go.
        self.until_nanos.store(until.nanos(), Ordering::SeqCst);
        self.session.send_if_modified(|now| {
            let is_new = *now != Some(session);
            *now = Some(session);
            is_new
        });
    }

    /// There is no session that may be used.
    pub fn lapse(&self) {
        self.until_nanos.store(0, Ordering::SeqCst);
        self.session.send_if_modified(|now| now.take().is_some());
    }

    /// The moment by which the lease is judged.
    pub fn now(&self) -> Moment {
        (self.clock)()
    }

    /// Whether the lease is still good.
    pub fn is_valid(&self) -> bool {
        self.now().nanos() < self.until_nanos.load(Ordering::SeqCst)
    }
}

impl Lease {
    /// The session under which this peer may act now. Asked right before each effect: a future that was not run for
    /// some seconds learns here that its time is over, before anybody could tell it.
    pub fn session(&self) -> Option<u64> {
        let session = *self.session.borrow();
        session.filter(|_| (self.clock)().nanos() < self.until_nanos.load(Ordering::SeqCst))
    }

    /// Whether this peer may act under `session` now.
    pub fn holds(&self, session: u64) -> bool {
        self.session() == Some(session)
    }

    /// Waits until the session is another than `known`, and gives it. Cancel safe. Pends for ever once the keeper is
    /// gone and everything was seen.
    pub async fn changed_from(&mut self, known: Option<u64>) -> Option<u64> {
        let changed = self.session.wait_for(|now| *now != known).await.map(|now| *now);
        match changed {
            Ok(now) => now,
            Err(_) if known.is_some() => None,
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until this peer may no longer act under `session`. Cancel safe.
    pub async fn lapsed(&self, session: u64) {
        let mut seen = self.session.clone();
        // An error means that the keeper is gone, and the lease with it.
        let _ = seen.wait_for(|now| *now != Some(session)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_lease_holds_for_its_session_and_until_its_time() {
        let (keeper, lease) = lease();
        assert_eq!(lease.session(), None);

        keeper.hold(7, Moment::now() + LONG);
        assert!(lease.holds(7) && !lease.holds(6));

        keeper.hold(7, Moment::now());
        assert_eq!(lease.session(), None, "its time is over though nobody said so");
        assert!(!keeper.is_valid());
    }

    #[tokio::test]
    async fn waiters_learn_of_a_lapse_and_of_a_new_session() {
        let (keeper, mut lease) = lease();
        keeper.hold(7, Moment::now() + LONG);
        assert_eq!(lease.changed_from(None).await, Some(7));
        let waiter = tokio::spawn({
            let lease = lease.clone();
            async move { lease.lapsed(7).await }
        });
        keeper.lapse();
        waiter.await.unwrap();
        assert_eq!(lease.changed_from(Some(7)).await, None);
        keeper.hold(8, Moment::now() + LONG);
        assert_eq!(lease.changed_from(None).await, Some(8));
        drop(keeper);
        assert_eq!(lease.changed_from(Some(7)).await, Some(8));
        lease.lapsed(8).await;
    }

    #[test]
    fn a_fifth_of_the_life_is_left_alone() {
        assert_eq!(usable(Duration::from_secs(2)), Duration::from_millis(1600));
    }
}
