//! What samples cost: time to take, encode and query them, memory and bytes to keep them.
//!
//! `cargo bench -p rscaler-raft --bench series [-- FILTER]`. The data are what monitoring measures, by seed: two-decimal random
//! walks, loads, memory in MB, byte and operation counters with low-order noise, a saw-tooth heap, GC, threads, uptime,
//! constants; twenty counters a host, every 10 s. Nothing is asserted but that answers are right.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rscaler_raft::series::*;

#[path = "../../tests/bench/fleet_data.rs"]
mod fleet_data;

use fleet_data::{HOST, NAMES, Random, Source};

const START: i64 = 1_700_000_000_000;
const STEP: i64 = 10_000;
const HOUR: i64 = 3_600_000;
#[derive(Default)]
struct Disk(BTreeMap<BlockId, Arc<[u8]>>);

impl BlockSource for Disk {
    fn get(&self, id: &BlockId) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(self.0.get(id).cloned())
    }
}

impl Disk {
    fn work(&mut self, store: &mut SeriesStore) -> u64 {
        let mut nanos = 0;
        loop {
            let jobs = store.take_jobs(1_000);
            if jobs.is_empty() {
                return nanos;
            }
            for job in jobs {
                let begin = Instant::now();
                let blocks = job.run(self).expect("its inputs are there");
                nanos += begin.elapsed().as_nanos() as u64;
                let metas: Vec<_> = blocks.iter().map(|block| block.meta).collect();
                self.0.extend(blocks.into_iter().map(|block| (block.meta.id, block.bytes)));
                store.confirm(&job, &metas);
            }
        }
    }

    fn bytes(&self, resolution: Resolution) -> usize {
        let blocks = self.0.iter().filter(|(id, _)| id.resolution == resolution);
        blocks.map(|(_, bytes)| bytes.len() + BlockId::KEY_BYTES).sum()
    }
}

struct Fleet {
    store: SeriesStore,
    disk: Disk,
    sources: Vec<(SeriesId, i64, Source)>,
}

impl Fleet {
    fn new(hosts: usize) -> Self {
        let mut store = SeriesStore::new();
        let mut sources = Vec::new();
        let mut random = Random(42);
        for host in 0..hosts {
            let offset = (random.even() * STEP as f64) as i64;
            for (counter, &kind) in HOST.iter().enumerate() {
                let (counter_name, node) = (format!("{}-{counter}", NAMES[kind]), format!("host{host:03}"));
                let key = KeyRef { counter: &counter_name, node: &node, jvm: None, instance: None };
                let id = store.intern(At { index: 0, now_ms: START }, key).expect("below the limit");
                sources.push((id, offset, Source::new(kind, (host * 20 + counter) as u64)));
            }
        }
        Self { store, disk: Disk::default(), sources }
    }

    /// Takes `steps` steps; nanoseconds spent in append and in encoding.
    fn run(&mut self, from: usize, steps: usize) -> (u64, u64) {
        let (mut append, mut encode) = (0, 0);
        let mut batch = Vec::new();
        for step in from..from + steps {
            batch.clear();
            let t = START + step as i64 * STEP;
            let samples = self.sources.iter_mut();
            batch.extend(samples.map(|(series, offset, source)| Sample {
                series: *series,
                t_ms: t + *offset,
                value: source.next(),
            }));
            let begin = Instant::now();
            let outcome =
                self.store.append(At { index: step as u64, now_ms: t + STEP }, batch.iter().copied());
            append += begin.elapsed().as_nanos() as u64;
            assert_eq!(outcome.accepted as usize, batch.len());
            if step % 100 == 99 {
                encode += self.disk.work(&mut self.store);
            }
        }
        encode += self.disk.work(&mut self.store);
        (append, encode)
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn kinds() {
    println!(
        "bytes a sample with keys and headers, 24 h at 10 s     sealed   after merging   rollups of the day"
    );
    for (kind, name) in NAMES.iter().enumerate() {
        let mut fleet = Fleet::new(0);
        for n in 0..8 {
            let node = format!("host{n}");
            let key = KeyRef { counter: name, node: &node, jvm: None, instance: None };
            let id = fleet.store.intern(At { index: 0, now_ms: START }, key).expect("below the limit");
            fleet.sources.push((id, 137 * n as i64, Source::new(kind, 1_000 + n as u64)));
        }
        fleet.run(0, 8_640);
        let samples = 8.0 * 8_640.0;
        let sealed = fleet.disk.bytes(Resolution::Raw) as f64 / samples;
        fleet.store.checkpointed(8_640);
        fleet.disk.work(&mut fleet.store);
        for id in fleet.store.drain().deletions {
            fleet.disk.0.remove(&id);
        }
        let merged = fleet.disk.bytes(Resolution::Raw) as f64 / samples;
        let rollups = fleet.disk.bytes(Resolution::FiveMinutes) as f64 / samples;
        println!("  {name:50} {sealed:8.3} {merged:15.3} {rollups:20.3}");
    }
}

fn persistence(fleet: &mut Fleet) {
    let begin = Instant::now();
    let drain = fleet.store.drain();
    let drained = begin.elapsed();
    let mut rows = BTreeMap::new();
    let mut write = |rows_of: Vec<RowChange>| {
        let mut bytes = 0;
        for RowChange { key, value } in rows_of {
            if let Some(value) = value {
                let value = value();
                bytes += key.len() + value.len();
                rows.insert(key, value);
            } else {
                rows.remove(&key);
            }
        }
        bytes
    };
    let count = drain.rows.len();
    let bytes = write(drain.rows);
    println!(
        "first drain: {:.1} ms, {count} rows, {:.2} MB",
        drained.as_secs_f64() * 1e3,
        bytes as f64 / 1e6
    );
    let (mut total, mut time, mut changes) = (0, 0.0, 0);
    let from = 2_170;
    for round in 0..40 {
        fleet.run(from + round * 3, 3);
        let begin = Instant::now();
        let drain = fleet.store.drain();
        time += begin.elapsed().as_secs_f64();
        changes += drain.rows.len();
        total += write(drain.rows);
    }
    println!(
        "drain every 30 s: {:.2} ms, {} rows, {:.0} kB; {:.1} B a sample",
        time * 1e3 / 40.0,
        changes / 40,
        total as f64 / 40e3,
        total as f64 / (120.0 * fleet.sources.len() as f64)
    );
    let metas = fleet.disk.0.iter().map(|(&id, bytes)| BlockMeta::parse(id, bytes).expect("it is whole"));
    let begin = Instant::now();
    let loaded = SeriesStore::load(rows, metas.collect::<Vec<_>>(), u64::MAX).expect("the rows are whole");
    println!("load: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    assert_eq!(loaded.digest(), fleet.store.digest());
}

fn queries(fleet: &Fleet) {
    let limits = Limits::default();
    let ask = |counter: &str, from: i64, to: i64, step: i64, across, nodes: Option<Vec<String>>| {
        let selector = Selector { counter: counter.to_owned(), nodes, ..Selector::default() };
        let query = Query { selector, from, to, step: Some(step), agg: Agg::Avg, across };
        let begin = Instant::now();
        let plan = fleet.store.plan(&query, &limits).expect("a good query");
        let planned = begin.elapsed();
        let result = execute(&plan, &fleet.disk).expect("its blocks are there");
        (planned, begin.elapsed(), result)
    };
    let mut times: Vec<_> = (0..30)
        .map(|shift| {
            let from = START + shift * 1_000;
            let (mut total, mut planned, mut samples) = (0.0, 0.0, 0);
            for counter in ["cpu-0", "memory-8"] {
                let (plan, all, result) = ask(counter, from, from + 6 * HOUR, 60_000, Some(Agg::Avg), None);
                total += all.as_secs_f64() * 1e3;
                planned += plan.as_secs_f64() * 1e3;
                samples += result.samples_read;
                black_box(&result);
            }
            (total, planned, samples)
        })
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (total, planned, samples) = times[15];
    println!(
        "1,000 series x 6 h at 60 s, averaged by counter: {total:.2} ms ({:.2} best) of which planning {planned:.2}; {samples} samples, {:.2} ns each",
        times[0].0,
        total * 1e6 / samples as f64
    );
    let mut times: Vec<_> = (0..50)
        .map(|host| {
            let nodes = Some(vec![format!("host{host:03}")]);
            ask("cpu-0", START, START + 24 * HOUR, 60_000, None, nodes).1.as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("1 series x 24 h (6 h filled) at 1 min: {:.0} us", times[25]);
}

fn fleet() {
    let before = resident_bytes();
    let mut fleet = Fleet::new(500);
    let named = resident_bytes();
    fleet.store.checkpointed(u64::MAX);
    let (mut append, mut encode) = (0, 0);
    let mut peak = 0;
    for round in 0..6 {
        let (a, e) = fleet.run(round * 360, if round == 5 { 359 } else { 360 });
        (append, encode) = (append + a, encode + e);
        peak = peak.max(fleet.store.status().head_bytes);
    }
    let (a, e) = fleet.run(2_159, 1);
    (append, encode) = (append + a, encode + e);
    let samples = 2_160.0 * fleet.sources.len() as f64;
    let status = fleet.store.status();
    let stored: usize = fleet.disk.0.values().map(|bytes| bytes.len() + BlockId::KEY_BYTES).sum();
    println!("500 hosts x 20 counters x 6 h at 10 s = {samples:.0} samples");
    println!(
        "append: {:.1} ns a sample; encode: {:.1} ns a sample",
        append as f64 / samples,
        encode as f64 / samples
    );
    println!("blocks with their keys: {:.3} B a sample ({} blocks)", stored as f64 / samples, status.blocks);
    println!(
        "names: {:.1} MB; heads at their fullest: {:.1} MB; {} open samples now; resident {:.0} MB, of which blocks {:.0} MB",
        (named - before) as f64 / 1e6,
        peak as f64 / 1e6,
        status.open_samples,
        resident_bytes() as f64 / 1e6,
        stored as f64 / 1e6
    );
    let begin = Instant::now();
    let digest = (0..20).fold(0, |_, _| black_box(fleet.store.digest()));
    println!("digest: {:.2} ms ({digest:x?})", begin.elapsed().as_secs_f64() * 1e3 / 20.0);
    queries(&fleet);
    fleet.run(2_160, 10);
    persistence(&mut fleet);
}

/// Queries alone, many times, for a profiler.
fn query() {
    let mut fleet = Fleet::new(500);
    fleet.sources.retain(|(id, _, _)| id.0 % 20 == 0 || id.0 % 20 == 8);
    fleet.store.checkpointed(u64::MAX);
    fleet.run(0, 2_160);
    for _ in 0..10 {
        queries(&fleet);
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    for (name, run) in [("kinds", kinds as fn()), ("fleet", fleet), ("query", query)] {
        if name.contains(&filter) {
            run();
        }
    }
}
