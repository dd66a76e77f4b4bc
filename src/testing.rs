//! A control plane in memory with real time and real hosts, for tests of what works on nodes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rscaler_raft::command::{Change, Command, Expect, Reply, StartRun, StartStep, What};
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{
    Action, ActionKind, Actor, CheckStatus, ClusterSelector, CommandAction, Counter, CounterSource, Name,
    Node, OnExecutorLoss, OnFailure, Parse, Retry, Scope, Secret, Spec, Spread, SshCounter, SshProfile,
    Stream, Target, Task, TaskId, Value,
};
use rscaler_raft::series::KeyRef;
use rscaler_raft::solo::Solo;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::inventory::JvmTargets;
use crate::inventory::{ReplicatedHostKeys, Targets};
use crate::jvm::{self, Jvms};
use crate::lease::{self, Keeper, Lease, Moment};
use crate::metrics::Metrics;
use crate::scheduler;
use crate::ssh::testing::{Sshd, quick_options, user_name};
use crate::ssh::{Options, Pool};

/// How long anything may take: builds of others may use the same machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One peer whose session is kept alive and whose clock runs. Its lease is the test's to give and to take.
pub(crate) struct World {
    pub(crate) handle: Handle,
    pub(crate) keeper: Keeper,
    pub(crate) lease: Lease,
    pub(crate) targets: Arc<Targets>,
    pub(crate) pool: Pool,
    pub(crate) metrics: Arc<Metrics>,
    stop: CancellationToken,
    _stop: DropGuard,
}

impl World {
    /// A world with cluster `web` and the profile `ops`, which logs in with the secret `ops-key`.
    pub(crate) async fn start() -> World {
        let handle = Solo::start().await;
        let (keeper, lease) = lease::lease();
        let pool = Pool::new(
            Options { backoff_max: Duration::from_millis(300), ..quick_options() },
            Arc::new(ReplicatedHostKeys::new(handle.clone())),
        );
        let stop = CancellationToken::new();
        let world = World {
            targets: Arc::new(Targets::new(handle.clone())),
            metrics: Arc::default(),
            keeper,
            lease,
            pool,
            _stop: stop.clone().drop_guard(),
            stop,
            handle,
        };
        world.spawn(scheduler::run(world.handle.clone(), 1, scheduler::wall_clock));
        let renewing = world.handle.clone();
        world.spawn(async move {
            loop {
                let local = renewing.local();
                if let Some(epoch) = renewing.read(|state| state.session(local).map(|s| s.epoch)) {
                    let renew = Command::RenewSession { peer: local, epoch };
                    let _ = renewing.submit(Actor::System, renew).await;
                }
                sleep(Duration::from_millis(200)).await;
            }
        });
        world.hold();
        world.put("web", Spec::Cluster(Default::default())).await;
        world
    }

    /// Runs `future` until the world ends.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// JVMs of its nodes, at a peer without Java.
    pub(crate) fn jvms(&self) -> (Arc<JvmTargets>, Arc<Jvms>) {
        let (java, _) = jvm::java(jvm::Options::new(&jvm::JavaChoice::None));
        let targets = JvmTargets::new(self.handle.clone(), Arc::clone(&self.targets));
        (Arc::new(targets), Arc::new(Jvms::new(java, self.pool.clone())))
    }

    /// Gives the lease for the session that the state knows.
    pub(crate) fn hold(&self) {
        let session = self.handle.read(|state| state.session(self.handle.local()).map(|s| s.epoch));
        self.keeper.hold(session.unwrap(), Moment::now() + Duration::from_secs(3600));
    }

    /// Ends the session in the state and begins another there, as when this peer had been taken for dead. Work goes to
    /// the new session; the lease stays as it was.
    pub(crate) async fn replace_session(&self, boot: u128) {
        let (peer, session) = (self.handle.local(), self.session());
        let open = Command::OpenSession {
            peer,
            boot,
            capabilities: session.capabilities.clone(),
            api_url: "http://127.0.0.1:0".to_string(),
        };
        self.handle.submit(Actor::System, open).await.unwrap();
    }

    /// Closes the session in the state, or makes it take no new work.
    pub(crate) async fn close_session(&self, draining: bool) {
        let close =
            Command::CloseSession { peer: self.handle.local(), epoch: self.session().epoch, draining };
        self.handle.submit(Actor::System, close).await.unwrap();
    }

    fn session(&self) -> Arc<rscaler_raft::model::Session> {
        self.handle.read(|state| Arc::clone(state.session(self.handle.local()).unwrap()))
    }

    pub(crate) async fn put(&self, object: &str, spec: Spec) {
        let change = Change::Put {
            name: name(object),
            spec,
            labels: BTreeMap::new(),
            description: String::new(),
            expect: Expect::Any,
        };
        self.handle.submit(Actor::System, Command::Configure(vec![change])).await.unwrap();
    }

    pub(crate) async fn put_secret(&self, secret: &str, value: &str) {
        let sealed = self.handle.keyring().seal(&format!("secret/{secret}"), value.as_bytes()).unwrap();
        self.put(secret, Spec::Secret(Secret { sealed })).await;
    }

    /// Makes a real host the node `node` of cluster `web`, with a key and a profile of its own.
    pub(crate) async fn add_host(&self, node: &str, host: &Sshd) {
        let key = format!("{node}-key");
        self.put_secret(&key, host.client_key()).await;
        let profile = SshProfile {
            user: user_name(),
            port: host.port,
            key: Some(Value::Secret(name(&key))),
            passphrase: None,
            password: None,
            host_key: rscaler_raft::model::HostKeyPolicy::AcceptNew,
            jump: None,
            sudo_password: None,
        };
        self.put(&format!("{node}-profile"), Spec::SshProfile(Box::new(profile))).await;
        let spec = Node {
            cluster: name("web"),
            hostname: host.host.clone(),
            port: None,
            ssh_profile: Some(name(&format!("{node}-profile"))),
            jvms: Vec::new(),
        };
        self.put(node, Spec::Node(spec)).await;
    }

    /// A counter on every node that is read each second.
    pub(crate) async fn add_counter(&self, counter: &str, script: &str, parse: Parse) {
        let spec = Counter {
            source: CounterSource::Ssh(SshCounter { script: Value::Inline(script.to_string()), parse }),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            unit: String::new(),
            clusters: vec![ClusterSelector::All],
        };
        self.put(counter, Spec::Counter(Box::new(spec))).await;
    }

    /// The samples of a counter on a node, over all its instances: (instance, time, value).
    pub(crate) fn samples(&self, counter: &str, node: &str, instance: Option<&str>) -> Vec<(i64, f64)> {
        self.handle.read(|state| {
            let key = KeyRef { counter, node, jvm: None, instance };
            state.series().id(key).map_or_else(Vec::new, |id| state.series().window(id, 0, i64::MAX))
        })
    }

    pub(crate) fn check(&self, node: &str, counter: &str) -> Option<Arc<CheckStatus>> {
        self.handle.read(|state| {
            let node = name(node);
            let checks = state.checks_of(&node);
            checks.filter(|(c, _)| c.as_str() == counter).map(|(_, status)| Arc::clone(status)).next()
        })
    }

    /// Starts a run of one command on a node, and gives its task.
    pub(crate) async fn run(&self, node: &str, action: Action) -> TaskId {
        let start = StartRun {
            scope: Scope { cluster: None, node: Some(name(node)) },
            steps: vec![StartStep {
                what: What::Inline(Box::new(action)),
                target: Target::Node,
                on_failure: OnFailure::Stop,
            }],
        };
        let reply = self.handle.submit(Actor::System, Command::StartRun(start)).await.unwrap();
        let Reply::Run(run) = reply else { panic!("{reply:?}") };
        self.handle.read(|state| state.tasks_of(run)[0])
    }

    pub(crate) fn task(&self, task: TaskId) -> Arc<Task> {
        self.handle.read(|state| Arc::clone(state.task(task).unwrap()))
    }

    /// What of a task's output is kept of one stream.
    pub(crate) fn output(&self, task: TaskId, stream: Stream) -> String {
        self.handle.read(|state| {
            let chunks = state.output(task, 0).filter(|(_, chunk)| chunk.stream == stream);
            let bytes: Vec<u8> = chunks.flat_map(|(_, chunk)| chunk.bytes.to_vec()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    /// Waits until a task has ended.
    pub(crate) async fn ended(&self, task: TaskId) -> Arc<Task> {
        until(&format!("task {task} ends"), || self.task(task).state.is_final(), || self.task(task)).await;
        self.task(task)
    }

    /// Waits until so much time has passed on the replicated clock.
    pub(crate) async fn pass(&self, time: Duration) {
        let elapsed = || self.handle.read(|state| state.clock().elapsed);
        let before = elapsed();
        until("time passes", || elapsed().since(before) >= time, elapsed).await;
    }
}

/// Waits until `holds`; panics with `seen` after [`DEADLINE`].
pub(crate) async fn until<T: std::fmt::Debug>(
    what: &str,
    mut holds: impl FnMut() -> bool,
    seen: impl FnOnce() -> T,
) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, wait).await.is_err() {
        panic!("not within {DEADLINE:?}: {what}; now: {:?}", seen());
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A command that is tried once and not repeated when its executor is lost.
pub(crate) fn command(script: &str) -> Action {
    let command = CommandAction {
        script: Value::Inline(script.to_string()),
        args: Vec::new(),
        env: BTreeMap::new(),
        stdin: None,
        sudo: false,
    };
    Action {
        kind: ActionKind::Command(command),
        timeout: Duration::from_secs(50),
        retry: Retry { attempts: 1, backoff: Duration::from_secs(1), on: Vec::new() },
        on_executor_loss: OnExecutorLoss::Fail,
        spread: Spread::default(),
    }
}
