//! What the demo's control plane is to watch, as documents for `POST /api/v1/apply`.

use anyhow::Context;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use serde_json::{Value, json};

use super::hosts::SimulatedHost;

/// The documents that are the same in every demo.
const FIXED: &str = include_str!("seed.yaml");

/// The cluster of all simulated hosts.
pub(super) const CLUSTER: &str = "web";
/// The counter that the trigger watches.
pub(super) const LOAD: &str = "load1";
/// The trigger.
pub(super) const TRIGGER: &str = "web-busy";

/// How the simulated hosts are called: `web01`, `web02` and so on.
pub(super) fn host_names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("web{number:02}")).collect()
}

/// All documents of a new demo, as YAML: the secret with the hosts' key comes first, then profile, cluster,
/// counters, action and trigger, then the nodes.
pub(super) fn all(key: &PrivateKey, hosts: &[SimulatedHost]) -> anyhow::Result<String> {
    let key = key.to_openssh(LineEnding::LF).context("could not write down the hosts' key")?;
    let secret = json!({
        "kind": "secret",
        "name": "demo-key",
        "description": "The private key that opens the demo's simulated hosts",
        "value": key.as_str(),
    });
    Ok([yaml(&secret)?, FIXED.to_owned(), nodes(hosts)?].join("---\n"))
}

/// The documents of nodes alone, as YAML; empty for no hosts.
pub(super) fn nodes(hosts: &[SimulatedHost]) -> anyhow::Result<String> {
    let nodes = hosts.iter().map(|host| yaml(&node(host))).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(nodes.join("---\n"))
}

/// Documents as YAML.
pub(super) fn documents(documents: &[Value]) -> anyhow::Result<String> {
    Ok(documents.iter().map(yaml).collect::<anyhow::Result<Vec<_>>>()?.join("---\n"))
}

/// What of a node is another at each start of its host.
pub(super) fn moved(host: &SimulatedHost) -> Value {
    json!({"hostname": host.addr.ip().to_string(), "port": host.addr.port()})
}

fn node(host: &SimulatedHost) -> Value {
    json!({
        "kind": "node",
        "name": host.name,
        "cluster": CLUSTER,
        "hostname": host.addr.ip().to_string(),
        "port": host.addr.port(),
        "ssh_profile": "demo",
    })
}

fn yaml(document: &Value) -> anyhow::Result<String> {
    serde_norway::to_string(document).context("could not write a document as YAML")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::process::Command;

    use rscaler_api::types as api;
    use serde::Deserialize;

    use super::*;
    use crate::collectors::parse::{Output, Parse, parse};
    use crate::demo::hosts::Fleet;

    fn parsed(text: &str) -> Vec<Value> {
        let documents = serde_norway::Deserializer::from_str(text);
        documents.map(|document| Value::deserialize(document).unwrap()).collect()
    }

    fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
        documents.iter().filter(|document| document["kind"] == kind).collect()
    }

    fn form(counter: &Value) -> Parse {
        match &counter["parse"] {
            Value::Null => Parse::Number,
            Value::String(name) => match name.as_str() {
                "number" => Parse::Number,
                "pairs" => Parse::Pairs,
                "json" => Parse::Json,
                "nagios" => Parse::Nagios,
                "prometheus" => Parse::Prometheus,
                other => panic!("{other}"),
            },
            other => Parse::pattern(other["regex"].as_str().unwrap()).unwrap(),
        }
    }

    /// A key and a running fleet, with the directory that goes with them.
    async fn world(count: usize) -> (tempfile::TempDir, PrivateKey, Fleet) {
        let dir = tempfile::tempdir().unwrap();
        let (demo, _) = crate::demo::directory::Directory::open(Some(dir.path())).unwrap();
        let key = demo.key().unwrap();
        let fleet = Fleet::start(dir.path(), &host_names(count), key.public_key()).await.unwrap();
        (dir, key, fleet)
    }

    #[tokio::test]
    async fn all_documents_are_there_and_refer_to_each_other() {
        let (_dir, key, fleet) = world(3).await;
        let documents = parsed(&all(&key, fleet.hosts()).unwrap());
        let names = |kind| -> BTreeSet<&str> {
            of_kind(&documents, kind).iter().map(|document| document["name"].as_str().unwrap()).collect()
        };
        assert_eq!(documents[0]["kind"], "secret");
        let value = documents[0]["value"].as_str().unwrap();
        let read = russh::keys::decode_secret_key(value, None).unwrap();
        assert_eq!(read.public_key().key_data(), key.public_key().key_data());

        assert_eq!(names("cluster"), BTreeSet::from([CLUSTER]));
        assert_eq!(names("trigger"), BTreeSet::from([TRIGGER]));
        assert_eq!(names("node"), BTreeSet::from(["web01", "web02", "web03"]));
        assert!(names("counter").contains(LOAD));
        let trigger = of_kind(&documents, "trigger")[0];
        assert!(names("action").contains(trigger["steps"][0]["action"].as_str().unwrap()));
        assert_eq!((&trigger["when"][0]["counter"], &trigger["cluster"]), (&json!(LOAD), &json!(CLUSTER)));
        let profile = of_kind(&documents, "ssh-profile")[0];
        assert_eq!((&profile["key"]["secret"], &profile["user"]), (&documents[0]["name"], &json!("demo")));
        for (node, host) in of_kind(&documents, "node").into_iter().zip(fleet.hosts()) {
            assert_eq!((&node["ssh_profile"], &node["cluster"]), (&profile["name"], &json!(CLUSTER)));
            assert_eq!((&node["hostname"], &node["port"]), (&json!("127.0.0.1"), &json!(host.addr.port())));
        }
        fleet.stop().await;
    }

    #[tokio::test]
    async fn every_document_is_one_of_the_api() {
        fn check<T: api::Document>(document: &Value) {
            if let Err(errors) = api::read_document::<T>(document.clone()) {
                panic!("{}: {errors:?}", document["name"]);
            }
        }
        let (_dir, key, fleet) = world(2).await;
        for document in parsed(&all(&key, fleet.hosts()).unwrap()) {
            match document["kind"].as_str().unwrap() {
                "secret" => check::<api::Secret>(&document),
                "ssh-profile" => check::<api::SshProfile>(&document),
                "cluster" => check::<api::Cluster>(&document),
                "counter" => check::<api::Counter>(&document),
                "action" => check::<api::Action>(&document),
                "trigger" => check::<api::Trigger>(&document),
                "node" => check::<api::Node>(&document),
                other => panic!("{other}"),
            }
        }
        fleet.stop().await;
    }

    #[tokio::test]
    async fn every_counter_reads_something_on_a_simulated_host() {
        let (_dir, key, fleet) = world(1).await;
        let home = fleet.hosts()[0].home.clone();
        let path = format!("{}:/usr/bin:/bin", home.join("bin").display());
        let mut forms = BTreeSet::new();
        for counter in of_kind(&parsed(&all(&key, fleet.hosts()).unwrap()), "counter") {
            let form = form(counter);
            forms.insert(form.name());
            let mut sh = Command::new("/bin/sh");
            sh.arg("-c").arg(counter["script"].as_str().unwrap()).current_dir(&home);
            let output = sh.env("HOME", &home).env("PATH", &path).output().unwrap();
            let output = Output { stdout: &output.stdout, exit_code: output.status.code() };
            let parsed = parse(&form, &output).unwrap_or_else(|error| panic!("{}: {error}", counter["name"]));
            assert!(!parsed.readings.is_empty(), "{}", counter["name"]);
        }
        assert_eq!(forms.len(), 6, "one of each form: {forms:?}");
        fleet.stop().await;
    }
}
