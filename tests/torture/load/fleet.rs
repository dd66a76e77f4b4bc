//! Managed hosts with a real sshd each, and what the control plane is told of them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::hosts::Host;
use crate::plane::{Plane, STARTING, until};

/// The hosts, in the order of their nodes `n0`, `n1`, ...
pub(crate) struct Fleet {
    pub(crate) hosts: Vec<Host>,
}

impl Fleet {
    /// Starts `count` hosts and makes them nodes of the cluster `fleet`.
    pub(crate) async fn start(plane: &Plane, count: u8) -> Fleet {
        let hosts: Vec<Host> =
            (0..count).map(|number| Host::start_at(plane.net.add_host(number).unwrap())).collect();
        let first = &hosts[0];
        let mut documents = vec![
            json!({"kind": "secret", "name": "key", "value": first.private_key()}),
            json!({"kind": "ssh-profile", "name": "ops", "user": first.user(), "key": {"secret": "key"}, "host_key": "accept-new"}),
            json!({"kind": "cluster", "name": "fleet"}),
            json!({"kind": "counter", "name": "pushed", "type": "push", "interval": "1s", "clusters": ["fleet"]}),
            super::beats::counter(),
        ];
        for (number, host) in hosts.iter().enumerate() {
            documents.push(json!({
                "kind": "node", "name": format!("n{number}"), "cluster": "fleet", "hostname": host.address(),
                "port": host.port(), "ssh_profile": "ops",
            }));
        }
        apply(plane, documents).await;
        Fleet { hosts }
    }

    /// The lines of a file, of all hosts together.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        let texts = self.hosts.iter().filter_map(|host| host.read(file));
        texts.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>()).collect()
    }
}

/// Applies documents, all or nothing.
pub(crate) async fn apply(plane: &Plane, documents: Vec<Value>) {
    let documents = Value::Array(documents);
    until("documents to be applied", STARTING, async || {
        let mut said = Vec::new();
        for place in plane.places() {
            match plane.ask(place, Method::POST, "apply", Some(&documents)).await {
                crate::client::Answer::Done(_) => return Ok(()),
                other => said.push(other),
            }
        }
        Err(said)
    })
    .await;
}
