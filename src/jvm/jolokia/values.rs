//! Values as Jolokia tells them: as numbers.

use serde_json::{Map, Value};

use super::ERROR;
use crate::jvm::error::{Fault, FaultKind};
use crate::jvm::wire::Wanted;

/// The number of an attribute or of a part of it.
pub(super) fn pick(values: &Value, wanted: &Wanted) -> Result<f64, Fault> {
    let missing = |text: String| Fault::new(FaultKind::Missing, text);
    let value = values
        .as_object()
        .map_or(Some(values), |values: &Map<String, Value>| values.get(&wanted.attribute))
        .ok_or_else(|| missing(format!("there is no attribute `{}`", wanted.attribute)))?;
    if let Some(error) = value.as_str().and_then(|text| text.strip_prefix(ERROR)) {
        let kind = if error.contains("AttributeNotFoundException") || error.contains("No such attribute") {
            FaultKind::Missing
        } else {
            FaultKind::Threw
        };
        return Err(Fault::new(kind, format!("`{}`: {error}", wanted.attribute)));
    }
    let part = follow(value, &wanted.key)
        .ok_or_else(|| missing(format!("`{}` has no key `{}`", wanted.attribute, wanted.key)))?;
    number(part)
}

/// Follows a key; where a name has dots itself, the longest that fits counts.
fn follow<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    if key.is_empty() {
        return Some(value);
    }
    let ends = key.match_indices('.').map(|(at, _)| at).rev();
    std::iter::once(key.len()).chain(ends).find_map(|end| {
        let inner = match value {
            Value::Array(items) => key[..end].parse::<usize>().ok().and_then(|at| items.get(at)),
            other => other.get(&key[..end]),
        };
        follow(inner?, key.get(end + 1..).unwrap_or_default())
    })
}

fn number(value: &Value) -> Result<f64, Fault> {
    let not = |text: String| Err(Fault::new(FaultKind::NotANumber, text));
    match value {
        Value::Number(number) => Ok(number.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(flag) => Ok(f64::from(u8::from(*flag))),
        Value::String(text) => match text.trim() {
            "true" => Ok(1.0),
            "false" => Ok(0.0),
            text => text.parse().or_else(|_| {
                let shown: String = text.chars().take(60).collect();
                not(format!("it is no number but text: \"{shown}\""))
            }),
        },
        Value::Null => not("it is null".to_string()),
        Value::Array(_) => not("it is no number but a list".to_string()),
        Value::Object(parts) => {
            let keys: Vec<&str> = parts.keys().take(20).map(String::as_str).collect();
            not(format!("it is no number but has parts: name one of {}", keys.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn wanted(attribute: &str, key: &str) -> Wanted {
        Wanted { attribute: attribute.into(), key: key.into() }
    }

    #[test]
    fn values_are_found_by_attribute_and_key() {
        let values = json!({"Usage": {"used": 5, "a.b": {"c": "7"}}, "Verbose": true, "Bad": "ERROR: it broke", "List": [1, 2]});
        for (attribute, key, value) in
            [("Usage", "used", 5.0), ("Usage", "a.b.c", 7.0), ("Verbose", "", 1.0), ("List", "1", 2.0)]
        {
            assert_eq!(pick(&values, &wanted(attribute, key)), Ok(value), "{attribute} {key}");
        }
        for (attribute, key, kind) in [
            ("Usage", "", FaultKind::NotANumber),
            ("Usage", "max", FaultKind::Missing),
            ("None", "", FaultKind::Missing),
            ("Bad", "", FaultKind::Threw),
        ] {
            assert_eq!(pick(&values, &wanted(attribute, key)).unwrap_err().kind, kind, "{attribute} {key}");
        }
    }
}
