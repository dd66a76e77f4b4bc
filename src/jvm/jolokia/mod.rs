//! Jolokia: JMX as JSON over HTTP. All that is asked of a JVM at one time is one POST.

mod browse;
mod names;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use reqwest::{Client, StatusCode, Url};
use rscaler_api::client::Trust;
use serde_json::{Value, json};

use self::names::instance;
pub(super) use self::names::is_pattern;
use self::values::pick;
use super::address::Address;
use super::error::{Fault, FaultKind};
use super::wire::{Group, GroupAnswer, Instance, Invocation};

const ANSWER_BYTES_MAX: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Instances of one pattern.
const INSTANCES_MAX: usize = 1000;
/// POSTs at the same time, where what was asked for together has to be asked for piece by piece.
const POSTS_AT_ONCE: usize = 8;
/// How long an MBean that gave no answer is not asked for.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How an attribute that could not be read begins where errors are left to the values.
const ERROR: &str = "ERROR: ";

/// One agent.
pub(super) struct Jolokia {
    http: Client,
    url: Url,
    credentials: Option<(String, crate::ssh::Secret)>,
    spoilt: Mutex<Spoilt>,
}

/// What is known of MBeans that hang or are huge, and so keep all that is asked for together from being told.
#[derive(Default)]
struct Spoilt {
    /// There is one: next time each MBean is asked for alone, to find out which.
    is_apart: bool,
    /// Those, why, and until when they are not asked for.
    refused: HashMap<String, (Fault, Instant)>,
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
        Ok(Jolokia { http, url, credentials: address.credentials.clone(), spoilt: Mutex::default() })
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
        let (is_apart, refused) = {
            let mut spoilt = self.spoilt.lock();
            spoilt.refused.retain(|_, (_, until)| Instant::now() < *until);
            (std::mem::take(&mut spoilt.is_apart), spoilt.refused.clone())
        };
        let asked: Vec<&Group> = groups.iter().filter(|(mbean, _)| !refused.contains_key(mbean)).collect();
        let answers = if is_apart {
            let each: Vec<_> = asked.iter().map(|group| self.one(group, limit / 2)).collect();
            stream::iter(each).buffered(POSTS_AT_ONCE).collect().await
        } else if asked.is_empty() {
            Vec::new()
        } else {
            let requests: Vec<Value> = asked.iter().map(|group| request(group)).collect();
            let answers = self.post(&requests, limit).await.inspect_err(|fault| {
                self.spoilt.lock().is_apart = is_spoilt(fault);
            })?;
            asked.iter().zip(answers).map(|(group, answer)| values(group, &answer)).collect()
        };
        let mut answers = answers.into_iter();
        let refusal = |mbean: &String| refused.get(mbean).map(|(fault, _)| Err(fault.clone()));
        Ok(groups.iter().filter_map(|(mbean, _)| refusal(mbean).or_else(|| answers.next())).collect())
    }

    /// Reads of one MBean; where it gives no answer, it is not asked again for a while.
    async fn one(&self, group: &Group, limit: Duration) -> GroupAnswer {
        let answer = self.post(&[request(group)], limit).await.inspect_err(|fault| {
            if is_spoilt(fault) {
                let refused = (fault.clone(), Instant::now() + REFUSED_FOR);
                self.spoilt.lock().refused.insert(group.0.clone(), refused);
            }
        });
        values(group, &answer?.pop().unwrap_or_default())
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
}

fn request((mbean, wanted): &Group) -> Value {
    let attributes: BTreeSet<&str> = wanted.iter().map(|one| one.attribute.as_str()).collect();
    json!({"type": "read", "mbean": mbean, "attribute": attributes})
}

/// Whether one attribute that hangs or is huge may have kept the others from being told.
fn is_spoilt(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::TimedOut | FaultKind::TooLarge)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jvm::wire::Wanted;

    proptest! {
        #[test]
        fn any_names_and_answers_are_read(pattern: String, name: String, text: String, status in 0u16..600) {
            let _ = instance(&pattern, &name);
            let _ = values(&(pattern, vec![Wanted { attribute: name.clone(), key: text.clone() }]), &json!({"status": status, "value": {text.clone(): {name.clone(): 1}}}));
        }
    }
}
