use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// MBeans of a JVM, by name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Mbeans {
    /// At most `limit` of them.
    pub items: Vec<Mbean>,
    /// How many match in all.
    pub matched: u64,
    /// Give this as `cursor` for the next page; `null` where there is none.
    pub next: Option<String>,
}

/// An MBean.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Mbean {
    /// Its object name.
    pub name: String,
    /// The part of its name before the colon.
    pub domain: String,
    /// The class that implements it.
    pub class: String,
    /// What it says of itself.
    pub description: String,
    /// In its own order.
    pub attributes: Vec<MbeanAttribute>,
    /// In its own order.
    pub operations: Vec<MbeanOperation>,
}

/// An attribute of an MBean.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MbeanAttribute {
    /// Its name.
    pub name: String,
    /// Its type, as Java names it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the MBean says of it.
    pub description: String,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be set.
    pub writable: bool,
    /// Its present value; composite and tabular data as objects, whose keys with dots between them are a counter's `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub value: Option<Value>,
    /// Why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An operation of an MBean.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MbeanOperation {
    /// Its name.
    pub name: String,
    /// The type of its result, as Java names it.
    pub returns: String,
    /// What the MBean says of it.
    pub description: String,
    /// What it takes.
    pub arguments: Vec<MbeanArgument>,
}

/// An argument of an operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MbeanArgument {
    /// Its name.
    pub name: String,
    /// Its type, as Java names it.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What one peer asks another of a JVM that the other speaks to. JSON, whose fields are only added to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JvmQuestion {
    /// 1.
    pub version: u32,
    /// The node.
    pub node: String,
    /// The JVM profile.
    pub jvm: String,
    /// An object name or a pattern.
    pub pattern: String,
    /// How many MBeans at most.
    pub limit: u32,
    /// Those after this name.
    pub after: String,
    /// Whether attributes are read.
    pub values: bool,
    /// How long it may take.
    pub limit_ms: u32,
}

/// The answer to [`JvmQuestion`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JvmAnswer {
    /// What there is.
    Mbeans(Mbeans),
    /// Why nothing can be told.
    Fault {
        /// `unreachable`, `authentication`, `missing`, `timed-out`, `too-large`, `invalid`, `no-java` or another word.
        kind: String,
        /// In words.
        text: String,
    },
}
