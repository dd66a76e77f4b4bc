//! `jmx`: what JVMs offer, and counters of it.

mod browsed;
mod counter;
mod starter;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Format, field};

/// MBeans that are shown at most.
const MBEANS_MAX: usize = 5000;

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
                return output::items(format, &mbeans, browsed::ROWS);
            }
            if mbeans.is_empty() {
                return Err(Failure::Failed("no MBean matches".to_string()));
            }
            output::items(format, &mbeans.iter().flat_map(browsed::rows).collect::<Vec<_>>(), browsed::ROWS)?;
            if operations {
                output::say(&browsed::operations(&mbeans))?;
            }
            Ok(())
        }
        JmxCommand::AddCounter { at, mbean, attribute, key, name, rate, interval, unit, clusters } => {
            let connection = connect()?;
            let found = mbeans(&connection, &at, Some(&mbean), true).await?;
            counter::check(&found, &mbean, &attribute, key.as_deref())?;
            let clusters = match clusters.is_empty() {
                true => vec![field(&connection.get(&format!("nodes/{}", at.node)).await?, "cluster")],
                false => clusters,
            };
            let name = name.unwrap_or_else(|| counter::name(&mbean, &attribute, key.as_deref()));
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
            output::say(starter::counters(tomcat, &interval, &clusters).trim_end())
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
