#![allow(clippy::unwrap_used)]
use rscaler_raft::solo::Solo;

use super::*;
use crate::lease::Lease;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    handle: Handle,
    lease: Lease,
    drain: CancellationToken,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    let handle = Solo::start().await;
    let (keeper, lease) = lease::lease();
    let capabilities =
        Capabilities { work: ["ssh".to_string()].into(), tasks_max: 4, version: "1".to_string() };
    let options = Options {
        renew_every: Duration::from_millis(100),
        capabilities,
        api_url: "http://127.0.0.1:1".to_string(),
    };
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let session = Session::new(handle.clone(), options, keeper);
    let task = tokio::spawn(session.run(drain.clone(), stop.clone()));
    Running { handle, lease, drain, stop, task }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn known_epoch(handle: &Handle) -> Option<u64> {
    handle.read(|state| state.session(handle.local()).map(|session| session.epoch))
}

#[tokio::test]
async fn a_session_is_opened_and_outlives_its_first_life_by_renewal() {
    let running = start().await;
    until("the lease is held", || running.lease.session().is_some()).await;
    let session = running.lease.session().unwrap();
    assert_eq!(known_epoch(&running.handle), Some(session));
    let ticking =
        tokio::spawn(crate::scheduler::run(running.handle.clone(), 1, crate::scheduler::wall_clock));
    let before = running.handle.read(|state| state.clock().elapsed);
    until("three seconds passed", || {
        running.handle.read(|state| state.clock().elapsed.since(before)) > Duration::from_secs(3)
    })
    .await;
    assert_eq!(running.lease.session(), Some(session));
    ticking.abort();
}

#[tokio::test]
async fn a_session_that_the_control_plane_ended_lapses_and_is_opened_anew() {
    let mut running = start().await;
    let first = running.lease.changed_from(None).await.unwrap();
    let close = Command::CloseSession { peer: running.handle.local(), epoch: first, draining: false };
    running.handle.submit(Actor::System, close).await.unwrap();
    let next = tokio::time::timeout(DEADLINE, running.lease.changed_from(Some(first))).await.unwrap();
    let second = match next {
        Some(second) => second,
        None => running.lease.changed_from(None).await.unwrap(),
    };
    assert!(second > first);
    assert_eq!(known_epoch(&running.handle), Some(second));
}

#[tokio::test]
async fn draining_takes_no_new_work_and_stopping_closes_the_session() {
    let mut running = start().await;
    let session = running.lease.changed_from(None).await.unwrap();
    running.drain.cancel();
    until("it drains", || {
        running.handle.read(|state| state.session(running.handle.local()).is_some_and(|s| s.draining))
    })
    .await;
    assert!(running.lease.holds(session), "work goes on while it drains");
    running.stop.cancel();
    running.task.await.unwrap();
    assert_eq!(known_epoch(&running.handle), None);
    assert_eq!(running.lease.session(), None);
}

#[test]
fn suspended_time_is_told_from_time_awake() {
    let mut pulse = Pulse::new(Moment::now());
    let (moment, instant) = (pulse.moment, pulse.instant);
    let second = Duration::from_secs(1);
    assert_eq!(pulse.suspended(moment + second * 5, instant + second * 5), None);
    assert_eq!(pulse.suspended(moment + second * 9, instant + second * 6), Some(second * 3));
    assert_eq!(pulse.suspended(moment + second * 10, instant + second * 7), None);
}
