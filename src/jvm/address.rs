//! Where a JVM is.

use std::sync::Arc;

use crate::ssh::{Endpoint, Secret};

/// How a JVM of a node is reached. One that is changed is another one: they are told apart by where they are in memory.
#[derive(Clone, Debug)]
pub struct Address {
    /// The way.
    pub route: Route,
    /// Who to log in as, and with what.
    pub credentials: Option<(String, Secret)>,
    /// Whether it has to show a certificate.
    pub tls: bool,
    /// Certificates that are trusted, as PEM; the usual ones where empty.
    pub trust_store: Vec<u8>,
}

/// The way to a JVM.
#[derive(Clone, Debug)]
pub enum Route {
    /// RMI, straight.
    Rmi(Agent),
    /// RMI through the node's SSH connection; the agent's host is as the node sees it.
    OverSsh {
        /// The node.
        node: String,
        /// How it is logged in to.
        endpoint: Arc<Endpoint>,
        /// The agent.
        agent: Agent,
    },
    /// Jolokia, at this URL.
    Jolokia(String),
}

/// A JMX agent's registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agent {
    /// Host name or IP address.
    pub host: String,
    /// The registry's port.
    pub port: u16,
    /// The agent's name in it.
    pub name: String,
}

impl Route {
    /// Whether it takes Java.
    pub fn needs_java(&self) -> bool {
        !matches!(self, Route::Jolokia(_))
    }
}
