//! Runs, tasks and their output.

use reqwest::header::ACCEPT;

use super::objects::object_path;
use crate::client::{ByteStream, Call, Client, Error, read_bytes};
use crate::types::{Kind, List, Output, Run, RunRequest, RunStarted, Stream, Task};

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

impl Client {
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
}

fn output_call(task: u64, stream: Option<Stream>) -> Call {
    let stream = stream.map(|stream| match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Note => "note",
    });
    Call::get(format!("/api/v1/tasks/{task}/output")).maybe("stream", stream)
}
