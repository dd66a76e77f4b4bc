use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Action, Cluster, Counter, File, JvmProfile, MaintenanceWindow, Node, Secret, SshProfile, Timestamp,
    Token, Trigger, User,
};

/// A kind of configuration object. The order is the stored one: append only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// [`Cluster`]
    Cluster,
    /// [`Node`]
    Node,
    /// [`SshProfile`]
    SshProfile,
    /// [`Counter`]
    Counter,
    /// [`Trigger`]
    Trigger,
    /// [`Action`]
    Action,
    /// [`File`]
    File,
    /// [`Secret`]
    Secret,
    /// [`User`]
    User,
    /// [`Token`]
    Token,
    /// [`MaintenanceWindow`]
    MaintenanceWindow,
    /// [`JvmProfile`]
    JvmProfile,
}

impl Kind {
    /// Every kind, in stored order.
    pub const ALL: [Kind; 12] = [
        Kind::Cluster,
        Kind::Node,
        Kind::SshProfile,
        Kind::Counter,
        Kind::Trigger,
        Kind::Action,
        Kind::File,
        Kind::Secret,
        Kind::User,
        Kind::Token,
        Kind::MaintenanceWindow,
        Kind::JvmProfile,
    ];

    /// The name in documents: `ssh-profile`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Cluster => "cluster",
            Kind::Node => "node",
            Kind::SshProfile => "ssh-profile",
            Kind::Counter => "counter",
            Kind::Trigger => "trigger",
            Kind::Action => "action",
            Kind::File => "file",
            Kind::Secret => "secret",
            Kind::User => "user",
            Kind::Token => "token",
            Kind::MaintenanceWindow => "maintenance-window",
            Kind::JvmProfile => "jvm-profile",
        }
    }

    /// The name in URLs: `ssh-profiles`.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Cluster => "clusters",
            Kind::Node => "nodes",
            Kind::SshProfile => "ssh-profiles",
            Kind::Counter => "counters",
            Kind::Trigger => "triggers",
            Kind::Action => "actions",
            Kind::File => "files",
            Kind::Secret => "secrets",
            Kind::User => "users",
            Kind::Token => "tokens",
            Kind::MaintenanceWindow => "maintenance-windows",
            Kind::JvmProfile => "jvm-profiles",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an object says, by kind. Boxed variants are the large ones.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Spec {
    /// A cluster.
    Cluster(Cluster),
    /// A node.
    Node(Node),
    /// An SSH profile.
    SshProfile(Box<SshProfile>),
    /// A counter.
    Counter(Box<Counter>),
    /// A trigger.
    Trigger(Box<Trigger>),
    /// An action.
    Action(Box<Action>),
    /// A file.
    File(File),
    /// A secret.
    Secret(Secret),
    /// A user.
    User(User),
    /// A token.
    Token(Token),
    /// A maintenance window.
    MaintenanceWindow(MaintenanceWindow),
    /// A JVM profile.
    JvmProfile(Box<JvmProfile>),
}

impl Spec {
    /// The kind this is the content of.
    pub fn kind(&self) -> Kind {
        match self {
            Spec::Cluster(_) => Kind::Cluster,
            Spec::Node(_) => Kind::Node,
            Spec::SshProfile(_) => Kind::SshProfile,
            Spec::Counter(_) => Kind::Counter,
            Spec::Trigger(_) => Kind::Trigger,
            Spec::Action(_) => Kind::Action,
            Spec::File(_) => Kind::File,
            Spec::Secret(_) => Kind::Secret,
            Spec::User(_) => Kind::User,
            Spec::Token(_) => Kind::Token,
            Spec::MaintenanceWindow(_) => Kind::MaintenanceWindow,
            Spec::JvmProfile(_) => Kind::JvmProfile,
        }
    }
}

/// What every object carries beside its content.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Grows with each change of the object, starting at 1; its ETag.
    pub version: u64,
    /// The log index that created it: tells an object from a later one of the same name.
    pub uid: u64,
    /// When it was created, on the replicated wall clock.
    pub created: Timestamp,
    /// When it was last changed, on the replicated wall clock.
    pub updated: Timestamp,
    /// At most 64 pairs, keys to 63 bytes and values to 255.
    pub labels: BTreeMap<String, String>,
    /// At most 4 KiB.
    pub description: String,
}

/// A configuration object.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Object {
    /// Version, times, labels.
    pub meta: Meta,
    /// Content.
    pub spec: Spec,
}
