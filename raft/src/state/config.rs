//! Configuration objects: changed all at once or not at all, with their references intact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Notice, State, validate};
use crate::command::{Change, Changed, Effect, Expect, FieldError, Outcome, Rejection, RejectionKind, Reply};
use crate::model::{
    Actor, ClusterSelector, Counter, EventKind, HostKeyPolicy, JvmProfile, Kind, MaintenanceWindow, Meta,
    Name, Node, Object, Role, Spec, SshProfile, Token, Trigger,
};

/// Changes in one command.
const CHANGES_MAX: usize = 10_000;
/// Host keys kept for one node.
const HOST_KEYS_MAX: usize = 8;

/// An object before a change; absent where it is new.
pub type Before = Option<Arc<Object>>;
/// An object after a change; absent where it was deleted.
pub type After = Option<Arc<Object>>;

/// What changes would do, without doing it.
#[derive(Clone, PartialEq, Debug)]
pub struct Preview {
    /// The effect of each change, in order.
    pub changed: Vec<Changed>,
    /// Each object before and after, in the same order.
    pub objects: Vec<(Before, After)>,
}

/// Objects as they would be: those there are, and what the changes so far make of them.
pub(super) struct Draft<'a> {
    state: &'a State,
    changed: BTreeMap<(Kind, Name), Option<Arc<Object>>>,
}

impl Draft<'_> {
    pub(super) fn get(&self, kind: Kind, name: &Name) -> Option<&Arc<Object>> {
        match self.changed.get(&(kind, name.clone())) {
            Some(changed) => changed.as_ref(),
            None => self.state.objects.get(&(kind, name.clone())),
        }
    }

    pub(super) fn spec(&self, kind: Kind, name: &Name) -> Option<&Spec> {
        self.get(kind, name).map(|object| &object.spec)
    }

    fn all(&self) -> impl Iterator<Item = (&(Kind, Name), &Arc<Object>)> {
        let kept = self.state.objects.iter().filter(|(key, _)| !self.changed.contains_key(*key));
        let changed = self.changed.iter().filter_map(|(key, object)| object.as_ref().map(|o| (key, o)));
        kept.chain(changed)
    }
}

impl State {
    pub(super) fn configure(&mut self, index: u64, actor: &Actor, changes: &[Change]) -> Outcome {
        let (preview, keys) = self.draft(index, changes)?;
        let of_java = keys.iter().any(|(kind, _)| matches!(kind, Kind::Node | Kind::JvmProfile));
        for ((key, changed), (before, after)) in keys.into_iter().zip(&preview.changed).zip(&preview.objects)
        {
            if changed.effect != Effect::Unchanged {
                self.put_object(actor, &key, before.as_ref(), after.as_ref());
            }
        }
        self.settle_triggers();
        self.rebalance();
        if of_java {
            self.reconsider_java();
        }
        self.dispatch();
        Ok(Reply::Configured(preview.changed))
    }

    /// What `changes` would do now.
    ///
    /// # Errors
    /// The [`Rejection`] that committing them would meet.
    pub fn preview(&self, changes: &[Change]) -> Result<Preview, Rejection> {
        self.draft(0, changes).map(|(preview, _)| preview)
    }

    fn draft(&self, index: u64, changes: &[Change]) -> Result<(Preview, Vec<(Kind, Name)>), Rejection> {
        if changes.len() > CHANGES_MAX {
            return Err(State::too_many(format!("at most {CHANGES_MAX} objects can be changed at once")));
        }
        let mut draft = Draft { state: self, changed: BTreeMap::new() };
        let mut preview = Preview { changed: Vec::new(), objects: Vec::new() };
        let mut keys = Vec::new();
        for change in changes {
            let (key, expect) = match change {
                Change::Put { name, spec, expect, .. } => ((spec.kind(), name.clone()), *expect),
                Change::Delete { kind, name, expect } => ((*kind, name.clone()), *expect),
            };
            if draft.changed.contains_key(&key) {
                return Err(Rejection::conflict(format!("{} `{}` is changed twice at once", key.0, key.1)));
            }
            let before = self.objects.get(&key).map(Arc::clone);
            check_expectation(&key, before.as_deref(), expect)?;
            let (after, effect) = match change {
                Change::Put { spec, labels, description, .. } => {
                    let meta =
                        Meta { labels: labels.clone(), description: description.clone(), ..Meta::default() };
                    self.draft_put(index, before.as_ref(), meta, spec)
                }
                Change::Delete { kind, name, .. } => {
                    if before.is_none() {
                        return Err(Rejection::not_found(kind, name));
                    }
                    (None, Effect::Deleted)
                }
            };
            let version = after.as_ref().or(before.as_ref()).map_or(0, |object| object.meta.version);
            preview.changed.push(Changed { kind: key.0, name: key.1.clone(), effect, version });
            preview.objects.push((before, after.clone()));
            draft.changed.insert(key.clone(), after);
            keys.push(key);
        }
        self.check_draft(&draft, &keys)?;
        Ok((preview, keys))
    }

    fn draft_put(
        &self,
        index: u64,
        before: Option<&Arc<Object>>,
        said: Meta,
        spec: &Spec,
    ) -> (Option<Arc<Object>>, Effect) {
        let now = self.globals.clock.wall;
        match before {
            Some(object)
                if object.spec == *spec
                    && object.meta.labels == said.labels
                    && object.meta.description == said.description =>
            {
                (Some(Arc::clone(object)), Effect::Unchanged)
            }
            Some(object) => {
                let meta = Meta {
                    version: object.meta.version + 1,
                    uid: object.meta.uid,
                    created: object.meta.created,
                    updated: now,
                    ..said
                };
                (Some(Arc::new(Object { meta, spec: spec.clone() })), Effect::Updated)
            }
            None => {
                let meta = Meta { version: 1, uid: index, created: now, updated: now, ..said };
                (Some(Arc::new(Object { meta, spec: spec.clone() })), Effect::Created)
            }
        }
    }

    /// Checks fields and references of what is put, and that nothing refers to what is deleted.
    fn check_draft(&self, draft: &Draft<'_>, keys: &[(Kind, Name)]) -> Result<(), Rejection> {
        let mut errors: Vec<FieldError> = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            if let Some(object) = draft.get(key.0, &key.1) {
                let document = u32::try_from(position).unwrap_or(u32::MAX);
                validate::object(draft, &key.1, object, document, &mut errors);
            }
        }
        if !errors.is_empty() {
            let first = &errors[0];
            let (kind, name) = &keys[first.document as usize];
            let more =
                if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
            return Err(Rejection {
                kind: RejectionKind::Invalid,
                message: format!("{kind} `{name}`: {}: {}{more}", first.pointer, first.detail),
                fields: errors,
            });
        }
        self.check_referrers(draft, keys)?;
        self.check_somebody_rules(draft, keys)
    }

    /// Objects that are not changed must still be right beside those that are.
    fn check_referrers(&self, draft: &Draft<'_>, keys: &[(Kind, Name)]) -> Result<(), Rejection> {
        let gone: BTreeSet<&(Kind, Name)> =
            keys.iter().filter(|key| draft.get(key.0, &key.1).is_none()).collect();
        let counters: BTreeSet<&Name> =
            keys.iter().filter(|key| key.0 == Kind::Counter).map(|key| &key.1).collect();
        // Nodes that can't be logged in to any more: nobody may jump through them.
        let bare: BTreeSet<&Name> = keys
            .iter()
            .filter(|key| matches!(draft.spec(key.0, &key.1), Some(Spec::Node(n)) if n.ssh_profile.is_none()))
            .map(|key| &key.1)
            .collect();
        let jvms = keys.iter().any(|key| key.0 == Kind::JvmProfile);
        if gone.is_empty() && counters.is_empty() && bare.is_empty() && !jvms {
            return Ok(());
        }
        let mut users: BTreeMap<(Kind, Name), Vec<String>> = BTreeMap::new();
        for ((kind, name), object) in draft.all() {
            for (referred, _) in validate::references(&object.spec) {
                if gone.contains(&referred) {
                    users.entry(referred).or_default().push(format!("{kind} `{name}`"));
                }
            }
            if let Spec::Node(node) = &object.spec
                && jvms
                && let Some(jvm) = validate::jvm_out_of_reach(draft, node)
            {
                return Err(Rejection::conflict(format!(
                    "jvm-profile `{jvm}` goes over SSH, and node `{name}`, which has such a JVM, has no ssh_profile"
                )));
            }
            if let Spec::SshProfile(profile) = &object.spec
                && let Some(jump) = profile.jump.as_ref().filter(|jump| bare.contains(jump))
            {
                return Err(Rejection::conflict(format!(
                    "ssh-profile `{name}` jumps through node `{jump}`, which needs an ssh_profile for that"
                )));
            }
            if let Spec::Trigger(trigger) = &object.spec
                && let Some(condition) = trigger.conditions.iter().find(|c| {
                    counters.contains(&c.counter)
                        && !validate::is_collected(draft, &c.counter, &trigger.cluster)
                })
                && draft.get(Kind::Counter, &condition.counter).is_some()
            {
                return Err(Rejection::conflict(format!(
                    "trigger `{name}` reads counter `{}` on cluster `{}`, where it would not be collected any more",
                    condition.counter, trigger.cluster
                )));
            }
        }
        let Some(((kind, name), by)) = users.into_iter().next() else { return Ok(()) };
        let shown: Vec<&str> = by.iter().take(10).map(String::as_str).collect();
        let more = if by.len() > shown.len() {
            format!(" and {} more", by.len() - shown.len())
        } else {
            String::new()
        };
        Err(Rejection::conflict(format!(
            "{kind} `{name}` is in use by {}{more}: change or delete them first, or in the same apply",
            shown.join(", ")
        )))
    }

    /// Somebody must be left who may do everything.
    fn check_somebody_rules(&self, draft: &Draft<'_>, keys: &[(Kind, Name)]) -> Result<(), Rejection> {
        if !keys.iter().any(|key| matches!(key.0, Kind::User | Kind::Token)) {
            return Ok(());
        }
        let rules = |spec: &Spec| match spec {
            Spec::User(user) => user.role == Role::Admin,
            Spec::Token(token) => token.role == Role::Admin && token.expires.is_none(),
            _ => false,
        };
        let before = self.objects.iter().any(|(_, object)| rules(&object.spec));
        let after = draft.all().any(|(_, object)| rules(&object.spec));
        if before && !after {
            return Err(Rejection::conflict(
                "no user or lasting token with role admin would be left: nobody could manage this control plane",
            ));
        }
        Ok(())
    }

    fn put_object(
        &mut self,
        actor: &Actor,
        key: &(Kind, Name),
        before: Option<&Arc<Object>>,
        after: Option<&Arc<Object>>,
    ) {
        let (kind, name) = key;
        if let Some(before) = before {
            self.unindex_object(name, before);
        }
        let event = match (before, after) {
            (_, None) => EventKind::Deleted(*kind, name.clone()),
            (None, Some(_)) => EventKind::Created(*kind, name.clone()),
            (Some(_), Some(_)) => EventKind::Updated(*kind, name.clone()),
        };
        let did = match event {
            EventKind::Deleted(..) => "deleted",
            EventKind::Created(..) => "created",
            _ => "changed",
        };
        match after {
            Some(object) => {
                self.index_object(name, object);
                self.objects.insert(key.clone(), (**object).clone());
                if let Some(before) = before {
                    self.keep_file_version(name, before);
                }
            }
            None => {
                self.objects.remove(key);
                self.forget_object(*kind, name);
            }
        }
        self.object_changed(key, before, after);
        self.record(actor.clone(), event, format!("{kind} `{name}` was {did}"));
        self.notify(Notice::Object(*kind, name.clone()));
    }

    /// Deletes what belongs to an object that is gone.
    fn forget_object(&mut self, kind: Kind, name: &Name) {
        match kind {
            Kind::Node => {
                self.host_keys.remove(name);
                self.forget_checks(|(node, _)| node == name);
                self.series.remove_node(name.as_str());
            }
            Kind::Counter => {
                self.forget_checks(|(_, counter)| counter == name);
                self.series.remove_counter(name.as_str());
            }
            Kind::File => self.forget_file_versions(name),
            _ => {}
        }
    }

    pub(super) fn index_object(&mut self, name: &Name, object: &Object) {
        match &object.spec {
            Spec::Node(node) => {
                self.indexes.nodes.entry(node.cluster.clone()).or_default().insert(name.clone());
            }
            Spec::Token(token) => {
                self.indexes.tokens.insert(token.hash, name.clone());
            }
            Spec::Trigger(trigger) => {
                for condition in &trigger.conditions {
                    let readers = self.indexes.triggers.entry(condition.counter.clone()).or_default();
                    readers.insert(name.clone());
                }
            }
            _ => {}
        }
    }

    fn unindex_object(&mut self, name: &Name, object: &Object) {
        match &object.spec {
            Spec::Node(node) => {
                if let Some(nodes) = self.indexes.nodes.get_mut(&node.cluster) {
                    nodes.remove(name);
                    if nodes.is_empty() {
                        self.indexes.nodes.remove(&node.cluster);
                    }
                }
            }
            Spec::Token(token) => {
                self.indexes.tokens.remove(&token.hash);
            }
            Spec::Trigger(trigger) => {
                for condition in &trigger.conditions {
                    if let Some(readers) = self.indexes.triggers.get_mut(&condition.counter) {
                        readers.remove(name);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn record_host_key(&mut self, node: &Name, key: &str) -> Outcome {
        if self.node(node).is_none() {
            return Err(Rejection::not_found("node", node));
        }
        if let Some(keys) = self.host_keys.get(node)
            && !keys.is_empty()
        {
            return Ok(Reply::HostKeys((**keys).clone()));
        }
        let keys = vec![key.to_string()];
        self.host_keys.insert(node.clone(), keys.clone());
        self.record(
            Actor::System,
            EventKind::HostKey(node.clone()),
            format!("host key of node `{node}` recorded"),
        );
        self.notify(Notice::HostKeys(node.clone()));
        Ok(Reply::HostKeys(keys))
    }

    pub(super) fn set_host_keys(&mut self, actor: &Actor, node: &Name, keys: &[String]) -> Outcome {
        if self.node(node).is_none() {
            return Err(Rejection::not_found("node", node));
        }
        if keys.len() > HOST_KEYS_MAX || keys.iter().any(|key| key.len() > 4096) {
            return Err(State::too_many(format!("at most {HOST_KEYS_MAX} keys of up to 4096 bytes")));
        }
        let message = if keys.is_empty() {
            self.host_keys.remove(node);
            format!("host key of node `{node}` forgotten")
        } else {
            self.host_keys.insert(node.clone(), keys.to_vec());
            format!("host key of node `{node}` set")
        };
        self.record(actor.clone(), EventKind::HostKey(node.clone()), message);
        self.notify(Notice::HostKeys(node.clone()));
        Ok(Reply::HostKeys(keys.to_vec()))
    }

    /// An object.
    pub fn object(&self, kind: Kind, name: &Name) -> Option<&Arc<Object>> {
        self.objects.get(&(kind, name.clone()))
    }

    /// Objects of a kind, in name order.
    pub fn objects_of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = (&Name, &Arc<Object>)> {
        let first = Name::new("0").expect("`0` follows the grammar of names, and no name is less");
        self.objects
            .range((kind, first)..)
            .take_while(move |((k, _), _)| *k == kind)
            .map(|((_, name), object)| (name, object))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// An object's content.
    pub fn spec(&self, kind: Kind, name: &Name) -> Option<&Spec> {
        self.object(kind, name).map(|object| &object.spec)
    }

    /// A node.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        match self.spec(Kind::Node, name) {
            Some(Spec::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// A counter.
    pub fn counter(&self, name: &Name) -> Option<&Counter> {
        match self.spec(Kind::Counter, name) {
            Some(Spec::Counter(counter)) => Some(counter),
            _ => None,
        }
    }

    /// A trigger.
    pub fn trigger(&self, name: &Name) -> Option<&Trigger> {
        match self.spec(Kind::Trigger, name) {
            Some(Spec::Trigger(trigger)) => Some(trigger),
            _ => None,
        }
    }

    /// An SSH profile.
    pub fn ssh_profile(&self, name: &Name) -> Option<&SshProfile> {
        match self.spec(Kind::SshProfile, name) {
            Some(Spec::SshProfile(profile)) => Some(profile),
            _ => None,
        }
    }

    /// A JVM profile.
    pub fn jvm_profile(&self, name: &Name) -> Option<&JvmProfile> {
        match self.spec(Kind::JvmProfile, name) {
            Some(Spec::JvmProfile(profile)) => Some(profile),
            _ => None,
        }
    }

    /// Maintenance windows.
    pub fn maintenance_windows(&self) -> impl Iterator<Item = (&Name, &MaintenanceWindow)> {
        self.objects_of(Kind::MaintenanceWindow).filter_map(|(name, object)| match &object.spec {
            Spec::MaintenanceWindow(window) => Some((name, window)),
            _ => None,
        })
    }

    /// A cluster's nodes, in name order.
    pub fn nodes_of(&self, cluster: &Name) -> impl Iterator<Item = &Name> {
        self.indexes.nodes.get(cluster).into_iter().flatten()
    }

    /// The counters collected on a cluster, in name order.
    pub fn counters_of(&self, cluster: &Name) -> impl Iterator<Item = (&Name, &Counter)> {
        self.objects_of(Kind::Counter).filter_map(move |(name, object)| match &object.spec {
            Spec::Counter(counter)
                if counter.clusters.iter().any(|c: &ClusterSelector| c.covers(cluster)) =>
            {
                Some((name, &**counter))
            }
            _ => None,
        })
    }

    /// The triggers that read a counter.
    pub fn triggers_on(&self, counter: &Name) -> impl Iterator<Item = &Name> {
        self.indexes.triggers.get(counter).into_iter().flatten()
    }

    /// The token with this hash, if it has not expired.
    pub fn token_by_hash(&self, hash: &[u8; 32]) -> Option<(&Name, &Token)> {
        let name = self.indexes.tokens.get(hash)?;
        match self.spec(Kind::Token, name) {
            Some(Spec::Token(token)) if token.expires.is_none_or(|at| at > self.globals.clock.wall) => {
                Some((name, token))
            }
            _ => None,
        }
    }

    /// The keys recorded for a node's host, in OpenSSH's public form.
    pub fn host_keys(&self, node: &Name) -> Vec<String> {
        self.host_keys.get(node).map_or_else(Vec::new, |keys| (**keys).clone())
    }

    /// The host key policy of a node.
    pub fn host_key_policy(&self, node: &Name) -> Option<&HostKeyPolicy> {
        self.ssh_profile(self.node(node)?.ssh_profile.as_ref()?).map(|profile| &profile.host_key)
    }
}

pub(super) fn check_expectation(
    key: &(Kind, Name),
    before: Option<&Object>,
    expect: Expect,
) -> Result<(), Rejection> {
    let (kind, name) = key;
    match (expect, before) {
        (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => Ok(()),
        (Expect::Absent, Some(_)) => Err(Rejection::conflict(format!("there is a {kind} `{name}` already"))),
        (Expect::Present | Expect::Version(_), None) => Err(Rejection::not_found(kind, name)),
        (Expect::Version(version), Some(object)) if object.meta.version == version => Ok(()),
        (Expect::Version(version), Some(object)) => Err(Rejection::new(
            RejectionKind::VersionMoved,
            format!(
                "{kind} `{name}` is at version {} by now, not {version}: read it again, then change it",
                object.meta.version
            ),
        )),
    }
}
