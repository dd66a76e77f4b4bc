//! RMI through a node's SSH connection.

use std::io::Read;
use std::process::Command;

use super::*;
use crate::hosts::{Host, node, secret};
use crate::jvms::{Door, Jvm};

#[tokio::test(flavor = "multi_thread")]
async fn rmi_goes_over_ssh_whatever_the_jvm_calls_itself() {
    // Both say the same wrong host, as machines do whose name is an address of the loopback.
    let door = Door { hostname: Some("192.0.2.1".to_string()), ..Door::default() };
    let (one, two) = (Jvm::start_as(&door), Jvm::start_as(&door));
    let host = Host::start();
    let plane = Plane::start(1).await;
    let mut yaml = format!(
        "kind: ssh-profile\nname: ops\nuser: {}\nkey: {{secret: key}}\nhost_key: accept-new\n---\n{{kind: cluster, name: web}}\n",
        host.user()
    ) + &secret("key", &host.private_key());
    yaml += &(node("web01", &host, "ops") + "jvms: [one, two]\n");
    yaml += &profile("one", one.port, "transport: rmi-over-ssh\n");
    yaml += &profile("two", two.port, "transport: rmi-over-ssh\n");
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    plane.apply(&yaml);
    until("both JVMs", PATIENCE, || async {
        let mut jvms: Vec<String> = series(&plane, "heap").await.into_iter().map(|series| series.0).collect();
        jvms.sort();
        if jvms == ["one", "two"] { Ok(()) } else { Err((jvms, check(&plane, "web01", "heap").await)) }
    })
    .await;
    // Nobody else gets through: without a token nothing is opened.
    let peer = plane.peers[0].pid().unwrap();
    let ports = Command::new("ss").args(["-Hltnp"]).output().unwrap();
    let ports = String::from_utf8_lossy(&ports.stdout).into_owned();
    let known = [plane.peers[0].api.as_str(), plane.peers[0].peer_addr()];
    let tunnel = ports
        .lines()
        .filter(|line| line.contains(&format!("pid={peer},")))
        .filter_map(|line| line.split_whitespace().nth(3))
        .find(|address| !known.contains(address))
        .expect("a port for tunnels");
    let mut stranger = std::net::TcpStream::connect(tunnel).unwrap();
    std::io::Write::write_all(&mut stranger, &[0; 18]).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stranger.read(&mut [0; 8]).unwrap(), 0, "it is closed without a word");
    // A profile over SSH needs a node that can be logged in to.
    let bare = plane.path("bare.yaml");
    std::fs::write(&bare, "{kind: node, name: bare, cluster: web, hostname: 127.0.0.1, jvms: [one]}\n")
        .unwrap();
    let said = plane.cli(&["apply", "-f", bare.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("no ssh_profile"), "{said:?}");
}
