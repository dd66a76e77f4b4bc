//! Encoding and decoding of blocks' payloads.
//!
//! Samples become columns: times as runs of a regular step (or, if they have none, their differences), values as
//! integers of a [`Form`] (or floats, if they have none), both through pco. A packed stream is kept where it is smaller.

use pco::standalone::{DecompressorItem, FileDecompressor, simple_compress};
use pco::{ChunkConfig, DeltaSpec};

use super::block::{BLOCK_SAMPLES_MAX, Codec, Opened, TIME_MAX};
use super::codec::{Bad, Reader, put_bytes, put_signed, put_varint};
use super::column::CHUNK;
use super::form::Form;
use super::pack::Packer;
use super::rollup::Rollup;
use super::unpack::{PADDING, Take, Times, Unpacker};

/// pco's level: at this one a sample takes 10 to 30 ns; higher ones cost more and gain nothing at our block sizes.
const LEVEL: usize = 8;

/// Where a chunk of pco says how numbers became what is coded, in the low four bits: behind its type and 24 bits of its length.
const CHUNK_MODE_AT: usize = 4;
/// Classic, multiples of integers or of floats, quantized floats. The next is a dictionary, which we never ask for.
const CHUNK_MODE_MAX: u8 = 3;
const TIMES_AS_RUNS: u8 = 0;
const TIMES_AS_DIFFERENCES: u8 = 1;

/// Samples as two columns of the same length, ordered by time.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Samples {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

impl Samples {
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
    }

    /// The sum of the samples' hashes.
    pub(super) fn hash(&self) -> u64 {
        let pairs = self.times.iter().zip(&self.values);
        pairs.fold(0, |hash, (&time, value)| {
            hash.wrapping_add(super::block::sample_hash(time, value.to_bits()))
        })
    }
}

impl Take for Samples {
    fn take(&mut self, times: Times<'_>, values: &[f64]) {
        match times {
            Times::Steady { first, step } => {
                self.times.extend((0..values.len() as i64).map(|i| first.wrapping_add(step.wrapping_mul(i))));
            }
            Times::Each(times) => self.times.extend_from_slice(times),
        }
        self.values.extend_from_slice(values);
    }
}

/// Passes samples on and remembers what a header tells of them.
struct Counted<'a, T> {
    out: &'a mut T,
    count: usize,
    first: Option<i64>,
    last: Option<i64>,
}

impl<T: Take> Take for Counted<'_, T> {
    fn take(&mut self, times: Times<'_>, values: &[f64]) {
        self.count += values.len();
        self.first = self.first.or(times.first());
        self.last = times.last(values.len());
        self.out.take(times, values);
    }
}

fn config() -> ChunkConfig {
    ChunkConfig::default().with_compression_level(LEVEL).with_delta_spec(DeltaSpec::TryConsecutive(1))
}

fn put_column<T: pco::data_types::Number>(out: &mut Vec<u8>, numbers: &[T]) {
    // pco fails only on a configuration that is wrong, and ours is constant; an empty column would not decode.
    put_bytes(out, &simple_compress(numbers, &config()).unwrap_or_default());
}

fn column<T: pco::data_types::Number + Default>(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<T>, Bad> {
    let bad = |_| Bad("pco does not decode a column");
    let (file, chunk) = FileDecompressor::new(reader.bytes()?).map_err(bad)?;
    // A dictionary would be made as long as it claims to be, up to 128 MiB, before it is read.
    if chunk.get(CHUNK_MODE_AT).is_none_or(|byte| byte & 15 > CHUNK_MODE_MAX) {
        return Err(Bad("a column is coded in a way that is never written"));
    }
    let DecompressorItem::Chunk(mut chunk) = file.chunk_decompressor::<T, _>(chunk).map_err(bad)? else {
        return Err(Bad("a column is empty"));
    };
    if chunk.n() != count {
        return Err(Bad("a column has the wrong length"));
    }
    let mut numbers = vec![T::default(); count];
    let progress = chunk.read(&mut numbers).map_err(bad)?;
    // One chunk, and the byte that ends the file.
    let ends = progress.n_processed == count && matches!(chunk.into_src(), [0]);
    if ends { Ok(numbers) } else { Err(Bad("a column does not end where it should")) }
}

/// Runs of samples at a regular step: (difference to the sample before, step, length).
fn runs(start: i64, times: &[i64]) -> Vec<(i64, i64, usize)> {
    let mut runs: Vec<(i64, i64, usize)> = Vec::new();
    let mut last = start;
    for &time in times {
        let step = time - last;
        match runs.last_mut() {
            Some(run) if run.2 == 1 => *run = (run.0, step, 2),
            Some(run) if run.1 == step => run.2 += 1,
            _ => runs.push((step, 0, 1)),
        }
        last = time;
    }
    runs
}

fn put_times(out: &mut Vec<u8>, start: i64, times: &[i64]) {
    let runs = runs(start, times);
    if runs.len() <= 2 + times.len() / 16 {
        out.push(TIMES_AS_RUNS);
        put_varint(out, runs.len() as u64);
        for (gap, step, length) in runs {
            put_signed(out, gap);
            put_signed(out, step);
            put_varint(out, length as u64);
        }
    } else {
        let mut last = start;
        let differences: Vec<i64> =
            times.iter().map(|&time| time - std::mem::replace(&mut last, time)).collect();
        out.push(TIMES_AS_DIFFERENCES);
        put_column(out, &differences);
    }
}

/// Times as they are stored.
enum Column {
    /// First time, step and length of each run.
    Runs(Vec<(i64, i64, usize)>),
    Each(Vec<i64>),
}

fn times(reader: &mut Reader<'_>, start: i64, count: usize) -> Result<Column, Bad> {
    let mut last = start;
    match reader.u8()? {
        TIMES_AS_RUNS => {
            let mut left = count;
            let mut runs = Vec::new();
            for _ in 0..reader.at_most(count)? {
                let (gap, step) = (reader.signed()?, reader.signed()?);
                let length = reader.at_most(left)?;
                if length == 0 {
                    return Err(Bad("a run of times is empty"));
                }
                left -= length;
                let first = last.wrapping_add(gap);
                last = first.wrapping_add(step.wrapping_mul(length as i64 - 1));
                runs.push((first, step, length));
            }
            if left == 0 { Ok(Column::Runs(runs)) } else { Err(Bad("times are missing")) }
        }
        TIMES_AS_DIFFERENCES => {
            let mut times = column::<i64>(reader, count)?;
            for time in &mut times {
                last = last.wrapping_add(*time);
                *time = last;
            }
            Ok(Column::Each(times))
        }
        _ => Err(Bad("the code of its times is unknown")),
    }
}

/// Packs `samples` as one stream that starts at `base`.
pub(super) fn pack(base: i64, samples: &Samples) -> Vec<u8> {
    let mut packer = Packer::new(base);
    let mut out = Vec::new();
    for (times, values) in samples.times.chunks(CHUNK).zip(samples.values.chunks(CHUNK)) {
        packer.pack(times, values, &mut out);
    }
    out
}

/// Gives the samples of a packed stream to `out`; `scratch` is reused between calls.
pub(super) fn unpack(
    base: i64,
    stream: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut impl Take,
) -> Result<(), Bad> {
    scratch.clear();
    scratch.extend_from_slice(stream);
    scratch.resize(stream.len() + PADDING, 0);
    let mut unpacker = Unpacker::new(scratch, stream.len(), base);
    let mut count = 0;
    while let Some(n) = unpacker.next(out)? {
        count += n;
        if count > BLOCK_SAMPLES_MAX {
            return Err(Bad("it has more samples than a block may"));
        }
    }
    Ok(())
}

/// The smaller of the given packed stream and the columns.
pub(super) fn encode_samples(start: i64, samples: &Samples, packed: Vec<u8>) -> (Codec, Vec<u8>) {
    let mut out = Vec::with_capacity(packed.len());
    put_times(&mut out, start, &samples.times);
    let mut ints = vec![0; samples.values.len()];
    let form = Form::choose(&samples.values, Form::NONE, &mut ints);
    out.extend([form.decimals, form.shift]);
    if form.is_decimal() {
        put_column(&mut out, &ints);
    } else {
        put_column(&mut out, &samples.values);
    }
    if packed.len() <= out.len() { (Codec::Packed, packed) } else { (Codec::Columns, out) }
}

/// Gives a block's samples to `out`. If that fails, `out` may have got some.
pub(super) fn decode_samples(
    block: &Opened<'_>,
    scratch: &mut Vec<u8>,
    out: &mut impl Take,
) -> Result<(), Bad> {
    let (start, count) = (block.meta.id.start, block.meta.count as usize);
    let mut out = Counted { out, count: 0, first: None, last: None };
    if block.codec == Codec::Packed {
        unpack(start, block.payload, scratch, &mut out)?;
    } else {
        let mut reader = Reader::new(block.payload);
        let times = times(&mut reader, start, count)?;
        let form = Form { decimals: reader.u8()?, shift: reader.u8()? }.check()?;
        let values = if form.is_decimal() {
            let mut values = vec![0.0; count];
            form.values(&column(&mut reader, count)?, &mut values);
            values
        } else {
            column::<f64>(&mut reader, count)?
        };
        reader.finish()?;
        match times {
            Column::Each(times) => out.take(Times::Each(&times), &values),
            Column::Runs(runs) => {
                let mut rest = values.as_slice();
                for (first, step, length) in runs {
                    let (values, after) = rest.split_at(length.min(rest.len()));
                    out.take(Times::Steady { first, step }, values);
                    rest = after;
                }
            }
        }
    }
    let fits = out.count == count && out.first == Some(start) && out.last == Some(block.meta.end);
    if fits { Ok(()) } else { Err(Bad("its samples do not fit its header")) }
}

/// The payload of a block of rollups whose first sample was at `start`.
pub(super) fn encode_rollups(start: i64, width: i64, rollups: &[Rollup]) -> Vec<u8> {
    let of = |field: fn(&Rollup) -> f64| rollups.iter().map(field);
    let starts: Vec<i64> = rollups.iter().map(|rollup| rollup.start / width).collect();
    let counts: Vec<u32> = rollups.iter().map(|rollup| rollup.count).collect();
    let values: Vec<f64> = of(|r| r.min).chain(of(|r| r.max)).chain(of(|r| r.sum)).collect();
    let mut ints = vec![0i64; values.len()];
    let form = Form::choose(&values, Form::NONE, &mut ints);
    let mut out = Vec::new();
    put_times(&mut out, start / width, &starts);
    put_column(&mut out, &counts);
    out.extend([form.decimals, form.shift]);
    let n = rollups.len();
    if form.is_decimal() {
        // What is left of max and sum when min, and then the middle, has told its part.
        for i in 0..n {
            let (min, max) = (ints[i], ints[n + i]);
            ints[n + i] = max.wrapping_sub(min);
            let middle = min.wrapping_add(ints[n + i] / 2);
            ints[2 * n + i] = ints[2 * n + i].wrapping_sub(middle.wrapping_mul(i64::from(counts[i])));
        }
        ints.chunks(n.max(1)).for_each(|column| put_column(&mut out, column));
    } else {
        values.chunks(n.max(1)).for_each(|column| put_column(&mut out, column));
    }
    out
}

/// Appends a block's rollups to `out`.
pub(super) fn decode_rollups(block: &Opened<'_>, out: &mut Vec<Rollup>) -> Result<(), Bad> {
    let (count, width) = (block.meta.count as usize, block.meta.id.resolution.width_ms());
    let mut reader = Reader::new(block.payload);
    let starts = match times(&mut reader, block.meta.id.start / width, count)? {
        Column::Each(starts) => starts,
        Column::Runs(runs) => {
            let run = |(first, step, length): (i64, i64, usize)| {
                (0..length as i64).map(move |i| first.wrapping_add(step.wrapping_mul(i)))
            };
            runs.into_iter().flat_map(run).collect()
        }
    };
    if !starts.iter().all(|start| (0..=TIME_MAX / width).contains(start)) {
        return Err(Bad("a rollup begins at an impossible time"));
    }
    let counts: Vec<u32> = column(&mut reader, count)?;
    let form = Form { decimals: reader.u8()?, shift: reader.u8()? }.check()?;
    let mut values: [Vec<f64>; 3] = Default::default();
    if form.is_decimal() {
        let min: Vec<i64> = column(&mut reader, count)?;
        let mut max: Vec<i64> = column(&mut reader, count)?;
        let mut sum: Vec<i64> = column(&mut reader, count)?;
        for i in 0..count {
            let middle = min[i].wrapping_add(max[i] / 2);
            max[i] = max[i].wrapping_add(min[i]);
            sum[i] = sum[i].wrapping_add(middle.wrapping_mul(i64::from(counts[i])));
        }
        for (ints, values) in [min, max, sum].iter().zip(&mut values) {
            values.resize(count, 0.0);
            form.values(ints, values);
        }
    } else {
        for values in &mut values {
            *values = column(&mut reader, count)?;
        }
    }
    reader.finish()?;
    let [min, max, sum] = &values;
    out.extend((0..count).map(|i| Rollup {
        start: starts[i].wrapping_mul(width),
        min: min[i],
        max: max[i],
        sum: sum[i],
        count: counts[i],
    }));
    Ok(())
}
