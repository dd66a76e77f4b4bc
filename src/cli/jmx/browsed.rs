//! MBeans that were browsed, as rows of a table.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::output::{Column, field};

const VALUE_CHARS_MAX: usize = 80;
const DEPTH_MAX: usize = 6;

/// Columns of [`rows`].
pub(super) const ROWS: &[Column] = &[
    ("mbean", |i| field(i, "mbean")),
    ("attribute", |i| field(i, "attribute")),
    ("key", |i| field(i, "key")),
    ("type", |i| field(i, "type")),
    ("value", |i| field(i, "value")),
];

/// One row for each value that a counter can read.
pub(super) fn rows(mbean: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for attribute in mbean["attributes"].as_array().into_iter().flatten() {
        let row = |key: &str, value: String| json!({"mbean": mbean["name"], "attribute": attribute["name"], "key": key, "type": attribute["type"], "value": value});
        match (&attribute["value"], attribute["error"].as_str()) {
            (_, Some(error)) => out.push(row("", format!("({error})"))),
            (value @ Value::Object(_), None) => {
                out.extend(leaves(value).into_iter().map(|(key, value)| row(&key, value)));
            }
            (value, None) => out.push(row("", shown(value))),
        }
    }
    if out.is_empty() {
        out.push(json!({"mbean": mbean["name"]}));
    }
    out
}

/// The values within composite data, each with the key that leads to it.
pub(super) fn leaves(value: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    unfold(value, "", 0, &mut out);
    out
}

fn unfold(value: &Value, key: &str, depth: usize, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(parts) if depth < DEPTH_MAX && !parts.is_empty() => {
            for (part, value) in parts {
                let key = if key.is_empty() { part.clone() } else { format!("{key}.{part}") };
                unfold(value, &key, depth + 1, out);
            }
        }
        other => out.push((key.to_string(), shown(other))),
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).chain("...".chars()).collect()
}

/// What can be invoked, one line each.
pub(super) fn operations(mbeans: &[Value]) -> String {
    let mut out = String::new();
    for mbean in mbeans {
        for operation in mbean["operations"].as_array().into_iter().flatten() {
            let arguments: Vec<String> = operation["arguments"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| format!("{} {}", field(one, "type"), field(one, "name")))
                .collect();
            let _ = writeln!(
                out,
                "{}  {} {}({})",
                field(mbean, "name"),
                field(operation, "returns"),
                field(operation, "name"),
                arguments.join(", ")
            );
        }
    }
    out.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn composite_values_are_unfolded_into_keys() {
        let mbean = json!({"name": "a:b=c", "attributes": [
            {"name": "Usage", "type": "T", "value": {"used": 1, "pools": {"x": {"max": 2}}}},
            {"name": "Bad", "type": "T", "error": "it threw"},
        ]});
        let rows: Vec<(String, String)> =
            rows(&mbean).iter().map(|r| (field(r, "key"), field(r, "value"))).collect();
        let text = |key: &str, value: &str| (key.to_string(), value.to_string());
        assert!(rows.contains(&text("used", "1")) && rows.contains(&text("pools.x.max", "2")), "{rows:?}");
    }
}
