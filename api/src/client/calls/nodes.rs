//! What nodes have beside their objects: host keys, and what became of their readings.

use reqwest::Method;

use super::objects::object_path;
use super::segment;
use crate::client::{Call, Client, Error};
use crate::types::{Check, HostKeys, Kind, List, Mbeans};

impl Client {
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

    /// A page of the MBeans of a node's JVM.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mbeans(
        &self,
        node: &str,
        jvm: &str,
        pattern: Option<&str>,
        values: bool,
        cursor: Option<&str>,
    ) -> Result<Mbeans, Error> {
        let path = format!("{}/jvms/{}/mbeans", object_path(Kind::Node, node), segment(jvm));
        let call = Call::get(path).maybe("pattern", pattern).maybe("cursor", cursor);
        self.fetch(if values { call } else { call.query("values", false) }).await
    }
}
