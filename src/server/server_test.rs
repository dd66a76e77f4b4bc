#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicBool, Ordering};

use rscaler_raft::solo::Solo;
use tokio::sync::watch;

use super::*;

/// The replicated part of a peer that lives in memory: it fails when it is told to.
struct InMemory {
    fails: watch::Receiver<Option<String>>,
    was_ended: Arc<AtomicBool>,
}

#[async_trait]
impl ControlPlane for InMemory {
    async fn failed(&mut self) -> String {
        match self.fails.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
            Ok(reason) => reason.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    async fn shutdown(self: Box<Self>, _: Duration) {
        self.was_ended.store(true, Ordering::SeqCst);
    }
}

/// Serves nothing.
struct NoApi;

#[async_trait]
impl Api for NoApi {
    async fn serve(self: Box<Self>, stop: CancellationToken) -> Result<(), String> {
        stop.cancelled().await;
        Ok(())
    }
}

struct Peer {
    handle: Handle,
    running: Running,
    fail: watch::Sender<Option<String>>,
    was_ended: Arc<AtomicBool>,
}

async fn start() -> Peer {
    let handle = Solo::start().await;
    let (fail, fails) = watch::channel(None);
    let was_ended = Arc::new(AtomicBool::new(false));
    let control_plane = Box::new(InMemory { fails, was_ended: Arc::clone(&was_ended) });
    let before = handle.read(|state| state.session(handle.local()).map(|session| session.epoch));
    let parts =
        Parts { handle: handle.clone(), control_plane, api: Box::new(NoApi), metrics: Arc::default() };
    let options = Options { grace: Duration::from_secs(20), ..Options::new("http://127.0.0.1:1") };
    let running = Running::start(parts, options);
    let session = || handle.read(|state| state.session(handle.local()).map(|session| session.epoch));
    crate::testing::until("a session of its own", || session().is_some_and(|s| Some(s) != before), session)
        .await;
    Peer { handle, running, fail, was_ended }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_stop_closes_the_session_and_then_the_stores() {
    let peer = start().await;
    let elapsed = || peer.handle.read(|state| state.clock().elapsed);
    let before = elapsed();
    crate::testing::until("it leads and time passes", || elapsed() > before, elapsed).await;
    let (running, ended) = peer.running.until(async { "the test" }).await;
    assert_eq!(ended, Ok(()));
    running.end(false).await;
    assert!(peer.handle.read(|state| state.session(peer.handle.local()).is_none()));
    assert!(peer.was_ended.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_stores_fail_ends_with_the_reason() {
    let peer = start().await;
    peer.fail.send_replace(Some("the disk failed".to_string()));
    let (running, ended) = peer.running.until(std::future::pending()).await;
    assert_eq!(ended, Err(Failure("the disk failed".to_string())));
    running.end(true).await;
    assert!(peer.was_ended.load(Ordering::SeqCst));
}
