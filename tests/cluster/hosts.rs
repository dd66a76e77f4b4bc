//! Managed hosts: a real sshd each, on an address of its own, with a directory that its scripts see as `$RSCALER_DIR`.

use std::fs;
use std::ops::{Deref, DerefMut};

#[path = "../../src/ssh/testing/sshd.rs"]
#[allow(dead_code, unreachable_pub)]
mod sshd;

#[allow(unused_imports)]
pub(crate) use sshd::{
    KeyKind, OWN_PASSWORD, OwnUser, Setup, Sshd, is_alive, odd_seconds, send_signal, sleepers, with_own_user,
};

/// A host.
pub(crate) struct Host(Sshd);

impl Deref for Host {
    type Target = Sshd;
    fn deref(&self) -> &Sshd {
        &self.0
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Sshd {
        &mut self.0
    }
}

#[allow(dead_code)]
impl Host {
    /// Starts a host on loopback and waits until it answers. All hosts take the same key.
    pub(crate) fn start() -> Host {
        Host::start_as(Setup::default())
    }

    /// Starts a host at an address of this machine.
    pub(crate) fn start_at(address: String) -> Host {
        Host::start_as(Setup { address: Some(address), ..Setup::default() })
    }

    /// The same with a setup of its own.
    pub(crate) fn start_as(setup: Setup) -> Host {
        Host(Sshd::start(setup))
    }

    /// A host with a user of its own, who may use sudo as `rule` says. That takes root; `None` for others.
    pub(crate) fn with_own_user(setup: Setup, rule: &str) -> Option<(Host, OwnUser)> {
        with_own_user(setup, rule).map(|(sshd, user)| (Host(sshd), user))
    }

    pub(crate) fn address(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Who logs in: whoever runs the tests.
    pub(crate) fn user(&self) -> String {
        sshd::user_name()
    }

    pub(crate) fn private_key(&self) -> String {
        self.client_key().to_string()
    }

    /// Writes a file in the host's directory, all at once.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let next = self.dir().join(format!(".{name}"));
        fs::write(&next, text).unwrap();
        fs::rename(next, self.dir().join(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir().join(name)).ok()
    }
}

/// A secret as a document, its value in a block.
#[allow(dead_code)]
pub(crate) fn secret(name: &str, value: &str) -> String {
    let value: Vec<String> = value.lines().map(|line| format!("  {line}")).collect();
    format!("---\nkind: secret\nname: {name}\nvalue: |\n{}\n", value.join("\n"))
}

/// A node of the cluster `web` as a document.
#[allow(dead_code)]
pub(crate) fn node(name: &str, host: &Host, profile: &str) -> String {
    format!(
        "---\nkind: node\nname: {name}\ncluster: web\nhostname: {}\nport: {}\nssh_profile: {profile}\n",
        host.address(),
        host.port()
    )
}

/// A counter of the cluster `web` as a document, read each second.
#[allow(dead_code)]
pub(crate) fn counter(name: &str, script: &str) -> String {
    format!(
        "---\nkind: counter\nname: {name}\ntype: ssh\nscript: {}\ninterval: 1s\ntimeout: 3s\nclusters: [web]\n",
        serde_json::to_string(script).unwrap()
    )
}
