//! Counters that most JVMs need, as a file to apply.

const JVM: &str = include_str!("starter-jvm.yaml");
const TOMCAT: &str = include_str!("starter-tomcat.yaml");

/// The counters, read this often on the nodes of `clusters`; of all where there are none.
pub(super) fn counters(tomcat: bool, interval: &str, clusters: &[String]) -> String {
    let all = ["*".to_string()];
    let clusters = if clusters.is_empty() { &all } else { clusters };
    let clusters = serde_json::to_string(clusters).unwrap_or_default();
    let text = if tomcat { [JVM, TOMCAT].concat() } else { JVM.to_string() };
    text.replace("INTERVAL", interval).replace("CLUSTERS", &clusters)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[test]
    fn starter_counters_are_documents_that_the_api_reads() {
        let text = counters(true, "15s", &["web".to_string()]);
        let mut count = 0;
        for document in serde_norway::Deserializer::from_str(&text) {
            let value = Value::deserialize(document).unwrap();
            let draft = rscaler_api::types::read_document::<rscaler_api::types::Counter>(value).unwrap();
            rscaler_raft::model::Counter::try_from(draft.spec).unwrap();
            count += 1;
        }
        assert_eq!(count, 18);
    }
}
