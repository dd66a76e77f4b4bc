//! A state with a log, as tests drive it: what `Replica` and the leader do around it in a control plane.

#![allow(clippy::unwrap_used)]
#![cfg_attr(not(test), allow(dead_code))]

use std::collections::BTreeMap;
use std::time::Duration;

use super::State;
use crate::command::{
    Change, Command, Ending, EndingResult, Expect, Outcome, Progress, Proposal, Rejection, Reply, RowSeries,
    SampleBatch, SampleRow, SampleSource, StartRun, StartStep, TaskReport, What,
};
use crate::model::*;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// When tests begin, by the wall clock: in seconds.
pub(crate) const BEGIN: i64 = 1_700_000_000;

pub(crate) struct Driver {
    pub(crate) state: State,
    pub(crate) index: u64,
    /// Everything that was applied.
    pub(crate) log: Vec<Proposal>,
    /// What a checkpoint holds.
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whose sessions are renewed as time passes.
    pub(crate) alive: BTreeMap<PeerId, u64>,
}

impl Driver {
    /// A state whose clock has begun.
    pub(crate) fn new() -> Driver {
        let mut driver = Driver {
            state: State::new(),
            index: 0,
            log: Vec::new(),
            rows: BTreeMap::new(),
            alive: BTreeMap::new(),
        };
        let wall = Timestamp(BEGIN * 1000);
        driver.apply(Command::Tick { term: 1, first: true, delta_ms: 0, wall }).unwrap();
        driver
    }

    /// A state with peers 1 to `peers`, each with a session that takes work.
    pub(crate) fn with_peers(peers: u64) -> Driver {
        let mut driver = Driver::new();
        for peer in 1..=peers {
            driver.admit(peer);
            driver.open(peer, u128::from(peer));
        }
        driver
    }

    pub(crate) fn admit(&mut self, peer: u64) {
        let token = (peer > 1).then_some([peer as u8; 32]);
        if let Some(hash) = token {
            self.apply(Command::CreateJoinToken { hash, ttl_ms: 60_000, role: PeerRole::Voter }).unwrap();
        }
        let admitted = self.apply(Command::AdmitPeer {
            token,
            name: format!("peer{peer}"),
            peer_addr: format!("127.0.0.{peer}:7000"),
            api_url: format!("http://127.0.0.{peer}:8000"),
        });
        assert_eq!(admitted, Ok(Reply::Peer(PeerId(peer))));
    }

    /// Opens a session, keeps it alive from now on, and gives its epoch.
    pub(crate) fn open(&mut self, peer: u64, boot: u128) -> u64 {
        let capabilities =
            Capabilities { work: ["ssh".to_string()].into(), tasks_max: 64, version: "0".to_string() };
        self.open_with(peer, boot, capabilities)
    }

    pub(crate) fn open_with(&mut self, peer: u64, boot: u128, capabilities: Capabilities) -> u64 {
        let api_url = format!("http://127.0.0.{peer}:8000");
        let peer = PeerId(peer);
        match self.apply(Command::OpenSession { peer, boot, capabilities, api_url }).unwrap() {
            Reply::Session { epoch, .. } => {
                self.alive.insert(peer, epoch);
                epoch
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.propose(Proposal { request: None, actor: Actor::System, command })
    }

    pub(crate) fn propose(&mut self, proposal: Proposal) -> Outcome {
        self.index += 1;
        let outcome = self.state.apply(self.index, &proposal);
        self.log.push(proposal);
        outcome
    }

    /// Lets time pass, in ticks of at most a second, with sessions renewed before each.
    pub(crate) fn pass(&mut self, ms: i64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(1000);
            left -= step;
            for (peer, epoch) in self.alive.clone() {
                self.apply(Command::RenewSession { peer, epoch }).unwrap();
            }
            let wall = Timestamp(self.state.clock().wall.0 + step);
            self.apply(Command::Tick { term: 1, first: false, delta_ms: step as u32, wall }).unwrap();
        }
    }

    /// Lets time pass until the wall clock shows `secs` after the beginning.
    pub(crate) fn until(&mut self, secs: i64) {
        let now = self.state.clock().wall.0;
        self.pass((BEGIN + secs) * 1000 - now);
    }

    /// Writes a checkpoint, and goes on with what is read from it.
    pub(crate) fn restart(&mut self) {
        let before = self.state.digest();
        for change in self.state.drain().rows {
            match change.value {
                Some(make) => drop(self.rows.insert(change.key, make())),
                None => drop(self.rows.remove(&change.key)),
            }
        }
        self.state = State::load(self.rows.clone(), [], self.index).unwrap();
        assert_eq!(before, self.state.digest(), "what is restored is what was stored");
    }

    pub(crate) fn configure(&mut self, changes: Vec<Change>) -> Outcome {
        self.apply(Command::Configure(changes))
    }

    pub(crate) fn put(&mut self, object: &str, spec: Spec) {
        self.try_put(object, spec).unwrap();
    }

    pub(crate) fn try_put(&mut self, object: &str, spec: Spec) -> Outcome {
        self.configure(vec![put(object, spec)])
    }

    pub(crate) fn refused(&mut self, object: &str, spec: Spec) -> Rejection {
        self.try_put(object, spec).unwrap_err()
    }

    pub(crate) fn try_delete(&mut self, kind: Kind, object: &str) -> Outcome {
        self.configure(vec![delete(kind, object)])
    }

    /// Cluster `web` with nodes, an SSH profile, the counter `load1` and the action `tidy`.
    pub(crate) fn fleet(&mut self, nodes: &[&str]) {
        let mut changes = vec![
            put("web", cluster()),
            put("ops", profile(None)),
            put("load1", counter(10)),
            put("tidy", action()),
        ];
        changes.extend(nodes.iter().map(|node_name| put(node_name, node("web"))));
        self.configure(changes).unwrap();
    }

    /// Starts a run of one step over cluster `web`.
    pub(crate) fn run_on_web(&mut self, what: Action) -> RunId {
        let step = StartStep {
            what: What::Inline(Box::new(what)),
            target: Target::Cluster,
            on_failure: OnFailure::Stop,
        };
        self.start(Scope { cluster: Some(name("web")), node: None }, vec![step])
    }

    pub(crate) fn start(&mut self, scope: Scope, steps: Vec<StartStep>) -> RunId {
        match self.apply(Command::StartRun(StartRun { scope, steps })).unwrap() {
            Reply::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn task(&self, id: u64) -> &Task {
        self.state.task(TaskId(id)).unwrap()
    }

    pub(crate) fn task_states(&self) -> Vec<TaskState> {
        let mut tasks: Vec<_> = self.state.tasks_before(None).map(|task| task.state).collect();
        tasks.reverse();
        tasks
    }

    pub(crate) fn run_state(&self, id: RunId) -> RunState {
        self.state.run(id).unwrap().state
    }

    /// Reports on a task as its present executor. Whether it was taken.
    pub(crate) fn report(&mut self, task: u64, progress: Progress) -> bool {
        let (attempt, session) = {
            let task = self.task(task);
            (task.attempt, task.executor.map_or(0, |executor| executor.session))
        };
        self.report_as(task, attempt, session, progress)
    }

    pub(crate) fn report_as(&mut self, task: u64, attempt: u32, session: u64, progress: Progress) -> bool {
        let report = TaskReport { task: TaskId(task), attempt, session, progress };
        match self.apply(Command::TaskReports(vec![report])).unwrap() {
            Reply::Reports(taken) => taken[0],
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn begin(&mut self, task: u64) {
        assert!(self.report(task, Progress::Started), "{:?}", self.task(task));
    }

    pub(crate) fn finish(&mut self, task: u64, result: EndingResult) {
        assert!(self.report(task, finished(result)), "{:?}", self.task(task));
    }

    /// Begins and ends a task.
    pub(crate) fn carry_out(&mut self, task: u64, result: EndingResult) {
        self.begin(task);
        self.finish(task, result);
    }

    /// Pushes samples of `load1`: node, seconds after the beginning, value. How many were taken.
    pub(crate) fn push(&mut self, samples: &[(&str, i64, f64)]) -> u32 {
        match self.apply(pushed(samples)).unwrap() {
            Reply::Samples { accepted, .. } => accepted,
            other => panic!("{other:?}"),
        }
    }

    /// Messages of events, oldest first, of which the kind is as asked.
    pub(crate) fn events(&self, wanted: impl Fn(&EventKind) -> bool) -> Vec<String> {
        let all = self.state.events_before(None);
        let mut found: Vec<_> = all.filter(|e| wanted(&e.kind)).map(|e| e.message.clone()).collect();
        found.reverse();
        found
    }
}

pub(crate) fn pushed(samples: &[(&str, i64, f64)]) -> Command {
    let keys: Vec<SeriesKey> = samples
        .iter()
        .map(|(node, _, _)| SeriesKey {
            counter: "load1".into(),
            node: (*node).into(),
            jvm: None,
            instance: None,
        })
        .collect();
    let rows = samples.iter().enumerate().map(|(position, (_, at, value))| SampleRow {
        series: RowSeries::New(position as u32),
        at: (BEGIN + at) * 1000,
        value: *value,
    });
    Command::Samples(SampleBatch { source: SampleSource::Push, rows: rows.collect(), keys })
}

pub(crate) fn finished(result: EndingResult) -> Progress {
    let exit_code = match result {
        EndingResult::Succeeded => Some(0),
        EndingResult::Failed => Some(1),
        _ => None,
    };
    Progress::Finished(Ending { result, exit_code, reason: None })
}

pub(crate) fn put(object: &str, spec: Spec) -> Change {
    put_if(object, spec, Expect::Any)
}

pub(crate) fn put_if(object: &str, spec: Spec, expect: Expect) -> Change {
    Change::Put { name: name(object), spec, labels: BTreeMap::new(), description: String::new(), expect }
}

pub(crate) fn delete(kind: Kind, object: &str) -> Change {
    Change::Delete { kind, name: name(object), expect: Expect::Any }
}

pub(crate) fn cluster() -> Spec {
    Spec::Cluster(Cluster {})
}

pub(crate) fn node(cluster: &str) -> Spec {
    node_with(cluster, Some("ops"))
}

pub(crate) fn node_with(cluster: &str, profile: Option<&str>) -> Spec {
    Spec::Node(Node {
        cluster: name(cluster),
        hostname: "10.0.0.11".to_string(),
        port: None,
        ssh_profile: profile.map(name),
        jvms: Vec::new(),
    })
}

pub(crate) fn profile(jump: Option<&str>) -> Spec {
    Spec::SshProfile(Box::new(SshProfile {
        user: "ops".to_string(),
        port: 22,
        key: None,
        passphrase: None,
        password: Some(Value::Inline("x".to_string())),
        host_key: HostKeyPolicy::AcceptNew,
        jump: jump.map(name),
        sudo_password: None,
    }))
}

/// A pushed counter of cluster `web`.
pub(crate) fn counter(interval: u64) -> Spec {
    Spec::Counter(Box::new(Counter {
        source: CounterSource::Push,
        interval: secs(interval),
        timeout: secs(5),
        unit: "load".to_string(),
        clusters: vec![ClusterSelector::Named(name("web"))],
    }))
}

pub(crate) fn action() -> Spec {
    Spec::Action(Box::new(command(|_| ())))
}

pub(crate) fn command(change: impl FnOnce(&mut Action)) -> Action {
    let mut action = Action {
        kind: ActionKind::Command(CommandAction {
            script: Value::Inline("true".to_string()),
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: None,
            sudo: false,
        }),
        timeout: secs(60),
        retry: Retry { attempts: 1, backoff: secs(5), on: vec![RetryOn::Failed, RetryOn::TimedOut] },
        on_executor_loss: OnExecutorLoss::Fail,
        spread: Spread::default(),
    };
    change(&mut action);
    action
}

pub(super) fn pause(time: Duration) -> Action {
    command(|action| {
        action.kind = ActionKind::Pause(PauseAction { time });
        action.timeout = time + secs(60);
    })
}

/// `load1 > 4` on cluster `web`, which runs `tidy` on the firing node.
pub(crate) fn trigger(change: impl FnOnce(&mut Trigger)) -> Spec {
    let mut trigger = Trigger {
        cluster: name("web"),
        conditions: vec![Condition {
            counter: name("load1"),
            instance: None,
            op: Operator::Greater,
            threshold: 4.0,
            recover: None,
        }],
        matching: Matching::Any,
        hold: Duration::ZERO,
        aggregate: Aggregate::Each,
        per: Per::Trigger,
        cooldown: Duration::ZERO,
        no_data: NoData::Ignore,
        enabled: true,
        steps: vec![Step { action: name("tidy"), target: Target::FiringNode, on_failure: OnFailure::Stop }],
    };
    change(&mut trigger);
    Spec::Trigger(Box::new(trigger))
}

pub(crate) fn user(role: Role) -> Spec {
    Spec::User(User { role, password_hash: "$argon2id$".to_string() })
}

pub(crate) fn window(scope: WindowScope, from: i64, to: i64) -> Spec {
    let at = |secs: i64| Timestamp((BEGIN + secs) * 1000);
    Spec::MaintenanceWindow(MaintenanceWindow { scope, from: at(from), to: at(to), reason: String::new() })
}
