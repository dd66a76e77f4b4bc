//! Query strings, and selectors of labels.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::error::Problem;

/// The query string, taken apart one parameter after the other. What nobody took is a mistake.
pub(crate) struct Query {
    given: BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
}

impl Query {
    /// Reads `a=1&b=x%20y`.
    pub(crate) fn parse(text: &str) -> Result<Query, Problem> {
        let mut given = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unescape(key)?, unescape(value)?);
            if given.insert(key.clone(), value).is_some() {
                return Err(Problem::malformed(format!("parameter `{key}` is given twice")));
            }
        }
        Ok(Query { given, known: BTreeSet::new() })
    }

    /// A parameter as text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.known.insert(key);
        self.given.remove(key)
    }

    /// A parameter of a type.
    pub(crate) fn value<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        self.text(key)
            .map(|text| {
                text.parse().map_err(|error| Problem::malformed(format!("parameter `{key}`: {error}")))
            })
            .transpose()
    }

    /// A parameter that is one of some words.
    pub(crate) fn word<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>, Problem> {
        self.text(key)
            .map(|text| {
                serde_json::from_value(serde_json::Value::String(text))
                    .map_err(|error| Problem::malformed(format!("parameter `{key}`: {error}")))
            })
            .transpose()
    }

    /// A parameter that is `true` or `false`; without a value it is true.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, Problem> {
        match self.text(key).as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::malformed(format!("parameter `{key}` is true or false"))),
        }
    }

    /// How many items a page shall have.
    pub(crate) fn limit(&mut self) -> Result<usize, Problem> {
        const LIMIT_DEFAULT: usize = 100;
        const LIMIT_MAX: usize = 1000;
        match self.value::<usize>("limit")? {
            None => Ok(LIMIT_DEFAULT),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::malformed(format!("parameter `limit` is 1 to {LIMIT_MAX}"))),
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        // Taken before the handler runs.
        self.given.remove("consistency");
        self.known.insert("consistency");
        match self.given.keys().next() {
            None => Ok(()),
            Some(key) => {
                let known: Vec<&str> = self.known.iter().copied().collect();
                let key: String = key.chars().take(40).collect();
                Err(Problem::malformed(format!(
                    "there is no parameter `{key}` here; there are: {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// Undoes percent-encoding.
pub(crate) fn unescape(text: &str) -> Result<String, Problem> {
    let malformed = || Problem::malformed("the URL is not well escaped");
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = text.get(at + 1..at + 3).ok_or_else(malformed)?;
                // A sign is no digit, though numbers may have one.
                let digits = pair.bytes().all(|byte| byte.is_ascii_hexdigit());
                out.push(u8::from_str_radix(pair, 16).ok().filter(|_| digits).ok_or_else(malformed)?);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| malformed())
}

/// Labels that objects must carry: `app=web,tier!=db,owner,!old`.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Selector(Vec<(String, Wanted)>);

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Is(String),
    IsNot(String),
    There,
    NotThere,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        let mut wanted = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, want) = if let Some((key, value)) = part.split_once("!=") {
                (key, Wanted::IsNot(value.trim().to_string()))
            } else if let Some((key, value)) = part.split_once('=') {
                (key, Wanted::Is(value.trim().to_string()))
            } else if let Some(key) = part.strip_prefix('!') {
                (key, Wanted::NotThere)
            } else {
                (part, Wanted::There)
            };
            if key.trim().is_empty() {
                return Err("a selector is `key=value`, `key!=value`, `key` or `!key`, with commas between"
                    .to_string());
            }
            wanted.push((key.trim().to_string(), want));
        }
        Ok(Selector(wanted))
    }
}

impl Selector {
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, wanted)| match (wanted, labels.get(key)) {
            (Wanted::Is(value), found) => found == Some(value),
            (Wanted::IsNot(value), found) => found != Some(value),
            (Wanted::There, found) => found.is_some(),
            (Wanted::NotThere, found) => found.is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_string_is_taken_apart() {
        let mut query = Query::parse("limit=5&name=a%20b+c&flag&%78=1").unwrap();
        assert_eq!(query.limit().unwrap(), 5);
        assert_eq!(query.text("name").unwrap(), "a b c");
        assert!(query.flag("flag").unwrap());
        let left = query.finish().unwrap_err();
        assert_eq!(left.status, 400);
        assert!(left.detail.contains("no parameter `x`") && left.detail.contains("limit"), "{}", left.detail);
    }

    #[test]
    fn a_bad_query_is_a_400() {
        for bad in ["a=%zz", "a=%f", "a=%ff", "a=%+f", "a=1&a=2"] {
            assert_eq!(Query::parse(bad).err().unwrap().status, 400, "{bad}");
        }
        for (text, key) in [("limit=0", "limit"), ("limit=x", "limit"), ("limit=1001", "limit")] {
            let problem = Query::parse(text).unwrap().limit().unwrap_err();
            assert!(problem.status == 400 && problem.detail.contains(key), "{}", problem.detail);
        }
        assert!(Query::parse("a=maybe").unwrap().flag("a").is_err());
    }

    #[test]
    fn selectors_choose_by_labels() {
        let labels = BTreeMap::from([("app".to_string(), "web".to_string())]);
        for (text, fits) in [
            ("app=web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app", true),
            ("!app", false),
            ("!old", true),
            ("app=web, tier=x", false),
            ("", true),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&labels), fits, "{text}");
        }
        assert!("=x".parse::<Selector>().is_err());
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(text in ".*") {
            if let Ok(mut query) = Query::parse(&text) {
                let _ = query.limit();
                let _ = query.flag("flag");
                let _ = query.finish();
            }
            let _ = text.parse::<Selector>();
        }
    }
}
