//! Bodies of many documents: YAML, a JSON array, or one JSON document after the other.

use std::collections::BTreeSet;

use bytes::Bytes;
use rscaler_raft::model::{Kind, Name};
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::error::Problem;
use crate::types::{FieldError, NAME_PATTERN};

const DOCUMENTS_MAX: usize = 10_000;
/// The most values that a body may hold. Each takes some hundred bytes while the body is read, however short it was written.
const VALUES_MAX: usize = 1_000_000;
const YAML: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"];

/// Configuration documents, as the description of the API shows them.
pub(super) enum Documents {}

impl PartialSchema for Documents {
    fn schema() -> RefOr<Schema> {
        let kinds = Kind::ALL.map(Kind::as_str);
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let document = ObjectBuilder::new()
            .property("kind", text().enum_values(Some(kinds)))
            .property("name", text().pattern(Some(NAME_PATTERN)))
            .required("kind")
            .required("name")
            .description(Some("A document: the fields of its kind beside its `kind`."));
        ArrayBuilder::new()
            .items(document)
            .min_items(Some(1))
            .description(Some(
                "Configuration documents, each with its `kind`: YAML (`---` between them), a JSON array, or one JSON \
                 document after the other.",
            ))
            .into()
    }
}

impl ToSchema for Documents {}

/// A document that was read.
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) body: Value,
}

/// Reads a body's documents, each with its kind and name.
pub(super) fn read(media: Option<&str>, body: &Bytes) -> Result<Vec<Wanted>, Problem> {
    identify(parse(media, body)?)
}

/// Takes a body apart into documents. An empty YAML document is none.
fn parse(media: Option<&str>, body: &Bytes) -> Result<Vec<Value>, Problem> {
    let yaml = match media {
        Some("application/json") => false,
        None => true,
        Some(media) if YAML.contains(&media) => true,
        Some(media) => {
            return Err(Problem::media_type(format!(
                "`{media}` is not understood here: send `Content-Type: application/yaml` or application/json"
            )));
        }
    };
    if values_at_most(body) > VALUES_MAX {
        return Err(Problem::too_large(format!(
            "the body has more than {VALUES_MAX} commas, colons and lines: send it in parts, and large files by \
             PUT /api/v1/files/NAME/content"
        )));
    }
    let mut documents = Vec::new();
    if yaml {
        let text = std::str::from_utf8(body)
            .map_err(|error| Problem::malformed(format!("this is not UTF-8: {error}")))?;
        for (position, document) in serde_norway::Deserializer::from_str(text).enumerate() {
            let value = Value::deserialize(document)
                .map_err(|error| Problem::malformed(format!("document {position} is not YAML: {error}")))?;
            match value {
                Value::Null => {}
                Value::Array(items) => documents.extend(items),
                value => documents.push(value),
            }
        }
    } else {
        for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
            match value.map_err(|error| Problem::malformed(format!("this is not JSON: {error}")))? {
                Value::Array(items) => documents.extend(items),
                value => documents.push(value),
            }
        }
    }
    if documents.is_empty() {
        return Err(Problem::malformed("there is no document in the body"));
    }
    if documents.len() > DOCUMENTS_MAX {
        return Err(Problem::too_large(format!("at most {DOCUMENTS_MAX} documents at once")));
    }
    Ok(documents)
}

/// How many values a body can hold, at most: one is ended by a comma, a colon, a line or a bracket. Marks within texts count
/// too, for nothing has been read yet.
fn values_at_most(body: &[u8]) -> usize {
    body.iter().filter(|byte| matches!(byte, b',' | b':' | b'\n' | b'[' | b'{' | b'?')).count()
}

/// Finds each document's kind and name.
fn identify(documents: Vec<Value>) -> Result<Vec<Wanted>, Problem> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::new();
    for (position, body) in documents.into_iter().enumerate() {
        let mut fail =
            |field: &str, detail: String| errors.push(FieldError::new(format!("/{position}{field}"), detail));
        if !body.is_object() {
            fail("", "a document is an object with `kind` and `name`".to_string());
            continue;
        }
        let kind = match body.get("kind").and_then(Value::as_str) {
            None => {
                fail("/kind", format!("say the kind: one of {}", kinds()));
                continue;
            }
            Some(said) => match Kind::ALL.into_iter().find(|kind| kind.as_str() == said) {
                Some(kind) => kind,
                None => {
                    let said: String = said.chars().take(40).collect();
                    fail("/kind", format!("there is no kind `{said}`: it is one of {}", kinds()));
                    continue;
                }
            },
        };
        let name = match body.get("name") {
            None => {
                fail("/name", "this field is needed".to_string());
                continue;
            }
            Some(said) => match Name::new(said.as_str().unwrap_or("")) {
                Ok(name) => name,
                Err(error) => {
                    let detail = if said.is_string() {
                        error.to_string()
                    } else {
                        "a name is text: put it in quotes".to_string()
                    };
                    fail("/name", detail);
                    continue;
                }
            },
        };
        if !seen.insert((kind, name.clone())) {
            fail("/name", format!("{kind} `{name}` is given twice"));
            continue;
        }
        wanted.push(Wanted { kind, name, body });
    }
    if errors.is_empty() { Ok(wanted) } else { Err(Problem::invalid(errors)) }
}

fn kinds() -> String {
    Kind::ALL.map(Kind::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_found_in_yaml_and_json() {
        let yaml = Bytes::from(
            "kind: cluster\nname: a\n---\n---\n- {kind: cluster, name: b}\n- {kind: cluster, name: c}\n",
        );
        assert_eq!(parse(Some("application/yaml"), &yaml).unwrap().len(), 3);
        let json = Bytes::from("[{\"kind\": \"cluster\"}] {\"kind\": \"node\"}");
        assert_eq!(parse(Some("application/json"), &json).unwrap().len(), 2);
        for (media, body, status, says) in [
            (Some("application/json"), "{", 400, "not JSON"),
            (Some("application/yaml"), "a: [", 400, "not YAML"),
            (Some("text/html"), "x", 415, "application/yaml"),
            (None, "---\n", 400, "no document"),
        ] {
            let problem = parse(media, &Bytes::from(body)).unwrap_err();
            assert!(problem.status == status && problem.detail.contains(says), "{body}: {}", problem.detail);
        }
    }

    #[test]
    fn a_body_of_a_million_values_is_refused_before_it_is_read() {
        for (media, body) in [
            ("application/yaml", format!("[{}]", "a,".repeat(VALUES_MAX))),
            ("application/yaml", "- \n".repeat(VALUES_MAX + 1)),
            ("application/json", format!("[{}0]", "0,".repeat(VALUES_MAX))),
        ] {
            let problem = parse(Some(media), &Bytes::from(body)).unwrap_err();
            assert_eq!(problem.status, 413, "{}", problem.detail);
        }
    }

    #[test]
    fn yaml_that_unfolds_without_end_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let before = level - 1;
            let many = vec![format!("*a{before}"); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{many}]\n"));
        }
        assert_eq!(parse(None, &Bytes::from(bomb)).unwrap_err().status, 400);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>, yaml: bool) {
            let media = if yaml { "application/yaml" } else { "application/json" };
            let _ = read(Some(media), &Bytes::from(body));
        }
    }
}
