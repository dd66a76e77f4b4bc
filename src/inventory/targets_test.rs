#![allow(clippy::unwrap_used)]
use rscaler_raft::command::{Change, Command, Expect};
use rscaler_raft::model::{Actor, Node, Spec};
use rscaler_raft::solo::Solo;

use super::*;
use crate::inventory::ReplicatedHostKeys;
use crate::ssh::HostKeys;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

async fn put(handle: &Handle, object: &str, spec: Spec) {
    let change = Change::Put {
        name: name(object),
        spec,
        labels: Default::default(),
        description: String::new(),
        expect: Expect::Any,
    };
    handle.submit(Actor::System, Command::Configure(vec![change])).await.unwrap();
}

async fn put_secret(handle: &Handle, secret: &str, value: &str) {
    let sealed = handle.keyring().seal(&format!("secret/{secret}"), value.as_bytes()).unwrap();
    put(handle, secret, Spec::Secret(rscaler_raft::model::Secret { sealed })).await;
}

fn profile(jump: Option<&str>) -> SshProfile {
    SshProfile {
        user: "ops".to_string(),
        port: 22,
        key: Some(Value::Secret(name("key"))),
        passphrase: None,
        password: Some(Value::Secret(name("word"))),
        host_key: HostKeyPolicy::AcceptNew,
        jump: jump.map(name),
        sudo_password: Some(Value::Inline("root!".to_string())),
    }
}

fn node(hostname: &str, port: Option<u16>, profile: Option<&str>) -> Spec {
    Spec::Node(Node {
        cluster: name("web"),
        hostname: hostname.to_string(),
        port,
        ssh_profile: profile.map(name),
        jvms: Vec::new(),
    })
}

/// `web01` behind `bastion`, `pushed` without a profile.
async fn fleet() -> (Handle, Targets) {
    let handle = Solo::start().await;
    put_secret(&handle, "key", "PEM\n").await;
    put_secret(&handle, "word", "hush\n").await;
    put(&handle, "web", Spec::Cluster(Default::default())).await;
    put(&handle, "outer", Spec::SshProfile(Box::new(profile(None)))).await;
    put(&handle, "bastion", node("192.0.2.1", Some(2222), Some("outer"))).await;
    put(&handle, "inner", Spec::SshProfile(Box::new(profile(Some("bastion"))))).await;
    put(&handle, "web01", node("10.0.0.1", None, Some("inner"))).await;
    put(&handle, "pushed", node("10.0.0.2", None, None)).await;
    let targets = Targets::new(handle.clone());
    (handle, targets)
}

#[tokio::test]
async fn an_endpoint_has_the_profiles_parts_and_the_way_there() {
    let (_, targets) = fleet().await;
    let endpoint = targets.endpoint(&name("web01")).unwrap();
    assert_eq!((endpoint.address(), endpoint.user.as_str()), ("10.0.0.1:22".to_string(), "ops"));
    assert_eq!(endpoint.auth.key_pem.as_ref().unwrap().expose(), "PEM\n");
    assert_eq!(
        endpoint.auth.password.as_ref().unwrap().expose(),
        "hush",
        "a file's last newline is no part of it"
    );
    let jump = endpoint.jump.as_ref().unwrap();
    assert_eq!(jump.address(), "192.0.2.1:2222");
    assert!(jump.jump.is_none());
    assert_eq!(targets.sudo_password(&name("web01")).unwrap().unwrap().expose(), "root!");
}

#[tokio::test]
async fn an_endpoint_is_kept_until_something_it_came_from_changes() {
    let (handle, targets) = fleet().await;
    let first = targets.endpoint(&name("web01")).unwrap();
    assert!(Arc::ptr_eq(&first, &targets.endpoint(&name("web01")).unwrap()));

    put_secret(&handle, "word", "new").await;
    let second = targets.endpoint(&name("web01")).unwrap();
    assert_eq!(second.auth.password.as_ref().unwrap().expose(), "new");
    assert!(first.identity() != second.identity());

    put(&handle, "bastion", node("192.0.2.9", None, Some("outer"))).await;
    let third = targets.endpoint(&name("web01")).unwrap();
    assert_eq!(third.jump.as_ref().unwrap().address(), "192.0.2.9:22");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (_, targets) = fleet().await;
    assert_eq!(targets.endpoint(&name("web99")).unwrap_err(), TargetError::NoNode(name("web99")));
    assert_eq!(targets.endpoint(&name("pushed")).unwrap_err(), TargetError::NoProfile(name("pushed")));
}

#[tokio::test]
async fn the_first_host_key_is_recorded_for_the_node_and_wins() {
    let (handle, _) = fleet().await;
    let keys = ReplicatedHostKeys::new(handle.clone());
    assert!(keys.recorded("10.0.0.1", 22).await.unwrap().is_empty());
    assert_eq!(keys.record_first("10.0.0.1", 22, "ssh-ed25519 A").await.unwrap(), ["ssh-ed25519 A"]);
    assert_eq!(keys.record_first("10.0.0.1", 22, "ssh-ed25519 B").await.unwrap(), ["ssh-ed25519 A"]);
    assert_eq!(keys.recorded("10.0.0.1", 22).await.unwrap(), ["ssh-ed25519 A"]);
    assert_eq!(handle.read(|state| state.host_keys(&name("web01"))), ["ssh-ed25519 A"]);
    assert!(keys.recorded("10.0.0.1", 23).await.unwrap().is_empty());
    assert!(keys.record_first("10.9.9.9", 22, "x").await.is_err(), "no node has this address");
}
