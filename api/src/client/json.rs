//! Any endpoint, with bodies as JSON values: for programs that pass data on without looking into it, as the command
//! line's tables do.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::IF_MATCH;
use serde_json::Value;

use super::calls::segment;
use super::{ByteStream, Call, Client, Error, read_bytes};

/// What a request carries.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    None,
    /// JSON.
    Json(Value),
    /// A JSON merge patch (RFC 7396).
    Patch(Value),
    /// YAML documents.
    Yaml(String),
}

/// A path below `/api/v1/` with a query string, its parts escaped.
pub fn path(segments: &[&str], query: &[(&str, &str)]) -> String {
    let mut path = String::from("/api/v1");
    for part in segments {
        path.push('/');
        path.push_str(&segment(part));
    }
    for (position, (name, value)) in query.iter().enumerate() {
        path.push(if position == 0 { '?' } else { '&' });
        path.push_str(&segment(name));
        path.push('=');
        path.push_str(&segment(value));
    }
    path
}

impl Client {
    /// Sends a request to a [`path`], with `version` only where the resource is at it, and reads the answer; null
    /// where there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Body,
        version: Option<u64>,
    ) -> Result<Value, Error> {
        let mut call = Call::new(method, path);
        call = match body {
            Body::None => call,
            Body::Json(value) => call.json(&value)?,
            Body::Patch(value) => call.body("application/merge-patch+json", Bytes::from(value.to_string())),
            Body::Yaml(text) => call.body("application/yaml", Bytes::from(text)),
        };
        if let Some(version) = version {
            call = call.header(IF_MATCH, &format!("\"{version}\""));
        }
        let response = self.send(call).await?;
        let endpoint = super::endpoint_of(&response);
        let bytes = read_bytes(response).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| Error::Unexpected {
            endpoint,
            why: format!("the answer cannot be read: {error}"),
        })
    }

    /// Sends a request to a [`path`] and gives the answer as it comes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn stream(&self, path: &str) -> Result<ByteStream, Error> {
        self.bytes(Call::get(path).streams()).await
    }

    /// A whole list, page by page, at most `most` items.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn items(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let limit = (most - items.len()).clamp(1, 500).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let mut page = self.exchange(Method::GET, &path(segments, &query), Body::None, None).await?;
            if let Some(found) = page["items"].as_array_mut() {
                items.append(found);
            }
            cursor = page["next"].as_str().map(str::to_string);
            if cursor.is_none() || items.len() >= most {
                items.truncate(most);
                return Ok(items);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn parts_of_a_path_cannot_change_its_shape() {
        assert_eq!(
            path(&["nodes", "a/b?c", ".."], &[("label", "a=b&c")]),
            "/api/v1/nodes/a%2Fb%3Fc/%2E%2E?label=a%3Db%26c"
        );
    }
}
