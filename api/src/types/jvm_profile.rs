use rscaler_raft::model::{self, Kind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::variants::same_variants;
use super::{Document, Text};

/// How to reach a JVM of a node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JvmProfile {
    /// The port of the JMX agent, or of Jolokia, on the node. Give this or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 9010)]
    pub port: Option<u16>,
    /// Where it is, in full: `service:jmx:rmi:///jndi/rmi://HOST:PORT/jmxrmi`, or Jolokia's `http://HOST:PORT/jolokia`.
    /// `{host}` in it stands for the node's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// For logging in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Text>,
    /// Whether connections are encrypted, and the JVM has to show a certificate that is trusted.
    #[serde(default)]
    pub tls: bool,
    /// Which certificates are trusted: PEM, PKCS #12 or a Java key store (JKS). What Java or, for Jolokia, the system trusts where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_store: Option<Text>,
    /// For opening the trust store, where it is PKCS #12 or JKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_store_password: Option<Text>,
    /// How it is spoken to.
    #[serde(default)]
    pub transport: JvmTransport,
}

impl Document for JvmProfile {
    const KIND: Kind = Kind::JvmProfile;
}

/// How a JVM is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JvmTransport {
    /// JMX remoting over RMI. The collecting peer needs a Java runtime.
    #[default]
    Rmi,
    /// The same through the node's SSH connection: only its port need be open, and a wrong `java.rmi.server.hostname` does no harm.
    RmiOverSsh,
    /// Jolokia: JSON over HTTP. No Java is needed at any peer.
    Jolokia,
}

same_variants! {
    JvmTransport { Rmi, RmiOverSsh, Jolokia }
}

impl From<JvmProfile> for model::JvmProfile {
    fn from(profile: JvmProfile) -> Self {
        let JvmProfile { port, url, user, password, tls, trust_store, trust_store_password, transport } =
            profile;
        model::JvmProfile {
            port,
            url,
            user,
            password: password.map(Into::into),
            tls,
            trust_store: trust_store.map(Into::into),
            trust_store_password: trust_store_password.map(Into::into),
            transport: transport.into(),
        }
    }
}

impl From<&model::JvmProfile> for JvmProfile {
    fn from(profile: &model::JvmProfile) -> Self {
        let profile = profile.clone();
        let model::JvmProfile {
            port,
            url,
            user,
            password,
            tls,
            trust_store,
            trust_store_password,
            transport,
        } = profile;
        JvmProfile {
            port,
            url,
            user,
            password: password.as_ref().map(Into::into),
            tls,
            trust_store: trust_store.as_ref().map(Into::into),
            trust_store_password: trust_store_password.as_ref().map(Into::into),
            transport: transport.into(),
        }
    }
}
