//! Series and their samples.

use super::objects::object_path;
use super::segment;
use crate::client::{Call, Client, Error};
use crate::types::{Kind, List, Pushed, SampleQuery, SamplesAnswer, SamplesPushed, SeriesInfo};

impl Client {
    /// The samples of a counter on a cluster's nodes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cluster_samples(
        &self,
        cluster: &str,
        counter: &str,
        query: &SampleQuery,
    ) -> Result<SamplesAnswer, Error> {
        let path = format!("{}/counters/{}/samples", object_path(Kind::Cluster, cluster), segment(counter));
        self.fetch(samples_call(path, query)).await
    }

    /// The samples of a counter on a node, or on one of its JVMs.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn node_samples(
        &self,
        node: &str,
        jvm: Option<&str>,
        counter: &str,
        query: &SampleQuery,
    ) -> Result<SamplesAnswer, Error> {
        let node = object_path(Kind::Node, node);
        let path = match jvm {
            Some(jvm) => format!("{node}/jvms/{}/counters/{}/samples", segment(jvm), segment(counter)),
            None => format!("{node}/counters/{}/samples", segment(counter)),
        };
        self.fetch(samples_call(path, query)).await
    }

    /// Known series, each filter where given.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn series(
        &self,
        cluster: Option<&str>,
        node: Option<&str>,
        jvm: Option<&str>,
        counter: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<List<SeriesInfo>, Error> {
        let call = Call::get("/api/v1/series")
            .maybe("cluster", cluster)
            .maybe("node", node)
            .maybe("jvm", jvm)
            .maybe("counter", counter)
            .maybe("cursor", cursor);
        self.fetch(call).await
    }

    /// Writes samples.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push_samples(&self, samples: &Pushed) -> Result<SamplesPushed, Error> {
        self.fetch(Call::post("/api/v1/samples").json(samples)?).await
    }
}

fn samples_call(path: String, query: &SampleQuery) -> Call {
    let agg = |agg: Option<crate::types::Agg>| {
        agg.and_then(|agg| serde_json::to_value(agg).ok())
            .and_then(|value| value.as_str().map(str::to_string))
    };
    Call::get(path)
        .maybe("from", query.from.as_ref())
        .maybe("to", query.to.as_ref())
        .maybe("step", query.step.as_ref())
        .maybe("agg", agg(query.agg))
        .maybe("across", agg(query.across))
        .maybe("instance", query.instance.as_ref())
}
