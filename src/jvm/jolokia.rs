//! Jolokia: JMX as JSON over HTTP. All that is asked of a JVM at one time is one POST.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use rscaler_api::client::Trust;
use serde_json::{Map, Value, json};

use super::address::Address;
use super::error::{Fault, FaultKind};
use super::wire::{Group, GroupAnswer, Instance, Invocation, MbeanList, Wanted};

const ANSWER_BYTES_MAX: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Instances of one pattern.
const INSTANCES_MAX: usize = 1000;
/// MBeans that are told in one POST.
const BROWSED_AT_ONCE: usize = 50;
/// How an attribute that could not be read begins where errors are left to the values.
const ERROR: &str = "ERROR: ";

/// One agent.
pub(super) struct Jolokia {
    http: Client,
    url: Url,
    credentials: Option<(String, crate::ssh::Secret)>,
}

impl Jolokia {
    pub(super) fn new(url: &str, address: &Address) -> Result<Jolokia, Fault> {
        let invalid = |text: String| Fault::new(FaultKind::Invalid, text);
        let url = Url::parse(url).map_err(|error| invalid(format!("`{url}` is no URL: {error}")))?;
        let trust = match address.trust_store.is_empty() {
            true => Trust::System,
            false => Trust::Authority(address.trust_store.clone()),
        };
        let tls = trust.client_config().map_err(|error| invalid(format!("the trust store: {error}")))?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("rscaler/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| invalid(format!("HTTP can't be spoken: {error}")))?;
        Ok(Jolokia { http, url, credentials: address.credentials.clone() })
    }

    /// Posts requests and gives their answers, in the same order.
    async fn post(&self, requests: &[Value], limit: Duration) -> Result<Vec<Value>, Fault> {
        let mut request = self
            .http
            .post(self.url.clone())
            .query(&[
                ("ignoreErrors", "true"),
                ("canonicalNaming", "false"),
                ("maxDepth", "8"),
                ("includeStackTrace", "false"),
            ])
            .timeout(limit)
            .json(requests);
        if let Some((user, password)) = &self.credentials {
            request = request.basic_auth(user, Some(password.expose()));
        }
        let failed = |error: reqwest::Error| {
            let kind = if error.is_timeout() { FaultKind::TimedOut } else { FaultKind::Unreachable };
            Fault::new(kind, format!("{}: {}", self.url, innermost(&error)))
        };
        let mut response = request.send().await.map_err(failed)?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let text = format!("{} refuses user or password ({})", self.url, response.status());
                return Err(Fault::new(FaultKind::Authentication, text));
            }
            status => {
                return Err(Fault::new(FaultKind::Unreachable, format!("{} answers {status}", self.url)));
            }
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let text = format!("an answer has more than {} MiB", ANSWER_BYTES_MAX >> 20);
                return Err(Fault::new(FaultKind::TooLarge, text));
            }
            body.extend_from_slice(&chunk);
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Array(answers)) if answers.len() == requests.len() => Ok(answers),
            Ok(Value::Object(one)) if one.contains_key("error") => Err(fault(&Value::Object(one))),
            _ => {
                Err(Fault::new(FaultKind::Unreachable, format!("what answers at {} is no Jolokia", self.url)))
            }
        }
    }

    pub(super) async fn read(&self, groups: &[Group], limit: Duration) -> Result<Vec<GroupAnswer>, Fault> {
        let requests: Vec<Value> = groups
            .iter()
            .map(|(mbean, wanted)| {
                let attributes: std::collections::BTreeSet<&str> =
                    wanted.iter().map(|one| one.attribute.as_str()).collect();
                json!({"type": "read", "mbean": mbean, "attribute": attributes})
            })
            .collect();
        let answers = self.post(&requests, limit).await?;
        Ok(groups.iter().zip(answers).map(|(group, answer)| values(group, &answer)).collect())
    }

    pub(super) async fn invoke(&self, what: &Invocation, limit: Duration) -> Result<String, Fault> {
        let operation = match what.signature.is_empty() {
            true => what.operation.clone(),
            false => format!("{}({})", what.operation, what.signature.join(",")),
        };
        let request =
            json!({"type": "exec", "mbean": what.mbean, "operation": operation, "arguments": what.args});
        let answer = self.post(&[request], limit).await?.pop().unwrap_or_default();
        match content(&answer)? {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            other => Ok(other.to_string()),
        }
    }

    pub(super) async fn browse(&self, list: &MbeanList, limit: Duration) -> Result<Value, Fault> {
        let search = json!({"type": "search", "mbean": list.pattern});
        let found = self.post(&[search], limit).await?.pop().unwrap_or_default();
        let mut names: Vec<&str> =
            content(&found)?.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.sort_unstable();
        let matched = names.len();
        names.retain(|name| *name > list.after.as_str());
        let more = names.len() > list.limit as usize;
        names.truncate(list.limit as usize);
        let mut mbeans = Vec::new();
        for some in names.chunks(BROWSED_AT_ONCE) {
            let requests: Vec<Value> = some.iter().map(|name| described(name)).collect();
            let described = self.post(&requests, limit / 4).await?;
            let requests: Vec<Value> =
                some.iter().map(|name| json!({"type": "read", "mbean": name})).collect();
            // One attribute that hangs or is huge spoils all values, and nothing else.
            let read = match list.values {
                true => self.post(&requests, limit / 2).await,
                false => Ok(Vec::new()),
            };
            for (at, name) in some.iter().enumerate() {
                let Ok(info) = content(&described[at]) else { continue };
                let values = match &read {
                    Ok(read) => read.get(at).map(content),
                    Err(fault) => Some(Err(fault.clone())),
                };
                mbeans.push(shown(name, info, values));
            }
        }
        let next = names.last().filter(|_| more);
        Ok(json!({"matched": matched, "mbeans": mbeans, "next": next}))
    }
}

/// Asks what an MBean has. Slashes in names are escaped as paths need it.
fn described(name: &str) -> Value {
    let escape = |text: &str| text.replace('!', "!!").replace('/', "!/");
    let (domain, keys) = name.split_once(':').unwrap_or((name, ""));
    json!({"type": "list", "path": format!("{}/{}", escape(domain), escape(keys))})
}

fn shown(name: &str, info: &Value, values: Option<Result<&Value, Fault>>) -> Value {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_string();
    let attributes: Vec<Value> = info["attr"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(attribute, about)| {
            let mut one = json!({
                "name": attribute,
                "type": text(about, "type"),
                "description": text(about, "desc"),
                "readable": true,
                "writable": about["rw"].as_bool().unwrap_or(false),
            });
            match &values {
                Some(Ok(values)) => match values.get(attribute) {
                    Some(Value::String(error)) if error.starts_with(ERROR) => {
                        one["error"] = json!(&error[ERROR.len()..]);
                    }
                    Some(value) => one["value"] = value.clone(),
                    None => {}
                },
                Some(Err(fault)) => one["error"] = json!(fault.text),
                None => {}
            }
            one
        })
        .collect();
    let operations: Vec<Value> = info["op"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(operation, about)| match about {
            // One for each signature, where there are several.
            Value::Array(several) => several.iter().map(|one| (operation, one)).collect::<Vec<_>>(),
            one => vec![(operation, one)],
        })
        .map(|(operation, about)| {
            let arguments: Vec<Value> = about["args"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| json!({"name": text(one, "name"), "type": text(one, "type")}))
                .collect();
            json!({"name": operation, "returns": text(about, "ret"), "description": text(about, "desc"), "arguments": arguments})
        })
        .collect();
    json!({
        "name": name,
        "domain": name.split(':').next().unwrap_or_default(),
        "class": text(info, "class"),
        "description": text(info, "desc"),
        "attributes": attributes,
        "operations": operations,
    })
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

/// An answer's value, or what was wrong.
fn content(answer: &Value) -> Result<&Value, Fault> {
    if answer["status"] == 200 { Ok(&answer["value"]) } else { Err(fault(answer)) }
}

fn fault(answer: &Value) -> Fault {
    let kind = match answer["error_type"].as_str().unwrap_or_default() {
        "javax.management.InstanceNotFoundException" | "javax.management.AttributeNotFoundException" => {
            FaultKind::Missing
        }
        "javax.management.MalformedObjectNameException" | "java.lang.IllegalArgumentException" => {
            FaultKind::Invalid
        }
        "java.lang.SecurityException" => FaultKind::Authentication,
        _ => FaultKind::Threw,
    };
    let error = answer["error"].as_str().unwrap_or("Jolokia says that it failed, and not why");
    Fault::new(kind, error)
}

fn values((mbean, wanted): &Group, answer: &Value) -> GroupAnswer {
    let value = content(answer)?;
    if !is_pattern(mbean) {
        return Ok((1, vec![(String::new(), wanted.iter().map(|one| pick(value, one)).collect())]));
    }
    let found = value
        .as_object()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| Fault::new(FaultKind::Missing, format!("no MBean matches `{mbean}`")))?;
    let all = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let each = |(name, values): (&String, &Value)| -> Instance {
        (instance(mbean, name), wanted.iter().map(|one| pick(values, one)).collect())
    };
    let sorted: BTreeMap<&String, &Value> = found.iter().collect();
    Ok((all, sorted.into_iter().take(INSTANCES_MAX).map(each).collect()))
}

/// Whether a name is a pattern. Within quotes a wildcard that is escaped is none.
pub(super) fn is_pattern(mbean: &str) -> bool {
    let mut escaped = false;
    mbean.chars().any(|c| {
        let wild = matches!(c, '*' | '?') && !escaped;
        escaped = c == '\\' && !escaped;
        wild
    })
}

/// What tells one MBean of a pattern from the others, as `Reads.instance` says it.
fn instance(pattern: &str, name: &str) -> String {
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

/// The number of an attribute or of a part of it.
fn pick(values: &Value, wanted: &Wanted) -> Result<f64, Fault> {
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn any_names_and_answers_are_read(pattern: String, name: String, text: String, status in 0u16..600) {
            let _ = instance(&pattern, &name);
            let _ = values(&(pattern, vec![wanted(&name, &text)]), &json!({"status": status, "value": {text.clone(): {name.clone(): 1}}}));
        }
    }
}
