//! What a series is called.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The number of a series: dense, given out by a replicated counter from 0 on, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub u32);

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "series {}", self.0)
    }
}

/// The name of a series: one counter at one place. Ordered by counter, node, JVM, instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey {
    /// The counter that defines what is measured.
    pub counter: Arc<str>,
    /// The node where it is measured.
    pub node: Arc<str>,
    /// The JVM on the node, for counters of type `jmx`.
    pub jvm: Option<Arc<str>>,
    /// Which of several values of the counter, such as a file system or an MBean.
    pub instance: Option<Arc<str>>,
}

impl SeriesKey {
    /// The borrowed form, as lookups take it.
    pub fn parts(&self) -> KeyRef<'_> {
        KeyRef {
            counter: &self.counter,
            node: &self.node,
            jvm: self.jvm.as_deref(),
            instance: self.instance.as_deref(),
        }
    }
}

// The same as of `KeyRef`, so that a map of keys can be asked with borrowed parts.
impl Hash for SeriesKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// A [`SeriesKey`] whose names are borrowed, for lookups without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef<'a> {
    /// The counter.
    pub counter: &'a str,
    /// The node.
    pub node: &'a str,
    /// The JVM, if any.
    pub jvm: Option<&'a str>,
    /// The instance, if any.
    pub instance: Option<&'a str>,
}

impl KeyRef<'_> {
    /// The owned key. Names are copied; [`super::SeriesStore::intern`] shares equal ones.
    pub fn to_key(self) -> SeriesKey {
        SeriesKey {
            counter: self.counter.into(),
            node: self.node.into(),
            jvm: self.jvm.map(Into::into),
            instance: self.instance.map(Into::into),
        }
    }
}
