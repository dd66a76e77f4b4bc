//! Properties of everything that is encoded: it comes back, and damage is an error.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::block::{Block, BlockMeta, Codec, fold, open};
use super::columns::{Samples, decode_rollups, decode_samples, encode_rollups, encode_samples, pack, unpack};
use super::head::{Head, Inserted};
use super::rollup::{Rollup, of_samples};
use super::{BlockId, Resolution, SeriesId};

/// Values as monitoring has them, and some as nobody wants them.
fn values(max: usize) -> impl Strategy<Value = Vec<f64>> {
    let decimals = (0u32..6, prop::collection::vec(-1_000_000_000i64..1_000_000_000, 1..max))
        .prop_map(|(digits, ints)| ints.iter().map(|&i| i as f64 / 10f64.powi(digits as i32)).collect());
    let walk = prop::collection::vec(-300i64..300, 1..max).prop_map(|steps| {
        let mut at = 5_000;
        steps
            .iter()
            .map(|step| {
                at += step;
                at as f64 / 100.0
            })
            .collect()
    });
    let counter = (0i64..1 << 50, 0u32..12, prop::collection::vec(0i64..1 << 30, 1..max)).prop_map(
        |(start, shift, steps)| {
            let mut at = start;
            steps
                .iter()
                .map(|step| {
                    at += step >> shift << shift;
                    at as f64
                })
                .collect()
        },
    );
    let flat = (any::<i32>(), 1..max).prop_map(|(value, n)| vec![f64::from(value) / 8.0; n]);
    let floats = prop::collection::vec(
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| v + 0.0),
        1..max,
    );
    let bits = prop::collection::vec(
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |v| v.is_finite()),
        1..max,
    );
    let mixed = prop::collection::vec(
        prop_oneof![
            Just(0.0),
            Just(1e300),
            Just(0.1),
            (0i64..100).prop_map(|i| i as f64),
            any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(f64::from)
        ],
        1..max,
    );
    prop_oneof![decimals, walk, counter, flat, floats, bits, mixed]
}

/// Ascending times: on a schedule, with gaps, jittered, or anyhow.
fn times(n: usize) -> impl Strategy<Value = Vec<i64>> {
    let start = 0i64..1 << 41;
    let steps = prop_oneof![
        (1i64..100_000).prop_map(move |step| vec![step; n]),
        (1i64..100_000, prop::collection::vec(0u8..20, n)).prop_map(|(step, gaps)| gaps
            .iter()
            .map(|&gap| if gap == 0 { step * 17 } else { step })
            .collect()),
        prop::collection::vec(9_900i64..10_100, n),
        prop::collection::vec(1i64..20_000_000, n),
    ];
    (start, steps).prop_map(|(start, steps)| {
        let mut at = start;
        steps
            .iter()
            .map(|step| {
                at += step;
                at
            })
            .collect()
    })
}

fn samples(max: usize) -> impl Strategy<Value = Samples> {
    values(max).prop_flat_map(|values| {
        times(values.len()).prop_map(move |times| Samples { times, values: values.clone() })
    })
}

fn same(a: &Samples, b: &Samples) -> bool {
    let bits = |s: &Samples| s.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.times == b.times && bits(a) == bits(b)
}

fn meta(resolution: Resolution, start: i64, end: i64, count: usize, hash: u64) -> BlockMeta {
    let id = BlockId { resolution, tier: 1, series: SeriesId(77), start };
    BlockMeta { id, end, count: count as u32, sealed_at: 123_456, digest: fold(hash), bytes: 0 }
}

fn block_of(samples: &Samples, packed: Vec<u8>) -> Block {
    let (start, end) = (samples.times[0], *samples.times.last().unwrap());
    let (codec, payload) = encode_samples(start, samples, packed);
    Block::assemble(meta(Resolution::Raw, start, end, samples.times.len(), samples.hash()), codec, &payload)
        .unwrap()
}

fn rollup_block(samples: &Samples) -> (Vec<Rollup>, Block) {
    let rollups = of_samples(&samples.times, &samples.values, 300_000);
    let (start, end) = (samples.times[0], *samples.times.last().unwrap());
    let payload = encode_rollups(start, 300_000, &rollups);
    let hash = rollups.iter().fold(0, |hash: u64, rollup| hash.wrapping_add(rollup.hash()));
    let meta = meta(Resolution::FiveMinutes, start, end, rollups.len(), hash);
    (rollups, Block::assemble(meta, Codec::Rollups, &payload).unwrap())
}

/// Decodes a block as a reader would.
fn decode(id: BlockId, bytes: &[u8]) -> Result<(), ()> {
    let opened = open(id, bytes).map_err(drop)?;
    match id.resolution {
        Resolution::Raw => decode_samples(&opened, &mut Vec::new(), &mut Samples::default()).map_err(drop),
        _ => decode_rollups(&opened, &mut Vec::new()).map_err(drop),
    }
}

/// Puts the right checksum on damaged bytes, so that what lies behind the checksum is tried too.
fn forge(id: BlockId, bytes: &mut [u8]) {
    if bytes.len() > 6 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&id.key());
        crc.update(&bytes[6..]);
        let crc = crc.finalize() ^ u32::from(bytes[1]);
        bytes[2..6].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn a_column_that_claims_a_large_dictionary_is_refused() {
    let samples = Samples { times: vec![1_000, 2_000, 4_000], values: vec![1e300, -1e-300, 0.1] };
    let block = block_of(&samples, vec![0; 60_000]);
    let column = block.bytes.windows(4).position(|four| four == b"pco!").unwrap();
    let is_refused = |at: usize| {
        let mut bytes = block.bytes.to_vec();
        bytes[at] = bytes[at] & 0xf0 | 4;
        forge(block.meta.id, &mut bytes);
        let opened = open(block.meta.id, &bytes).unwrap();
        let read = decode_samples(&opened, &mut Vec::new(), &mut Samples::default());
        read.is_err_and(|bad| bad.0.contains("never written"))
    };
    // Behind pco's own head, which is some bytes long.
    assert!((column..column + 16).any(is_refused));
}

proptest! {
    #[test]
    fn packed_samples_come_back(samples in samples(300)) {
        let base = samples.times[0];
        let mut back = Samples::default();
        unpack(base, &pack(base, &samples), &mut Vec::new(), &mut back).unwrap();
        prop_assert!(same(&back, &samples));
    }

    #[test]
    fn a_packed_sample_never_takes_more_than_sixteen_bytes(samples in samples(300)) {
        prop_assert!(pack(samples.times[0], &samples).len() <= 16 * samples.times.len() + 16);
    }

    #[test]
    fn damaged_streams_do_not_panic(samples in samples(100), flips in prop::collection::vec(any::<usize>(), 1..6), cut in any::<usize>()) {
        let base = samples.times[0];
        let mut stream = pack(base, &samples);
        for flip in flips {
            let bit = flip % (stream.len() * 8);
            stream[bit / 8] ^= 1 << (bit % 8);
        }
        stream.truncate(1 + cut % (2 * stream.len()));
        let mut back = Samples::default();
        let _ = unpack(base, &stream, &mut Vec::new(), &mut back);
        prop_assert!(back.times.len() <= 32 * stream.len());
    }

    #[test]
    fn garbage_is_no_stream(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = unpack(0, &bytes, &mut Vec::new(), &mut Samples::default());
    }

    #[test]
    fn blocks_of_samples_come_back(samples in samples(800)) {
        for packed in [pack(samples.times[0], &samples), vec![0; 100_000]] {
            // The second one is too large to be chosen, so both codecs are tried.
            let block = block_of(&samples, packed);
            let opened = open(block.meta.id, &block.bytes).unwrap();
            prop_assert_eq!(opened.meta, block.meta);
            prop_assert_eq!(BlockMeta::parse(block.meta.id, &block.bytes).unwrap(), block.meta);
            let mut back = Samples::default();
            decode_samples(&opened, &mut Vec::new(), &mut back).unwrap();
            prop_assert!(same(&back, &samples));
        }
    }

    #[test]
    fn blocks_of_rollups_come_back(samples in samples(800)) {
        let (rollups, block) = rollup_block(&samples);
        let mut back = Vec::new();
        decode_rollups(&open(block.meta.id, &block.bytes).unwrap(), &mut back).unwrap();
        let bits = |r: &Rollup| (r.start, r.min.to_bits(), r.max.to_bits(), r.sum.to_bits(), r.count);
        prop_assert_eq!(back.iter().map(bits).collect::<Vec<_>>(), rollups.iter().map(bits).collect::<Vec<_>>());
    }

    #[test]
    fn any_flipped_bit_of_a_block_is_an_error(samples in samples(200), flip in any::<usize>(), of_rollups in any::<bool>()) {
        let block = if of_rollups { rollup_block(&samples).1 } else { block_of(&samples, vec![0; 100_000]) };
        let mut bytes = block.bytes.to_vec();
        let bit = flip % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(block.meta.id, &bytes).is_err());
    }

    #[test]
    fn a_block_under_another_key_is_an_error(samples in samples(50), other in 0u32..70) {
        let block = block_of(&samples, vec![0; 100_000]);
        let id = BlockId { series: SeriesId(other), ..block.meta.id };
        prop_assert!(decode(id, &block.bytes).is_err());
    }

    #[test]
    fn damage_behind_a_forged_checksum_does_not_panic(
        samples in samples(200), flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8), cut in any::<usize>(), kind in 0..3
    ) {
        let block = match kind {
            0 => rollup_block(&samples).1,
            1 => block_of(&samples, vec![0; 100_000]),
            _ => block_of(&samples, pack(samples.times[0], &samples)),
        };
        let mut bytes = block.bytes.to_vec();
        for (at, byte) in flips {
            let at = 6 + at % (bytes.len() - 6);
            bytes[at] = byte;
        }
        if cut % 4 == 0 {
            bytes.truncate(7 + cut % bytes.len());
        }
        forge(block.meta.id, &mut bytes);
        let _ = decode(block.meta.id, &bytes);
    }

    #[test]
    fn garbage_is_no_block(bytes in prop::collection::vec(any::<u8>(), 0..200), resolution in 0usize..3, codec in 0u8..3) {
        let id = BlockId { resolution: Resolution::ALL[resolution], tier: 0, series: SeriesId(0), start: 0 };
        prop_assert!(decode(id, &bytes).is_err());
        let mut forged = [&[super::BLOCK_VERSION, codec, 0, 0, 0, 0], bytes.as_slice()].concat();
        forge(id, &mut forged);
        let _ = decode(id, &forged);
    }

    #[test]
    fn keys_of_blocks_come_back_and_sort_as_ids(a in block_id(), b in block_id()) {
        prop_assert_eq!(BlockId::from_key(&a.key()).unwrap(), a);
        prop_assert_eq!(a.cmp(&b), a.key().cmp(&b.key()));
    }

    #[test]
    fn a_head_holds_what_a_sorted_map_holds(
        ops in prop::collection::vec((0i64..2_000, -50i32..50), 1..300), restore_at in 0usize..300
    ) {
        let mut head = Head::new();
        let mut model = std::collections::BTreeMap::new();
        for (i, (time, value)) in ops.into_iter().enumerate() {
            // Mostly rising, as samples are.
            let (time, value) = (1_000_000 + time + 300 * i as i64, f64::from(value) / 4.0);
            if model.last_key_value().is_none_or(|(&last, _)| last < time) {
                head.push(time, value);
                model.insert(time, value);
            } else {
                let duplicate = head.insert(time, value) == Inserted::Duplicate;
                prop_assert_eq!(duplicate, model.contains_key(&time));
                model.entry(time).or_insert(value);
            }
            if i == restore_at {
                let mut waiting = Vec::new();
                head.waiting_chunk(&mut waiting);
                let restored = Head::restore(head.first(), head.stream().to_vec(), &waiting).unwrap();
                prop_assert_eq!(restored.hash(), head.hash());
                head = restored;
            }
        }
        let samples = head.samples();
        prop_assert_eq!(head.hash(), samples.hash());
        prop_assert_eq!(head.count() as usize, model.len());
        prop_assert_eq!(head.first(), *model.first_key_value().unwrap().0);
        let mut copied = Samples::default();
        head.copy().unpack(&mut Vec::new(), &mut copied).unwrap();
        prop_assert_eq!(&copied, &samples);
        let mut taken = Samples::default();
        head.take().unpack(&mut Vec::new(), &mut taken).unwrap();
        prop_assert_eq!(&taken, &samples);
        prop_assert_eq!(samples.times.into_iter().zip(samples.values).collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
    }
}

fn block_id() -> impl Strategy<Value = BlockId> {
    (0usize..3, 0u8..4, any::<u32>(), 0i64..1 << 47).prop_map(|(resolution, tier, series, start)| BlockId {
        resolution: Resolution::ALL[resolution],
        tier,
        series: SeriesId(series),
        start,
    })
}

#[test]
fn a_later_version_of_a_block_is_named() {
    let samples = Samples { times: vec![5, 6], values: vec![1.0, 2.0] };
    let block = block_of(&samples, vec![0; 100]);
    let mut bytes = block.bytes.to_vec();
    bytes[0] = 9;
    let error = BlockMeta::parse(block.meta.id, &bytes).unwrap_err().to_string();
    assert_eq!(error, "raw block 5 of series 77 (tier 1) has version 9, this release reads up to 1");
}

#[test]
fn the_bytes_of_a_block_are_pinned() {
    let samples = Samples { times: vec![1_000, 2_000, 3_500], values: vec![1.25, 1.5, -7.0] };
    let block = block_of(&samples, pack(1_000, &samples));
    let hex: String = block.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN_BLOCK);
}

const GOLDEN_BLOCK: &str = "01000290e4eb03c413c0c4070ee2c5c8e003020008265100d0d10fd4971905";
