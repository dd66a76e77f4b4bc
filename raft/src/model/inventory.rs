//! What is managed, and how it is reached.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Name, Timestamp, Value};

/// A named group of nodes that do the same work.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cluster {}

/// A managed host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The cluster it belongs to.
    pub cluster: Name,
    /// A host name or an IP address.
    pub hostname: String,
    /// The SSH port; the profile's where absent.
    pub port: Option<u16>,
    /// How to reach it over SSH. A node without one and without JVMs is fed by pushed samples only.
    pub ssh_profile: Option<Name>,
    /// JVM profiles of the JVMs that run on it.
    pub jvms: Vec<Name>,
}

/// How to log in to nodes over SSH.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SshProfile {
    /// The account on the node.
    pub user: String,
    /// The port where the node names none.
    pub port: u16,
    /// A private key, OpenSSH or PEM.
    pub key: Option<Value>,
    /// Opens an encrypted key.
    pub passphrase: Option<Value>,
    /// For password authentication.
    pub password: Option<Value>,
    /// Which host keys are trusted.
    pub host_key: HostKeyPolicy,
    /// The node through which connections are made (ProxyJump); its own profile may name another.
    pub jump: Option<Name>,
    /// Given to sudo where it asks.
    pub sudo_password: Option<Value>,
}

/// Which host key of a node is trusted. A key that differs from a recorded one is refused under each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HostKeyPolicy {
    /// Only a key that was recorded before.
    Strict,
    /// The first key seen is recorded by compare-and-set in the replicated state.
    AcceptNew,
    /// One of these, in OpenSSH's public form.
    Pinned(Vec<String>),
}

/// How to reach a JVM of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JvmProfile {
    /// The port of the JMX agent, or of Jolokia, on the node.
    pub port: Option<u16>,
    /// Where it is instead, in full: `service:jmx:rmi:///jndi/rmi://HOST:PORT/NAME`, or Jolokia's `http://HOST:PORT/PATH`.
    /// `{host}` in it stands for the node's host name.
    pub url: Option<String>,
    /// Who to log in as.
    pub user: Option<String>,
    /// For logging in.
    pub password: Option<Value>,
    /// Whether connections are encrypted, and the JVM has to show a certificate that is trusted.
    pub tls: bool,
    /// Which certificates are trusted: PEM, PKCS #12 or a Java key store (JKS); what Java or the system trusts where absent.
    pub trust_store: Option<Value>,
    /// For opening the trust store, where it is PKCS #12 or JKS.
    pub trust_store_password: Option<Value>,
    /// How it is spoken to.
    pub transport: JvmTransport,
}

/// How a JVM is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum JvmTransport {
    /// JMX remoting over RMI, which needs a Java runtime at the collecting peer.
    Rmi,
    /// The same through the node's SSH connection.
    RmiOverSsh,
    /// Jolokia: JSON over HTTP.
    Jolokia,
}

impl JvmTransport {
    /// Whether the peer that speaks it needs a Java runtime.
    pub fn needs_java(self) -> bool {
        self != JvmTransport::Jolokia
    }
}

/// Replicated content: a script, a fabfile, a manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct File {
    /// The newest content; at most [`File::BYTES_MAX`].
    #[serde(with = "crate::codec::bytes")]
    pub content: Arc<[u8]>,
}

impl File {
    /// The largest content, in bytes: an entry of the log has to hold it.
    pub const BYTES_MAX: usize = 8 << 20;
    /// How many versions of a file are kept, the newest included.
    pub const VERSIONS_MAX: usize = 10;
}

/// A time in which triggers of a cluster or a node stay silent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    /// What is silenced.
    pub scope: WindowScope,
    /// First moment, inclusive.
    pub from: Timestamp,
    /// Last moment, exclusive.
    pub to: Timestamp,
    /// Why, for those who wonder.
    pub reason: String,
}

/// What a [`MaintenanceWindow`] silences.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WindowScope {
    /// Every trigger of a cluster.
    Cluster(Name),
    /// The series of one node.
    Node(Name),
}
