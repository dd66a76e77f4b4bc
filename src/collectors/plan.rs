//! What this peer is to collect, read from the state. No I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rscaler_raft::model::{Counter, CounterSource, JmxCounter, Kind, Name, Node, PeerId, Value};
use rscaler_raft::state::State;

use super::parse;

/// What is collected of one node.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    /// The assignment's epoch: what is collected under another is refused.
    pub(super) epoch: u64,
    /// By counter.
    pub(super) jobs: BTreeMap<Name, Arc<Job>>,
}

/// A counter as it is read on every node that it covers.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) counter: Name,
    /// The object and its version: a changed counter is another job.
    origin: (u64, u64),
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) work: Work,
}

/// What a reading takes.
#[derive(Debug)]
pub(super) enum Work {
    /// A script on the node.
    Ssh(Check),
    /// An attribute of each of its JVMs.
    Jmx(JmxCounter),
}

/// A script and how its output is read.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) script: Value,
    parse: rscaler_raft::model::Parse,
    form: OnceLock<Result<parse::Parse, String>>,
}

impl Check {
    /// How the output is read; a pattern is compiled once.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn form(&self) -> Result<&parse::Parse, &str> {
        use rscaler_raft::model::Parse;
        let make = || {
            Ok(match &self.parse {
                Parse::Number => parse::Parse::Number,
                Parse::Pairs => parse::Parse::Pairs,
                Parse::Json => parse::Parse::Json,
                Parse::Nagios => parse::Parse::Nagios,
                Parse::Prometheus => parse::Parse::Prometheus,
                Parse::Regex(pattern) => parse::Parse::pattern(pattern).map_err(|error| error.to_string())?,
            })
        };
        self.form.get_or_init(make).as_ref().map_err(String::as_str)
    }
}

impl Job {
    /// What gives its readings their moments: those of a node's JVMs are due together, so that they are asked for together.
    pub(super) fn rhythm(&self) -> &str {
        match &self.work {
            Work::Ssh(_) => self.counter.as_str(),
            Work::Jmx(_) => "jmx",
        }
    }

    /// Whether it can be read on a node like this at all.
    fn fits(&self, node: &Node) -> bool {
        match &self.work {
            Work::Ssh(_) => node.ssh_profile.is_some() || node.jvms.is_empty(),
            Work::Jmx(_) => !node.jvms.is_empty(),
        }
    }

    /// Whether `other` is the same version of the same counter.
    pub(super) fn is_same(&self, other: &Job) -> bool {
        self.counter == other.counter && self.origin == other.origin
    }
}

/// Makes plans; counters that have not changed give the same jobs again.
#[derive(Default)]
pub(super) struct Planner {
    jobs: BTreeMap<Name, Arc<Job>>,
}

impl Planner {
    /// Everything that `local` is to collect.
    pub(super) fn all(&mut self, state: &State, local: PeerId) -> BTreeMap<Name, NodePlan> {
        let ours = state.assignments().filter(|(_, assignment)| assignment.peer == local);
        let ours: Vec<Name> = ours.map(|(node, _)| node.clone()).collect();
        self.jobs.retain(|name, _| state.counter(name).is_some());
        // Nodes of one cluster share their counters, and the list of them is long.
        let mut by_cluster: BTreeMap<Name, BTreeMap<Name, Arc<Job>>> = BTreeMap::new();
        let mut plans = BTreeMap::new();
        for name in ours {
            let (Some(node), Some(assignment)) = (state.node(&name), state.assignment(&name)) else {
                continue;
            };
            if !by_cluster.contains_key(&node.cluster) {
                let jobs = self.jobs_of(state, &node.cluster);
                by_cluster.insert(node.cluster.clone(), jobs);
            }
            let mut jobs = by_cluster.get(&node.cluster).cloned().unwrap_or_default();
            jobs.retain(|_, job| job.fits(node));
            plans.insert(name, NodePlan { epoch: assignment.epoch, jobs });
        }
        plans
    }

    /// What `local` is to collect of one node, if anything.
    pub(super) fn one(&mut self, state: &State, local: PeerId, name: &Name) -> Option<NodePlan> {
        let assignment = state.assignment(name).filter(|assignment| assignment.peer == local)?;
        let node = state.node(name)?;
        let mut jobs = self.jobs_of(state, &node.cluster);
        jobs.retain(|_, job| job.fits(node));
        Some(NodePlan { epoch: assignment.epoch, jobs })
    }

    fn jobs_of(&mut self, state: &State, cluster: &Name) -> BTreeMap<Name, Arc<Job>> {
        let mut jobs = BTreeMap::new();
        for (name, counter) in state.counters_of(cluster) {
            let origin =
                state.object(Kind::Counter, name).map(|object| (object.meta.uid, object.meta.version));
            let Some(job) = origin.and_then(|origin| self.job(name, counter, origin)) else { continue };
            jobs.insert(name.clone(), job);
        }
        jobs
    }

    fn job(&mut self, name: &Name, counter: &Counter, origin: (u64, u64)) -> Option<Arc<Job>> {
        if let Some(job) = self.jobs.get(name)
            && job.origin == origin
        {
            return Some(Arc::clone(job));
        }
        let work = match &counter.source {
            CounterSource::Ssh(ssh) => Work::Ssh(Check {
                script: ssh.script.clone(),
                parse: ssh.parse.clone(),
                form: OnceLock::new(),
            }),
            CounterSource::Jmx(jmx) => Work::Jmx(jmx.clone()),
            CounterSource::Push => return None,
        };
        let job = Arc::new(Job {
            counter: name.clone(),
            origin,
            interval: counter.interval,
            timeout: counter.timeout,
            work,
        });
        self.jobs.insert(name.clone(), Arc::clone(&job));
        Some(job)
    }
}
