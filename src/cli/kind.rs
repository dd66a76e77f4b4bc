//! Kinds of objects: what they are called, the columns people look at, and the documents they are.

use clap::ValueEnum;
use serde_json::Value;

use super::output::{Column, ago, cell, field};

/// A kind, in the singular or the plural.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    #[value(alias = "cluster")]
    Clusters,
    #[value(alias = "node")]
    Nodes,
    #[value(alias = "ssh-profile")]
    SshProfiles,
    #[value(alias = "jvm-profile")]
    JvmProfiles,
    #[value(alias = "counter")]
    Counters,
    #[value(alias = "trigger")]
    Triggers,
    #[value(alias = "action")]
    Actions,
    #[value(alias = "file")]
    Files,
    #[value(alias = "secret")]
    Secrets,
    #[value(alias = "user")]
    Users,
    #[value(alias = "token")]
    Tokens,
    #[value(alias = "maintenance-window")]
    MaintenanceWindows,
}

impl Kind {
    /// As URLs have it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Kind::Clusters => "clusters",
            Kind::Nodes => "nodes",
            Kind::SshProfiles => "ssh-profiles",
            Kind::JvmProfiles => "jvm-profiles",
            Kind::Counters => "counters",
            Kind::Triggers => "triggers",
            Kind::Actions => "actions",
            Kind::Files => "files",
            Kind::Secrets => "secrets",
            Kind::Users => "users",
            Kind::Tokens => "tokens",
            Kind::MaintenanceWindows => "maintenance-windows",
        }
    }

    /// As documents have it.
    pub(crate) fn singular(self) -> &'static str {
        self.path().strip_suffix('s').unwrap_or(self.path())
    }

    /// The columns people look at.
    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Kind::Clusters => &[("name", name), ("description", |i| field(i, "description")), ("age", age)],
            Kind::Nodes => &[
                ("name", name),
                ("cluster", |i| field(i, "cluster")),
                ("hostname", |i| field(i, "hostname")),
                ("port", |i| field(i, "port")),
                ("ssh profile", |i| field(i, "ssh_profile")),
                ("jvms", |i| cell(&i["jvms"])),
                ("age", age),
            ],
            Kind::SshProfiles => &[
                ("name", name),
                ("user", |i| field(i, "user")),
                ("port", |i| field(i, "port")),
                ("host key", |i| field(i, "host_key")),
                ("jump", |i| field(i, "jump")),
            ],
            Kind::JvmProfiles => &[
                ("name", name),
                ("transport", |i| field(i, "transport")),
                ("port", |i| field(i, "port")),
                ("url", |i| field(i, "url")),
                ("user", |i| field(i, "user")),
                ("tls", |i| field(i, "tls")),
            ],
            Kind::Counters => &[
                ("name", name),
                ("type", |i| field(i, "type")),
                ("interval", |i| field(i, "interval")),
                ("unit", |i| field(i, "unit")),
                ("clusters", |i| field(i, "clusters")),
                ("parse", |i| field(i, "parse")),
            ],
            Kind::Triggers => &[
                ("name", name),
                ("cluster", |i| field(i, "cluster")),
                ("when", when),
                ("for", |i| field(i, "for")),
                ("enabled", |i| field(i, "enabled")),
            ],
            Kind::Actions => &[
                ("name", name),
                ("type", |i| field(i, "type")),
                ("timeout", |i| field(i, "timeout")),
                ("description", |i| field(i, "description")),
            ],
            Kind::Users => &[("name", name), ("role", |i| field(i, "role")), ("age", age)],
            Kind::Tokens => &[
                ("name", name),
                ("role", |i| field(i, "role")),
                ("expires", |i| field(i, "expires")),
                ("age", age),
            ],
            Kind::MaintenanceWindows => &[
                ("name", name),
                ("cluster", |i| field(i, "cluster")),
                ("node", |i| field(i, "node")),
                ("from", |i| field(i, "from")),
                ("to", |i| field(i, "to")),
                ("reason", |i| field(i, "reason")),
            ],
            Kind::Files | Kind::Secrets => {
                &[("name", name), ("version", |i| field(i, "version")), ("age", age)]
            }
        }
    }
}

fn name(item: &Value) -> String {
    field(item, "name")
}

fn age(item: &Value) -> String {
    ago(&item["created"])
}

fn when(item: &Value) -> String {
    let conditions = item["when"].as_array().into_iter().flatten();
    let shown: Vec<String> = conditions
        .map(|c| format!("{} {} {}", field(c, "counter"), field(c, "op"), field(c, "threshold")))
        .collect();
    let word = if item["match"] == "all" { " and " } else { " or " };
    shown.join(word)
}

/// An object as a document: with its kind, in the order in which people write it.
pub(crate) fn document(kind: Kind, object: &Value) -> serde_norway::Mapping {
    const FIRST: [&str; 3] = ["name", "description", "labels"];
    const LAST: [&str; 5] = ["bytes", "sha256", "version", "created", "updated"];
    let mut document = serde_norway::Mapping::new();
    document.insert("kind".into(), kind.singular().into());
    let Some(fields) = object.as_object() else { return document };
    let between = fields.keys().map(String::as_str).filter(|key| !FIRST.contains(key) && !LAST.contains(key));
    for key in FIRST.into_iter().chain(between).chain(LAST) {
        if let Some(value) = fields.get(key)
            && let Ok(value) = serde_norway::to_value(value)
        {
            document.insert(key.into(), value);
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_begins_with_kind_and_name() {
        let object = json!({"cluster": "web", "name": "web01", "version": 3, "hostname": "h"});
        let keys: Vec<String> = document(Kind::Nodes, &object)
            .keys()
            .filter_map(|key| key.as_str().map(str::to_string))
            .collect();
        assert_eq!(keys, ["kind", "name", "cluster", "hostname", "version"]);
    }
}
