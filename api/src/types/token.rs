use std::fmt;
use std::str::FromStr;

use rscaler_raft::model::Kind;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Document, Role, Span, Time};

/// A bearer token for programs and the command line. Its text is made by the control plane and given once, in the
/// answer that creates it; only a hash is kept.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What its bearer may do.
    pub role: Role,
    /// Until when it works: a time, or how long after its creation. For ever where absent. Reads show the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expiry>,
    /// The token itself: only in the answer that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub token: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("role", &self.role)
            .field("expires", &self.expires)
            .field("token", &"***")
            .finish()
    }
}

impl Document for Token {
    const KIND: Kind = Kind::Token;
}

/// When something ends: `"2026-02-03T04:05:06Z"`, or `"90d"` after it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// At this moment.
    At(Time),
    /// This long after it was made.
    After(Span),
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Expiry, String> {
        if let Ok(span) = text.parse() {
            return Ok(Expiry::After(span));
        }
        text.parse().map(Expiry::At).map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            format!(
                "`{shown}` is neither a duration such as \"90d\" nor a time such as \"2026-02-03T04:05:06Z\""
            )
        })
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Expiry::At(time) => time.serialize(serializer),
            Expiry::After(span) => span.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expiry, D::Error> {
        struct ExpiryVisitor;
        impl Visitor<'_> for ExpiryVisitor {
            type Value = Expiry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"90d\" or a time such as \"2026-02-03T04:05:06Z\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expiry, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(ExpiryVisitor)
    }
}

impl PartialSchema for Expiry {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A moment as RFC 3339, or a duration after the creation."))
            .examples([serde_json::json!("90d")])
            .into()
    }
}

impl ToSchema for Expiry {}
