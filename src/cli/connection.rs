//! The API's client, with failures in the CLI's words.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::Method;
use rscaler_api::client::{Client, Error, Options};
use serde_json::Value;

use super::context::Where;
use super::failure::Failure;

/// The most items of a list that are read.
const ITEMS_MAX: usize = 100_000;

/// The way to a control plane. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client,
}

impl Connection {
    /// Prepares the way; nothing is sent yet.
    pub(crate) fn open(at: &Where) -> Result<Connection, Failure> {
        let context = at.resolve()?;
        let endpoints =
            context.api.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_string).collect();
        let client = Client::new(Options { endpoints, token: context.token, ca: context.ca })?;
        Ok(Connection { client })
    }

    /// Reads a resource.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.client.get(path).await?)
    }

    /// Sends a body, where there is one, and reads the answer.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let patch = method == Method::PATCH;
        let mut request = self.client.request(method, path);
        if let Some(body) = &body {
            request = if patch { request.merge_patch(body) } else { request.json(body) };
        }
        Ok(request.send().await?)
    }

    /// Replaces a resource, where a version is given only at that version.
    pub(crate) async fn put(&self, path: &str, body: Value, version: Option<u64>) -> Result<Value, Failure> {
        let mut request = self.client.request(Method::PUT, path).json(&body);
        if let Some(version) = version {
            request = request.if_match(version);
        }
        Ok(request.send().await?)
    }

    /// Applies documents.
    pub(crate) async fn apply(&self, documents: &str, dry_run: bool, prune: bool) -> Result<Value, Failure> {
        let mut request = self.client.request(Method::POST, "apply").yaml(documents);
        for (name, wanted) in [("dry_run", dry_run), ("prune", prune)] {
            if wanted {
                request = request.query(name, true);
            }
        }
        Ok(request.send().await?)
    }

    /// A whole list.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        self.some(path, ITEMS_MAX).await
    }

    /// The first items of a list; `path` may have a query string.
    pub(crate) async fn some(&self, path: &str, most: usize) -> Result<Vec<Value>, Failure> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        Ok(self.client.list(path, &query, most).await?)
    }

    /// An answer piece by piece.
    pub(crate) async fn stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + use<>, Failure> {
        Ok(self.client.request(Method::GET, path).stream().await?.map(|piece| Ok(piece?)))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Setup(text) => Failure::Usage(text),
            Error::NoAnswer(text) => Failure::NoAnswer(text),
            Error::Refused { status, problem } => Failure::from_problem(status, &problem),
            Error::Garbled(_) => Failure::Failed(error.to_string()),
        }
    }
}
