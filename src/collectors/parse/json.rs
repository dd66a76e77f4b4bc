//! The form `json`: one document, flattened into dotted instances.

use serde_json::Value;

use super::readings::Readings;
use super::text::{excerpt, finite};
use super::{ParseError, Parsed};

/// The largest document; read into memory it takes some thirty times as much.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// How deep values are looked for; what lies deeper is skipped with a warning.
const DEPTH_MAX: usize = 32;
/// The longest path to a value in bytes; what has a longer one is skipped with a warning.
const PATH_BYTES_MAX: usize = 1_024;

pub(super) fn parse(stdout: &[u8]) -> Result<Parsed, ParseError> {
    if stdout.len() > DOCUMENT_BYTES_MAX {
        return Err(ParseError::TooLarge { bytes: stdout.len(), bytes_max: DOCUMENT_BYTES_MAX });
    }
    // The parser bounds the nesting by itself (128), so that a hostile document can't exhaust the stack.
    let document: Value =
        serde_json::from_slice(stdout).map_err(|e| ParseError::Json { detail: e.to_string() })?;
    let mut readings = Readings::default();
    flatten(&document, &mut String::new(), 0, &mut readings);
    readings.finish(|| ParseError::NoValue {
        what: "the document holds no number",
        output: excerpt(stdout.trim_ascii()),
    })
}

/// Adds every number in `value`; `path` names `value` and is as it was when this returns.
fn flatten(value: &Value, path: &mut String, depth: usize, readings: &mut Readings) {
    let number = match value {
        Value::Null => None,
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        // Not a warning when it is no number: that a document also holds words is as it should be.
        Value::String(text) => finite(text.trim()),
        Value::Array(items) => {
            let children = items.iter().enumerate();
            children.for_each(|(i, item)| child(&i.to_string(), item, path, depth, readings));
            return;
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, field)| child(key, field, path, depth, readings));
            return;
        }
    };
    match number {
        Some(_) if readings.is_full() => readings.drop_one(),
        Some(number) => readings.push(Some(path), number),
        None => (),
    }
}

fn child(key: &str, value: &Value, path: &mut String, depth: usize, readings: &mut Readings) {
    if depth >= DEPTH_MAX {
        readings.warn(|| format!("\"{}\" is nested deeper than {DEPTH_MAX}", excerpt(path.as_bytes())));
        return;
    }
    if path.len() + key.len() >= PATH_BYTES_MAX {
        readings.warn(|| format!("\"{}\" is longer than {PATH_BYTES_MAX} bytes", excerpt(key.as_bytes())));
        return;
    }
    let parent_bytes = path.len();
    if depth > 0 {
        path.push('.');
    }
    path.push_str(key);
    flatten(value, path, depth + 1, readings);
    path.truncate(parent_bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(parsed: &Parsed) -> Vec<(&str, f64)> {
        parsed.readings.iter().map(|r| (r.instance.as_deref().unwrap_or("-"), r.value)).collect()
    }

    #[test]
    fn a_document_is_flattened() {
        for (name, document, expected) in [
            ("flat", r#"{"a": 1, "b": 2.5}"#, vec![("a", 1.0), ("b", 2.5)]),
            ("nested", r#"{"heap": {"used": 10, "max": 20}}"#, vec![("heap.max", 20.0), ("heap.used", 10.0)]),
            ("array", r#"{"cpu": [0.1, 0.2]}"#, vec![("cpu.0", 0.1), ("cpu.1", 0.2)]),
            ("objects in an array", r#"{"d": [{"u": 1}, {"u": 2}]}"#, vec![("d.0.u", 1.0), ("d.1.u", 2.0)]),
            ("booleans", r#"{"no": false, "up": true}"#, vec![("no", 0.0), ("up", 1.0)]),
            ("numeric text", r#"{"a": " 12.5 ", "b": "ok", "c": "0x1"}"#, vec![("a", 12.5)]),
            ("null", r#"{"a": null, "b": 1}"#, vec![("b", 1.0)]),
            ("top-level array", "[5, 6]", vec![("0", 5.0), ("1", 6.0)]),
            ("top-level number", " 42\n", vec![("-", 42.0)]),
            ("empty key", r#"{"": 3, "a": {"": 4}}"#, vec![("-", 3.0), ("a.", 4.0)]),
            ("control characters in a key", r#"{"a\nb": 1}"#, vec![("a\\nb", 1.0)]),
            ("large integer", r#"{"a": 18446744073709551615}"#, vec![("a", 18446744073709551615.0)]),
        ] {
            let parsed = parse(document.as_bytes()).unwrap();
            assert_eq!(named(&parsed), expected, "{name}");
            assert!(parsed.warnings.is_empty(), "{name}: {:?}", parsed.warnings);
        }
    }

    #[test]
    fn a_dotted_key_that_collides_is_a_warning() {
        let parsed = parse(br#"{"a": {"b": 1}, "a.b": 2}"#).unwrap();
        assert_eq!(named(&parsed), [("a.b", 1.0)]);
        assert_eq!(parsed.warnings.shown.len(), 1);
    }

    #[test]
    fn what_is_not_json_says_where() {
        let error = parse(b"{\"a\": 1,\n \"b\" 2}").unwrap_err().to_string();
        assert_eq!(error, "not JSON: expected `:` at line 2 column 6");
        assert!(parse(b"{} trailing").unwrap_err().to_string().starts_with("not JSON: trailing characters"));
        assert!(parse(b"{\"a\": NaN}").is_err());
        assert!(parse(b"{\"a\": 1e999}").is_err());
        assert!(parse(b"{\"\xff\": 1}").is_err());
    }

    #[test]
    fn a_document_without_numbers_is_an_error() {
        let error = parse(br#"{"status": "ok", "x": []}"#).unwrap_err().to_string();
        assert!(error.starts_with("the document holds no number: "), "{error}");
    }

    #[test]
    fn depth_path_and_size_are_bounded() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert!(matches!(parse(deep.as_bytes()), Err(ParseError::NoValue { .. })));
        let too_deep = "[".repeat(100_000);
        assert!(matches!(parse(too_deep.as_bytes()), Err(ParseError::Json { .. })));
        let long = format!(r#"{{"a": 1, "{}": 2}}"#, "k".repeat(2_000));
        assert_eq!(parse(long.as_bytes()).unwrap().warnings.shown.len(), 1);
        let large = format!("[{}1]", " ".repeat(DOCUMENT_BYTES_MAX));
        assert!(matches!(parse(large.as_bytes()), Err(ParseError::TooLarge { .. })));
    }

    #[test]
    fn many_values_are_cut_and_counted() {
        let many = format!("[{}0]", "0,".repeat(4_999));
        let parsed = parse(many.as_bytes()).unwrap();
        assert_eq!(parsed.readings.len(), 1_000);
        assert_eq!(parsed.warnings.shown, ["4000 values beyond the first 1000 were dropped"]);
    }
}
