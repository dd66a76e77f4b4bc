//! Configuration objects: one, many, and the content of files.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::IF_MATCH;
use serde_json::Value;

use super::segment;
use crate::client::{Call, Client, Error, read_bytes, read_json};
use crate::types::{ApplyAnswer, ApplyOptions, Document, FileVersion, Kind, List, Resource};

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

/// An object that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<T> {
    /// Whether it is new.
    pub created: bool,
    /// As it is now.
    pub object: T,
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
}

pub(super) fn object_path(kind: Kind, name: &str) -> String {
    format!("/api/v1/{}/{}", kind.plural(), segment(name))
}

fn if_match(call: Call, version: Option<u64>) -> Call {
    match version {
        Some(version) => call.header(IF_MATCH, &format!("\"{version}\"")),
        None => call,
    }
}

fn list_call(kind: Kind, listing: &Listing) -> Call {
    Call::get(format!("/api/v1/{}", kind.plural()))
        .maybe("selector", listing.selector.as_ref())
        .maybe("cluster", listing.cluster.as_ref())
        .maybe("limit", listing.limit)
        .maybe("cursor", listing.cursor.as_ref())
}
