//! Whether this peer's state is the leader's.
//!
//! At every so many entries what has changed is handed to a thread of its own, which follows it in a digest. The leader
//! proposes its digest; each peer compares that with its own of the same entry, whichever comes first. Until the next
//! digest a peer can also say what its rows were, one hash each, so that two that differ find out where.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::state::{StateDigest, Undigested, digests_differ};
use crate::store::Error;

/// How many digests are remembered to be compared.
const DIGESTS_MAX: usize = 8;
/// Digests that may wait to be made. Beyond that applying waits for them.
const JOBS_MAX: usize = 4;

/// The digest of the state after an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// The entry.
    pub index: u64,
    /// [`crate::state::State::digest`] right after it.
    pub digest: [u8; 32],
}

/// Makes digests, and compares them.
pub(super) struct Comparer {
    /// To the thread; absent where digests are made in place.
    jobs: Option<SyncSender<Job>>,
    comparison: Arc<Comparison>,
}

/// What is known of digests. Shared with those who propose them and those who must know what differs.
pub struct Comparison {
    rows: Mutex<Kept>,
    known: Mutex<Known>,
    newest: watch::Sender<Option<Digest>>,
    differs: watch::Sender<Option<u64>>,
}

#[derive(Default)]
struct Kept {
    /// The entry after which the rows were so.
    index: u64,
    state: StateDigest,
}

#[derive(Default)]
struct Known {
    ours: VecDeque<Digest>,
    theirs: VecDeque<Digest>,
}

enum Job {
    /// Everything is new: a state was loaded.
    Begin(Undigested),
    Digest(u64, Undigested),
}

impl Comparer {
    /// Begins with a state that was loaded. `in_place`: without a thread.
    pub(super) fn start(state: Undigested, in_place: bool) -> Result<Comparer, Error> {
        let comparison = Arc::new(Comparison {
            rows: Mutex::default(),
            known: Mutex::default(),
            newest: watch::Sender::new(None),
            differs: watch::Sender::new(None),
        });
        let mut comparer = Comparer { jobs: None, comparison };
        if !in_place {
            let (jobs, queued) = sync_channel(JOBS_MAX);
            let shared = Arc::clone(&comparer.comparison);
            std::thread::Builder::new()
                .name("digest".to_string())
                .spawn(move || shared.run(queued))
                .map_err(|error| Error::io("starting the thread that digests the state", error))?;
            comparer.jobs = Some(jobs);
        }
        comparer.begin(state);
        Ok(comparer)
    }

    pub(super) fn comparison(&self) -> &Arc<Comparison> {
        &self.comparison
    }

    /// Goes on with another state.
    pub(super) fn begin(&self, state: Undigested) {
        self.push(Job::Begin(state));
    }

    /// The state has applied the entry at `index`, and this has changed since the last call.
    pub(super) fn digest(&self, index: u64, changed: Undigested) {
        self.push(Job::Digest(index, changed));
    }

    fn push(&self, job: Job) {
        match &self.jobs {
            // The thread ends only with this.
            Some(jobs) => drop(jobs.send(job)),
            None => self.comparison.take(job),
        }
    }

    /// Compares the leader's digest, now or when there is one of ours; after a start there may never be.
    pub(super) fn verify(&self, theirs: Digest) {
        self.comparison.note(theirs, |known| &mut known.theirs);
    }
}

impl Comparison {
    fn run(&self, jobs: Receiver<Job>) {
        for job in jobs {
            self.take(job);
        }
    }

    fn take(&self, job: Job) {
        match job {
            Job::Begin(state) => {
                let mut kept = self.rows.lock();
                *kept = Kept::default();
                kept.state.absorb(state);
                *self.known.lock() = Known::default();
            }
            Job::Digest(index, changed) => {
                let digest = {
                    let mut kept = self.rows.lock();
                    kept.state.absorb(changed);
                    kept.index = index;
                    Digest { index, digest: kept.state.finish() }
                };
                self.note(digest, |known| &mut known.ours);
                self.newest.send_replace(Some(digest));
            }
        }
    }

    fn note(&self, digest: Digest, side: impl Fn(&mut Known) -> &mut VecDeque<Digest>) {
        let mut known = self.known.lock();
        let kept = side(&mut known);
        kept.push_back(digest);
        if kept.len() > DIGESTS_MAX {
            kept.pop_front();
        }
        let find = |all: &VecDeque<Digest>| all.iter().find(|one| one.index == digest.index).copied();
        if let (Some(ours), Some(theirs)) = (find(&known.ours), find(&known.theirs))
            && digests_differ(&ours.digest, &theirs.digest)
        {
            self.differs.send_replace(Some(digest.index));
        }
    }

    /// The newest digest of the state, for the leader to propose ([`crate::command::Command::VerifyDigest`]).
    pub fn newest(&self) -> watch::Receiver<Option<Digest>> {
        self.newest.subscribe()
    }

    /// The entry after which this peer's state was not the leader's, once that has been seen.
    pub fn differs(&self) -> watch::Receiver<Option<u64>> {
        self.differs.subscribe()
    }

    /// Keys and hashes of at most `max` rows behind `after` as they were at `index`; nothing where that has passed.
    pub(super) fn rows(&self, index: u64, after: &[u8], max: usize) -> Option<Vec<(Vec<u8>, u128)>> {
        let kept = self.rows.lock();
        (kept.index == index).then(|| kept.state.page(after, max))
    }
}
