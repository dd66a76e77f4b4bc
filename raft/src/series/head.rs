//! The open samples of one series: those that are in no block yet.
//!
//! The newest, up to [`CHUNK`], wait as they are; whenever that many are together they are appended to a packed
//! stream (see [`super::pack`]). So a sample costs its share of one packing and no allocation of its own, and
//! ten thousand series take some ten megabytes.

use super::block::sample_hash;
use super::codec::Bad;
use super::column::CHUNK;
use super::columns::{Samples, pack, unpack};
use super::pack::Packer;
use super::unpack::{PADDING, Take, Unpacker};

/// A packed stream by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packed {
    /// Time of the first sample.
    pub(super) base: i64,
    pub(super) count: u32,
    pub(super) bytes: Vec<u8>,
}

impl Packed {
    pub(super) fn of(samples: &Samples) -> Self {
        let base = samples.times.first().copied().unwrap_or_default();
        Self { base, count: samples.times.len() as u32, bytes: pack(base, samples) }
    }

    pub(super) fn unpack(&self, scratch: &mut Vec<u8>, out: &mut impl Take) -> Result<(), Bad> {
        unpack(self.base, &self.bytes, scratch, out)
    }
}

/// The open samples of a series, ordered by time, each time once.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Time of the first sample; meaningless while there is none.
    base: i64,
    packed: Vec<u8>,
    packed_count: u32,
    packer: Packer,
    /// Of the samples that wait: times after `base`, in ms, which a head's bounded span keeps small.
    times: [u32; CHUNK],
    values: [f64; CHUNK],
    waiting: u8,
    /// Sum of the samples' hashes.
    hash: u64,
}

/// Where a sample went that was not the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// Among those that wait.
    Waiting,
    /// Into the stream, which was packed anew.
    Repacked,
    /// There is a sample of that time.
    Duplicate,
}

impl Head {
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            packed: Vec::new(),
            packed_count: 0,
            packer: Packer::new(0),
            times: [0; CHUNK],
            values: [0.0; CHUNK],
            waiting: 0,
            hash: 0,
        }
    }

    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.packed_count + u32::from(self.waiting)
    }

    #[inline]
    pub(super) fn first(&self) -> i64 {
        self.base
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The packed stream without those that wait.
    pub(super) fn stream(&self) -> &[u8] {
        &self.packed
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.packed.capacity()
    }

    /// Appends a sample that is newer than all others.
    #[inline]
    pub(super) fn push(&mut self, time: i64, value: f64) {
        if self.count() == 0 {
            self.base = time;
            self.packer = Packer::new(time);
        }
        let at = usize::from(self.waiting) % CHUNK;
        self.times[at] = (time - self.base) as u32;
        self.values[at] = value;
        self.waiting = at as u8 + 1;
        self.hash = self.hash.wrapping_add(sample_hash(time, value.to_bits()));
        if at + 1 == CHUNK {
            self.pack_waiting();
        }
    }

    fn waiting_times(&self) -> [i64; CHUNK] {
        self.times.map(|after| self.base + i64::from(after))
    }

    fn pack_waiting(&mut self) {
        let n = usize::from(self.waiting);
        if n > 0 {
            // Exact growth: doubling would waste a quarter of all memory that heads take.
            self.packed.reserve_exact(if self.packed.capacity() - self.packed.len() < 48 { 96 } else { 0 });
            self.packer.pack(&self.waiting_times()[..n], &self.values[..n], &mut self.packed);
            self.packed_count += u32::from(self.waiting);
            self.waiting = 0;
        }
    }

    /// Puts a sample that is older than the newest in its place.
    pub(super) fn insert(&mut self, time: i64, value: f64) -> Inserted {
        let waiting = usize::from(self.waiting);
        let from_waiting = waiting > 0 && time >= self.base + i64::from(self.times[0]);
        if from_waiting {
            let after = (time - self.base) as u32;
            let at = self.times[..waiting].partition_point(|&other| other < after);
            if self.times.get(at) == Some(&after) && at < waiting {
                return Inserted::Duplicate;
            }
            self.times.copy_within(at..waiting, at + 1);
            self.values.copy_within(at..waiting, at + 1);
            (self.times[at], self.values[at]) = (after, value);
            self.waiting += 1;
            self.hash = self.hash.wrapping_add(sample_hash(time, value.to_bits()));
            if waiting + 1 == CHUNK {
                self.pack_waiting();
            }
            return Inserted::Waiting;
        }
        let mut samples = self.samples();
        match samples.times.binary_search(&time) {
            Ok(_) => Inserted::Duplicate,
            Err(at) => {
                samples.times.insert(at, time);
                samples.values.insert(at, value);
                *self = Self::of(&samples);
                Inserted::Repacked
            }
        }
    }

    /// A head of these samples.
    pub(super) fn of(samples: &Samples) -> Self {
        let mut head = Self::new();
        for (&time, &value) in samples.times.iter().zip(&samples.values) {
            head.push(time, value);
        }
        head
    }

    /// All samples.
    pub(super) fn samples(&self) -> Samples {
        let mut samples = Samples::default();
        // What this process packed itself is whole.
        let _ = unpack(self.base, &self.packed, &mut Vec::new(), &mut samples);
        let n = usize::from(self.waiting);
        samples.times.extend_from_slice(&self.waiting_times()[..n]);
        samples.values.extend_from_slice(&self.values[..n]);
        samples
    }

    /// Those that wait as one chunk that continues the stream; empty if none waits.
    pub(super) fn waiting_chunk(&self, out: &mut Vec<u8>) {
        let n = usize::from(self.waiting);
        if n > 0 {
            let mut packer = self.packer;
            packer.pack(&self.waiting_times()[..n], &self.values[..n], out);
        }
    }

    /// An immutable copy.
    pub(super) fn copy(&self) -> Packed {
        let mut bytes = Vec::with_capacity(self.packed.len() + CHUNK * 4);
        bytes.extend_from_slice(&self.packed);
        self.waiting_chunk(&mut bytes);
        Packed { base: self.base, count: self.count(), bytes }
    }

    /// Takes all samples out.
    pub(super) fn take(&mut self) -> Packed {
        self.pack_waiting();
        let taken =
            Packed { base: self.base, count: self.packed_count, bytes: std::mem::take(&mut self.packed) };
        *self = Self::new();
        taken
    }

    /// The head that [`Self::stream`] and [`Self::waiting_chunk`] were taken from.
    pub(super) fn restore(base: i64, packed: Vec<u8>, waiting_chunk: &[u8]) -> Result<Self, Bad> {
        let mut padded = packed.clone();
        padded.extend_from_slice(waiting_chunk);
        let end = padded.len();
        padded.resize(end + PADDING, 0);
        let mut samples = Samples::default();
        let mut stream = Unpacker::new(&padded, packed.len(), base);
        while stream.next(&mut samples)?.is_some() {}
        let packer = stream.state();
        let packed_count = samples.times.len();
        if !waiting_chunk.is_empty() {
            let mut both = Unpacker::new(&padded, end, base);
            samples.clear();
            while both.next(&mut samples)?.is_some() {}
        }
        let waiting = samples.times.len() - packed_count;
        let ordered = samples.times.windows(2).all(|pair| pair[0] < pair[1]);
        let in_span = samples.times.last().is_none_or(|&last| last - base <= i64::from(u32::MAX));
        let begins = samples.times.first().is_none_or(|&first| first == base);
        if waiting >= CHUNK || !ordered || !in_span || !begins {
            return Err(Bad("its open samples are impossible"));
        }
        let mut head = Self { base, packed, packed_count: packed_count as u32, packer, ..Self::new() };
        for i in 0..waiting {
            head.times[i] = (samples.times[packed_count + i] - base) as u32;
            head.values[i] = samples.values[packed_count + i];
        }
        head.waiting = waiting as u8;
        head.hash = samples.hash();
        Ok(head)
    }
}
