//! What is measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Name, Value};

/// The definition of something measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Counter {
    /// Where samples come from.
    pub source: CounterSource,
    /// How often it is read: 1 s to 1 day.
    pub interval: Duration,
    /// How long one reading may take; at most the interval times ten, at most 10 min.
    pub timeout: Duration,
    /// What a value counts, for display: `load`, `bytes`, `%`.
    pub unit: String,
    /// The clusters on whose nodes it is collected.
    pub clusters: Vec<ClusterSelector>,
}

/// Which clusters a counter is collected on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ClusterSelector {
    /// `"*"`: all of them.
    All,
    /// One cluster.
    Named(Name),
}

impl ClusterSelector {
    /// Whether the selector covers `cluster`.
    pub fn covers(&self, cluster: &Name) -> bool {
        match self {
            ClusterSelector::All => true,
            ClusterSelector::Named(name) => name == cluster,
        }
    }
}

/// Where a counter's samples come from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum CounterSource {
    /// A script that runs on the node.
    Ssh(SshCounter),
    /// Nothing is collected; clients write the samples.
    Push,
    /// An attribute of an MBean of each JVM of the node.
    Jmx(JmxCounter),
}

/// A script whose output becomes samples.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SshCounter {
    /// POSIX shell.
    pub script: Value,
    /// How its output is read.
    pub parse: Parse,
}

/// An attribute of an MBean. Numbers, booleans and texts that are numbers become samples.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JmxCounter {
    /// An object name; a pattern (`java.lang:type=GarbageCollector,name=*`) gives an instance for each MBean.
    pub mbean: String,
    /// The attribute's name.
    pub attribute: String,
    /// Where in composite or tabular data the value is: keys from the outside in, with dots between them.
    pub key: Option<String>,
    /// Whether the value only grows, and its growth per second is the sample.
    pub rate: bool,
}

/// How a script's output becomes readings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Parse {
    /// The output is one number.
    Number,
    /// Lines `name=value` or `name value`, each an instance.
    Pairs,
    /// A JSON object; nested keys become dotted instances.
    Json,
    /// Plugin performance data after `|`; the exit code is a series too.
    Nagios,
    /// Text exposition; labels become the instance.
    Prometheus,
    /// Named captures of this expression (syntax of the `regex` crate).
    Regex(String),
}
