//! A counter of an attribute that was found by browsing.

use serde_json::Value;

use super::browsed::leaves;
use crate::cli::failure::{Done, Failure};

/// That a counter of this would yield something, as far as what was browsed tells.
pub(super) fn check(found: &[Value], mbean: &str, attribute: &str, key: Option<&str>) -> Done {
    let failed = |text: String| Err(Failure::Failed(text));
    if found.is_empty() {
        return failed(format!("no MBean matches `{mbean}`"));
    }
    let attributes = || found.iter().flat_map(|mbean| mbean["attributes"].as_array().into_iter().flatten());
    let Some(one) = attributes().find(|one| one["name"].as_str() == Some(attribute)) else {
        let mut names: Vec<&str> = attributes().filter_map(|one| one["name"].as_str()).collect();
        names.sort_unstable();
        names.dedup();
        return failed(format!("`{mbean}` has no attribute `{attribute}`; there are {}", names.join(", ")));
    };
    let (value @ Value::Object(_), None) = (&one["value"], one["error"].as_str()) else { return Ok(()) };
    let leaves = leaves(value);
    let keys: Vec<&str> = leaves.iter().map(|(key, _)| key.as_str()).collect();
    match key {
        Some(key) if keys.contains(&key) => Ok(()),
        Some(key) => failed(format!("`{attribute}` has no key `{key}`; there are {}", keys.join(", "))),
        None => failed(format!("`{attribute}` has parts: name one of {}", keys.join(", "))),
    }
}

/// A name from the MBean's type, the attribute and the key: `memory-heap-memory-usage-used`.
pub(super) fn name(mbean: &str, attribute: &str, key: Option<&str>) -> String {
    let property = |wanted: &str| {
        let keys = mbean.split_once(':').map_or("", |(_, keys)| keys);
        keys.split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == wanted)
            .map(|(_, v)| v)
    };
    let parts = [property("type"), property("name").filter(|name| !name.contains('*')), Some(attribute), key];
    let mut name = String::new();
    for part in parts.into_iter().flatten() {
        let mut before = None;
        if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        for c in part.chars() {
            let begins = c.is_ascii_uppercase()
                && before.is_some_and(|b: char| b.is_ascii_lowercase() || b.is_ascii_digit());
            if (begins || !c.is_ascii_alphanumeric()) && !name.is_empty() && !name.ends_with('-') {
                name.push('-');
            }
            if c.is_ascii_alphanumeric() {
                name.push(c.to_ascii_lowercase());
            }
            before = Some(c);
        }
    }
    name.truncate(63);
    name.trim_end_matches('-').to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_counters_are_made_of_what_they_read() {
        for (mbean, attribute, key, expected) in [
            ("java.lang:type=Memory", "HeapMemoryUsage", Some("used"), "memory-heap-memory-usage-used"),
            (
                "java.lang:type=GarbageCollector,name=*",
                "CollectionCount",
                None,
                "garbage-collector-collection-count",
            ),
            (
                "Catalina:type=ThreadPool,name=\"http-nio-8080\"",
                "maxThreads",
                None,
                "thread-pool-http-nio-8080-max-threads",
            ),
        ] {
            assert_eq!(name(mbean, attribute, key), expected);
        }
    }

    #[test]
    fn what_is_not_there_or_has_parts_is_refused() {
        let mbean = json!({"name": "a:b=c", "attributes": [
            {"name": "Usage", "type": "T", "value": {"used": 1, "pools": {"x": {"max": 2}}}},
        ]});
        let found = std::slice::from_ref(&mbean);
        assert!(check(found, "a:b=c", "Usage", Some("pools.x.max")).is_ok());
        for (attribute, key) in [("Usage", None), ("Usage", Some("max")), ("None", None)] {
            assert!(check(found, "a:b=c", attribute, key).is_err(), "{attribute} {key:?}");
        }
    }
}
