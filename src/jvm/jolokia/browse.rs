//! What MBeans there are, and what they hold now.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::{ERROR, Jolokia, POSTS_AT_ONCE, content, is_spoilt};
use crate::jvm::error::Fault;
use crate::jvm::wire::MbeanList;

/// MBeans that are told in one POST.
const MBEANS_AT_ONCE: usize = 50;

impl Jolokia {
    pub(in crate::jvm) async fn browse(&self, list: &MbeanList, limit: Duration) -> Result<Value, Fault> {
        let began = Instant::now();
        let search = json!({"type": "search", "mbean": list.pattern});
        let found = self.post(&[search], limit / 2).await?.pop().unwrap_or_default();
        let mut names: Vec<&str> =
            content(&found)?.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.sort_unstable();
        let matched = names.len();
        names.retain(|name| *name > list.after.as_str());
        let mut mbeans = Vec::new();
        let mut told = 0;
        let wanted = names.len().min(list.limit as usize);
        for some in names[..wanted].chunks(MBEANS_AT_ONCE) {
            if told > 0 && began.elapsed() > limit / 2 {
                break;
            }
            let requests: Vec<Value> = some.iter().map(|name| described(name)).collect();
            let described = self.post(&requests, limit / 8).await?;
            let known: Vec<(&str, &Value)> = some
                .iter()
                .zip(&described)
                .filter_map(|(name, info)| Some((*name, content(info).ok()?)))
                .collect();
            let values = match list.values {
                true => self.values(&known, limit / 8).await.into_iter().map(Some).collect(),
                false => vec![None; known.len()],
            };
            mbeans.extend(known.iter().zip(values).map(|((name, info), values)| shown(name, info, values)));
            told += some.len();
        }
        let next = names.get(told.wrapping_sub(1)).filter(|_| told < names.len());
        Ok(json!({"matched": matched, "mbeans": mbeans, "next": next}))
    }

    /// Values of MBeans: all together; where that fails each MBean alone, and of one that fails each attribute. Takes at most three
    /// times `limit`, and more only where there are more pieces than are asked for at once.
    async fn values(&self, mbeans: &[(&str, &Value)], limit: Duration) -> Vec<Result<Value, Fault>> {
        let requests: Vec<Value> =
            mbeans.iter().map(|(name, _)| json!({"type": "read", "mbean": name})).collect();
        match self.post(&requests, limit).await {
            Ok(answers) => answers.iter().map(|answer| content(answer).cloned()).collect(),
            Err(fault) if is_spoilt(&fault) => {
                let each: Vec<_> =
                    mbeans.iter().map(|(name, info)| self.values_of(name, info, limit)).collect();
                stream::iter(each).buffered(POSTS_AT_ONCE).collect().await
            }
            Err(fault) => vec![Err(fault); mbeans.len()],
        }
    }

    async fn values_of(&self, name: &str, info: &Value, limit: Duration) -> Result<Value, Fault> {
        let whole = self.post(&[json!({"type": "read", "mbean": name})], limit).await;
        match whole {
            Ok(answers) => content(answers.first().unwrap_or(&Value::Null)).cloned(),
            Err(fault) if is_spoilt(&fault) => {
                let names: Vec<&String> = info["attr"].as_object().into_iter().flat_map(Map::keys).collect();
                let each: Vec<_> = names.iter().map(|attribute| self.value(name, attribute, limit)).collect();
                let values: Vec<Result<Value, Fault>> =
                    stream::iter(each).buffered(POSTS_AT_ONCE).collect().await;
                let told = |value: Result<Value, Fault>| {
                    value.unwrap_or_else(|fault| json!(format!("{ERROR}{fault}")))
                };
                let values = names.into_iter().cloned().zip(values.into_iter().map(told));
                Ok(Value::Object(values.collect()))
            }
            Err(fault) => Err(fault),
        }
    }

    async fn value(&self, name: &str, attribute: &str, limit: Duration) -> Result<Value, Fault> {
        let request = json!({"type": "read", "mbean": name, "attribute": attribute});
        let answers = self.post(&[request], limit).await?;
        content(answers.first().unwrap_or(&Value::Null)).cloned()
    }
}

/// Asks what an MBean has. Slashes in names are escaped as paths need it.
fn described(name: &str) -> Value {
    let escape = |text: &str| text.replace('!', "!!").replace('/', "!/");
    let (domain, keys) = name.split_once(':').unwrap_or((name, ""));
    json!({"type": "list", "path": format!("{}/{}", escape(domain), escape(keys))})
}

fn shown(name: &str, info: &Value, values: Option<Result<Value, Fault>>) -> Value {
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
