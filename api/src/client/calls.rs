//! One method for each endpoint.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, IF_MATCH};
use serde_json::Value;

use super::{ByteStream, Call, Client, Error, read_bytes, read_json};
use crate::types::{
    ApplyAnswer, ApplyOptions, Check, Document, Event, ExecuteTrigger, FileVersion, HostKeys, Identity,
    IssuedToken, JoinToken, Kind, List, Login, LoginAnswer, NewLeader, Output, Peer, Pushed, Resource, Run,
    RunRequest, RunStarted, SampleQuery, SamplesAnswer, SamplesPushed, SeriesInfo, Stream, Task, TestTrigger,
    TriggerState, TriggerTest,
};

/// The largest page a peer gives.
const PAGE_MAX: u32 = 1000;

/// Which objects are listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Labels they must carry: `app=web,tier`.
    pub selector: Option<String>,
    /// Only nodes, triggers and so on of this cluster.
    pub cluster: Option<String>,
    /// At most this many a page.
    pub limit: Option<u32>,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// Which runs are listed, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    /// In this state.
    pub state: Option<String>,
    /// About this cluster.
    pub cluster: Option<String>,
    /// About this node.
    pub node: Option<String>,
    /// Started by this trigger.
    pub trigger: Option<String>,
    /// At most this many a page.
    pub limit: Option<u32>,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// Which tasks are listed, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    /// Of this run.
    pub run: Option<u64>,
    /// In this state; `open`: all that have not ended.
    pub state: Option<String>,
    /// On this node.
    pub node: Option<String>,
    /// At this peer.
    pub peer: Option<u64>,
    /// Of this action.
    pub action: Option<String>,
    /// At most this many a page.
    pub limit: Option<u32>,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// An object that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<T> {
    /// Whether it is new.
    pub created: bool,
    /// As it is now.
    pub object: T,
}

fn object_path(kind: Kind, name: &str) -> String {
    format!("/api/v1/{}/{}", kind.plural(), segment(name))
}

/// A path segment: what a name may not hold is escaped, so that a wrong name is not found instead of elsewhere.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // Dots alone would walk up the path.
    if out.bytes().all(|byte| byte == b'.') { out.replace('.', "%2E") } else { out }
}

fn if_match(call: Call, version: Option<u64>) -> Call {
    match version {
        Some(version) => call.header(IF_MATCH, &format!("\"{version}\"")),
        None => call,
    }
}

impl Client {
    /// A page of objects, in name order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list<T: Document>(&self, listing: &Listing) -> Result<List<Resource<T>>, Error> {
        self.fetch(list_call(T::KIND, listing)).await
    }

    /// A page of objects of a kind, as JSON.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_values(&self, kind: Kind, listing: &Listing) -> Result<List<Value>, Error> {
        self.fetch(list_call(kind, listing)).await
    }

    /// All objects of a kind, as JSON, in name order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_all(&self, kind: Kind, listing: &Listing) -> Result<Vec<Value>, Error> {
        let mut listing = Listing { limit: Some(PAGE_MAX), ..listing.clone() };
        let mut all = Vec::new();
        loop {
            let mut page = self.list_values(kind, &listing).await?;
            all.append(&mut page.items);
            match page.next {
                Some(next) => listing.cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// An object.
    ///
    /// # Errors
    /// [`Error`]; status 404 where there is none.
    pub async fn get<T: Document>(&self, name: &str) -> Result<Resource<T>, Error> {
        self.fetch(Call::get(object_path(T::KIND, name))).await
    }

    /// An object, as JSON.
    ///
    /// # Errors
    /// [`Error`]; status 404 where there is none.
    pub async fn get_value(&self, kind: Kind, name: &str) -> Result<Value, Error> {
        self.fetch(Call::get(object_path(kind, name))).await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// [`Error`]; status 409 where there is one of that name.
    pub async fn create<T: Document>(&self, object: &Resource<T>) -> Result<Resource<T>, Error> {
        self.fetch(Call::post(format!("/api/v1/{}", T::KIND.plural())).json(object)?).await
    }

    /// Creates an object from its JSON document.
    ///
    /// # Errors
    /// [`Error`]; status 409 where there is one of that name.
    pub async fn create_value(&self, kind: Kind, object: &Value) -> Result<Value, Error> {
        self.fetch(Call::post(format!("/api/v1/{}", kind.plural())).json(object)?).await
    }

    /// Creates or replaces an object; with `version`, only while it is at that version.
    ///
    /// # Errors
    /// [`Error`]; status 412 where the version has moved.
    pub async fn put<T: Document>(
        &self,
        object: &Resource<T>,
        version: Option<u64>,
    ) -> Result<Written<Resource<T>>, Error> {
        let call = Call::new(Method::PUT, object_path(T::KIND, object.name.as_str())).json(object)?;
        let response = self.send(if_match(call, version)).await?;
        let created = response.status().as_u16() == 201;
        Ok(Written { created, object: read_json(response).await? })
    }

    /// Creates or replaces an object from its JSON document.
    ///
    /// # Errors
    /// [`Error`]; status 412 where the version has moved.
    pub async fn put_value(
        &self,
        kind: Kind,
        name: &str,
        object: &Value,
        version: Option<u64>,
    ) -> Result<Written<Value>, Error> {
        let call = Call::new(Method::PUT, object_path(kind, name)).json(object)?;
        let response = self.send(if_match(call, version)).await?;
        let created = response.status().as_u16() == 201;
        Ok(Written { created, object: read_json(response).await? })
    }

    /// Changes some fields of an object: a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn patch(
        &self,
        kind: Kind,
        name: &str,
        patch: &Value,
        version: Option<u64>,
    ) -> Result<Value, Error> {
        let body = Bytes::from(patch.to_string());
        let call =
            Call::new(Method::PATCH, object_path(kind, name)).body("application/merge-patch+json", body);
        self.fetch(if_match(call, version)).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`Error`]; status 409 where it is in use.
    pub async fn delete(&self, kind: Kind, name: &str, version: Option<u64>) -> Result<(), Error> {
        self.tell(if_match(Call::new(Method::DELETE, object_path(kind, name)), version)).await
    }

    /// Applies documents: YAML, one or many, or JSON. All or nothing.
    ///
    /// # Errors
    /// [`Error`]; status 422 with the documents' mistakes.
    pub async fn apply(
        &self,
        documents: impl Into<Bytes>,
        options: &ApplyOptions,
    ) -> Result<ApplyAnswer, Error> {
        let call = Call::post("/api/v1/apply")
            .body("application/yaml", documents.into())
            .maybe("selector", options.selector.as_ref());
        let call = if options.dry_run { call.query("dry_run", true) } else { call };
        let call = if options.prune { call.query("prune", true) } else { call };
        self.fetch(call).await
    }

    /// A file's kept versions, oldest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn file_versions(&self, name: &str) -> Result<List<FileVersion>, Error> {
        self.fetch(Call::get(format!("{}/versions", object_path(Kind::File, name)))).await
    }

    /// A file's content; of an older version where one is given.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn file_content(&self, name: &str, version: Option<u64>) -> Result<Vec<u8>, Error> {
        let call = Call::get(format!("{}/content", object_path(Kind::File, name))).maybe("version", version);
        read_bytes(self.send(call).await?).await
    }

    /// The keys recorded for a node's host.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn host_keys(&self, node: &str) -> Result<HostKeys, Error> {
        self.fetch(Call::get(format!("{}/host-keys", object_path(Kind::Node, node)))).await
    }

    /// Replaces the keys recorded for a node's host.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_host_keys(&self, node: &str, keys: &HostKeys) -> Result<HostKeys, Error> {
        let path = format!("{}/host-keys", object_path(Kind::Node, node));
        self.fetch(Call::new(Method::PUT, path).json(keys)?).await
    }

    /// Forgets the keys recorded for a node's host.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn forget_host_keys(&self, node: &str) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, format!("{}/host-keys", object_path(Kind::Node, node)))).await
    }

    /// What became of the last reading of each counter on a node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn checks(&self, node: &str) -> Result<List<Check>, Error> {
        self.fetch(Call::get(format!("{}/checks", object_path(Kind::Node, node)))).await
    }

    /// Last readings over all nodes: those that failed, or whose output holds a text.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn search_checks(
        &self,
        text: Option<&str>,
        failing: bool,
        cursor: Option<&str>,
    ) -> Result<List<Check>, Error> {
        let call = Call::get("/api/v1/checks").maybe("search", text).maybe("cursor", cursor);
        self.fetch(if failing { call.query("failing", true) } else { call }).await
    }

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

    /// Runs a command or an action on every node of a cluster.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run_on_cluster(&self, cluster: &str, request: &RunRequest) -> Result<RunStarted, Error> {
        self.fetch(Call::post(format!("{}/run", object_path(Kind::Cluster, cluster))).json(request)?).await
    }

    /// Runs a command or an action on a node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run_on_node(&self, node: &str, request: &RunRequest) -> Result<RunStarted, Error> {
        self.fetch(Call::post(format!("{}/run", object_path(Kind::Node, node))).json(request)?).await
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn runs(&self, filter: &RunFilter) -> Result<List<Run>, Error> {
        let call = Call::get("/api/v1/runs")
            .maybe("state", filter.state.as_ref())
            .maybe("cluster", filter.cluster.as_ref())
            .maybe("node", filter.node.as_ref())
            .maybe("trigger", filter.trigger.as_ref())
            .maybe("limit", filter.limit)
            .maybe("cursor", filter.cursor.as_ref());
        self.fetch(call).await
    }

    /// A run.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, id: u64) -> Result<Run, Error> {
        self.fetch(Call::get(format!("/api/v1/runs/{id}"))).await
    }

    /// Asks for a run and its tasks to end.
    ///
    /// # Errors
    /// [`Error`]; status 409 where it has ended.
    pub async fn cancel_run(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::post(format!("/api/v1/runs/{id}/cancel"))).await
    }

    /// Starts a run with the same steps.
    ///
    /// # Errors
    /// [`Error`]; status 409 where it is going on.
    pub async fn retry_run(&self, id: u64) -> Result<RunStarted, Error> {
        self.fetch(Call::post(format!("/api/v1/runs/{id}/retry"))).await
    }

    /// A page of tasks, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<List<Task>, Error> {
        let call = Call::get("/api/v1/tasks")
            .maybe("run", filter.run)
            .maybe("state", filter.state.as_ref())
            .maybe("node", filter.node.as_ref())
            .maybe("peer", filter.peer)
            .maybe("action", filter.action.as_ref())
            .maybe("limit", filter.limit)
            .maybe("cursor", filter.cursor.as_ref());
        self.fetch(call).await
    }

    /// A task.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn task(&self, id: u64) -> Result<Task, Error> {
        self.fetch(Call::get(format!("/api/v1/tasks/{id}"))).await
    }

    /// Asks for a task to end.
    ///
    /// # Errors
    /// [`Error`]; status 409 where it has ended.
    pub async fn cancel_task(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::post(format!("/api/v1/tasks/{id}/cancel"))).await
    }

    /// What is kept of a task's output, as text with gaps marked; of one stream where given.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn output_text(&self, task: u64, stream: Option<Stream>) -> Result<Vec<u8>, Error> {
        read_bytes(self.send(output_call(task, stream)).await?).await
    }

    /// A task's output as text, as it comes, until the task has ended.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn follow_text(&self, task: u64, stream: Option<Stream>) -> Result<ByteStream, Error> {
        self.bytes(output_call(task, stream).query("follow", true).streams()).await
    }

    /// What is kept of a task's output from sequence number `from` on, in chunks.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn output(&self, task: u64, from: u64) -> Result<Output, Error> {
        let call = Call::get(format!("/api/v1/tasks/{task}/output")).query("from", from);
        self.fetch(call.header(ACCEPT, "application/json")).await
    }

    /// How a trigger stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn trigger_state(&self, name: &str) -> Result<TriggerState, Error> {
        self.fetch(Call::get(format!("{}/state", object_path(Kind::Trigger, name)))).await
    }

    /// Runs a trigger's steps by hand.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn execute_trigger(&self, name: &str, request: &ExecuteTrigger) -> Result<RunStarted, Error> {
        self.fetch(Call::post(format!("{}/execute", object_path(Kind::Trigger, name))).json(request)?).await
    }

    /// When a trigger would have fired.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn test_trigger(&self, name: &str, request: &TestTrigger) -> Result<TriggerTest, Error> {
        self.fetch(Call::post(format!("{}/test", object_path(Kind::Trigger, name))).json(request)?).await
    }

    /// A page of events, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn events(
        &self,
        kind: Option<&str>,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<List<Event>, Error> {
        let call =
            Call::get("/api/v1/events").maybe("type", kind).maybe("limit", limit).maybe("cursor", cursor);
        self.fetch(call).await
    }

    /// The members of the control plane.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn peers(&self) -> Result<List<Peer>, Error> {
        self.fetch(Call::get("/api/v1/peers")).await
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn promote_peer(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::post(format!("/api/v1/peers/{id}/promote"))).await
    }

    /// Makes a voter a learner.
    ///
    /// # Errors
    /// [`Error`]; status 409 where nothing could be decided without it.
    pub async fn demote_peer(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::post(format!("/api/v1/peers/{id}/demote"))).await
    }

    /// Removes a peer and revokes its certificate.
    ///
    /// # Errors
    /// [`Error`]; status 409 where nothing could be decided without it.
    pub async fn remove_peer(&self, id: u64) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, format!("/api/v1/peers/{id}"))).await
    }

    /// Hands leadership to a voter.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        self.tell(Call::post("/api/v1/peers/leader").json(&NewLeader { to })?).await
    }

    /// Makes a right to join.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn join_token(&self, request: &JoinToken) -> Result<IssuedToken, Error> {
        self.fetch(Call::post("/api/v1/peers/join-tokens").json(request)?).await
    }

    /// A consistent copy of the control plane, as it comes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(&self) -> Result<ByteStream, Error> {
        self.bytes(Call::get("/api/v1/backup").streams()).await
    }

    /// A token for a user and a password.
    ///
    /// # Errors
    /// [`Error`]; status 401 where they are wrong.
    pub async fn login(&self, login: &Login) -> Result<LoginAnswer, Error> {
        self.fetch(Call::post("/api/v1/login").json(login)?).await
    }

    /// Ends the token that a login gave, the one this client uses.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn logout(&self) -> Result<(), Error> {
        self.tell(Call::post("/api/v1/logout")).await
    }

    /// Who this client is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn whoami(&self) -> Result<Identity, Error> {
        self.fetch(Call::get("/api/v1/whoami")).await
    }

    /// Whether the peer can serve.
    ///
    /// # Errors
    /// [`Error`]; status 503 with what is not ready.
    pub async fn ready(&self) -> Result<(), Error> {
        self.tell(Call::get("/readyz")).await
    }

    /// The description of the API.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn openapi(&self) -> Result<Value, Error> {
        self.fetch(Call::get("/api/openapi.json")).await
    }
}

fn list_call(kind: Kind, listing: &Listing) -> Call {
    Call::get(format!("/api/v1/{}", kind.plural()))
        .maybe("selector", listing.selector.as_ref())
        .maybe("cluster", listing.cluster.as_ref())
        .maybe("limit", listing.limit)
        .maybe("cursor", listing.cursor.as_ref())
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

fn output_call(task: u64, stream: Option<Stream>) -> Call {
    let stream = stream.map(|stream| match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Note => "note",
    });
    Call::get(format!("/api/v1/tasks/{task}/output")).maybe("stream", stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_stays_one_segment() {
        assert_eq!(object_path(Kind::Node, "web01"), "/api/v1/nodes/web01");
        assert_eq!(segment("../x y"), "..%2Fx%20y");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
