//! The objects that work is about: a cluster of nodes, a counter that is pushed, a trigger on it, its action.

use std::collections::BTreeMap;
use std::time::Duration;

use rscaler_raft::command::{Change, Command, Expect};
use rscaler_raft::model::{
    Action, ActionKind, Aggregate, Cluster, ClusterSelector, CommandAction, Condition, Counter,
    CounterSource, HostKeyPolicy, Matching, Name, NoData, Node, OnExecutorLoss, OnFailure, Operator, Per,
    Retry, RetryOn, Spec, Spread, SshProfile, Step, Target, Trigger, Value,
};

/// How many nodes there are.
pub(crate) const NODES: u64 = 6;
/// The trigger's threshold.
pub(crate) const THRESHOLD: f64 = 10.0;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("the simulation's names follow the grammar")
}

/// The name of a node.
pub(crate) fn node(nth: u64) -> String {
    format!("n{nth}")
}

/// A command; `is_repeatable` says what becomes of it when its executor is lost.
pub(crate) fn action(is_repeatable: bool) -> Action {
    let command = CommandAction {
        script: Value::Inline("true".to_string()),
        args: Vec::new(),
        env: BTreeMap::new(),
        stdin: None,
        sudo: false,
    };
    Action {
        kind: ActionKind::Command(command),
        timeout: Duration::from_secs(20),
        retry: Retry {
            attempts: 1,
            backoff: Duration::from_millis(200),
            on: if is_repeatable { vec![RetryOn::Lost] } else { Vec::new() },
        },
        on_executor_loss: if is_repeatable { OnExecutorLoss::Retry } else { OnExecutorLoss::Fail },
        spread: Spread::default(),
    }
}

/// What makes them all.
pub(crate) fn all() -> Command {
    let put = |object: &str, spec: Spec| Change::Put {
        name: name(object),
        spec,
        labels: BTreeMap::new(),
        description: String::new(),
        expect: Expect::Absent,
    };
    let profile = SshProfile {
        user: "ops".to_string(),
        port: 22,
        key: None,
        passphrase: None,
        password: Some(Value::Inline("simulated".to_string())),
        host_key: HostKeyPolicy::AcceptNew,
        jump: None,
        sudo_password: None,
    };
    let counter = Counter {
        source: CounterSource::Push,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        unit: String::new(),
        clusters: vec![ClusterSelector::All],
    };
    let trigger = Trigger {
        cluster: name("web"),
        conditions: vec![Condition {
            counter: name("load"),
            instance: None,
            op: Operator::Greater,
            threshold: THRESHOLD,
            recover: None,
        }],
        matching: Matching::Any,
        hold: Duration::ZERO,
        aggregate: Aggregate::Each,
        per: Per::Node,
        cooldown: Duration::ZERO,
        no_data: NoData::Ignore,
        enabled: true,
        steps: vec![Step { action: name("tidy"), target: Target::FiringNode, on_failure: OnFailure::Stop }],
    };
    let mut changes = vec![
        put("web", Spec::Cluster(Cluster::default())),
        put("ops", Spec::SshProfile(Box::new(profile))),
        put("load", Spec::Counter(Box::new(counter))),
        put("tidy", Spec::Action(Box::new(action(true)))),
    ];
    for nth in 0..NODES {
        let spec = Node {
            cluster: name("web"),
            hostname: node(nth),
            port: None,
            ssh_profile: Some(name("ops")),
            jvms: Vec::new(),
        };
        changes.push(put(&node(nth), Spec::Node(spec)));
    }
    changes.push(put("busy", Spec::Trigger(Box::new(trigger))));
    Command::Configure(changes)
}
