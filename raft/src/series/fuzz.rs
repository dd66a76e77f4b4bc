//! Blocks and rows of samples, for [`crate::fuzz`].
#![allow(clippy::unwrap_used)]

use super::block::{Codec, open};
use super::codec::seal_row;
use super::columns::{Samples, decode_rollups, decode_samples, encode_rollups, encode_samples, pack};
use super::{Block, BlockId, BlockMeta, SeriesStore};
use crate::fuzz::parts;

/// Whether the store takes such a value, and as it is.
fn is_kept(value: f64) -> bool {
    value.is_finite() && value.to_bits() != (-0.0f64).to_bits()
}

/// A block's key and value: as they are, and with version and checksum that fit.
pub(crate) fn blocks(data: &[u8]) {
    let Some((key, value)) = data.split_at_checked(BlockId::KEY_BYTES) else { return };
    let Ok(id) = BlockId::from_key(key) else { return };
    assert_eq!(id.key(), key);
    let _ = BlockMeta::parse(id, value);
    let Some((&codec, payload)) = value.split_first() else { return };
    let fitting = Block::fuzz_seal(&id, codec, payload);
    let Ok(opened) = open(id, &fitting) else { return };
    match opened.codec {
        Codec::Packed | Codec::Columns => {
            let mut samples = Samples::default();
            if decode_samples(&opened, &mut Vec::new(), &mut samples).is_err() {
                return;
            }
            assert_eq!(
                (samples.times.len(), samples.values.len()),
                (opened.meta.count as usize, opened.meta.count as usize)
            );
            // Only what is in order is ever written.
            let kept = samples.values.iter().all(|value| is_kept(*value));
            if kept && samples.times.windows(2).all(|pair| pair[0] < pair[1]) {
                let packed = pack(id.start, &samples);
                let (codec, payload) = encode_samples(id.start, &samples, packed);
                let Ok(block) = Block::assemble(opened.meta, codec, &payload) else { return };
                let mut again = Samples::default();
                decode_samples(&open(id, &block.bytes).unwrap(), &mut Vec::new(), &mut again).unwrap();
                assert_eq!((samples.hash(), samples.times), (again.hash(), again.times));
            }
        }
        Codec::Rollups => {
            let mut rollups = Vec::new();
            if decode_rollups(&opened, &mut rollups).is_err() {
                return;
            }
            let width = id.resolution.width_ms();
            let kept = rollups.iter().all(|r| is_kept(r.min) && is_kept(r.max) && is_kept(r.sum));
            if kept && rollups.windows(2).all(|pair| pair[0].start < pair[1].start) {
                let payload = encode_rollups(id.start, width, &rollups);
                let Ok(block) = Block::assemble(opened.meta, Codec::Rollups, &payload) else { return };
                let mut again = Vec::new();
                decode_rollups(&open(id, &block.bytes).unwrap(), &mut again).unwrap();
                assert_eq!(rollups, again);
            }
        }
    }
}

/// A row's value in its envelope.
pub(crate) fn sealed(payload: &[u8]) -> Vec<u8> {
    seal_row(payload)
}

/// Rows, each with one byte before its key that says how long that is.
pub(crate) fn rows(data: &[u8]) {
    let mut rows = Vec::new();
    for part in parts(data) {
        let Some((len, rest)) = part.split_first() else { continue };
        let (key, payload) = rest.split_at(usize::from(*len).min(rest.len()));
        rows.push((key.to_vec(), seal_row(payload)));
    }
    let Ok(mut store) = SeriesStore::load(rows, [], 9) else { return };
    let digest = store.digest();
    for id in store.dictionary.ids().collect::<Vec<_>>() {
        let _ = (store.latest(id), store.series_status(id), store.window(id, i64::MIN, i64::MAX));
    }
    let _ = store.status();
    for change in store.drain().rows {
        let _ = change.value.map(|make| make());
    }
    assert_eq!(store.digest(), digest);
}

/// Blocks of each codec, as [`blocks`] takes them.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    use super::block::fold;
    use super::rollup::of_samples;
    use super::{Resolution, SeriesId};
    let start = 1_700_000_000_000;
    let samples = |value: fn(i64) -> f64, jitter: i64| Samples {
        times: (0..100).map(|i| start + i * 10_000 + i % 3 * jitter).collect(),
        values: (0..100).map(value).collect(),
    };
    let mut out = Vec::new();
    let mut put = |block: Block| {
        let fields = [&block.bytes[1..2], &block.bytes[6..]].concat();
        out.push([&block.meta.id.key()[..], &fields].concat());
    };
    for samples in [
        samples(|i| (i % 7) as f64 / 4.0, 0),
        samples(|i| (i * i * 1_000) as f64, 17),
        samples(|i| (i as f64).sin(), 1),
        samples(|_| 1.0, 0),
    ] {
        let end = *samples.times.last().unwrap();
        let meta = |resolution, count: usize| BlockMeta {
            id: BlockId { resolution, tier: 0, series: SeriesId(7), start },
            end,
            count: count as u32,
            sealed_at: 9,
            digest: fold(samples.hash()),
            bytes: 0,
        };
        for packed in [pack(start, &samples), vec![0; 60_000]] {
            let (codec, payload) = encode_samples(start, &samples, packed);
            put(Block::assemble(meta(Resolution::Raw, 100), codec, &payload).unwrap());
        }
        let rollups = of_samples(&samples.times, &samples.values, 300_000);
        let payload = encode_rollups(start, 300_000, &rollups);
        put(Block::assemble(meta(Resolution::FiveMinutes, rollups.len()), Codec::Rollups, &payload).unwrap());
    }
    out
}
