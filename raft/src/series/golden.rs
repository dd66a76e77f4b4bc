//! Blocks of each codec, and rows of open samples: their part of [`crate::golden`].
#![allow(clippy::unwrap_used)]

use super::block::open;
use super::columns::{Samples, decode_rollups, decode_samples};
use super::{At, BlockId, Resolution, SeriesStore};
use crate::golden::{Entry, raw, series_key};

const START: i64 = 1_700_000_000_000;

/// What a block was decoded to, as text: it may be encoded in another way later, but must read the same.
fn content(id: BlockId, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let opened = open(id, bytes).map_err(|error| error.to_string())?;
    let (mut samples, mut rollups) = (Samples::default(), Vec::new());
    match id.resolution {
        Resolution::Raw => decode_samples(&opened, &mut Vec::new(), &mut samples),
        _ => decode_rollups(&opened, &mut rollups),
    }
    .map_err(|bad| bad.0.to_string())?;
    let crc = crc32fast::hash(format!("{samples:?}{rollups:?}").as_bytes());
    Ok([bytes, &crc.to_be_bytes()].concat())
}

/// Blocks with the CRC of what they hold behind them.
fn blocks() -> Vec<Entry> {
    let mut all = Vec::new();
    for (at, seed) in super::fuzz::seeds().into_iter().enumerate() {
        let (key, value) = seed.split_at(BlockId::KEY_BYTES);
        let id = BlockId::from_key(key).unwrap();
        let bytes = super::Block::fuzz_seal(&id, value[0], &value[1..]);
        let again = move |bytes: &[u8]| content(id, bytes.split_at(bytes.len() - 4).0);
        all.push(raw(format!("block-{at}"), content(id, &bytes).unwrap(), again));
    }
    all
}

/// Rows of a store with open and refused samples, each with the length of its key before it.
fn rows() -> Vec<Entry> {
    let mut store = SeriesStore::new();
    let key = series_key();
    for index in 0..100 {
        let at = At { index: index as u64 + 1, now_ms: START + index * 1000 };
        let id = store.intern(at, key.parts()).unwrap();
        store.push(at, id, START + index * 1000, index as f64 / 4.0).unwrap();
    }
    let at = At { index: 101, now_ms: START + 100_000 };
    let id = store.intern(at, key.parts()).unwrap();
    assert!(store.push(at, id, START, 1.0).is_err());
    let digest = store.digest();
    let all: Vec<(Vec<u8>, Vec<u8>)> =
        store.drain().rows.into_iter().map(|row| (row.key, row.value.unwrap()())).collect();
    assert_eq!(SeriesStore::load(all.clone(), [], 101).unwrap().digest(), digest);
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let name = format!("series-row-{}", char::from(key[0]));
        raw(name, [&[key.len() as u8], &key[..], &value].concat(), |bytes| Ok(bytes.to_vec()))
    };
    all.into_iter().map(entry).collect()
}

pub(crate) fn family() -> Vec<Entry> {
    blocks().into_iter().chain(rows()).collect()
}
