//! How a node is reached.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{HostKeyPolicy, Kind, Name, SshProfile, Value};
use rscaler_raft::secrets::Keyring;
use rscaler_raft::state::State;

use super::values::{self, Found, ValueError};
use crate::ssh::{self, Auth, Endpoint, Secret};

/// Jump hosts in a row.
const JUMPS_MAX: usize = 8;
/// Endpoints kept; reaching the bound starts anew.
const CACHED_MAX: usize = 50_000;

/// Why a node can't even be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is no such node.
    #[error("there is no node `{0}`")]
    NoNode(Name),
    /// The node has no SSH profile.
    #[error("node `{0}` has no ssh-profile: it can't be logged in to")]
    NoProfile(Name),
    /// Too many jump hosts.
    #[error("more than {JUMPS_MAX} jump hosts in a row, or they lead in a circle, from node `{0}`")]
    Jumps(Name),
    /// Something that the profile refers to is missing.
    #[error("ssh-profile `{profile}`: {error}")]
    Value {
        /// The profile.
        profile: Name,
        /// What is missing.
        error: ValueError,
    },
}

/// Makes endpoints of nodes, from the state as it is at each call. What was made is kept for as long as none of the
/// objects it came from has changed.
pub struct Targets {
    handle: Handle,
    made: Mutex<HashMap<Name, (Origin, Arc<Endpoint>)>>,
}

/// The versions of all objects that an endpoint was made of, in order: (uid, version).
type Origin = Vec<(u64, u64)>;

/// One server on the way to a node.
struct Hop<'a> {
    host: &'a str,
    port: u16,
    name: &'a Name,
    profile: &'a SshProfile,
}

/// A hop's parts as found under the lock.
struct Parts {
    host: String,
    port: u16,
    user: String,
    profile: Name,
    key: Option<Found>,
    passphrase: Option<Found>,
    password: Option<Found>,
    policy: ssh::HostKeyPolicy,
}

impl Targets {
    /// Endpoints as `handle`'s state has them.
    pub fn new(handle: Handle) -> Targets {
        Targets { handle, made: Mutex::default() }
    }

    /// How `node` is reached now.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn endpoint(&self, node: &Name) -> Result<Arc<Endpoint>, TargetError> {
        enum Look {
            Known(Arc<Endpoint>),
            Make(Origin, Vec<Parts>),
        }
        let look = self.handle.read(|state| {
            let hops = way(state, node)?;
            let origin = origin(state, &hops);
            if let Some((from, endpoint)) = self.made.lock().get(node)
                && *from == origin
            {
                return Ok(Look::Known(Arc::clone(endpoint)));
            }
            let parts = hops.iter().map(|(_, hop)| parts(state, hop)).collect::<Result<_, _>>()?;
            Ok(Look::Make(origin, parts))
        })?;
        let (origin, parts) = match look {
            Look::Known(endpoint) => return Ok(endpoint),
            Look::Make(origin, parts) => (origin, parts),
        };
        let mut jump = None;
        for part in parts.into_iter().rev() {
            jump = Some(Arc::new(part.open(self.handle.keyring(), jump)?));
        }
        let endpoint = jump.ok_or_else(|| TargetError::NoProfile(node.clone()))?;
        let mut made = self.made.lock();
        if made.len() >= CACHED_MAX {
            made.clear();
        }
        made.insert(node.clone(), (origin, Arc::clone(&endpoint)));
        Ok(endpoint)
    }

    /// What sudo on `node` is given where it asks.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn sudo_password(&self, node: &Name) -> Result<Option<Secret>, TargetError> {
        let found = self.handle.read(|state| {
            let (name, profile) = profile_of(state, node)?;
            match &profile.sudo_password {
                None => Ok(None),
                Some(value) => find(state, name, value).map(|found| Some((name.clone(), found))),
            }
        })?;
        match found {
            None => Ok(None),
            Some((profile, found)) => open(found, self.handle.keyring(), &profile).map(Some),
        }
    }
}

fn profile_of<'a>(state: &'a State, node: &Name) -> Result<(&'a Name, &'a SshProfile), TargetError> {
    let known = state.node(node).ok_or_else(|| TargetError::NoNode(node.clone()))?;
    let name = known.ssh_profile.as_ref().ok_or_else(|| TargetError::NoProfile(node.clone()))?;
    let profile = state.ssh_profile(name).ok_or_else(|| TargetError::NoProfile(node.clone()))?;
    Ok((name, profile))
}

/// The node and its jump hosts, the node first.
fn way<'a>(state: &'a State, node: &Name) -> Result<Vec<(Name, Hop<'a>)>, TargetError> {
    let mut hops = Vec::new();
    let mut next = Some(node.clone());
    while let Some(name) = next {
        if hops.len() > JUMPS_MAX {
            return Err(TargetError::Jumps(node.clone()));
        }
        let (profile_name, profile) = profile_of(state, &name)?;
        let known = state.node(&name).ok_or_else(|| TargetError::NoNode(name.clone()))?;
        let port = known.port.unwrap_or(profile.port);
        next = profile.jump.clone();
        hops.push((name, Hop { host: &known.hostname, port, name: profile_name, profile }));
    }
    Ok(hops)
}

fn origin(state: &State, hops: &[(Name, Hop<'_>)]) -> Origin {
    let mut origin = Vec::with_capacity(hops.len() * 3);
    let mut add = |kind, name: &Name| {
        let meta = state.object(kind, name).map(|object| (object.meta.uid, object.meta.version));
        origin.push(meta.unwrap_or((u64::MAX, u64::MAX)));
    };
    for (node, hop) in hops {
        add(Kind::Node, node);
        add(Kind::SshProfile, hop.name);
        let values = [&hop.profile.key, &hop.profile.passphrase, &hop.profile.password];
        for value in values.into_iter().flatten() {
            match value {
                Value::Inline(_) => {}
                Value::Secret(name) => add(Kind::Secret, name),
                Value::File(name) => add(Kind::File, name),
            }
        }
    }
    origin
}

fn find(state: &State, profile: &Name, value: &Value) -> Result<Found, TargetError> {
    values::find(state, value).map_err(|error| TargetError::Value { profile: profile.clone(), error })
}

fn open(found: Found, keyring: &Keyring, profile: &Name) -> Result<Secret, TargetError> {
    let text = found.text(keyring).map_err(|error| TargetError::Value { profile: profile.clone(), error })?;
    Ok(Secret::new(text))
}

fn parts(state: &State, hop: &Hop<'_>) -> Result<Parts, TargetError> {
    let profile = hop.profile;
    let get = |value: &Option<Value>| value.as_ref().map(|v| find(state, hop.name, v)).transpose();
    Ok(Parts {
        host: hop.host.to_string(),
        port: hop.port,
        user: profile.user.clone(),
        profile: hop.name.clone(),
        key: get(&profile.key)?,
        passphrase: get(&profile.passphrase)?,
        password: get(&profile.password)?,
        policy: match &profile.host_key {
            HostKeyPolicy::Strict => ssh::HostKeyPolicy::Strict,
            HostKeyPolicy::AcceptNew => ssh::HostKeyPolicy::AcceptNew,
            HostKeyPolicy::Pinned(keys) => ssh::HostKeyPolicy::Pinned(keys.clone()),
        },
    })
}

impl Parts {
    fn open(self, keyring: &Keyring, jump: Option<Arc<Endpoint>>) -> Result<Endpoint, TargetError> {
        let profile = self.profile;
        let get = |found: Option<Found>| found.map(|found| open(found, keyring, &profile)).transpose();
        // A password file ends in a newline as editors leave it; a password never does. Keys need theirs.
        let line = |secret: Option<Secret>| {
            secret.map(|secret| Secret::new(secret.expose().trim_end_matches(['\r', '\n'])))
        };
        let auth = Auth {
            key_pem: get(self.key)?,
            passphrase: line(get(self.passphrase)?),
            password: line(get(self.password)?),
        };
        Ok(Endpoint { host: self.host, port: self.port, user: self.user, auth, host_key: self.policy, jump })
    }
}

#[cfg(test)]
#[path = "targets_test.rs"]
mod tests;
