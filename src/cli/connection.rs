//! The API's client, with failures in the CLI's words. Paths are given as people write them: `runs/7`,
//! `tasks?run=7&state=failed`; the parts are escaped here.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::Method;
use rscaler_api::client::json::{self, Body};
use rscaler_api::client::{Client, Error, Trust};
use serde_json::Value;

use super::context::{Context, Where};
use super::failure::Failure;

/// The most items of a list that are read.
pub(crate) const ITEMS_MAX: usize = 100_000;

/// What to do about a certificate that is not trusted.
const TRUST: &str = "say with --ca (or RSCALER_CA, or a context) which certificates are right: that of an authority, \
or the peers' own, which each keeps as `api.crt` in its data directory";

/// The way to a control plane. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client,
}

/// Splits `a/b?c=d` into its parts.
fn parts(path: &str) -> (Vec<&str>, Vec<(&str, &str)>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    (path.split('/').collect(), query.split('&').filter_map(|pair| pair.split_once('=')).collect())
}

/// The certificates of some files, separated by commas.
fn read_certificates(paths: &str) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    for path in paths.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        let pem =
            std::fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {path}: {error}")))?;
        if !pem.windows(27).any(|text| text == b"-----BEGIN CERTIFICATE-----") {
            return Err(Failure::Usage(format!("there is no certificate (PEM) in {path}")));
        }
        all.extend_from_slice(&pem);
        all.push(b'\n');
    }
    Ok(all)
}

fn escaped(path: &str) -> String {
    let (segments, query) = parts(path);
    json::path(&segments, &query)
}

impl Connection {
    /// Prepares the way; nothing is sent yet.
    pub(crate) fn open(at: &Where) -> Result<Connection, Failure> {
        Connection::to(at.resolve()?)
    }

    /// Prepares the way to a place.
    pub(crate) fn to(context: Context) -> Result<Connection, Failure> {
        let mut builder = Client::builder();
        for url in context.api.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            builder = builder.endpoint(url);
        }
        if let Some(token) = context.token {
            builder = builder.token(token);
        }
        if let Some(paths) = context.ca {
            builder = builder.trust(Trust::Authority(read_certificates(&paths)?));
        }
        Ok(Connection { client: builder.build()? })
    }

    /// Reads a resource.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.client.exchange(Method::GET, &escaped(path), Body::None, None).await?)
    }

    /// Sends a body, where there is one, and reads the answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let body = match body {
            None => Body::None,
            Some(value) if method == Method::PATCH => Body::Patch(value),
            Some(value) => Body::Json(value),
        };
        Ok(self.client.exchange(method, &escaped(path), body, None).await?)
    }

    /// Replaces a resource, where a version is given only at that version.
    pub(crate) async fn put(&self, path: &str, body: Value, version: Option<u64>) -> Result<Value, Failure> {
        Ok(self.client.exchange(Method::PUT, &escaped(path), Body::Json(body), version).await?)
    }

    /// Applies documents.
    pub(crate) async fn apply(&self, documents: &str, dry_run: bool, prune: bool) -> Result<Value, Failure> {
        let options = [("dry_run", dry_run), ("prune", prune)];
        let query: Vec<(&str, &str)> =
            options.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| (*name, "true")).collect();
        let path = json::path(&["apply"], &query);
        Ok(self.client.exchange(Method::POST, &path, Body::Yaml(documents.to_string()), None).await?)
    }

    /// A whole list.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        self.some(path, ITEMS_MAX).await
    }

    /// The first items of a list.
    pub(crate) async fn some(&self, path: &str, most: usize) -> Result<Vec<Value>, Failure> {
        let (segments, query) = parts(path);
        Ok(self.client.items(&segments, &query, most).await?)
    }

    /// The first items of a list, by its query's parameters.
    pub(crate) async fn find(
        &self,
        path: &str,
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<Vec<Value>, Failure> {
        Ok(self.client.items(&parts(path).0, query, most).await?)
    }

    /// An answer piece by piece.
    pub(crate) async fn stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + use<>, Failure> {
        Ok(self.client.stream(&escaped(path)).await?.map(|piece| Ok(piece?)))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Problem(problem) => {
                let value = serde_json::to_value(problem).unwrap_or_default();
                Failure::from_problem(problem.status, &value)
            }
            Error::Config(text) => Failure::Usage(text.clone()),
            Error::Untrusted(peers) if peers.iter().any(|(_, why)| why.contains("neither trusted")) => {
                Failure::NoAnswer(format!("{error}\n  {TRUST}"))
            }
            Error::Unreachable(_) | Error::Untrusted(_) | Error::Broken { .. } => {
                Failure::NoAnswer(error.to_string())
            }
            Error::Unexpected { .. } => Failure::Failed(error.to_string()),
        }
    }
}
