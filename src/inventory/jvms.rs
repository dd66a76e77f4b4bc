//! How a node's JVMs are reached.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{JvmProfile, JvmTransport, Kind, Name, ServiceUrl, Value};
use rscaler_raft::state::State;

use super::values::{self, Found, ValueError};
use super::{TargetError, Targets};
use crate::jvm::{Address, Agent, Route, TrustStores};
use crate::ssh::{Endpoint, Secret};

/// Addresses kept; reaching the bound starts anew.
const CACHED_MAX: usize = 50_000;
/// The name that the JDK's agent has in its registry.
const AGENT: &str = "jmxrmi";

/// Why a JVM can't even be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JvmError {
    /// There is no such node.
    #[error("there is no node `{0}`")]
    NoNode(Name),
    /// The node has no such JVM.
    #[error("node `{0}` has no JVM `{1}`")]
    NoJvm(Name, Name),
    /// Something that the profile refers to is missing.
    #[error("jvm-profile `{profile}`: {error}")]
    Value {
        /// The profile.
        profile: Name,
        /// What is missing.
        error: ValueError,
    },
    /// Its trust store can't be opened.
    #[error("jvm-profile `{profile}`: trust_store: {why}")]
    TrustStore {
        /// The profile.
        profile: Name,
        /// What is wrong.
        why: String,
    },
    /// The node can't be logged in to.
    #[error(transparent)]
    Node(#[from] TargetError),
    /// The profile's URL makes no sense for this node.
    #[error("jvm-profile `{0}`: its url is none for this node")]
    Url(Name),
}

/// Makes addresses of JVMs, from the state as it is at each call. An address that has not changed is the same one.
pub struct JvmTargets {
    handle: Handle,
    targets: Arc<Targets>,
    made: Mutex<HashMap<(Name, Name), Made>>,
    trust_stores: TrustStores,
}

struct Made {
    origin: Origin,
    endpoint: Option<Arc<Endpoint>>,
    address: Arc<Address>,
}

/// The versions of all objects that an address was made of: (uid, version).
type Origin = Vec<(u64, u64)>;

/// What was found under the state's lock.
struct Parts {
    origin: Origin,
    hostname: String,
    profile: JvmProfile,
    password: Option<Found>,
    trust_store: Option<Found>,
    trust_store_password: Option<Found>,
}

impl JvmTargets {
    /// Addresses as `handle`'s state has them; nodes are logged in to as `targets` says.
    pub fn new(handle: Handle, targets: Arc<Targets>) -> JvmTargets {
        JvmTargets { handle, targets, made: Mutex::default(), trust_stores: TrustStores::default() }
    }

    /// The JVMs of a node.
    pub fn jvms(&self, node: &Name) -> Vec<Name> {
        self.handle.read(|state| state.node(node).map(|node| node.jvms.clone()).unwrap_or_default())
    }

    /// Whether any live peer has Java.
    pub fn somebody_has_java(&self) -> bool {
        self.handle.read(State::has_java)
    }

    /// How a JVM of a node is reached now.
    ///
    /// # Errors
    /// [`JvmError`].
    pub fn address(&self, node: &Name, jvm: &Name) -> Result<Arc<Address>, JvmError> {
        let key = (node.clone(), jvm.clone());
        let parts =
            self.handle.read(|state| -> Result<Result<Parts, (JvmTransport, Arc<Address>)>, JvmError> {
                let (origin, hostname, profile) = look(state, node, jvm)?;
                if let Some(made) = self.made.lock().get(&key)
                    && made.origin == origin
                {
                    return Ok(Err((profile.transport, Arc::clone(&made.address))));
                }
                let find = |value: &Option<Value>| {
                    let found = value.as_ref().map(|value| values::find(state, value)).transpose();
                    found.map_err(|error| JvmError::Value { profile: jvm.clone(), error })
                };
                Ok(Ok(Parts {
                    origin,
                    hostname: hostname.to_string(),
                    profile: profile.clone(),
                    password: find(&profile.password)?,
                    trust_store: find(&profile.trust_store)?,
                    trust_store_password: find(&profile.trust_store_password)?,
                }))
            })?;
        let transport = match &parts {
            Ok(parts) => parts.profile.transport,
            Err((transport, _)) => *transport,
        };
        let endpoint = match transport {
            JvmTransport::RmiOverSsh => Some(self.targets.endpoint(node)?),
            JvmTransport::Rmi | JvmTransport::Jolokia => None,
        };
        let parts = match parts {
            Ok(parts) => parts,
            Err((_, address)) => {
                let same = |made: &Made| match (&made.endpoint, &endpoint) {
                    (Some(made), Some(now)) => Arc::ptr_eq(made, now),
                    (made, now) => made.is_none() && now.is_none(),
                };
                if self.made.lock().get(&key).is_some_and(same) {
                    return Ok(address);
                }
                // The way to the node has changed.
                self.made.lock().remove(&key);
                return self.address(node, jvm);
            }
        };
        let origin = parts.origin.clone();
        let address = Arc::new(self.make(node, jvm, parts, endpoint.clone())?);
        let mut made = self.made.lock();
        if made.len() >= CACHED_MAX {
            made.clear();
        }
        made.insert(key, Made { origin, endpoint, address: Arc::clone(&address) });
        Ok(address)
    }

    fn make(
        &self,
        node: &Name,
        jvm: &Name,
        parts: Parts,
        endpoint: Option<Arc<Endpoint>>,
    ) -> Result<Address, JvmError> {
        let Parts { hostname, profile, password, trust_store, trust_store_password, .. } = parts;
        let keyring = self.handle.keyring();
        let value = |error| JvmError::Value { profile: jvm.clone(), error };
        // A password file ends in a newline as editors leave it; a password never does.
        let text = |found: Option<Found>| -> Result<Option<String>, JvmError> {
            let text = found.map(|found| found.text(keyring)).transpose().map_err(value)?;
            Ok(text.map(|text| text.trim_end_matches(['\r', '\n']).to_string()))
        };
        let (password, trust_store_password) = (text(password)?, text(trust_store_password)?);
        let trust_store = trust_store.map(|found| found.bytes(keyring)).transpose().map_err(value)?;
        let trust_store =
            trust_store.map(|store| self.trust_stores.open(store, trust_store_password)).transpose();
        let trust_store = trust_store.map_err(|why| JvmError::TrustStore { profile: jvm.clone(), why })?;
        let credentials = profile.user.clone().zip(password.map(Secret::new));
        let agent = |host: &str| match (&profile.url, profile.port) {
            (Some(url), _) => ServiceUrl::parse(url, &hostname)
                .map(|url| Agent { host: url.host, port: url.port, name: url.name })
                .ok_or_else(|| JvmError::Url(jvm.clone())),
            (None, port) => {
                Ok(Agent { host: host.to_string(), port: port.unwrap_or(0), name: AGENT.to_string() })
            }
        };
        let route = match (profile.transport, endpoint) {
            (JvmTransport::Rmi, _) => Route::Rmi(agent(&hostname)?),
            // As the node itself sees it.
            (JvmTransport::RmiOverSsh, Some(endpoint)) => {
                Route::OverSsh { node: node.to_string(), endpoint, agent: agent("127.0.0.1")? }
            }
            (JvmTransport::RmiOverSsh, None) => return Err(TargetError::NoProfile(node.clone()).into()),
            (JvmTransport::Jolokia, _) => Route::Jolokia(jolokia_url(&profile, &hostname)),
        };
        let trust_store = trust_store.unwrap_or_default();
        Ok(Address { route, credentials, tls: profile.tls, trust_store })
    }
}

fn jolokia_url(profile: &JvmProfile, hostname: &str) -> String {
    let host = if hostname.contains(':') && !hostname.starts_with('[') {
        format!("[{hostname}]")
    } else {
        hostname.to_string()
    };
    match &profile.url {
        Some(url) => url.replace("{host}", &host),
        None => {
            let scheme = if profile.tls { "https" } else { "http" };
            format!("{scheme}://{host}:{}/jolokia/", profile.port.unwrap_or(0))
        }
    }
}

fn look<'a>(
    state: &'a State,
    node: &Name,
    jvm: &Name,
) -> Result<(Origin, &'a str, &'a JvmProfile), JvmError> {
    let known = state.node(node).ok_or_else(|| JvmError::NoNode(node.clone()))?;
    let profile = Some(jvm).filter(|jvm| known.jvms.contains(jvm)).and_then(|jvm| state.jvm_profile(jvm));
    let profile = profile.ok_or_else(|| JvmError::NoJvm(node.clone(), jvm.clone()))?;
    let mut origin = Vec::with_capacity(5);
    let mut add = |kind, name: &Name| {
        let meta = state.object(kind, name).map(|object| (object.meta.uid, object.meta.version));
        origin.push(meta.unwrap_or((u64::MAX, u64::MAX)));
    };
    add(Kind::Node, node);
    add(Kind::JvmProfile, jvm);
    let values = [&profile.password, &profile.trust_store, &profile.trust_store_password];
    for value in values.into_iter().flatten() {
        match value {
            Value::Inline(_) => {}
            Value::Secret(name) => add(Kind::Secret, name),
            Value::File(name) => add(Kind::File, name),
        }
    }
    Ok((origin, &known.hostname, profile))
}
