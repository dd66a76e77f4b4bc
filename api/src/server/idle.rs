//! Which connections have nothing to do. They are what makes room when there is no place left, the one that has had
//! nothing to do for longest first; so they cost others nothing, however many there are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::network;

/// Idle connections, in the order in which they became so. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    connections: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

impl Idle {
    /// A connection that has just come: idle until its first request is there whole.
    pub(super) fn enter(&self, address: IpAddr) -> Arc<Presence> {
        let (cut, whose) = (CancellationToken::new(), network(address));
        let place = self.insert(whose, cut.clone());
        let work = Mutex::new(Work { requests: 0, since: Instant::now(), place });
        Arc::new(Presence { idle: self.clone(), whose, cut, work })
    }

    /// Cuts the connection that has been idle for longest; says whether there was one.
    pub(super) fn cut_one(&self) -> bool {
        let longest = self.0.lock().connections.pop_first();
        longest.is_some_and(|(_, (_, cut))| {
            cut.cancel();
            true
        })
    }

    /// The same among those of one address. Looks at all that are idle: for when there are too many.
    pub(super) fn cut_one_of(&self, address: IpAddr) -> bool {
        let (mut waiting, wanted) = (self.0.lock(), network(address));
        let longest = waiting.connections.iter().find(|(_, (whose, _))| *whose == wanted);
        let Some(place) = longest.map(|(place, _)| *place) else { return false };
        waiting.connections.remove(&place).is_some_and(|(_, cut)| {
            cut.cancel();
            true
        })
    }

    fn insert(&self, whose: IpAddr, cut: CancellationToken) -> u64 {
        let mut waiting = self.0.lock();
        let place = waiting.next;
        waiting.next += 1;
        waiting.connections.insert(place, (whose, cut));
        place
    }

    fn remove(&self, place: u64) {
        self.0.lock().connections.remove(&place);
    }
}

/// One connection, while it is there.
pub(super) struct Presence {
    idle: Idle,
    whose: IpAddr,
    cut: CancellationToken,
    work: Mutex<Work>,
}

struct Work {
    /// Requests whose answers have not been taken whole.
    requests: usize,
    /// Since when there are none.
    since: Instant,
    /// Its place among the idle, where there are none.
    place: u64,
}

impl Presence {
    /// A request begins, and lasts until what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut work = self.work.lock();
        work.requests += 1;
        if work.requests == 1 {
            self.idle.remove(work.place);
        }
        Busy(Arc::clone(self))
    }

    /// Ends when the connection is to be cut: for others, or because it has been idle for `longest`.
    pub(super) async fn over(&self, longest: Duration) {
        loop {
            let until = {
                let work = self.work.lock();
                let begin = if work.requests == 0 { work.since } else { Instant::now() };
                begin + longest
            };
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                biased;
                () = self.cut.cancelled() => return,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.idle.remove(self.work.get_mut().place);
    }
}

/// A request that goes on.
pub(super) struct Busy(Arc<Presence>);

impl Drop for Busy {
    fn drop(&mut self) {
        let presence = &self.0;
        let mut work = presence.work.lock();
        work.requests -= 1;
        if work.requests == 0 {
            work.since = Instant::now();
            work.place = presence.idle.insert(presence.whose, presence.cut.clone());
        }
    }
}

/// An answer's body: its request goes on until it is taken whole.
pub(super) struct Taken<B> {
    body: B,
    _busy: Busy,
}

impl<B> Taken<B> {
    pub(super) fn new(body: B, busy: Busy) -> Taken<B> {
        Taken { body, _busy: busy }
    }
}

impl<B: Body + Unpin> Body for Taken<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[tokio::test(start_paused = true)]
    async fn an_address_makes_room_for_itself() {
        let idle = Idle::default();
        let (here, there) = (idle.enter(HERE), idle.enter(THERE));
        assert!(idle.cut_one_of(THERE) && !idle.cut_one_of(THERE));
        assert!(there.cut.is_cancelled() && !here.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_for_longest_makes_room() {
        let idle = Idle::default();
        let (first, second, third) = (idle.enter(HERE), idle.enter(HERE), idle.enter(HERE));
        drop(first.begin());
        let busy = second.begin();
        assert!(idle.cut_one());
        third.over(LONGEST).await;
        assert!(!first.cut.is_cancelled() && !second.cut.is_cancelled());
        assert!(idle.cut_one());
        assert!(first.cut.is_cancelled());
        assert!(!idle.cut_one(), "what is busy is not cut");
        drop(busy);
        drop(second);
        assert!(!idle.cut_one(), "what is gone is not cut");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_over_once_it_has_been_idle_for_long() {
        let idle = Idle::default();
        let connection = idle.enter(HERE);
        let busy = connection.begin();
        assert!(tokio::time::timeout(LONGEST * 5, connection.over(LONGEST)).await.is_err());
        drop(busy);
        let begun = Instant::now();
        connection.over(LONGEST).await;
        assert!(begun.elapsed() >= LONGEST);
    }
}
