//! Conditions over a cluster's counters, and what follows when they hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Name;

/// A condition that must hold for a time, with ordered steps. `design.md` has the meaning of each field.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Trigger {
    /// The cluster it watches.
    pub cluster: Name,
    /// 1 to 16 conditions.
    pub conditions: Vec<Condition>,
    /// Whether any or all of them must hold.
    pub matching: Matching,
    /// How long they must hold on one series (`for`); zero: at once.
    pub hold: Duration,
    /// Each series alone, or one value over the cluster.
    pub aggregate: Aggregate,
    /// Whether it fires once, or for every node by itself.
    pub per: Per,
    /// After a firing, at least this long until the next.
    pub cooldown: Duration,
    /// What missing samples mean.
    pub no_data: NoData,
    /// A disabled trigger keeps no state and does not fire.
    pub enabled: bool,
    /// What is done when it fires, in order.
    pub steps: Vec<Step>,
}

/// One comparison of a counter's value with a threshold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// The counter.
    pub counter: Name,
    /// Only this instance of it; all where absent.
    pub instance: Option<String>,
    /// The comparison `value op threshold`.
    pub op: Operator,
    /// Finite.
    pub threshold: f64,
    /// Once firing, the condition counts as over only when `value op recover` is false too. Finite.
    pub recover: Option<f64>,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Operator {
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Operator {
    /// Whether `left op right`. NaN compares unequal to everything.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Operator::Greater => left > right,
            Operator::GreaterOrEqual => left >= right,
            Operator::Less => left < right,
            Operator::LessOrEqual => left <= right,
            Operator::Equal => left == right,
            Operator::NotEqual => left != right,
        }
    }

    /// As written in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
        }
    }
}

/// How several conditions combine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Matching {
    /// One suffices.
    Any,
    /// All must hold at the same time (on one node, or over the cluster where `aggregate` says so).
    All,
}

/// How a cluster's series become the compared value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Aggregate {
    /// Each series alone.
    Each,
    /// Mean of the latest samples.
    Avg,
    /// The smallest of the latest samples.
    Min,
    /// The largest of the latest samples.
    Max,
    /// Their sum, in series order.
    Sum,
    /// How many series have data.
    Count,
}

/// For what a trigger fires.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Per {
    /// Once, whichever series held.
    Trigger,
    /// Every node by itself.
    Node,
}

/// What the absence of samples means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NoData {
    /// It neither holds nor breaks a condition.
    Ignore,
    /// This long without samples is a firing.
    FireAfter(Duration),
}

/// An action with its target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The action.
    pub action: Name,
    /// Where.
    pub target: Target,
    /// Whether the steps after it run when it failed.
    pub on_failure: OnFailure,
}

/// Where a step acts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Target {
    /// Every node of the run's cluster.
    Cluster,
    /// The run's node.
    Node,
    /// A node by name.
    Named(Name),
    /// The node that joined the run's cluster last.
    LastNode,
    /// The node whose series fired.
    FiringNode,
    /// Nowhere: the action needs no node.
    Nowhere,
}

/// What a failed step means for those after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OnFailure {
    /// They are not run.
    Stop,
    /// They are run all the same.
    Continue,
}
