//! Host keys in the replicated state.

use async_trait::async_trait;
use rscaler_raft::command::{Command, Reply};
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{Actor, Kind, Name, Spec};
use rscaler_raft::state::State;
use tokio::time::Duration;

use crate::ssh::{HostKeys, HostKeysUnavailable};

/// How long recording a key is tried: the dial that waits for it has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// The record of host keys that all peers share. The first key seen of a node is recorded by compare-and-set, so
/// that two peers that see a host first at the same time agree on one key.
pub struct ReplicatedHostKeys {
    handle: Handle,
}

impl ReplicatedHostKeys {
    /// The record in `handle`'s state.
    pub fn new(handle: Handle) -> ReplicatedHostKeys {
        ReplicatedHostKeys { handle }
    }
}

/// The nodes that are reached at `host` and `port`, in name order: several names may stand for one host.
fn nodes_at(state: &State, host: &str, port: u16) -> Vec<Name> {
    let at = |spec: &Spec| match spec {
        Spec::Node(node) if node.hostname == host => {
            let profile = node.ssh_profile.as_ref().and_then(|name| state.ssh_profile(name));
            node.port.or_else(|| profile.map(|profile| profile.port)) == Some(port)
        }
        _ => false,
    };
    state
        .objects_of(Kind::Node)
        .filter(|(_, object)| at(&object.spec))
        .map(|(name, _)| name.clone())
        .collect()
}

#[async_trait]
impl HostKeys for ReplicatedHostKeys {
    async fn recorded(&self, host: &str, port: u16) -> Result<Vec<String>, HostKeysUnavailable> {
        // A local read may be behind. That does no harm: where it shows too little, recording compares again.
        Ok(self.handle.read(|state| {
            let nodes = nodes_at(state, host, port);
            nodes.iter().map(|node| state.host_keys(node)).find(|keys| !keys.is_empty()).unwrap_or_default()
        }))
    }

    async fn record_first(
        &self,
        host: &str,
        port: u16,
        key: &str,
    ) -> Result<Vec<String>, HostKeysUnavailable> {
        let node = self.handle.read(|state| nodes_at(state, host, port).into_iter().next());
        let Some(node) = node else {
            return Err(HostKeysUnavailable("no node has this address any more".to_string()));
        };
        let command = Command::RecordHostKey { node, key: key.to_string() };
        let actor = Actor::Peer(self.handle.local());
        match self.handle.submit_within(PATIENCE, None, actor, command).await {
            Ok(Reply::HostKeys(keys)) => Ok(keys),
            Ok(other) => Err(HostKeysUnavailable(format!("an unexpected answer: {other:?}"))),
            Err(error) => Err(HostKeysUnavailable(error.to_string())),
        }
    }
}
