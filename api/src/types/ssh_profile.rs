use std::fmt;

use rscaler_raft::model::{self, Kind, Name};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Document, Text};

/// How to log in to nodes over SSH.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SshProfile {
    /// The account on the node.
    pub user: String,
    /// The port where the node names none.
    #[serde(default = "default_port")]
    #[schema(default = 22)]
    pub port: u16,
    /// A private key, OpenSSH or PEM: ed25519, ECDSA or RSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text>,
    /// Opens an encrypted key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Text>,
    /// For password authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Text>,
    /// Which host keys are trusted. A key that differs from the recorded one is always refused.
    #[serde(default)]
    pub host_key: HostKeyPolicy,
    /// The node through which connections are made; its own profile may name another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jump: Option<Name>,
    /// Given to sudo where it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_password: Option<Text>,
}

fn default_port() -> u16 {
    22
}

impl Document for SshProfile {
    const KIND: Kind = Kind::SshProfile;
}

/// Which host key of a node is trusted: `strict`, `accept-new` or `{pinned: "ssh-ed25519 AAAA..."}`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HostKeyPolicy {
    /// Only a key that was recorded before.
    #[default]
    Strict,
    /// The first key seen is recorded.
    AcceptNew,
    /// One of these.
    Pinned(Vec<String>),
}

impl Serialize for HostKeyPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            HostKeyPolicy::Strict => serializer.serialize_str("strict"),
            HostKeyPolicy::AcceptNew => serializer.serialize_str("accept-new"),
            HostKeyPolicy::Pinned(keys) => match keys.as_slice() {
                [key] => serializer.collect_map([("pinned", key)]),
                _ => serializer.collect_map([("pinned", keys)]),
            },
        }
    }
}

/// One key, or several.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a public key such as \"ssh-ed25519 AAAA...\", or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Keys, E> {
                Ok(Keys(vec![text.trim().to_string()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = list.next_element::<String>()? {
                    keys.push(key.trim().to_string());
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_any(KeysVisitor)
    }
}

impl<'de> Deserialize<'de> for HostKeyPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostKeyPolicy, D::Error> {
        struct PolicyVisitor;
        impl<'de> Visitor<'de> for PolicyVisitor {
            type Value = HostKeyPolicy;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of strict, accept-new, {pinned: \"ssh-ed25519 AAAA...\"}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HostKeyPolicy, E> {
                match text {
                    "strict" => Ok(HostKeyPolicy::Strict),
                    "accept-new" => Ok(HostKeyPolicy::AcceptNew),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HostKeyPolicy, A::Error> {
                let mut keys = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "pinned" {
                        return Err(de::Error::unknown_field(&key, &["pinned"]));
                    }
                    keys = Some(map.next_value::<Keys>()?.0);
                }
                keys.map(HostKeyPolicy::Pinned).ok_or_else(|| de::Error::missing_field("pinned"))
            }
        }
        deserializer.deserialize_any(PolicyVisitor)
    }
}

impl PartialSchema for HostKeyPolicy {
    fn schema() -> RefOr<Schema> {
        let key = || ObjectBuilder::new().schema_type(Type::String);
        let pinned = OneOfBuilder::new().item(key()).item(ArrayBuilder::new().items(key()));
        OneOfBuilder::new()
            .item(key().enum_values(Some(["strict", "accept-new"])))
            .item(ObjectBuilder::new().property("pinned", pinned).required("pinned"))
            .default(Some(serde_json::json!("strict")))
            .description(Some("Which host key is trusted: only recorded ones, the first seen too, or these."))
            .into()
    }
}

impl ToSchema for HostKeyPolicy {}

impl From<SshProfile> for model::SshProfile {
    fn from(profile: SshProfile) -> Self {
        model::SshProfile {
            user: profile.user,
            port: profile.port,
            key: profile.key.map(Into::into),
            passphrase: profile.passphrase.map(Into::into),
            password: profile.password.map(Into::into),
            host_key: match profile.host_key {
                HostKeyPolicy::Strict => model::HostKeyPolicy::Strict,
                HostKeyPolicy::AcceptNew => model::HostKeyPolicy::AcceptNew,
                HostKeyPolicy::Pinned(keys) => model::HostKeyPolicy::Pinned(keys),
            },
            jump: profile.jump,
            sudo_password: profile.sudo_password.map(Into::into),
        }
    }
}

impl From<&model::SshProfile> for SshProfile {
    fn from(profile: &model::SshProfile) -> Self {
        SshProfile {
            user: profile.user.clone(),
            port: profile.port,
            key: profile.key.as_ref().map(Into::into),
            passphrase: profile.passphrase.as_ref().map(Into::into),
            password: profile.password.as_ref().map(Into::into),
            host_key: match &profile.host_key {
                model::HostKeyPolicy::Strict => HostKeyPolicy::Strict,
                model::HostKeyPolicy::AcceptNew => HostKeyPolicy::AcceptNew,
                model::HostKeyPolicy::Pinned(keys) => HostKeyPolicy::Pinned(keys.clone()),
            },
            jump: profile.jump.clone(),
            sudo_password: profile.sudo_password.as_ref().map(Into::into),
        }
    }
}
