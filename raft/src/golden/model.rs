//! What the control plane is told and knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Entry, entries, entry, variants};
use crate::model::*;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn series_key() -> SeriesKey {
    SeriesKey {
        counter: "load1".into(),
        node: "web01".into(),
        jvm: Some("app".into()),
        instance: Some("0".into()),
    }
}

pub(crate) fn evidence() -> Evidence {
    Evidence { series: series_key(), at: Timestamp(1_700_000_000_123), value: Some(1.5) }
}

variants!(pub(crate) values: Value {
    Value::Inline(_) => Value::Inline("text".to_string()),
    Value::Secret(_) => Value::Secret(name("key")),
    Value::File(_) => Value::File(name("file")),
});
variants!(pub(crate) retry_ons: RetryOn {
    RetryOn::Failed => RetryOn::Failed,
    RetryOn::TimedOut => RetryOn::TimedOut,
    RetryOn::Lost => RetryOn::Lost,
});
variants!(pub(crate) losses: OnExecutorLoss {
    OnExecutorLoss::Retry => OnExecutorLoss::Retry,
    OnExecutorLoss::Fail => OnExecutorLoss::Fail,
});
variants!(pub(crate) action_kinds: ActionKind {
    ActionKind::Command(_) => ActionKind::Command(CommandAction {
        script: Value::File(name("tidy.sh")),
        args: values(),
        env: BTreeMap::from([("A".to_string(), Value::Secret(name("key")))]),
        stdin: Some(Value::Inline("in".to_string())),
        sudo: true,
    }),
    ActionKind::Pause(_) => ActionKind::Pause(PauseAction { time: Duration::from_millis(1500) }),
    ActionKind::JmxInvoke(_) => ActionKind::JmxInvoke(JmxInvokeAction {
        jvm: Some(name("app")),
        mbean: "java.lang:type=Memory".to_string(),
        operation: "gc".to_string(),
        args: values(),
        signature: vec!["int".to_string()],
    }),
});

pub(crate) fn action() -> Action {
    Action {
        kind: action_kinds().remove(0),
        timeout: Duration::from_millis(60_500),
        retry: Retry { attempts: 3, backoff: Duration::from_secs(5), on: retry_ons() },
        on_executor_loss: OnExecutorLoss::Fail,
        spread: Spread { parallelism: 4, batch: 2, max_failures_percent: 50 },
    }
}

variants!(pub(crate) host_keys: HostKeyPolicy {
    HostKeyPolicy::Strict => HostKeyPolicy::Strict,
    HostKeyPolicy::AcceptNew => HostKeyPolicy::AcceptNew,
    HostKeyPolicy::Pinned(_) => HostKeyPolicy::Pinned(vec!["ssh-ed25519 AAAA".to_string()]),
});
variants!(pub(crate) scopes: WindowScope {
    WindowScope::Cluster(_) => WindowScope::Cluster(name("web")),
    WindowScope::Node(_) => WindowScope::Node(name("web01")),
});
variants!(pub(crate) parses: Parse {
    Parse::Number => Parse::Number,
    Parse::Pairs => Parse::Pairs,
    Parse::Json => Parse::Json,
    Parse::Nagios => Parse::Nagios,
    Parse::Prometheus => Parse::Prometheus,
    Parse::Regex(_) => Parse::Regex("(?P<value>x)".to_string()),
});
variants!(pub(crate) sources: CounterSource {
    CounterSource::Ssh(_) => CounterSource::Ssh(SshCounter { script: Value::Inline("uptime".to_string()), parse: Parse::Number }),
    CounterSource::Push => CounterSource::Push,
    CounterSource::Jmx(_) => CounterSource::Jmx(JmxCounter {
        mbean: "java.lang:type=Memory".to_string(),
        attribute: "HeapMemoryUsage".to_string(),
        key: Some("used".to_string()),
        rate: true,
    }),
});
variants!(pub(crate) transports: JvmTransport {
    JvmTransport::Rmi => JvmTransport::Rmi,
    JvmTransport::RmiOverSsh => JvmTransport::RmiOverSsh,
    JvmTransport::Jolokia => JvmTransport::Jolokia,
});
variants!(pub(crate) selectors: ClusterSelector {
    ClusterSelector::All => ClusterSelector::All,
    ClusterSelector::Named(_) => ClusterSelector::Named(name("web")),
});
variants!(pub(crate) roles: Role {
    Role::Viewer => Role::Viewer,
    Role::Operator => Role::Operator,
    Role::Admin => Role::Admin,
});
variants!(pub(crate) operators: Operator {
    Operator::Greater => Operator::Greater,
    Operator::GreaterOrEqual => Operator::GreaterOrEqual,
    Operator::Less => Operator::Less,
    Operator::LessOrEqual => Operator::LessOrEqual,
    Operator::Equal => Operator::Equal,
    Operator::NotEqual => Operator::NotEqual,
});
variants!(pub(crate) matchings: Matching {
    Matching::Any => Matching::Any,
    Matching::All => Matching::All,
});
variants!(pub(crate) aggregates: Aggregate {
    Aggregate::Each => Aggregate::Each,
    Aggregate::Avg => Aggregate::Avg,
    Aggregate::Min => Aggregate::Min,
    Aggregate::Max => Aggregate::Max,
    Aggregate::Sum => Aggregate::Sum,
    Aggregate::Count => Aggregate::Count,
});
variants!(pub(crate) pers: Per {
    Per::Trigger => Per::Trigger,
    Per::Node => Per::Node,
});
variants!(pub(crate) no_data: NoData {
    NoData::Ignore => NoData::Ignore,
    NoData::FireAfter(_) => NoData::FireAfter(Duration::from_secs(90)),
});
variants!(pub(crate) targets: Target {
    Target::Cluster => Target::Cluster,
    Target::Node => Target::Node,
    Target::Named(_) => Target::Named(name("web01")),
    Target::LastNode => Target::LastNode,
    Target::FiringNode => Target::FiringNode,
    Target::Nowhere => Target::Nowhere,
});
variants!(pub(crate) on_failures: OnFailure {
    OnFailure::Stop => OnFailure::Stop,
    OnFailure::Continue => OnFailure::Continue,
});

pub(crate) fn trigger() -> Trigger {
    Trigger {
        cluster: name("web"),
        conditions: vec![Condition {
            counter: name("load1"),
            instance: Some("0".to_string()),
            op: Operator::Greater,
            threshold: 4.25,
            recover: Some(2.0),
        }],
        matching: Matching::All,
        hold: Duration::from_secs(60),
        aggregate: Aggregate::Avg,
        per: Per::Node,
        cooldown: Duration::from_secs(300),
        no_data: NoData::FireAfter(Duration::from_secs(90)),
        enabled: true,
        steps: vec![Step {
            action: name("tidy"),
            target: Target::FiringNode,
            on_failure: OnFailure::Continue,
        }],
    }
}

pub(crate) fn file() -> File {
    File { content: Arc::from(&b"true\n"[..]) }
}

variants!(pub(crate) specs: Spec {
    Spec::Cluster(_) => Spec::Cluster(Cluster {}),
    Spec::Node(_) => Spec::Node(Node {
        cluster: name("web"),
        hostname: "10.0.0.1".to_string(),
        port: Some(2222),
        ssh_profile: Some(name("ops")),
        jvms: vec![name("app")],
    }),
    Spec::SshProfile(_) => Spec::SshProfile(Box::new(SshProfile {
        user: "ops".to_string(),
        port: 22,
        key: Some(Value::Secret(name("key"))),
        passphrase: Some(Value::Inline("p".to_string())),
        password: None,
        host_key: HostKeyPolicy::AcceptNew,
        jump: Some(name("bastion")),
        sudo_password: Some(Value::File(name("f"))),
    })),
    Spec::Counter(_) => Spec::Counter(Box::new(Counter {
        source: sources().remove(0),
        interval: Duration::from_secs(10),
        timeout: Duration::from_millis(2500),
        unit: "load".to_string(),
        clusters: selectors(),
    })),
    Spec::Trigger(_) => Spec::Trigger(Box::new(trigger())),
    Spec::Action(_) => Spec::Action(Box::new(action())),
    Spec::File(_) => Spec::File(file()),
    Spec::Secret(_) => Spec::Secret(Secret {
        sealed: Sealed { key_id: 1, wrapped_key: vec![1, 2], ciphertext: vec![3, 4, 5] },
    }),
    Spec::User(_) => Spec::User(User { role: Role::Operator, password_hash: "$argon2id$".to_string() }),
    Spec::Token(_) => Spec::Token(Token { role: Role::Admin, hash: [7; 32], expires: Some(Timestamp(9)) }),
    Spec::MaintenanceWindow(_) => Spec::MaintenanceWindow(MaintenanceWindow {
        scope: WindowScope::Node(name("web01")),
        from: Timestamp(1),
        to: Timestamp(2),
        reason: "work".to_string(),
    }),
    Spec::JvmProfile(_) => Spec::JvmProfile(Box::new(JvmProfile {
        port: Some(9010),
        url: Some("service:jmx:rmi:///jndi/rmi://h:1/jmxrmi".to_string()),
        user: Some("monitor".to_string()),
        password: Some(Value::Secret(name("key"))),
        tls: true,
        trust_store: Some(Value::File(name("ca"))),
        trust_store_password: Some(Value::Secret(name("store"))),
        transport: JvmTransport::RmiOverSsh,
    })),
});
variants!(pub(crate) kinds: Kind {
    Kind::Cluster => Kind::Cluster,
    Kind::Node => Kind::Node,
    Kind::SshProfile => Kind::SshProfile,
    Kind::Counter => Kind::Counter,
    Kind::Trigger => Kind::Trigger,
    Kind::Action => Kind::Action,
    Kind::File => Kind::File,
    Kind::Secret => Kind::Secret,
    Kind::User => Kind::User,
    Kind::Token => Kind::Token,
    Kind::MaintenanceWindow => Kind::MaintenanceWindow,
    Kind::JvmProfile => Kind::JvmProfile,
});
variants!(pub(crate) actors: Actor {
    Actor::System => Actor::System,
    Actor::User(_) => Actor::User(name("ada")),
    Actor::Token(_) => Actor::Token(name("ci")),
    Actor::Peer(_) => Actor::Peer(PeerId(3)),
});
variants!(pub(crate) event_kinds: EventKind {
    EventKind::Created(..) => EventKind::Created(Kind::Node, name("web01")),
    EventKind::Updated(..) => EventKind::Updated(Kind::File, name("f")),
    EventKind::Deleted(..) => EventKind::Deleted(Kind::User, name("ada")),
    EventKind::TriggerFired { .. } => EventKind::TriggerFired {
        trigger: name("hot"),
        run: Some(RunId(7)),
        evidence: vec![evidence()],
    },
    EventKind::TriggerSilenced(_) => EventKind::TriggerSilenced(name("hot")),
    EventKind::TriggerRecovered(_) => EventKind::TriggerRecovered(name("hot")),
    EventKind::RunStarted(_) => EventKind::RunStarted(RunId(7)),
    EventKind::RunFinished(_) => EventKind::RunFinished(RunId(7)),
    EventKind::TaskLost(_) => EventKind::TaskLost(TaskId(8)),
    EventKind::PeerJoined(_) => EventKind::PeerJoined(PeerId(3)),
    EventKind::PeerChanged(_) => EventKind::PeerChanged(PeerId(3)),
    EventKind::PeerRemoved(_) => EventKind::PeerRemoved(PeerId(3)),
    EventKind::PeerLost(_) => EventKind::PeerLost(PeerId(3)),
    EventKind::PeerStarted(_) => EventKind::PeerStarted(PeerId(3)),
    EventKind::HostKey(_) => EventKind::HostKey(name("web01")),
    EventKind::NodeReachability(_) => EventKind::NodeReachability(name("web01")),
    EventKind::SettingsChanged => EventKind::SettingsChanged,
});
variants!(pub(crate) causes: Cause {
    Cause::Person(_) => Cause::Person(Actor::User(name("ada"))),
    Cause::Trigger { .. } => Cause::Trigger { trigger: name("hot"), evidence: vec![evidence()] },
    Cause::Execute { .. } => Cause::Execute { trigger: name("hot"), actor: Actor::Token(name("ci")) },
});
variants!(pub(crate) run_states: RunState {
    RunState::Running => RunState::Running,
    RunState::Succeeded => RunState::Succeeded,
    RunState::Failed => RunState::Failed,
    RunState::Cancelled => RunState::Cancelled,
});
variants!(pub(crate) step_states: StepState {
    StepState::Waiting => StepState::Waiting,
    StepState::Running => StepState::Running,
    StepState::Succeeded => StepState::Succeeded,
    StepState::Failed => StepState::Failed,
    StepState::Skipped => StepState::Skipped,
    StepState::Cancelled => StepState::Cancelled,
});
variants!(pub(crate) task_states: TaskState {
    TaskState::Queued => TaskState::Queued,
    TaskState::Assigned => TaskState::Assigned,
    TaskState::Running => TaskState::Running,
    TaskState::Succeeded => TaskState::Succeeded,
    TaskState::Failed => TaskState::Failed,
    TaskState::Cancelled => TaskState::Cancelled,
    TaskState::TimedOut => TaskState::TimedOut,
    TaskState::Lost => TaskState::Lost,
});
variants!(pub(crate) streams: Stream {
    Stream::Stdout => Stream::Stdout,
    Stream::Stderr => Stream::Stderr,
    Stream::Note => Stream::Note,
});
variants!(pub(crate) failure_kinds: FailureKind {
    FailureKind::Unreachable => FailureKind::Unreachable,
    FailureKind::HostKey => FailureKind::HostKey,
    FailureKind::Authentication => FailureKind::Authentication,
    FailureKind::TimedOut => FailureKind::TimedOut,
    FailureKind::Exit => FailureKind::Exit,
    FailureKind::Parse => FailureKind::Parse,
    FailureKind::TooMuchOutput => FailureKind::TooMuchOutput,
    FailureKind::Configuration => FailureKind::Configuration,
    FailureKind::Partly => FailureKind::Partly,
    FailureKind::JvmUnreachable => FailureKind::JvmUnreachable,
    FailureKind::JvmAuthentication => FailureKind::JvmAuthentication,
    FailureKind::NoJava => FailureKind::NoJava,
    FailureKind::Missing => FailureKind::Missing,
    FailureKind::Threw => FailureKind::Threw,
});
variants!(pub(crate) peer_roles: PeerRole {
    PeerRole::Learner => PeerRole::Learner,
    PeerRole::Voter => PeerRole::Voter,
});
variants!(pub(crate) phases: Phase {
    Phase::Ok => Phase::Ok,
    Phase::Pending { .. } => Phase::Pending { since: Timestamp(1) },
    Phase::Firing { .. } => Phase::Firing { held_since: Timestamp(1), since: Timestamp(2) },
    Phase::Recovering { .. } => Phase::Recovering { held_since: Timestamp(1), since: Timestamp(2), from: Timestamp(3) },
});
variants!(pub(crate) subjects: Subject {
    Subject::Series { .. } => Subject::Series { condition: 1, series: SeriesId(300) },
    Subject::Place { .. } => Subject::Place { node: name("web01"), jvm: Some("app".into()), instance: Some("0".into()) },
    Subject::Cluster { .. } => Subject::Cluster { condition: Some(1) },
    Subject::Silence { .. } => Subject::Silence { condition: 2, node: Some(name("web01")) },
});
variants!(pub(crate) held: Held {
    Held::Maintenance(_) => Held::Maintenance(name("night")),
    Held::Cooldown => Held::Cooldown,
});

pub(crate) fn settings() -> Settings {
    Settings {
        keep_raw: Duration::from_secs(86_400),
        keep_five_minutes: Duration::from_secs(864_000),
        keep_hours: Duration::from_secs(8_640_000),
    }
}

pub(crate) fn check_output() -> CheckOutput {
    CheckOutput {
        at: Timestamp(5),
        stdout: b"out".to_vec(),
        stderr: b"err".to_vec(),
        exit_code: Some(-1),
        duration_ms: 12,
    }
}

pub(super) fn family() -> Vec<Entry> {
    [
        entries("value", values()),
        entries("retry-on", retry_ons()),
        entries("executor-loss", losses()),
        entries("action-kind", action_kinds()),
        entries("host-key-policy", host_keys()),
        entries("window-scope", scopes()),
        entries("parse", parses()),
        entries("counter-source", sources()),
        entries("jvm-transport", transports()),
        entries("cluster-selector", selectors()),
        entries("role", roles()),
        entries("operator", operators()),
        entries("matching", matchings()),
        entries("aggregate", aggregates()),
        entries("per", pers()),
        entries("no-data", no_data()),
        entries("target", targets()),
        entries("on-failure", on_failures()),
        entries("spec", specs()),
        entries("kind", kinds()),
        entries("actor", actors()),
        entries("event-kind", event_kinds()),
        entries("cause", causes()),
        entries("run-state", run_states()),
        entries("step-state", step_states()),
        entries("task-state", task_states()),
        entries("stream", streams()),
        entries("failure-kind", failure_kinds()),
        entries("peer-role", peer_roles()),
        entries("phase", phases()),
        entries("subject", subjects()),
        entries("held", held()),
        vec![entry("settings", &settings()), entry("check-output", &check_output())],
    ]
    .into_iter()
    .flatten()
    .collect()
}
