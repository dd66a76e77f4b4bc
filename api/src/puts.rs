//! Small contents of files on their way to the log, in batches: what comes while one batch is being committed goes
//! together in the next. So the busier a peer, the less a write costs; a single one waits for nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rscaler_raft::command::{Command, FilePut, Rejection, Reply, Stored};
use rscaler_raft::handle::{EngineError, Handle, SubmitError};
use rscaler_raft::model::Actor;
use tokio::sync::oneshot;

/// Larger contents go alone: nobody is to wait for them.
pub(crate) const SMALL_BYTES_MAX: usize = 32 << 10;
/// A batch takes no more once it has this many bytes.
const BATCH_BYTES: usize = 512 << 10;

/// What waits to be written on this peer. As much as there are requests, which are bounded.
#[derive(Default)]
pub(crate) struct Puts {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether a batch is being committed; whoever commits it goes on with the next.
    under_way: bool,
}

/// What became of each put, in their order.
type Outcomes = Result<Vec<Result<Stored, Rejection>>, SubmitError>;

struct Waiting {
    actor: Actor,
    puts: Vec<FilePut>,
    answer: oneshot::Sender<Outcomes>,
}

impl Puts {
    /// Writes contents, at most [`FilePut::PUTS_MAX`], together with others that wait.
    pub(crate) async fn put_all(
        self: &Arc<Self>,
        handle: &Handle,
        actor: Actor,
        puts: Vec<FilePut>,
    ) -> Outcomes {
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Waiting { actor, puts, answer });
            !std::mem::replace(&mut queue.under_way, true)
        };
        if begin {
            // Not here: this request may be given up, and others wait.
            tokio::spawn(commit(Arc::clone(self), handle.clone()));
        }
        let lost = EngineError::Unknown("this peer is stopping".to_string());
        answered.await.unwrap_or(Err(lost.into()))
    }

    /// Writes one content, together with others that wait.
    pub(crate) async fn put(
        self: &Arc<Self>,
        handle: &Handle,
        actor: Actor,
        put: FilePut,
    ) -> Result<Stored, SubmitError> {
        match self.put_all(handle, actor, vec![put]).await?.pop() {
            Some(stored) => Ok(stored?),
            None => Err(EngineError::Unknown("the write had no outcome".to_string()).into()),
        }
    }

    /// The next batch, all of one actor; none where nobody waits.
    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let mut batch: Vec<Waiting> = Vec::new();
        let (mut puts, mut bytes) = (0, 0);
        while let Some(next) = queue.waiting.front() {
            let fits = bytes < BATCH_BYTES && puts + next.puts.len() <= FilePut::PUTS_MAX;
            if batch.first().is_some_and(|first| first.actor != next.actor || !fits) {
                break;
            }
            puts += next.puts.len();
            bytes += next.puts.iter().map(|put| put.file.content.len()).sum::<usize>();
            batch.extend(queue.waiting.pop_front());
        }
        queue.under_way = !batch.is_empty();
        batch
    }
}

/// Whoever has it commits. Lost in a panic or at the end of the runtime, it lets others go on.
struct Turn(Option<Arc<Puts>>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(puts) = self.0.take() else { return };
        let mut queue = puts.queue.lock();
        queue.under_way = false;
        // Untold, they know that the outcome is unknown.
        queue.waiting.clear();
    }
}

/// Commits batches until nobody waits.
async fn commit(puts: Arc<Puts>, handle: Handle) {
    let mut turn = Turn(Some(Arc::clone(&puts)));
    loop {
        let batch = puts.take();
        let Some(first) = batch.first() else {
            turn.0 = None;
            return;
        };
        let actor = first.actor.clone();
        let mut contents = Vec::new();
        let mut answers = Vec::new();
        for Waiting { puts, answer, .. } in batch {
            answers.push((puts.len(), answer));
            contents.extend(puts);
        }
        match handle.submit(actor, Command::PutFiles(contents)).await {
            Ok(Reply::Files(stored)) => {
                let mut stored = stored.into_iter();
                for (count, answer) in answers {
                    let _ = answer.send(Ok(stored.by_ref().take(count).collect()));
                }
            }
            Ok(other) => tracing::error!(?other, "an unexpected reply to contents of files"),
            Err(error) => {
                for (_, answer) in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rscaler_raft::command::{Effect, Expect, RejectionKind};
    use rscaler_raft::model::{File, Name};
    use rscaler_raft::solo::Solo;

    use super::*;

    fn put(name: &str, content: &str, expect: Expect) -> FilePut {
        FilePut { name: Name::new(name).unwrap(), file: File { content: content.as_bytes().into() }, expect }
    }

    #[tokio::test]
    async fn writes_that_come_together_are_judged_alone() {
        let handle = Solo::start().await;
        let puts = Arc::new(Puts::default());
        let writes = (0..50).map(|number| {
            let (puts, handle) = (Arc::clone(&puts), handle.clone());
            async move {
                // Every second one finds a file where there must be none.
                let write = put(&format!("file-{}", number / 2), "x", Expect::Absent);
                puts.put(&handle, Actor::System, write).await
            }
        });
        let stored = futures::future::join_all(writes).await;
        let created = stored.iter().filter(|s| matches!(s, Ok(s) if s.effect == Effect::Created)).count();
        let refused = stored
            .iter()
            .filter(|s| matches!(s, Err(SubmitError::Rejected(r)) if r.kind == RejectionKind::Conflict))
            .count();
        assert_eq!((created, refused), (25, 25));
        // Fewer entries than writes: what came while the first was under way went together.
        assert!(handle.applied() < 25, "{}", handle.applied());
    }

    #[tokio::test]
    async fn batches_are_of_one_actor_and_bounded() {
        let (puts, handle) = (Arc::new(Puts::default()), Solo::start().await);
        puts.queue.lock().under_way = true;
        let many = |actor: Actor, count: usize| {
            let (puts, handle) = (Arc::clone(&puts), handle.clone());
            let contents = (0..count).map(|n| put(&format!("f{n}"), "x", Expect::Any)).collect();
            tokio::spawn(async move { puts.put_all(&handle, actor, contents).await })
        };
        let other = Actor::Token(Name::new("other").unwrap());
        let waits = [
            many(Actor::System, 1),
            many(Actor::System, FilePut::PUTS_MAX - 1),
            many(Actor::System, 1),
            many(other, 1),
        ];
        while puts.queue.lock().waiting.len() < waits.len() {
            tokio::task::yield_now().await;
        }
        let sizes: Vec<usize> = (0..4).map(|_| puts.take().iter().map(|w| w.puts.len()).sum()).collect();
        assert_eq!(sizes, [FilePut::PUTS_MAX, 1, 1, 0]);
        assert!(!puts.queue.lock().under_way);
        for wait in waits {
            // Taken and let go: nobody knows what became of them.
            assert!(matches!(wait.await.unwrap(), Err(SubmitError::Engine(EngineError::Unknown(_)))));
        }
    }
}
