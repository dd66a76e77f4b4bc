//! Names of MBeans and patterns of them, without Java.

use std::collections::BTreeMap;

/// Whether a name is a pattern. Within quotes a wildcard that is escaped is none.
pub(in crate::jvm) fn is_pattern(mbean: &str) -> bool {
    let mut escaped = false;
    mbean.chars().any(|c| {
        let wild = matches!(c, '*' | '?') && !escaped;
        escaped = c == '\\' && !escaped;
        wild
    })
}

/// What tells one MBean of a pattern from the others, as `Reads.instance` says it.
pub(super) fn instance(pattern: &str, name: &str) -> String {
    let (domain, keys) = name.split_once(':').unwrap_or((name, ""));
    let (fixed_domain, fixed) = pattern.split_once(':').unwrap_or((pattern, ""));
    let fixed: BTreeMap<String, String> = properties(fixed).collect();
    let mut open: Vec<(String, String)> = Vec::new();
    if is_pattern(fixed_domain) {
        open.push(("domain".to_string(), domain.to_string()));
    }
    let all: BTreeMap<String, String> = properties(keys).collect();
    open.extend(all.into_iter().filter(|(key, value)| fixed.get(key) != Some(value)));
    for (_, value) in &mut open {
        if let Some(plain) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            *value =
                plain.replace("\\\"", "\"").replace("\\*", "*").replace("\\?", "?").replace("\\\\", "\\");
        }
    }
    match open.as_slice() {
        [(_, value)] => value.clone(),
        several => several.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
    }
}

/// Keys and values of a name, at commas that are not in quotes.
fn properties(keys: &str) -> impl Iterator<Item = (String, String)> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in keys.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
        .into_iter()
        .filter_map(|part| part.split_once('=').map(|(key, value)| (key.to_string(), value.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_what_the_pattern_leaves_open() {
        for (pattern, name, is) in [
            ("java.lang:type=GarbageCollector,name=*", "java.lang:name=Copy,type=GarbageCollector", "Copy"),
            (
                "Catalina:type=ThreadPool,*",
                "Catalina:type=ThreadPool,name=\"http-nio-8080\"",
                "http-nio-8080",
            ),
            ("*:type=A", "x:type=A", "x"),
            ("a:*", "a:type=B,name=C", "name=C,type=B"),
        ] {
            assert_eq!(instance(pattern, name), is, "{pattern}");
        }
        assert!(is_pattern("a:b=*") && !is_pattern("a:b=\"\\*\""));
    }
}
