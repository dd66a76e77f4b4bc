//! Whole peers: whatever they do with blocks and whenever they crash, they show what was applied.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_700_000_000_000;
const RETENTION: Retention = Retention {
    raw: Duration::from_secs(2 * 86_400),
    five_minutes: Duration::from_secs(5 * 86_400),
    hour: Duration::from_secs(15 * 86_400),
};

#[derive(Default)]
struct Disk {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    blocks: BTreeMap<BlockId, Arc<[u8]>>,
    /// Blocks written since the last checkpoint, and what they overwrote.
    recent: Vec<(BlockId, Option<Arc<[u8]>>)>,
    applied: u64,
}

impl BlockSource for Disk {
    fn get(&self, id: &BlockId) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(self.blocks.get(id).cloned())
    }
}

/// A peer with a disk that keeps what was flushed, and, of what was not, the first part.
struct Peer {
    store: SeriesStore,
    disk: Disk,
    index: u64,
}

impl Peer {
    fn new() -> Self {
        Self { store: SeriesStore::new(), disk: Disk::default(), index: 0 }
    }

    fn apply(&mut self, command: &Command) -> Vec<Sample> {
        self.index += 1;
        let mut accepted = Vec::new();
        match command {
            Command::Append { now, samples } => {
                let at = At { index: self.index, now_ms: *now };
                for (name, t_ms, value) in samples {
                    let series = self.store.intern(at, key(*name)).unwrap();
                    if self.store.push(at, series, *t_ms, *value).is_ok() {
                        accepted.push(Sample { series, t_ms: *t_ms, value: *value });
                    }
                }
            }
            Command::Expire { now } => {
                self.store.expire(At { index: self.index, now_ms: *now }, &RETENTION);
            }
            Command::Remove { name } => {
                if let Some(id) = self.store.id(key(*name)) {
                    self.store.remove(id);
                }
            }
        }
        accepted
    }

    fn work(&mut self, max: usize, backwards: bool) {
        let mut jobs = self.store.take_jobs(max);
        if backwards {
            jobs.reverse();
        }
        for job in jobs {
            let blocks = job.run(&self.disk).unwrap();
            let metas: Vec<_> = blocks.iter().map(|block| block.meta).collect();
            for block in blocks {
                assert!(block.bytes.len() <= BLOCK_BYTES_MAX);
                let before = self.disk.blocks.insert(block.meta.id, block.bytes);
                self.disk.recent.push((block.meta.id, before));
            }
            self.store.confirm(&job, &metas);
        }
    }

    fn work_off(&mut self) {
        for _ in 0..1000 {
            let before = self.store.status();
            self.work(100, false);
            if self.store.status() == before {
                return;
            }
        }
        panic!("work never ends");
    }

    fn checkpoint(&mut self) {
        let drain = self.store.drain();
        let mut keys = std::collections::BTreeSet::new();
        for RowChange { key, value } in drain.rows {
            assert!(keys.insert(key.clone()), "a key twice in one drain");
            match value {
                Some(value) => {
                    let value = value();
                    assert!(value.len() <= ROW_BYTES_MAX);
                    self.disk.rows.insert(key, value);
                }
                None => assert!(self.disk.rows.remove(&key).is_some(), "deletes a row that is not there"),
            }
        }
        for id in drain.deletions {
            self.disk.blocks.remove(&id);
        }
        self.disk.recent.clear();
        self.disk.applied = self.index;
        self.store.checkpointed(self.index);
    }

    fn load(&mut self) {
        let blocks = self.disk.blocks.iter().map(|(&id, bytes)| BlockMeta::parse(id, bytes).unwrap());
        self.store = SeriesStore::load(self.disk.rows.clone(), blocks, self.disk.applied).unwrap();
        self.index = self.disk.applied;
    }

    /// Loses all but the first `kept` unflushed blocks, loads, and applies again.
    fn crash(&mut self, kept: usize, log: &[Command]) {
        let kept = kept % (self.disk.recent.len() + 1);
        for (id, before) in self.disk.recent.drain(kept..).rev() {
            match before {
                Some(bytes) => self.disk.blocks.insert(id, bytes),
                None => self.disk.blocks.remove(&id),
            };
        }
        self.load();
        for command in &log[self.index as usize..] {
            self.apply(command);
        }
    }

    fn query(&self, name: u8, from: i64, to: i64, step: Option<i64>, agg: Agg) -> Vec<(i64, f64)> {
        let query = Query {
            selector: Selector {
                counter: "c".to_owned(),
                nodes: Some(vec![node(name).to_owned()]),
                ..Selector::default()
            },
            from,
            to,
            step,
            agg,
            across: None,
        };
        let plan = self.store.plan(&query, &Limits::default()).unwrap();
        let result = execute(&plan, &self.disk).unwrap();
        result.rows.into_iter().next().map(|row| row.points).unwrap_or_default()
    }
}

fn node(name: u8) -> &'static str {
    ["n0", "n1", "n2", "n3"][usize::from(name) % 4]
}

fn key(name: u8) -> KeyRef<'static> {
    KeyRef { counter: "c", node: node(name), jvm: None, instance: None }
}

#[derive(Debug, Clone)]
enum Command {
    Append { now: i64, samples: Vec<(u8, i64, f64)> },
    Expire { now: i64 },
    Remove { name: u8 },
}

#[derive(Debug, Clone)]
enum Op {
    Apply(Command),
    Work { max: usize, backwards: bool },
    Checkpoint,
    Crash { kept: usize },
    Load,
}

/// What happens, with times that pass.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    #[derive(Debug, Clone)]
    enum Step {
        Burst { name: u8, count: usize, step: i64, jitter: i64, late: i64 },
        Pass { hours: i64 },
        Remove { name: u8, odds: u8 },
        Other(Op),
    }
    let step = prop_oneof![
        6 => (0u8..4, 1usize..500, prop_oneof![Just(1_000i64), Just(10_000), Just(60_000), Just(1_800_000)], 0i64..3, 0i64..4)
            .prop_map(|(name, count, step, jitter, late)| Step::Burst { name, count, step, jitter, late }),
        3 => (1i64..30).prop_map(|hours| Step::Pass { hours }),
        1 => (0u8..4, 0u8..6).prop_map(|(name, odds)| Step::Remove { name, odds }),
        4 => (1usize..6, any::<bool>()).prop_map(|(max, backwards)| Step::Other(Op::Work { max, backwards })),
        3 => Just(Step::Other(Op::Checkpoint)),
        1 => any::<usize>().prop_map(|kept| Step::Other(Op::Crash { kept })),
        1 => Just(Step::Other(Op::Load)),
    ];
    prop::collection::vec(step, 1..90).prop_map(|steps| {
        let mut now = START;
        let mut seed = 1u64;
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Burst { name, count, step, jitter, late } => {
                    let mut samples = Vec::new();
                    for i in 0..count as i64 {
                        seed = seed
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let noise = (seed >> 33) as i64;
                        // Jitter makes times irregular; some samples come late, some twice, some hours too late.
                        let mut t = now + i * step + if jitter == 2 { noise % (step / 2) } else { 0 };
                        if late == 3 && noise % 7 == 0 {
                            t -= step * (noise / 7 % 40);
                        }
                        samples.push((name, t, (noise % 10_000) as f64 / 100.0));
                    }
                    let end = now + (count as i64 - 1) * step + step;
                    out.push(Op::Apply(Command::Append { now: end, samples }));
                    now = if late == 2 { now } else { end };
                }
                Step::Pass { hours } => {
                    now += hours * HOUR;
                    out.push(Op::Apply(Command::Expire { now }));
                }
                Step::Remove { name, odds } => {
                    if odds == 0 {
                        out.push(Op::Apply(Command::Remove { name }));
                    }
                }
                Step::Other(op) => out.push(op),
            }
        }
        out
    })
}

/// All samples that a series took, by a peer that does nothing but apply.
#[derive(Default)]
struct Model {
    taken: BTreeMap<u8, BTreeMap<i64, f64>>,
    now: i64,
}

impl Model {
    fn steps(&self, name: u8, from: i64, to: i64, step: i64) -> BTreeMap<i64, Vec<f64>> {
        let mut steps: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (&t, &v) in self.taken.get(&name).into_iter().flat_map(|taken| taken.range(from..to)) {
            steps.entry(t.div_euclid(step) * step).or_default().push(v);
        }
        steps
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

fn up(t: i64, step: i64) -> i64 {
    (t + step - 1).div_euclid(step) * step
}

/// What is still kept, at each resolution, is what was taken.
fn check(peer: &Peer, model: &Model, reference: &Peer) {
    assert_eq!(peer.store.digest(), reference.store.digest());
    let to = up(model.now + 400 * DAY, HOUR);
    for name in 0..4 {
        let id = peer.store.id(key(name));
        assert_eq!(id, reference.store.id(key(name)));
        let Some(id) = id else { continue };
        assert_eq!(peer.store.latest(id), reference.store.latest(id));
        assert_eq!(peer.store.window(id, 0, to), reference.store.window(id, 0, to));
        // Bounds as of the last `Expire`, which was at or before `now`, so what these leave out may still be there.
        let raw = up(model.now - 2 * DAY, 300_000).max(0);
        let taken: Vec<_> = model
            .taken
            .get(&name)
            .into_iter()
            .flatten()
            .map(|(&t, &v)| (t, v))
            .filter(|&(t, _)| t >= raw)
            .collect();
        assert_eq!(peer.query(name, raw, to, None, Agg::Avg), taken, "raw samples of {name}");
        for (kept, step) in [
            (2 * DAY, 60_000),
            (5 * DAY, 300_000),
            (5 * DAY, 900_000),
            (15 * DAY, HOUR),
            (15 * DAY, 2 * HOUR),
        ] {
            let from = up(model.now - kept, HOUR.max(step));
            let steps = model.steps(name, from, to, step);
            let ask = |agg| peer.query(name, from, to, Some(step), agg);
            let expect = |agg: fn(&[f64]) -> f64| {
                steps.iter().map(|(&t, values)| (t, agg(values))).collect::<Vec<_>>()
            };
            assert_eq!(ask(Agg::Count), expect(|v| v.len() as f64), "count of {name} by {step}");
            assert_eq!(
                ask(Agg::Min),
                expect(|v| v.iter().copied().fold(f64::INFINITY, f64::min)),
                "min of {name} by {step}"
            );
            assert_eq!(
                ask(Agg::Max),
                expect(|v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
                "max of {name} by {step}"
            );
            let averages = expect(|v| v.iter().sum::<f64>() / v.len() as f64);
            let asked = ask(Agg::Avg);
            assert_eq!(asked.len(), averages.len());
            assert!(
                asked.iter().zip(&averages).all(|(a, b)| a.0 == b.0 && close(a.1, b.1)),
                "avg of {name} by {step}"
            );
        }
    }
}

/// Plays `ops` on a peer that works, checkpoints and crashes, and beside it on one that does none of that.
fn play(ops: Vec<Op>) -> (Peer, Model, Peer) {
    let (mut peer, mut reference, mut model) = (Peer::new(), Peer::new(), Model::default());
    let mut log = Vec::new();
    for op in ops {
        match op {
            Op::Apply(command) => {
                let accepted = reference.apply(&command);
                assert_eq!(peer.apply(&command), accepted);
                match &command {
                    Command::Remove { name } => drop(model.taken.remove(name)),
                    Command::Append { now, .. } | Command::Expire { now } => model.now = *now.max(&model.now),
                }
                for name in 0..4 {
                    if let Some(id) = reference.store.id(key(name)) {
                        let own = accepted.iter().filter(|sample| sample.series == id);
                        model
                            .taken
                            .entry(name)
                            .or_default()
                            .extend(own.map(|sample| (sample.t_ms, sample.value)));
                    } else {
                        model.taken.remove(&name);
                    }
                }
                log.push(command);
            }
            Op::Work { max, backwards } => peer.work(max, backwards),
            Op::Checkpoint => peer.checkpoint(),
            Op::Crash { kept } => {
                peer.crash(kept, &log);
                check(&peer, &model, &reference);
            }
            Op::Load => {
                peer.checkpoint();
                peer.load();
                check(&peer, &model, &reference);
            }
        }
    }
    check(&peer, &model, &reference);
    (peer, model, reference)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_peer_shows_what_was_applied_whatever_it_did_and_wherever_it_crashed(ops in ops()) {
        let (mut peer, model, reference) = play(ops);
        peer.work_off();
        peer.checkpoint();
        peer.work_off();
        check(&peer, &model, &reference);
        // Nothing is left on the disk that nobody knows.
        while peer.store.status().deletions > 0 {
            peer.checkpoint();
        }
        peer.work_off();
        peer.checkpoint();
        prop_assert_eq!(peer.disk.blocks.len(), peer.store.status().blocks);
        peer.load();
        check(&peer, &model, &reference);
        prop_assert_eq!(peer.store.status().deletions, 0);
    }
}

#[test]
fn a_month_of_a_series_ends_in_few_blocks_and_few_rows() {
    let mut peer = Peer::new();
    let mut model = Model::default();
    let mut reference = Peer::new();
    let mut t = START;
    for _ in 0..30 * 24 {
        let mut samples = Vec::new();
        for i in 0..60 {
            t += 60_000;
            samples.push((0, t, (i % 17) as f64 / 4.0));
        }
        model.now = t;
        model.taken.entry(0).or_default().extend(samples.iter().map(|&(_, t, v)| (t, v)));
        for command in [Command::Append { now: t, samples }, Command::Expire { now: t }] {
            reference.apply(&command);
            peer.apply(&command);
        }
        peer.work(10, false);
        peer.checkpoint();
    }
    peer.work_off();
    check(&peer, &model, &reference);
    let status = peer.store.status();
    assert!(status.blocks < 40, "{status:?}");
    assert!(peer.disk.rows.len() < 40, "{} rows", peer.disk.rows.len());
    let resolutions: std::collections::BTreeSet<_> =
        peer.disk.blocks.keys().map(|id| id.resolution).collect();
    assert_eq!(resolutions.len(), 3);
}

#[test]
fn a_series_that_falls_silent_is_sealed_rolled_up_and_at_last_gone() {
    let mut peer = Peer::new();
    let samples = (0..100).map(|i| (1, START + i * 10_000, 1.5)).collect();
    peer.apply(&Command::Append { now: START + 1_000_000, samples });
    let id = peer.store.id(key(1)).unwrap();
    let mut seen = Vec::new();
    for hours in 1..17 * 24 {
        let now = START + hours * HOUR;
        peer.apply(&Command::Expire { now });
        peer.work_off();
        peer.checkpoint();
        peer.work_off();
        let kinds: Vec<_> = peer.disk.blocks.keys().map(|id| id.resolution).collect();
        if seen.last() != Some(&kinds) {
            seen.push(kinds);
        }
    }
    let (raw, minutes, hour) = (Resolution::Raw, Resolution::FiveMinutes, Resolution::Hour);
    assert_eq!(
        seen,
        [vec![], vec![raw], vec![raw, minutes], vec![minutes], vec![minutes, hour], vec![hour], vec![]]
    );
    assert_eq!(peer.store.key(id), None);
    assert_eq!(peer.store.status().series, 0);
    peer.checkpoint();
    assert_eq!(peer.disk.rows.len(), 1, "only the global row is left");
}

#[test]
fn damaged_rows_do_not_load() {
    let mut peer = Peer::new();
    let samples = (0..900).map(|i| (i as u8 % 4, START + i * 10_000, i as f64)).collect();
    peer.apply(&Command::Append { now: START + 10_000_000, samples });
    peer.checkpoint();
    let rows = peer.disk.rows.clone();
    for (key, value) in &rows {
        for bit in (0..value.len() * 8).step_by(37) {
            let mut damaged = rows.clone();
            damaged.get_mut(key).unwrap()[bit / 8] ^= 1 << (bit % 8);
            assert!(SeriesStore::load(damaged, [], 1).is_err());
        }
        // The same with the checksum made to fit: an error or a store, never a panic.
        for at in (5..value.len()).step_by(11) {
            let mut forged = value.clone();
            forged[at] ^= 0x5a;
            let crc = crc32fast::hash(&forged[5..]).to_le_bytes();
            forged[1..5].copy_from_slice(&crc);
            let mut damaged = rows.clone();
            damaged.insert(key.clone(), forged);
            if let Ok(mut store) = SeriesStore::load(damaged, [], 1) {
                let _ = (store.digest(), store.status(), store.drain().rows.len());
            }
        }
    }
}

#[test]
fn the_bytes_of_rows_are_pinned() {
    let mut store = SeriesStore::new();
    let at = At { index: 7, now_ms: START };
    let key = KeyRef { counter: "heap", node: "web1", jvm: Some("tomcat"), instance: Some("eden") };
    let id = store.intern(at, key).unwrap();
    for i in 0..40 {
        store.push(at, id, START - 400_000 + i * 10_000, 1.25 * i as f64).unwrap();
    }
    store.push(at, id, START, f64::NAN).unwrap_err();
    let rows = store.drain().rows.into_iter().map(|row| {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{} = {}", hex(row.key), hex(row.value.unwrap()()))
    });
    assert_eq!(rows.collect::<Vec<_>>(), GOLDEN_ROWS);
}

const GOLDEN_ROWS: [&str; 3] = [
    "69 = 01b87585170100000028000000000000000000000000000100",
    "6400000000 = 01195a0db780a0abfef962030468656170047765623106746f6d636174046564656e",
    "680000000000000000 = 01c8fc6b420009ffffffffffffffffff010000000080b6fafdf96215720200020100feffffff0e883300c0ffffffffd007027d0800000000000100",
];

#[test]
fn rows_as_they_were_written_once_still_load() {
    let bytes = |hex: &str| {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let rows =
        GOLDEN_ROWS.map(|row| row.split_once(" = ").unwrap()).map(|(key, value)| (bytes(key), bytes(value)));
    let store = SeriesStore::load(rows, [], 7).unwrap();
    let status = store.series_status(SeriesId(0)).unwrap();
    assert_eq!((status.open, status.latest), (40, Some((START - 10_000, 48.75))));
    assert_eq!(status.refused.of(Refusal::NotANumber), 1);
    assert_eq!(&*store.key(SeriesId(0)).unwrap().node, "web1");
}
