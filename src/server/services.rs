//! The futures that live as long as the process, by name.

use std::collections::HashMap;
use std::future::Future;
use std::thread;
use std::time::Duration;

use rscaler_raft::consensus::raise_priority;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

/// Services that run. Each ends when its own signal says so.
#[derive(Default)]
pub(super) struct Services {
    running: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
}

type Ended = Result<(Id, Result<(), String>), JoinError>;

impl Services {
    pub(super) fn start<F>(&mut self, name: &'static str, service: F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let id = self.running.spawn(service).id();
        self.names.insert(id, name);
    }

    /// Starts one that has nothing to say at its end.
    pub(super) fn start_plain<F>(&mut self, name: &'static str, service: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, async move {
            service.await;
            Ok(())
        });
    }

    /// Starts one on a thread of its own, before all others: it keeps a time by which others judge this peer, and must not
    /// wait for what else the peer has to do.
    pub(super) fn start_apart<F>(&mut self, name: &'static str, service: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (mut end, ended) = oneshot::channel();
        let spawned = thread::Builder::new().name(name.to_string()).spawn(move || {
            raise_priority();
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = end.send(Err(format!("no runtime: {error}")));
                    return;
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    // Nobody waits for it any more: it was aborted.
                    () = end.closed() => {}
                    () = service => {}
                }
            });
            let _ = end.send(Ok(()));
        });
        self.start(name, async move {
            spawned.map_err(|error| format!("no thread: {error}"))?;
            ended.await.unwrap_or(Err("its thread broke down".to_string()))
        });
    }

    /// Waits until a service ends that nobody told to, and says what happened. Cancel safe.
    pub(super) async fn first_end(&mut self) -> String {
        match self.running.join_next_with_id().await {
            Some(ended) => self.note(ended),
            None => std::future::pending().await,
        }
    }

    fn note(&mut self, ended: Ended) -> String {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).unwrap_or("a service");
        match ended {
            Ok((_, Ok(()))) => format!("{name} ended unexpectedly"),
            Ok((_, Err(reason))) => format!("{name}: {reason}"),
            Err(error) => format!("{name} broke down: {error}"),
        }
    }

    /// Waits for the end of `name`, which was told to end, for `limit` at most. Whether it has ended.
    pub(super) async fn ended(&mut self, name: &'static str, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.names.values().any(|running| *running == name) {
            match timeout_at(until, self.running.join_next_with_id()).await {
                Ok(Some(ended)) => {
                    let what = self.note(ended);
                    debug!(what, "while stopping");
                }
                Ok(None) => break,
                Err(_) => {
                    warn!(name, ?limit, "did not end in time");
                    return false;
                }
            }
        }
        true
    }

    /// Ends what is left at once.
    pub(super) async fn abort(&mut self) {
        if !self.names.is_empty() {
            debug!(left = ?self.names.values(), "dropped");
        }
        self.running.shutdown().await;
        self.names.clear();
    }
}
