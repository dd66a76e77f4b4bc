//! `jmx`: what JVMs offer, and counters of it.

use std::fmt::Write as _;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Column, Format, field};

/// MBeans that are shown at most.
const MBEANS_MAX: usize = 5000;
const VALUE_CHARS_MAX: usize = 80;
const DEPTH_MAX: usize = 6;

/// What can be done with JVMs.
#[derive(Subcommand, Debug)]
pub(crate) enum JmxCommand {
    /// Show MBeans of a JVM with their attributes, present values and operations
    Browse {
        /// The node and its JVM, such as web01/tomcat
        #[arg(value_name = "NODE/JVM", value_parser = place)]
        at: Place,
        /// Only MBeans that match, such as 'java.lang:*'
        pattern: Option<String>,
        /// Show operations too
        #[arg(long)]
        operations: bool,
        /// Do not read attributes
        #[arg(long)]
        no_values: bool,
    },
    /// Make a counter of an attribute that a JVM has
    AddCounter {
        /// The node and its JVM, such as web01/tomcat
        #[arg(value_name = "NODE/JVM", value_parser = place)]
        at: Place,
        /// The MBean's name, or a pattern for an instance of each that matches
        mbean: String,
        /// The attribute
        attribute: String,
        /// Where in composite data, such as `used`
        key: Option<String>,
        /// The counter's name; made of the MBean's and the attribute's where absent
        #[arg(long)]
        name: Option<String>,
        /// The value only grows: count its growth per second
        #[arg(long)]
        rate: bool,
        /// How often it is read
        #[arg(long, default_value = "10s", value_name = "DURATION")]
        interval: String,
        /// What it counts, such as bytes
        #[arg(long, default_value = "")]
        unit: String,
        /// The clusters on whose nodes it is read; the node's where absent
        #[arg(long = "cluster", value_name = "CLUSTER")]
        clusters: Vec<String>,
    },
    /// Print counters that most JVMs need, for `rscaler apply -f -`
    StarterCounters {
        /// Also Tomcat's requests, errors, times, threads and sessions
        #[arg(long)]
        tomcat: bool,
        /// How often they are read
        #[arg(long, default_value = "10s", value_name = "DURATION")]
        interval: String,
        /// The clusters on whose nodes they are read; all where absent
        #[arg(long = "cluster", value_name = "CLUSTER")]
        clusters: Vec<String>,
    },
}

/// A JVM of a node.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    node: String,
    jvm: String,
}

fn place(text: &str) -> Result<Place, String> {
    match text.split_once('/') {
        Some((node, jvm)) if !node.is_empty() && !jvm.is_empty() && !jvm.contains('/') => {
            Ok(Place { node: node.to_string(), jvm: jvm.to_string() })
        }
        _ => Err("a node and its JVM with a slash between them, such as web01/tomcat".to_string()),
    }
}

const ROWS: &[Column] = &[
    ("mbean", |i| field(i, "mbean")),
    ("attribute", |i| field(i, "attribute")),
    ("key", |i| field(i, "key")),
    ("type", |i| field(i, "type")),
    ("value", |i| field(i, "value")),
];

/// Runs `rscaler jmx`. Connects only where it has to: `starter-counters` takes no control plane.
pub(crate) async fn run(
    connect: impl Fn() -> Result<Connection, Failure>,
    format: Format,
    command: JmxCommand,
) -> Done {
    match command {
        JmxCommand::Browse { at, pattern, operations, no_values } => {
            let mbeans = mbeans(&connect()?, &at, pattern.as_deref(), !no_values).await?;
            if format != Format::Table {
                return output::items(format, &mbeans, ROWS);
            }
            if mbeans.is_empty() {
                return Err(Failure::Failed("no MBean matches".to_string()));
            }
            output::items(format, &mbeans.iter().flat_map(rows).collect::<Vec<_>>(), ROWS)?;
            if operations {
                output::say(&operations_of(&mbeans))?;
            }
            Ok(())
        }
        JmxCommand::AddCounter { at, mbean, attribute, key, name, rate, interval, unit, clusters } => {
            let connection = connect()?;
            let found = mbeans(&connection, &at, Some(&mbean), true).await?;
            check(&found, &mbean, &attribute, key.as_deref())?;
            let clusters = match clusters.is_empty() {
                true => vec![field(&connection.get(&format!("nodes/{}", at.node)).await?, "cluster")],
                false => clusters,
            };
            let name = name.unwrap_or_else(|| counter_name(&mbean, &attribute, key.as_deref()));
            let mut counter = json!({
                "name": name, "type": "jmx", "mbean": mbean, "attribute": attribute, "interval": interval,
                "unit": unit, "rate": rate, "clusters": clusters,
            });
            if let Some(key) = key {
                counter["key"] = json!(key);
            }
            let made = connection.send(Method::POST, "counters", Some(counter)).await?;
            match format {
                Format::Table => output::say(&format!("counter/{name} created")),
                _ => output::object(format, &made),
            }
        }
        JmxCommand::StarterCounters { tomcat, interval, clusters } => {
            output::say(starter(tomcat, &interval, &clusters).trim_end())
        }
    }
}

async fn mbeans(
    connection: &Connection,
    at: &Place,
    pattern: Option<&str>,
    values: bool,
) -> Result<Vec<Value>, Failure> {
    let mut query = Vec::new();
    if let Some(pattern) = pattern {
        query.push(("pattern", pattern));
    }
    if !values {
        query.push(("values", "false"));
    }
    connection.find(&format!("nodes/{}/jvms/{}/mbeans", at.node, at.jvm), &query, MBEANS_MAX).await
}

/// One row for each value that a counter can read.
fn rows(mbean: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for attribute in mbean["attributes"].as_array().into_iter().flatten() {
        let row = |key: &str, value: String| json!({"mbean": mbean["name"], "attribute": attribute["name"], "key": key, "type": attribute["type"], "value": value});
        match (&attribute["value"], attribute["error"].as_str()) {
            (_, Some(error)) => out.push(row("", format!("({error})"))),
            (value @ Value::Object(_), None) => {
                let mut leaves = Vec::new();
                unfold(value, "", 0, &mut leaves);
                out.extend(leaves.into_iter().map(|(key, value)| row(&key, value)));
            }
            (value, None) => out.push(row("", shown(value))),
        }
    }
    if out.is_empty() {
        out.push(json!({"mbean": mbean["name"]}));
    }
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

fn operations_of(mbeans: &[Value]) -> String {
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

/// That a counter of this would yield something, as far as what was browsed tells.
fn check(found: &[Value], mbean: &str, attribute: &str, key: Option<&str>) -> Done {
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
    let mut leaves = Vec::new();
    unfold(value, "", 0, &mut leaves);
    let keys: Vec<&str> = leaves.iter().map(|(key, _)| key.as_str()).collect();
    match key {
        Some(key) if keys.contains(&key) => Ok(()),
        Some(key) => failed(format!("`{attribute}` has no key `{key}`; there are {}", keys.join(", "))),
        None => failed(format!("`{attribute}` has parts: name one of {}", keys.join(", "))),
    }
}

/// A name from the MBean's type, the attribute and the key: `memory-heap-memory-usage-used`.
fn counter_name(mbean: &str, attribute: &str, key: Option<&str>) -> String {
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

/// Name, MBean, attribute, key, whether it is a rate, unit, and what it is.
type Starter = (&'static str, &'static str, &'static str, &'static str, bool, &'static str, &'static str);

const JVM: &[Starter] = &[
    ("jvm-heap-used", "java.lang:type=Memory", "HeapMemoryUsage", "used", false, "bytes", "Heap in use"),
    (
        "jvm-heap-committed",
        "java.lang:type=Memory",
        "HeapMemoryUsage",
        "committed",
        false,
        "bytes",
        "Heap that the JVM has of the system",
    ),
    (
        "jvm-heap-max",
        "java.lang:type=Memory",
        "HeapMemoryUsage",
        "max",
        false,
        "bytes",
        "Heap that there may be",
    ),
    (
        "jvm-non-heap-used",
        "java.lang:type=Memory",
        "NonHeapMemoryUsage",
        "used",
        false,
        "bytes",
        "Memory beside the heap: classes, compiled code",
    ),
    ("jvm-threads", "java.lang:type=Threading", "ThreadCount", "", false, "threads", "Live threads"),
    (
        "jvm-threads-daemon",
        "java.lang:type=Threading",
        "DaemonThreadCount",
        "",
        false,
        "threads",
        "Live daemon threads",
    ),
    (
        "jvm-classes",
        "java.lang:type=ClassLoading",
        "LoadedClassCount",
        "",
        false,
        "classes",
        "Loaded classes",
    ),
    (
        "jvm-gc-count",
        "java.lang:type=GarbageCollector,name=*",
        "CollectionCount",
        "",
        true,
        "/s",
        "Collections a second, by collector",
    ),
    (
        "jvm-gc-time",
        "java.lang:type=GarbageCollector,name=*",
        "CollectionTime",
        "",
        true,
        "ms/s",
        "Milliseconds in collections a second, by collector",
    ),
    (
        "jvm-cpu",
        "java.lang:type=OperatingSystem",
        "ProcessCpuLoad",
        "",
        false,
        "",
        "Share of the machine's processors that the JVM uses, 0 to 1",
    ),
    (
        "jvm-open-files",
        "java.lang:type=OperatingSystem",
        "OpenFileDescriptorCount",
        "",
        false,
        "files",
        "Open file descriptors",
    ),
    (
        "jvm-open-files-max",
        "java.lang:type=OperatingSystem",
        "MaxFileDescriptorCount",
        "",
        false,
        "files",
        "File descriptors that there may be",
    ),
];

const TOMCAT: &[Starter] = &[
    (
        "tomcat-requests",
        "Catalina:type=GlobalRequestProcessor,name=*",
        "requestCount",
        "",
        true,
        "/s",
        "Requests a second, by connector",
    ),
    (
        "tomcat-errors",
        "Catalina:type=GlobalRequestProcessor,name=*",
        "errorCount",
        "",
        true,
        "/s",
        "Requests a second that ended in an error, by connector",
    ),
    (
        "tomcat-processing-time",
        "Catalina:type=GlobalRequestProcessor,name=*",
        "processingTime",
        "",
        true,
        "ms/s",
        "Milliseconds of work on requests a second, by connector",
    ),
    (
        "tomcat-threads-busy",
        "Catalina:type=ThreadPool,name=*",
        "currentThreadsBusy",
        "",
        false,
        "threads",
        "Threads that work on requests, by connector",
    ),
    (
        "tomcat-threads",
        "Catalina:type=ThreadPool,name=*",
        "currentThreadCount",
        "",
        false,
        "threads",
        "Threads of connectors",
    ),
    (
        "tomcat-sessions",
        "Catalina:type=Manager,host=*,context=*",
        "activeSessions",
        "",
        false,
        "sessions",
        "Sessions, by application",
    ),
];

fn starter(tomcat: bool, interval: &str, clusters: &[String]) -> String {
    let all = ["*".to_string()];
    let clusters = if clusters.is_empty() { &all } else { clusters };
    let clusters = serde_json::to_string(clusters).unwrap_or_default();
    let mut out = String::from(
        "# Counters of JVMs: name the JVMs of nodes in their `jvms`, then `rscaler apply -f` this.\n",
    );
    for (name, mbean, attribute, key, rate, unit, description) in
        JVM.iter().chain(TOMCAT.iter().filter(|_| tomcat))
    {
        let key = if key.is_empty() { String::new() } else { format!("key: {key}\n") };
        let rate = if *rate { "rate: true\n" } else { "" };
        let unit = if unit.is_empty() { String::new() } else { format!("unit: {unit}\n") };
        let _ = write!(
            out,
            "---\nkind: counter\nname: {name}\ndescription: \"{description}\"\ntype: jmx\nmbean: \"{mbean}\"\nattribute: {attribute}\n\
             {key}{rate}{unit}interval: {interval}\nclusters: {clusters}\n"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;

    #[test]
    fn names_of_counters_are_made_of_what_they_read() {
        for (mbean, attribute, key, name) in [
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
            assert_eq!(counter_name(mbean, attribute, key), name);
        }
    }

    #[test]
    fn starter_counters_are_documents_that_the_api_reads() {
        let text = starter(true, "15s", &["web".to_string()]);
        let mut count = 0;
        for document in serde_norway::Deserializer::from_str(&text) {
            let value = Value::deserialize(document).unwrap();
            let draft = rscaler_api::types::read_document::<rscaler_api::types::Counter>(value).unwrap();
            rscaler_raft::model::Counter::try_from(draft.spec).unwrap();
            count += 1;
        }
        assert_eq!(count, JVM.len() + TOMCAT.len());
    }

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
        let found = std::slice::from_ref(&mbean);
        assert!(check(found, "a:b=c", "Usage", Some("pools.x.max")).is_ok());
        for (attribute, key) in [("Usage", None), ("Usage", Some("max")), ("None", None)] {
            assert!(check(found, "a:b=c", attribute, key).is_err(), "{attribute} {key:?}");
        }
    }
}
