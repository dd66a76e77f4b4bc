//! Which series there are: key to id, id to key, and who measures what.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Error, KeyRef, SeriesId, SeriesKey};

/// No more series than this at a time.
pub const SERIES_MAX: usize = 1 << 20;

/// Lets a map keyed by shared keys be asked with borrowed parts.
trait Parts {
    fn parts(&self) -> KeyRef<'_>;
}

impl Parts for KeyRef<'_> {
    fn parts(&self) -> KeyRef<'_> {
        *self
    }
}

impl PartialEq for dyn Parts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Parts + '_ {}

impl Hash for dyn Parts + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shared(Arc<SeriesKey>);

impl Parts for Shared {
    fn parts(&self) -> KeyRef<'_> {
        self.0.parts()
    }
}

impl<'a> Borrow<dyn Parts + 'a> for Shared {
    fn borrow(&self) -> &(dyn Parts + 'a) {
        self
    }
}

/// A series as the dictionary has it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<SeriesKey>,
    /// The replicated clock when the series was made.
    pub(super) born_ms: i64,
}

/// All series by key, id, counter and node. The hash map is only ever asked, never walked.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    next: u32,
    entries: BTreeMap<SeriesId, Entry>,
    ids: HashMap<Shared, SeriesId>,
    by_counter: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<SeriesId>>>,
    by_node: BTreeMap<Arc<str>, BTreeSet<SeriesId>>,
    digest: u64,
}

impl Dictionary {
    /// The id that the next new series gets.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Digest of all keys and ids, whatever the order in which they came.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn id(&self, key: KeyRef<'_>) -> Option<SeriesId> {
        self.ids.get(&key as &dyn Parts).copied()
    }

    pub(super) fn entry(&self, id: SeriesId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Ids in ascending order.
    pub(super) fn ids(&self) -> impl Iterator<Item = SeriesId> {
        self.entries.keys().copied()
    }

    /// Makes a series. The caller has checked that the key is not taken.
    pub(super) fn add(&mut self, key: KeyRef<'_>, born_ms: i64) -> Result<SeriesId, Error> {
        if self.len() >= SERIES_MAX || self.next == u32::MAX {
            return Err(Error::Limit {
                limit: "the number of series",
                max: SERIES_MAX as u64,
                asked: self.len() as u64 + 1,
                hint: "remove counters, nodes or instances",
            });
        }
        let id = SeriesId(self.next);
        self.next += 1;
        self.put(id, key, born_ms);
        Ok(id)
    }

    /// Puts back a series that was stored, with the id it has.
    pub(super) fn restore(
        &mut self,
        id: SeriesId,
        key: KeyRef<'_>,
        born_ms: i64,
    ) -> Result<(), &'static str> {
        if id.0 >= self.next || self.entry(id).is_some() || self.id(key).is_some() {
            return Err("its id or key is taken or was never given out");
        }
        self.put(id, key, born_ms);
        Ok(())
    }

    /// Ids below `next` were given out.
    pub(super) fn restore_next(&mut self, next: u32) {
        self.next = next;
    }

    fn put(&mut self, id: SeriesId, key: KeyRef<'_>, born_ms: i64) {
        let counter = shared(&self.by_counter, key.counter);
        let node = shared(&self.by_node, key.node);
        let mut key = key.to_key();
        (key.counter, key.node) = (counter.clone(), node.clone());
        let key = Arc::new(key);
        self.digest = self.digest.wrapping_add(entry_hash(id, &key, born_ms));
        self.entries.insert(id, Entry { key: key.clone(), born_ms });
        self.ids.insert(Shared(key), id);
        let ids = self.by_counter.entry(counter).or_default().entry(node.clone()).or_default();
        // Ascending, though rows may be restored in any order.
        let position = ids.partition_point(|&other| other < id);
        ids.insert(position, id);
        self.by_node.entry(node).or_default().insert(id);
    }

    pub(super) fn remove(&mut self, id: SeriesId) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        self.digest = self.digest.wrapping_sub(entry_hash(id, &entry.key, entry.born_ms));
        self.ids.remove(&entry.key.parts() as &dyn Parts);
        if let Some(nodes) = self.by_counter.get_mut(&entry.key.counter) {
            if let Some(ids) = nodes.get_mut(&entry.key.node) {
                ids.retain(|&other| other != id);
                if ids.is_empty() {
                    nodes.remove(&entry.key.node);
                }
            }
            if nodes.is_empty() {
                self.by_counter.remove(&entry.key.counter);
            }
        }
        if let Some(ids) = self.by_node.get_mut(&entry.key.node) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_node.remove(&entry.key.node);
            }
        }
        true
    }

    /// The series of a counter, by node and then by id.
    pub(super) fn of_counter(&self, counter: &str) -> impl Iterator<Item = SeriesId> {
        self.by_counter.get(counter).into_iter().flat_map(|nodes| nodes.values().flatten().copied())
    }

    /// The series of a counter on a node, by id.
    pub(super) fn of_counter_on(&self, counter: &str, node: &str) -> impl Iterator<Item = SeriesId> {
        let ids = self.by_counter.get(counter).and_then(|nodes| nodes.get(node));
        ids.into_iter().flatten().copied()
    }

    /// The series of a node, by id.
    pub(super) fn of_node(&self, node: &str) -> impl Iterator<Item = SeriesId> {
        self.by_node.get(node).into_iter().flatten().copied()
    }
}

/// The name as the map's keys already share it, or a new one.
fn shared<V>(map: &BTreeMap<Arc<str>, V>, name: &str) -> Arc<str> {
    map.get_key_value(name).map_or_else(|| name.into(), |(shared, _)| shared.clone())
}

fn entry_hash(id: SeriesId, key: &SeriesKey, born_ms: i64) -> u64 {
    let mut low = crc32fast::Hasher::new();
    let mut high = crc32fast::Hasher::new_with_initial(0x9E37_79B9);
    let parts = key.parts();
    for part in [Some(parts.counter), Some(parts.node), parts.jvm, parts.instance] {
        let tag = [u8::from(part.is_some())];
        let part = part.unwrap_or_default().as_bytes();
        for hasher in [&mut low, &mut high] {
            hasher.update(&tag);
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    let names = u64::from(low.finalize()) | u64::from(high.finalize()) << 32;
    super::block::sample_hash(born_ms ^ i64::from(id.0) << 40, names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key<'a>(counter: &'a str, node: &'a str, instance: Option<&'a str>) -> KeyRef<'a> {
        KeyRef { counter, node, jvm: None, instance }
    }

    #[test]
    fn series_are_found_by_key_counter_and_node() {
        let mut dictionary = Dictionary::default();
        let a = dictionary.add(key("load", "web1", None), 0).unwrap();
        let b = dictionary.add(key("load", "web2", None), 0).unwrap();
        let c = dictionary.add(key("disk", "web1", Some("/")), 0).unwrap();
        assert_eq!(dictionary.id(key("disk", "web1", Some("/"))), Some(c));
        assert_eq!(dictionary.id(key("disk", "web1", None)), None);
        assert_eq!(dictionary.of_counter("load").collect::<Vec<_>>(), [a, b]);
        assert_eq!(dictionary.of_counter_on("load", "web2").collect::<Vec<_>>(), [b]);
        assert_eq!(dictionary.of_node("web1").collect::<Vec<_>>(), [a, c]);
        assert!(dictionary.remove(a));
        assert!(!dictionary.remove(a));
        assert_eq!(dictionary.of_node("web1").collect::<Vec<_>>(), [c]);
        assert_eq!(dictionary.of_counter("load").collect::<Vec<_>>(), [b]);
    }

    #[test]
    fn an_id_is_never_given_out_twice() {
        let mut dictionary = Dictionary::default();
        let first = dictionary.add(key("load", "web1", None), 0).unwrap();
        dictionary.remove(first);
        let second = dictionary.add(key("load", "web1", None), 0).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn the_digest_follows_the_contents_not_the_history() {
        let mut one = Dictionary::default();
        let empty = one.digest();
        let a = one.add(key("load", "web1", None), 0).unwrap();
        let with_a = one.digest();
        let b = one.add(key("load", "web1", Some("x")), 0).unwrap();
        assert_ne!(one.digest(), with_a);
        one.remove(b);
        assert_eq!(one.digest(), with_a);
        one.remove(a);
        assert_eq!(one.digest(), empty);
    }
}
