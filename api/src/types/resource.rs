//! What all configuration objects share, and how a document is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rscaler_raft::command;
use rscaler_raft::model::{Kind, Meta, Name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_path_to_error::Segment;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::Time;

/// What names are made of.
pub(crate) const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9._-]{0,62}$";

/// The fields of one kind of configuration object.
pub trait Document: Serialize + DeserializeOwned + ToSchema + Send + Sync + 'static {
    /// The kind.
    const KIND: Kind;
}

/// A configuration object as it is read: one flat object of `name`, the fields of its kind, and what all carry.
/// `version`, `created` and `updated` are made by the control plane; a write may carry them and they count for nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Resource<T> {
    /// Its name: `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: Name,
    /// At most 64 pairs, keys to 63 bytes and values to 255.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// At most 4 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The fields of its kind.
    #[serde(flatten)]
    pub spec: T,
    /// Grows with each change; its ETag.
    #[serde(default)]
    pub version: u64,
    /// When it was created.
    #[serde(default)]
    pub created: Time,
    /// When it was last changed.
    #[serde(default)]
    pub updated: Time,
}

impl<T> Resource<T> {
    /// Joins what the state holds.
    pub fn new(name: &Name, meta: &Meta, spec: T) -> Resource<T> {
        Resource {
            name: name.clone(),
            labels: meta.labels.clone(),
            description: meta.description.clone(),
            spec,
            version: meta.version,
            created: Time(meta.created),
            updated: Time(meta.updated),
        }
    }

    /// A new object, to be created.
    pub fn draft(name: Name, spec: T) -> Resource<T> {
        Resource::new(&name, &Meta::default(), spec)
    }
}

// By hand: a document is one flat object, which a derived schema would show as `allOf`.
impl<T: Document> PartialSchema for Resource<T> {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let made = |object: ObjectBuilder| object.read_only(true);
        let name = text()
            .pattern(Some(NAME_PATTERN))
            .description(Some("Its name. May be absent where the path says it."));
        let labels = ObjectBuilder::new()
            .additional_properties(Some(text()))
            .description(Some("At most 64 pairs, keys to 63 bytes and values to 255."));
        let common: [(&str, RefOr<Schema>); 7] = [
            (
                "kind",
                text()
                    .enum_values(Some([T::KIND.as_str()]))
                    .description(Some("The kind; needed where many documents are applied."))
                    .into(),
            ),
            ("name", name.into()),
            ("labels", labels.into()),
            ("description", text().description(Some("At most 4 KiB.")).into()),
            (
                "version",
                made(ObjectBuilder::new().schema_type(Type::Integer))
                    .description(Some("Grows with each change; the ETag."))
                    .into(),
            ),
            ("created", made(text()).format(Some(date_time())).into()),
            ("updated", made(text()).format(Some(date_time())).into()),
        ];
        let mut schema = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            for (key, property) in common {
                object.properties.insert(key.to_string(), property);
            }
            object.required.push("name".to_string());
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        schema
    }
}

/// An object as a merge patch changes it: any of its fields, `null` to remove one or to set it to its default.
pub(crate) struct Patch<T>(std::marker::PhantomData<T>);

impl<T: ToSchema> PartialSchema for Patch<T> {
    fn schema() -> RefOr<Schema> {
        let mut schema = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.clear();
            for property in object.properties.values_mut() {
                let null = ObjectBuilder::new().schema_type(Type::Null);
                let either = AnyOfBuilder::new().item(property.clone()).item(null);
                *property = either.into();
            }
        }
        schema
    }
}

impl<T: ToSchema> ToSchema for Patch<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}Patch", T::name()))
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

fn date_time() -> SchemaFormat {
    SchemaFormat::KnownFormat(KnownFormat::DateTime)
}

impl<T: Document> ToSchema for Resource<T> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

/// A page of a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// At most `limit` of them.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; `null` where there is none.
    pub next: Option<String>,
}

impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        let next = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Give this as `cursor` for the next page; null where there is none."));
        ObjectBuilder::new()
            .property("items", ArrayBuilder::new().items(Ref::from_schema_name(T::name())))
            .property("next", next)
            .required("items")
            .required("next")
            .into()
    }
}

impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}List", T::name()))
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// A field with a value that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body: `/when/0/counter`. In a request of many documents it begins with the document's
    /// position, counted from 0.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl FieldError {
    /// Joins its parts.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { pointer: pointer.into(), detail: detail.into() }
    }
}

impl From<command::FieldError> for FieldError {
    fn from(error: command::FieldError) -> FieldError {
        FieldError { pointer: error.pointer, detail: error.detail }
    }
}

/// A document that was read but not yet turned into what the state holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft<T> {
    /// Its name, where it says one.
    pub name: Option<Name>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its description.
    pub description: String,
    /// The fields of its kind.
    pub spec: T,
}

/// What all kinds carry, and fields that a write may repeat as it read them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    kind: Option<String>,
    name: Option<Name>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "version")]
    _version: serde::de::IgnoredAny,
    #[serde(default, rename = "created")]
    _created: serde::de::IgnoredAny,
    #[serde(default, rename = "updated")]
    _updated: serde::de::IgnoredAny,
}

const COMMON: [&str; 7] = ["kind", "name", "labels", "description", "version", "created", "updated"];

/// Reads a document of one kind. `kind` may be absent or must be right.
///
/// # Errors
/// What is wrong with it, with a pointer to the field.
pub fn read_document<T: Document>(body: Value) -> Result<Draft<T>, Vec<FieldError>> {
    let Value::Object(mut fields) = body else {
        return Err(vec![FieldError::new(
            "",
            format!("a document is an object, such as {{\"name\": ...}}, not {}", what(&body)),
        )]);
    };
    let common: serde_json::Map<String, Value> =
        COMMON.iter().filter_map(|key| fields.remove_entry(*key)).collect();
    let mut errors = Vec::new();
    let common = read::<Common>(Value::Object(common)).map_err(|error| errors.push(error)).ok();
    if let Some(kind) = common.as_ref().and_then(|common| common.kind.as_deref())
        && kind != T::KIND.as_str()
    {
        errors.push(FieldError::new("/kind", format!("this is a `{kind}`, not a `{}`", T::KIND)));
    }
    let spec = read::<T>(Value::Object(fields)).map_err(|error| errors.push(error)).ok();
    match (common, spec) {
        (Some(common), Some(spec)) if errors.is_empty() => {
            let Common { name, labels, description, .. } = common;
            Ok(Draft { name, labels, description, spec })
        }
        _ => Err(errors),
    }
}

fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads a JSON value strictly.
///
/// # Errors
/// The first thing that is wrong, with a pointer to the field.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path().iter() {
            match segment {
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Map { key } => push_key(&mut pointer, key),
                // A variant's name is not a level of the document where the enum is written as text or tagged.
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let detail = error.into_inner().to_string();
        if let Some(field) = detail.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            push_key(&mut pointer, field);
            return FieldError::new(pointer, "this field is needed".to_string());
        }
        if let Some(field) = detail.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && !pointer.ends_with(&format!("/{field}"))
        {
            push_key(&mut pointer, field);
        }
        FieldError::new(pointer, detail)
    })
}

fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::types::{Action, Counter, Node, SshProfile, Trigger};

    fn errors<T: Document + std::fmt::Debug>(body: Value) -> Vec<(String, String)> {
        let errors = read_document::<T>(body).unwrap_err();
        errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
    }

    #[test]
    fn a_document_may_repeat_what_was_read() {
        let body = json!({"kind": "node", "name": "web01", "cluster": "web", "hostname": "h", "labels": {"a": "b"},
            "version": 3, "created": "2026-02-03T04:05:06Z", "updated": "2026-02-03T04:05:06Z"});
        let draft = read_document::<Node>(body).unwrap();
        assert_eq!(draft.name.unwrap().as_str(), "web01");
        assert_eq!(draft.labels["a"], "b");
        assert_eq!(draft.spec.hostname, "h");
    }

    #[test]
    fn each_mistake_is_pointed_at() {
        let node = json!({"name": "web01", "cluster": "web", "hostname": "h"});
        let with = |key: &str, value: Value| {
            let mut node = node.clone();
            node[key] = value;
            errors::<Node>(node)
        };
        for (found, pointer, says) in [
            (with("hostnam", json!("x")), "/hostnam", "unknown field `hostnam`"),
            (with("port", json!("22")), "/port", "invalid type: string \"22\""),
            (with("port", json!(70000)), "/port", "70000"),
            (with("name", json!("Web 01")), "/name", "is not a name"),
            (with("kind", json!("cluster")), "/kind", "this is a `cluster`, not a `node`"),
            (with("labels", json!({"a": 1})), "/labels/a", "expected a string"),
            (with("jvms", json!(["a", 1])), "/jvms/1", "invalid type"),
            (errors::<Node>(json!({"name": "a", "cluster": "web"})), "/hostname", "is needed"),
            (errors::<Node>(json!([])), "", "a document is an object"),
            (
                errors::<Counter>(json!({"name": "c", "type": "ssh", "interval": 10, "clusters": []})),
                "/interval",
                "a duration with its unit",
            ),
            (
                errors::<Counter>(json!({"name": "c", "type": "shh", "clusters": []})),
                "/type",
                "unknown variant `shh`",
            ),
            (
                errors::<Counter>(json!({"name": "c", "type": "ssh", "parse": "numbers", "clusters": []})),
                "/parse",
                "number, pairs, json, nagios, prometheus",
            ),
            (
                errors::<Trigger>(json!({"name": "t", "cluster": "web", "steps": [],
                    "when": [{"counter": "load1", "op": "=>", "threshold": 4}]})),
                "/when/0/op",
                "unknown variant `=>`",
            ),
            (
                errors::<Trigger>(
                    json!({"name": "t", "cluster": "web", "when": [], "steps": [{"action": "a", "target": "all"}]}),
                ),
                "/steps/0/target",
                "cluster, node, last-node, firing-node",
            ),
            (
                errors::<Action>(
                    json!({"name": "a", "type": "command", "script": "x", "retry": {"attempts": "3"}}),
                ),
                "/retry/attempts",
                "invalid type",
            ),
            (
                errors::<Action>(json!({"name": "a", "type": "command", "script": "x", "max_failures": 25})),
                "/max_failures",
                "a percentage",
            ),
            (
                errors::<Action>(json!({"name": "a", "type": "command", "script": "x", "env": {"A/B": 5}})),
                "/env/A~1B",
                "text (in quotes)",
            ),
            (
                errors::<SshProfile>(json!({"name": "p", "user": "ops", "key": {"sekret": "k"}})),
                "/key/sekret",
                "unknown field `sekret`",
            ),
            (
                errors::<SshProfile>(json!({"name": "p", "user": "ops", "host_key": "lax"})),
                "/host_key",
                "strict, accept-new",
            ),
        ] {
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].0, pointer, "{found:?}");
            assert!(found[0].1.contains(says), "{says}: {found:?}");
        }
    }
}
