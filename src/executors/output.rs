//! A task's output on its way to the log: bounded, in order, with its gaps marked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rscaler_raft::model::{OutputChunk, Stream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Bytes kept of what came first, while the log takes none.
const HEAD_BYTES_MAX: usize = 512 << 10;
/// Bytes kept of what came last.
const TAIL_BYTES_MAX: usize = 512 << 10;
/// What a piece counts beside its bytes. A node may print one byte here and one there: each is a piece of its own, takes this much
/// memory where it waits, and more as a row of the state.
const PIECE_COST: usize = 96;
/// So many bytes are sent at once, without waiting for more.
const BATCH_BYTES: usize = 32 << 10;
/// The most that one report holds.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How long the first byte waits for more.
const LINGER: Duration = Duration::from_millis(200);
/// Bytes that an attempt may send at once, and then per second: the log keeps 4 MiB of a task, so that what comes
/// faster than this for long would be cut there all the same, but would have gone through every peer's disk.
const BURST_BYTES: f64 = 6.0 * 1024.0 * 1024.0;
const RATE_BYTES: f64 = 512.0 * 1024.0;

/// Where an executor puts what a task prints. Cheap to clone; never waits.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

struct Shared {
    buffer: Mutex<Buffer>,
    /// Something was added, or the end was reached.
    changed: Notify,
}

impl Output {
    pub(super) fn new() -> Output {
        Output { shared: Arc::new(Shared { buffer: Mutex::default(), changed: Notify::new() }) }
    }

    /// Adds what was printed.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        self.shared.buffer.lock().put(stream, bytes);
        self.shared.changed.notify_one();
    }

    /// Says that so many bytes were lost here.
    pub fn gap(&self, bytes: u64) {
        self.shared.buffer.lock().put_gap(bytes);
        self.shared.changed.notify_one();
    }

    /// Adds a remark of our own.
    pub fn note(&self, text: &str) {
        self.write(Stream::Note, text.as_bytes());
    }

    /// Waits until there is a batch worth sending: enough bytes, or some that have waited long enough. Cancel safe.
    pub(super) async fn ready(&self) {
        while self.shared.buffer.lock().is_empty() {
            self.shared.changed.notified().await;
        }
        let until = Instant::now() + LINGER;
        while self.shared.buffer.lock().bytes < BATCH_BYTES {
            if timeout_at(until, self.shared.changed.notified()).await.is_err() {
                return;
            }
        }
    }

    /// The next batch, oldest first. None where nothing waits.
    pub(super) fn take(&self) -> Option<Batch> {
        self.shared.buffer.lock().take(BATCH_BYTES_MAX)
    }
}

/// What one report carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) chunks: Vec<(Stream, Vec<u8>)>,
    /// Bytes missing before them.
    pub(super) missed_bytes: u64,
}

impl Batch {
    /// Bytes, and what its chunks cost beside them.
    pub(super) fn cost(&self) -> usize {
        self.chunks.iter().map(|(_, bytes)| bytes.len() + PIECE_COST).sum()
    }
}

enum Piece {
    Data(Stream, Vec<u8>),
    Gap(u64),
}

impl Piece {
    fn cost(&self) -> usize {
        match self {
            Piece::Data(_, bytes) => bytes.len() + PIECE_COST,
            Piece::Gap(_) => PIECE_COST,
        }
    }
}

/// What waits to be sent: the beginning, then possibly a gap that grows, then the end.
#[derive(Default)]
struct Buffer {
    head: VecDeque<Piece>,
    tail: VecDeque<Piece>,
    /// With the cost of its pieces, as the next ones.
    head_bytes: usize,
    tail_bytes: usize,
    /// Dropped between head and tail.
    dropped: u64,
    bytes: usize,
}

impl Buffer {
    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty() && self.dropped == 0
    }

    fn put(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.chunks(OutputChunk::BYTES_MAX) {
            if self.has_room(part.len()) {
                self.head_bytes += append(&mut self.head, stream, part);
            } else {
                self.tail_bytes += append(&mut self.tail, stream, part);
            }
        }
        self.bound();
    }

    fn put_gap(&mut self, bytes: u64) {
        let at_head = self.has_room(0);
        let end = if at_head { &mut self.head } else { &mut self.tail };
        match end.back_mut() {
            Some(Piece::Gap(before)) => *before += bytes,
            _ => {
                end.push_back(Piece::Gap(bytes));
                *if at_head { &mut self.head_bytes } else { &mut self.tail_bytes } += PIECE_COST;
            }
        }
        self.bound();
    }

    /// Whether what comes next belongs to the beginning.
    fn has_room(&self, bytes: usize) -> bool {
        self.tail.is_empty() && self.dropped == 0 && self.head_bytes + bytes + PIECE_COST <= HEAD_BYTES_MAX
    }

    /// Drops what came first of the end while that is too much.
    fn bound(&mut self) {
        while self.tail_bytes > TAIL_BYTES_MAX {
            let Some(piece) = self.tail.pop_front() else { break };
            self.tail_bytes -= piece.cost();
            self.dropped += match piece {
                Piece::Data(_, bytes) => bytes.len() as u64,
                Piece::Gap(bytes) => bytes,
            };
        }
        self.bytes = self.head_bytes + self.tail_bytes;
    }

    fn take(&mut self, bytes_max: usize) -> Option<Batch> {
        let mut batch = Batch { chunks: Vec::new(), missed_bytes: 0 };
        let mut bytes = 0;
        loop {
            if self.head.is_empty() {
                if self.tail.is_empty() && self.dropped == 0 {
                    break;
                }
                self.head = std::mem::take(&mut self.tail);
                self.head_bytes = std::mem::take(&mut self.tail_bytes);
                if self.dropped > 0 {
                    self.head.push_front(Piece::Gap(std::mem::take(&mut self.dropped)));
                    self.head_bytes += PIECE_COST;
                }
            }
            match self.head.pop_front() {
                // A gap begins a batch, for what is missing is missing before the batch's chunks.
                Some(Piece::Gap(missed)) if batch.chunks.is_empty() => {
                    self.head_bytes -= PIECE_COST;
                    batch.missed_bytes += missed;
                }
                Some(Piece::Data(stream, data))
                    if bytes + data.len() + PIECE_COST <= bytes_max || bytes == 0 =>
                {
                    if batch.missed_bytes > 0 && batch.chunks.is_empty() {
                        let note = format!("[{} bytes of output are missing here]", batch.missed_bytes);
                        batch.chunks.push((Stream::Note, note.into_bytes()));
                    }
                    bytes += data.len() + PIECE_COST;
                    self.head_bytes -= data.len() + PIECE_COST;
                    batch.chunks.push((stream, data));
                }
                Some(other) => {
                    self.head.push_front(other);
                    break;
                }
                None => break,
            }
        }
        self.bytes = self.head_bytes + self.tail_bytes;
        (batch.missed_bytes > 0 || !batch.chunks.is_empty()).then_some(batch)
    }
}

/// Adds to the last piece where that is of the same stream and has room; by how much the pieces cost more.
fn append(pieces: &mut VecDeque<Piece>, stream: Stream, part: &[u8]) -> usize {
    match pieces.back_mut() {
        Some(Piece::Data(last, bytes))
            if *last == stream
                && stream != Stream::Note
                && bytes.len() + part.len() <= OutputChunk::BYTES_MAX =>
        {
            bytes.extend_from_slice(part);
            part.len()
        }
        _ => {
            pieces.push_back(Piece::Data(stream, part.to_vec()));
            part.len() + PIECE_COST
        }
    }
}

/// How much output an attempt may still send.
pub(super) struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Allowance {
        Allowance { left: BURST_BYTES, at: now }
    }

    /// Takes `bytes` from it and says when the next batch may be sent.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * RATE_BYTES).min(BURST_BYTES) - bytes as f64;
        self.at = now;
        if self.left >= 0.0 { now } else { now + Duration::from_secs_f64(-self.left / RATE_BYTES) }
    }
}

/// For `crate::fuzz`: output as it comes, with batches taken in between. Each step begins with a byte that says what it is and
/// one with its length.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_output(data: &[u8]) {
    let output = Output::new();
    let (mut printed, mut sent) = (0, 0);
    let mut collect = |batch: Batch| {
        sent += batch.missed_bytes;
        for (stream, bytes) in batch.chunks {
            assert!(bytes.len() <= OutputChunk::BYTES_MAX);
            sent += if stream == Stream::Note { 0 } else { bytes.len() as u64 };
        }
    };
    let mut rest = data;
    while let Some((&[what, length], after)) = rest.split_first_chunk() {
        // Up to 64 KiB of each.
        let bytes = vec![length; usize::from(length) * usize::from(length)];
        match what % 5 {
            0 => output.take().into_iter().for_each(&mut collect),
            1 => output.gap(bytes.len() as u64),
            2 => output.note("a remark"),
            3 => output.write(Stream::Stdout, &bytes),
            _ => output.write(Stream::Stderr, &bytes),
        }
        printed += if matches!(what % 5, 1 | 3 | 4) { bytes.len() as u64 } else { 0 };
        assert!(output.shared.buffer.lock().bytes <= HEAD_BYTES_MAX + TAIL_BYTES_MAX + PIECE_COST);
        rest = after;
    }
    while let Some(batch) = output.take() {
        collect(batch);
    }
    // Remarks that were dropped count as missing, so there may be more than was printed.
    assert!(sent >= printed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(buffer: &mut Buffer, bytes_max: usize) -> Vec<Batch> {
        std::iter::from_fn(|| buffer.take(bytes_max)).collect()
    }

    #[test]
    fn neighbours_of_one_stream_are_one_chunk() {
        let mut buffer = Buffer::default();
        buffer.put(Stream::Stdout, b"a");
        buffer.put(Stream::Stdout, b"b");
        buffer.put(Stream::Stderr, b"c");
        let batch = Batch {
            chunks: vec![(Stream::Stdout, b"ab".to_vec()), (Stream::Stderr, b"c".to_vec())],
            missed_bytes: 0,
        };
        assert_eq!(drain(&mut buffer, 1000), [batch]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn when_the_log_takes_nothing_the_middle_is_dropped_and_marked() {
        let mut buffer = Buffer::default();
        for i in 0..64u8 {
            buffer.put(Stream::Stdout, &vec![i; OutputChunk::BYTES_MAX]);
        }
        let batches = drain(&mut buffer, BATCH_BYTES_MAX);
        let missed: Vec<u64> = batches.iter().map(|b| b.missed_bytes).filter(|m| *m > 0).collect();
        assert_eq!(missed, [34 * OutputChunk::BYTES_MAX as u64]);
        let after = batches.iter().find(|b| b.missed_bytes > 0).map(|b| b.chunks[0].clone());
        assert_eq!(after, Some((Stream::Note, b"[1114112 bytes of output are missing here]".to_vec())));
        let kept: Vec<u8> = batches
            .iter()
            .flat_map(|b| b.chunks.iter().filter(|(s, _)| *s == Stream::Stdout).map(|(_, c)| c[0]))
            .collect();
        assert_eq!(kept, (0..15).chain(49..64).collect::<Vec<u8>>());
    }

    #[test]
    fn a_byte_here_and_a_byte_there_take_no_more_than_a_flood() {
        let mut buffer = Buffer::default();
        for _ in 0..100_000 {
            buffer.put(Stream::Stdout, b"a");
            buffer.put(Stream::Stderr, b"b");
            buffer.put_gap(1);
        }
        let pieces = buffer.head.len() + buffer.tail.len();
        assert!(pieces <= (HEAD_BYTES_MAX + TAIL_BYTES_MAX) / PIECE_COST + 1, "{pieces}");
        let batch = buffer.take(BATCH_BYTES_MAX).unwrap();
        assert!(batch.chunks.len() <= BATCH_BYTES_MAX / PIECE_COST, "{}", batch.chunks.len());
        assert!(batch.cost() >= batch.chunks.len() * PIECE_COST, "and it counts against the rate");
    }

    #[test]
    fn a_flood_is_slowed_to_the_rate_and_a_trickle_is_not() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let burst = BURST_BYTES as usize;
        assert_eq!(allowance.spend(burst, start), start);
        assert_eq!(allowance.spend(RATE_BYTES as usize, start), start + Duration::from_secs(1));
        let later = start + Duration::from_secs(60);
        assert_eq!(allowance.spend(1000, later), later);
    }

    proptest! {
        #[test]
        fn what_is_not_dropped_comes_out_in_order_and_the_rest_is_counted(
            steps in prop::collection::vec((0u8..4, 1usize..200_000), 1..60),
        ) {
            let mut buffer = Buffer::default();
            let (mut printed, mut sent, mut missed, mut marks) = (0u64, Vec::new(), 0u64, Vec::new());
            let mut collect = |batch: Batch| {
                missed += batch.missed_bytes;
                if batch.missed_bytes > 0 { marks.push(sent.len()); }
                for (stream, bytes) in batch.chunks {
                    assert!(bytes.len() <= OutputChunk::BYTES_MAX);
                    if stream != Stream::Note { sent.extend(bytes); }
                }
            };
            for (step, size) in steps {
                match step {
                    0 => if let Some(batch) = buffer.take(BATCH_BYTES_MAX) { collect(batch); },
                    1 => { buffer.put_gap(size as u64); printed += size as u64; }
                    _ => {
                        let bytes: Vec<u8> = (0..size).map(|i| ((printed + i as u64) % 251) as u8).collect();
                        let stream = if step == 2 { Stream::Stdout } else { Stream::Stderr };
                        buffer.put(stream, &bytes);
                        printed += size as u64;
                    }
                }
                prop_assert!(buffer.bytes <= HEAD_BYTES_MAX + TAIL_BYTES_MAX);
            }
            for batch in drain(&mut buffer, BATCH_BYTES_MAX) { collect(batch); }
            prop_assert_eq!(sent.len() as u64 + missed, printed);
            // Between two marks the bytes are consecutive.
            for window in sent.windows(2).enumerate() {
                let (at, pair) = window;
                let follows = pair[1] == ((u16::from(pair[0]) + 1) % 251) as u8;
                prop_assert!(follows || marks.contains(&(at + 1)), "at {}", at);
            }
        }
    }
}
