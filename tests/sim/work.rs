//! What a peer does besides agreeing: its session, the leader's loops, and tasks, whose effects are written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rscaler::executors::{self, Dispatcher, Executor, Executors, PauseExecutor, Work};
use rscaler::lease::lease_by;
use rscaler::metrics::Metrics;
use rscaler::scheduler::WallClock;
use rscaler::server::leadership;
use rscaler::server::session::{self, Session};
use rscaler_raft::command::{Ending, EndingResult};
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{Capabilities, TaskId};
use tokio_util::sync::CancellationToken;

use super::{clock, trace};

const TASKS_MAX: u32 = 16;

/// How what runs in a process is told to end.
pub(crate) struct Stops {
    pub(crate) drain: CancellationToken,
    pub(crate) stop: CancellationToken,
}

/// Starts session, leadership and executors, as [`rscaler::server`] does.
pub(crate) fn start(handle: &Handle, ledger: &Arc<Ledger>) -> Stops {
    let stops = Stops { drain: CancellationToken::new(), stop: CancellationToken::new() };
    let (keeper, lease) = lease_by(clock::moment);
    let options = session::Options {
        renew_every: Duration::from_millis(400),
        capabilities: Capabilities {
            work: ["ssh".to_string()].into(),
            tasks_max: TASKS_MAX,
            version: "0".to_string(),
        },
        api_url: "http://simulated:1".to_string(),
    };
    let session = Session::new(handle.clone(), options, keeper);
    tokio::spawn(session.run(stops.drain.clone(), stops.stop.clone()));
    let wall: WallClock = clock::wall;
    tokio::spawn(leadership::run(handle.clone(), wall, stops.stop.clone()));
    let command = Arc::new(SimExecutor { peer: handle.local().0, ledger: Arc::clone(ledger) });
    let bounds = executors::Options { tasks_max: TASKS_MAX };
    let metrics = Arc::new(Metrics::default());
    let dispatcher = Dispatcher::new(
        handle.clone(),
        lease,
        Executors { command, pause: Arc::new(PauseExecutor), jmx: Arc::new(PauseExecutor) },
        &bounds,
        metrics,
    );
    tokio::spawn(dispatcher.run(stops.drain.clone(), stops.stop.clone()));
    stops
}

/// Every execution of every task, on whichever peer.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<BTreeMap<TaskId, Vec<Execution>>>,
    problems: Mutex<Vec<String>>,
    /// Until when a peer stands still: what it had begun goes on without it, and it learns only then that it should not.
    frozen: Mutex<BTreeMap<u64, u64>>,
}

/// So long after it stood still a peer may take to notice that its lease is over, in ms.
const NOTICE_MS: u64 = 150;

/// One execution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Execution {
    pub(crate) peer: u64,
    pub(crate) attempt: u32,
    /// When it last did something.
    pub(crate) acted: u64,
    /// When it was over, by its end or the process's.
    pub(crate) ended: Option<u64>,
    pub(crate) is_done: bool,
}

impl Ledger {
    /// A peer stands still until then.
    pub(crate) fn freeze(&self, peer: u64, until: u64) {
        self.frozen.lock().insert(peer, until);
    }

    /// Whether a peer knows the time.
    fn is_awake(&self, peer: u64) -> bool {
        self.frozen.lock().get(&peer).is_none_or(|until| clock::now() > until + NOTICE_MS)
    }

    fn begin(&self, task: TaskId, peer: u64, attempt: u32) -> usize {
        let now = clock::now();
        let mut entries = self.entries.lock();
        let executions = entries.entry(task).or_default();
        if let Some(other) =
            executions.iter().find(|other| other.ended.is_none() && self.is_awake(other.peer))
        {
            self.problems.lock().push(format!(
                "task {task}: attempt {attempt} begins on peer {peer} at {now} while another goes on: {other:?}"
            ));
        }
        if let Some(same) = executions.iter().find(|other| other.attempt >= attempt) {
            self.problems.lock().push(format!(
                "task {task}: attempt {attempt} begins on peer {peer} at {now} after {same:?}"
            ));
        }
        trace::told(&format!("task {task} attempt {attempt} begins on {peer}"));
        executions.push(Execution { peer, attempt, acted: now, ended: None, is_done: false });
        executions.len() - 1
    }

    fn act(&self, task: TaskId, nth: usize) {
        let now = clock::now();
        let mut entries = self.entries.lock();
        let Some(executions) = entries.get_mut(&task) else { return };
        let is_last = nth + 1 == executions.len();
        if !is_last && self.is_awake(executions[nth].peer) {
            let problem = format!(
                "task {task}: attempt {} acts at {now} after {executions:?}",
                executions[nth].attempt
            );
            self.problems.lock().push(problem);
        }
        executions[nth].acted = now;
    }

    fn end(&self, task: TaskId, nth: usize, is_done: bool) {
        if let Some(execution) = self.entries.lock().get_mut(&task).and_then(|all| all.get_mut(nth)) {
            execution.ended = Some(clock::now());
            execution.is_done = is_done;
        }
    }

    /// All executions of a task.
    pub(crate) fn of(&self, task: TaskId) -> Vec<Execution> {
        self.entries.lock().get(&task).cloned().unwrap_or_default()
    }

    /// What should not have been.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.lock().clone()
    }

    /// How many executions there were.
    pub(crate) fn count(&self) -> usize {
        self.entries.lock().values().map(Vec::len).sum()
    }
}

struct SimExecutor {
    peer: u64,
    ledger: Arc<Ledger>,
}

struct Going<'a> {
    ledger: &'a Ledger,
    task: TaskId,
    nth: usize,
    is_done: bool,
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.ledger.end(self.task, self.nth, self.is_done);
    }
}

#[async_trait]
impl Executor for SimExecutor {
    async fn execute(&self, work: &Work) -> Ending {
        let task = work.task.id;
        let nth = self.ledger.begin(task, self.peer, work.task.attempt);
        let mut going = Going { ledger: &self.ledger, task, nth, is_done: false };
        // How long it takes differs by task, and not by who does it.
        let steps = 1 + task.0 % 23;
        for _ in 0..steps {
            tokio::time::sleep(Duration::from_millis(70)).await;
            self.ledger.act(task, nth);
        }
        going.is_done = true;
        Ending { result: EndingResult::Succeeded, exit_code: Some(0), reason: None }
    }
}
