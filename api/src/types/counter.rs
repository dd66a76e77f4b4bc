use std::fmt;

use rscaler_raft::model::{self, ClusterSelector, CounterSource, JmxCounter, Kind, Name, SshCounter};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Document, FieldError, Span, Text};

/// The definition of something measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Where samples come from.
    #[serde(rename = "type")]
    pub kind: CounterType,
    /// `ssh` only: what runs on the node, POSIX shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Text>,
    /// `ssh` only: how the script's output becomes samples; `number` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse: Option<Parse>,
    /// `jmx` only: an object name; a pattern such as `java.lang:type=GarbageCollector,name=*` gives an instance for each MBean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "java.lang:type=Memory")]
    pub mbean: Option<String>,
    /// `jmx` only: the attribute's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// `jmx` only: where in composite or tabular data the value is: keys from the outside in, with dots between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `jmx` only: the value only grows, and its growth per second is the sample.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rate: bool,
    /// How often it is read: 1 s to 1 day. For `push`, how often samples are expected.
    #[serde(default = "default_interval")]
    #[schema(default = "10s")]
    pub interval: Span,
    /// How long one reading may take: 100 ms to 10 min.
    #[serde(default = "default_timeout")]
    #[schema(default = "5s")]
    pub timeout: Span,
    /// What a value counts, for display: `load`, `bytes`, `%`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// The clusters on whose nodes it is collected; `["*"]`: all.
    pub clusters: Vec<String>,
}

fn default_interval() -> Span {
    Span::secs(10)
}

fn default_timeout() -> Span {
    Span::secs(5)
}

/// Where a counter's samples come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CounterType {
    /// A script that runs on the node.
    Ssh,
    /// Nothing is collected; clients write the samples.
    Push,
    /// An attribute of an MBean of each JVM of the node.
    Jmx,
}

/// How a script's output becomes samples: `number`, `pairs`, `json`, `nagios`, `prometheus` or `{regex: "..."}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parse {
    /// The output is one number.
    Number,
    /// Lines `name=value` or `name value`, each an instance.
    Pairs,
    /// A JSON object; nested keys become dotted instances.
    Json,
    /// Plugin performance data after `|`; the exit code is a series too.
    Nagios,
    /// Text exposition; labels become the instance.
    Prometheus,
    /// Named captures of this expression.
    Regex(String),
}

const PLAIN: [(&str, Parse); 5] = [
    ("number", Parse::Number),
    ("pairs", Parse::Pairs),
    ("json", Parse::Json),
    ("nagios", Parse::Nagios),
    ("prometheus", Parse::Prometheus),
];

impl Serialize for Parse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Parse::Regex(pattern) => serializer.collect_map([("regex", pattern)]),
            plain => {
                let name = PLAIN.iter().find(|(_, parse)| parse == plain).map_or("number", |(name, _)| name);
                serializer.serialize_str(name)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Parse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parse, D::Error> {
        struct ParseVisitor;
        impl<'de> Visitor<'de> for ParseVisitor {
            type Value = Parse;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of number, pairs, json, nagios, prometheus, {regex: \"...\"}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Parse, E> {
                let found = PLAIN.into_iter().find(|(name, _)| *name == text).map(|(_, parse)| parse);
                found.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parse, A::Error> {
                let mut pattern = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "regex" {
                        return Err(de::Error::unknown_field(&key, &["regex"]));
                    }
                    pattern = Some(map.next_value::<String>()?);
                }
                pattern.map(Parse::Regex).ok_or_else(|| de::Error::missing_field("regex"))
            }
        }
        deserializer.deserialize_any(ParseVisitor)
    }
}

impl PartialSchema for Parse {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        OneOfBuilder::new()
            .item(text().enum_values(Some(PLAIN.map(|(name, _)| name))))
            .item(
                ObjectBuilder::new()
                    .property("regex", text().description(Some("Named groups become samples.")))
                    .required("regex"),
            )
            .default(Some(serde_json::json!("number")))
            .description(Some("How a script's output becomes samples."))
            .into()
    }
}

impl ToSchema for Parse {}

impl Document for Counter {
    const KIND: Kind = Kind::Counter;
}

impl TryFrom<Counter> for model::Counter {
    type Error = Vec<FieldError>;

    fn try_from(counter: Counter) -> Result<Self, Self::Error> {
        let mut errors = Vec::new();
        let mut clusters = Vec::new();
        for (position, text) in counter.clusters.iter().enumerate() {
            match text.as_str() {
                "*" => clusters.push(ClusterSelector::All),
                name => match Name::new(name) {
                    Ok(name) => clusters.push(ClusterSelector::Named(name)),
                    Err(error) => {
                        errors.push(FieldError::new(format!("/clusters/{position}"), error.to_string()))
                    }
                },
            }
        }
        let kind = counter.kind;
        let mut only = |of: CounterType, is_given: bool, field: &str, name: &str| {
            if is_given && kind != of {
                errors.push(FieldError::new(field, format!("only counters of type {name} have this")));
            }
        };
        only(CounterType::Jmx, counter.mbean.is_some(), "/mbean", "jmx");
        only(CounterType::Jmx, counter.attribute.is_some(), "/attribute", "jmx");
        only(CounterType::Jmx, counter.key.is_some(), "/key", "jmx");
        only(CounterType::Jmx, counter.rate, "/rate", "jmx");
        let source = match (counter.kind, counter.script) {
            (CounterType::Jmx, script) => {
                if script.is_some() {
                    errors.push(FieldError::new("/script", "a counter of type jmx runs nothing on the node"));
                }
                if counter.parse.is_some() {
                    errors.push(FieldError::new("/parse", "a counter of type jmx parses nothing"));
                }
                let mut needed = |field: &str, value: Option<String>| {
                    value.unwrap_or_else(|| {
                        errors.push(FieldError::new(field, "a counter of type jmx needs it"));
                        String::new()
                    })
                };
                Some(CounterSource::Jmx(JmxCounter {
                    mbean: needed("/mbean", counter.mbean),
                    attribute: needed("/attribute", counter.attribute),
                    key: counter.key,
                    rate: counter.rate,
                }))
            }
            (CounterType::Ssh, Some(script)) => Some(CounterSource::Ssh(SshCounter {
                script: script.into(),
                parse: match counter.parse {
                    None | Some(Parse::Number) => model::Parse::Number,
                    Some(Parse::Pairs) => model::Parse::Pairs,
                    Some(Parse::Json) => model::Parse::Json,
                    Some(Parse::Nagios) => model::Parse::Nagios,
                    Some(Parse::Prometheus) => model::Parse::Prometheus,
                    Some(Parse::Regex(pattern)) => model::Parse::Regex(pattern),
                },
            })),
            (CounterType::Ssh, None) => {
                errors
                    .push(FieldError::new("/script", "a counter of type ssh needs the script that it runs"));
                None
            }
            (CounterType::Push, script) => {
                if script.is_some() {
                    errors.push(FieldError::new("/script", "a counter of type push runs nothing"));
                }
                if counter.parse.is_some() {
                    errors.push(FieldError::new("/parse", "a counter of type push parses nothing"));
                }
                Some(CounterSource::Push)
            }
        };
        match source {
            Some(source) if errors.is_empty() => Ok(model::Counter {
                source,
                interval: counter.interval.into(),
                timeout: counter.timeout.into(),
                unit: counter.unit,
                clusters,
            }),
            _ => Err(errors),
        }
    }
}

impl From<&model::Counter> for Counter {
    fn from(counter: &model::Counter) -> Self {
        let (kind, script, parse) = match &counter.source {
            CounterSource::Ssh(ssh) => {
                let parse = match &ssh.parse {
                    model::Parse::Number => Parse::Number,
                    model::Parse::Pairs => Parse::Pairs,
                    model::Parse::Json => Parse::Json,
                    model::Parse::Nagios => Parse::Nagios,
                    model::Parse::Prometheus => Parse::Prometheus,
                    model::Parse::Regex(pattern) => Parse::Regex(pattern.clone()),
                };
                (CounterType::Ssh, Some((&ssh.script).into()), Some(parse))
            }
            CounterSource::Push => (CounterType::Push, None, None),
            CounterSource::Jmx(_) => (CounterType::Jmx, None, None),
        };
        let jmx = match &counter.source {
            CounterSource::Jmx(jmx) => Some(jmx),
            _ => None,
        };
        let clusters = counter.clusters.iter().map(|selector| match selector {
            ClusterSelector::All => "*".to_string(),
            ClusterSelector::Named(name) => name.to_string(),
        });
        Counter {
            kind,
            script,
            parse,
            mbean: jmx.map(|jmx| jmx.mbean.clone()),
            attribute: jmx.map(|jmx| jmx.attribute.clone()),
            key: jmx.and_then(|jmx| jmx.key.clone()),
            rate: jmx.is_some_and(|jmx| jmx.rate),
            interval: counter.interval.into(),
            timeout: counter.timeout.into(),
            unit: counter.unit.clone(),
            clusters: clusters.collect(),
        }
    }
}
