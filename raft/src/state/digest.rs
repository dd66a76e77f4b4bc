//! Whether two states are the same: a digest that follows the changes, so that it costs what has changed and not what
//! there is, and says row by row what differs.
//!
//! It is a sum of one hash a row, so rows come and go in any order. Rows are encoded where the digest is kept, which
//! need not be where commands are applied.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::series::{RowChange, SeriesId};

/// How digests are made; their first byte. Those made in another way say nothing about each other.
const SCHEME: u8 = 2;
/// Stands before a series' number in the keys here. No stored row begins with it.
const SERIES_PREFIX: u8 = b's';

/// What changed in a state since the last time.
pub struct Undigested {
    pub(super) rows: Vec<RowChange>,
    /// Every series, with a hash of what is known of its samples.
    pub(super) series: Vec<(SeriesId, u64)>,
    /// All samples together.
    pub(super) samples: u64,
}

/// The digest of a state, row by row. About 100 bytes a row.
#[derive(Default)]
pub struct StateDigest {
    rows: BTreeMap<Vec<u8>, u128>,
    sum: u128,
    samples: u64,
}

impl StateDigest {
    /// Follows what changed. Takes about a microsecond a row.
    pub fn absorb(&mut self, changes: Undigested) {
        for RowChange { key, value } in changes.rows {
            let hash = value.map(|make| row_hash(&key, &make()));
            self.put(key, hash);
        }
        let gone: Vec<Vec<u8>> = self
            .rows
            .range(vec![SERIES_PREFIX]..vec![SERIES_PREFIX + 1])
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.put(key, None);
        }
        for (id, hash) in changes.series {
            let mut key = vec![SERIES_PREFIX];
            key.extend_from_slice(&id.0.to_be_bytes());
            let hash = row_hash(&key, &hash.to_be_bytes());
            self.put(key, Some(hash));
        }
        self.samples = changes.samples;
    }

    fn put(&mut self, key: Vec<u8>, hash: Option<u128>) {
        let before = match hash {
            Some(hash) => self.rows.insert(key, hash),
            None => self.rows.remove(&key),
        };
        self.sum = self.sum.wrapping_sub(before.unwrap_or(0)).wrapping_add(hash.unwrap_or(0));
    }

    /// The digest, equal for equal states.
    pub fn finish(&self) -> [u8; 32] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(&self.sum.to_be_bytes());
        context.update(&(self.rows.len() as u64).to_be_bytes());
        context.update(&self.samples.to_be_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest[0] = SCHEME;
        digest
    }

    /// Keys and hashes of at most `max` rows behind `after`, in key order.
    pub fn page(&self, after: &[u8], max: usize) -> Vec<(Vec<u8>, u128)> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.rows.range::<[u8], _>(behind).take(max).map(|(key, hash)| (key.clone(), *hash)).collect()
    }
}

/// Whether two digests of the same index show that states differ.
pub fn digests_differ(ours: &[u8; 32], theirs: &[u8; 32]) -> bool {
    ours[0] == theirs[0] && ours != theirs
}

fn row_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key);
    context.update(value);
    let mut hash = [0; 16];
    hash.copy_from_slice(&context.finish().as_ref()[..16]);
    u128::from_be_bytes(hash)
}
