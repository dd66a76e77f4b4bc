//! The rules for samples, queries and limits, as tables.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn at(index: u64) -> At {
    At { index, now_ms: NOW }
}

fn name<'a>(counter: &'a str, node: &'a str) -> KeyRef<'a> {
    KeyRef { counter, node, jvm: None, instance: None }
}

struct NoBlocks;

impl BlockSource for NoBlocks {
    fn get(&self, _: &BlockId) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(None)
    }
}

fn query(counter: &str, from: i64, to: i64, step: Option<i64>, agg: Agg) -> Query {
    let selector = Selector { counter: counter.to_owned(), ..Selector::default() };
    Query { selector, from, to, step, agg, across: None }
}

fn ask(store: &SeriesStore, query: &Query) -> Vec<Vec<(i64, f64)>> {
    let plan = store.plan(query, &Limits::default()).unwrap();
    execute(&plan, &NoBlocks).unwrap().rows.into_iter().map(|row| row.points).collect()
}

#[test]
fn what_is_not_taken_is_refused_for_the_stated_reason_and_counted() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    store.expire(at(1), &Retention { raw: Duration::from_secs(3600), ..Retention::default() });
    let span = SEAL_SPAN_MS;
    assert!(span > 3_600_000, "the table below needs another bound for late samples");
    let table = [
        ("the first sample", NOW - 1_000, 1.0, Ok(())),
        ("the same time again", NOW - 1_000, 2.0, Err(Refusal::Duplicate)),
        ("an older one", NOW - 5_000, 3.0, Ok(())),
        ("the older one again", NOW - 5_000, 3.0, Err(Refusal::Duplicate)),
        ("as new as may be", NOW + FUTURE_MS, 4.0, Ok(())),
        ("too new", NOW + FUTURE_MS + 1, 4.0, Err(Refusal::Future)),
        ("as old as is kept", NOW - 3_600_000, 5.0, Ok(())),
        ("older than is kept", NOW - 3_600_001, 5.0, Err(Refusal::Expired)),
        ("before the epoch", -1, 5.0, Err(Refusal::Expired)),
        ("no number", NOW, f64::NAN, Err(Refusal::NotANumber)),
        ("infinite", NOW, f64::INFINITY, Err(Refusal::Infinite)),
        ("infinite below", NOW, f64::NEG_INFINITY, Err(Refusal::Infinite)),
        ("negative zero", NOW, -0.0, Ok(())),
    ];
    for (what, t_ms, value, expected) in table {
        assert_eq!(store.push(at(2), id, t_ms, value), expected, "{what}");
    }
    assert_eq!(store.push(at(2), SeriesId(99), NOW, 1.0), Err(Refusal::UnknownSeries));
    let status = store.series_status(id).unwrap();
    assert_eq!(status.open, 5);
    assert_eq!(status.refused.0, [0, 2, 0, 1, 2, 1, 2]);
    assert_eq!(store.status().refused.0, [1, 2, 0, 1, 2, 1, 2]);
    let window = store.window(id, 0, i64::MAX);
    let times: Vec<_> = window.iter().map(|&(t, _)| NOW - t).collect();
    assert_eq!(times, [3_600_000, 5_000, 1_000, 0, -FUTURE_MS]);
    assert_eq!(window[3].1.to_bits(), 0, "negative zero is stored as zero");
}

#[test]
fn the_batch_tells_what_became_of_it() {
    let mut store = SeriesStore::new();
    let series = store.intern(at(1), name("load", "web1")).unwrap();
    let sample = |t_ms, value| Sample { series, t_ms, value };
    let outcome = store.append(at(2), [sample(NOW, 1.0), sample(NOW, 2.0), sample(NOW + 1, f64::NAN)]);
    assert_eq!((outcome.accepted, outcome.refused.total()), (1, 2));
    assert_eq!(outcome.refused.of(Refusal::Duplicate), 1);
    assert_eq!(store.latest(series), Some((NOW, 1.0)), "the first one stays");
}

#[test]
fn a_head_is_sealed_with_its_last_sample() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    let first = NOW - 10_000_000;
    for i in 0..i64::from(SEAL_SAMPLES) - 1 {
        store.push(at(2), id, first + i * 10_000, 1.0).unwrap();
    }
    assert!(store.take_jobs(10).is_empty());
    let last = first + i64::from(SEAL_SAMPLES - 1) * 10_000;
    store.push(at(3), id, last, 1.0).unwrap();
    let jobs = store.take_jobs(10);
    let [Job::Seal(job)] = jobs.as_slice() else { panic!("{jobs:?}") };
    assert_eq!((job.sealed_at(), job.count(), job.id().start), (3, SEAL_SAMPLES, first));
    let block = encode(job).unwrap();
    assert_eq!((block.meta.end, block.meta.count), (last, SEAL_SAMPLES));
    assert_eq!(store.push(at(4), id, last - 1, 1.0), Err(Refusal::Late), "nothing goes into what is sealed");
    assert_eq!(store.push(at(4), id, last, 1.0), Err(Refusal::Duplicate));
    assert_eq!(store.window(id, 0, i64::MAX).len(), TAIL_SAMPLES, "the newest stay at hand");
    store.confirm(&jobs[0], &[block.meta]);
    assert_eq!(store.window(id, 0, i64::MAX).len(), TAIL_SAMPLES);
    assert_eq!(store.latest(id), Some((last, 1.0)));
    assert_eq!(store.status().sealing, 0);
    store.confirm(&jobs[0], &[block.meta]);
    assert_eq!((store.status().blocks, store.status().deletions), (1, 0), "saying it twice changes nothing");
}

#[test]
fn a_slow_series_is_sealed_by_the_span_of_its_head() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    let first = NOW - SEAL_SPAN_MS - 1_000;
    for (t, sealed) in [(first, 0), (first + SEAL_SPAN_MS - 1, 0), (first + SEAL_SPAN_MS, 1)] {
        store.push(at(2), id, t, 1.0).unwrap();
        assert_eq!(store.status().sealing, sealed, "after {}", t - first);
    }
    assert_eq!(
        store.series_status(id).unwrap().open,
        1,
        "the one that came too late for the head is in the next"
    );
}

#[test]
fn a_silent_series_is_sealed_by_the_clock() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    store.push(at(2), id, NOW, 1.0).unwrap();
    for (now_ms, sealed) in [(NOW + SEAL_SPAN_MS, 0), (NOW + SEAL_SPAN_MS + 1, 1)] {
        assert_eq!(store.expire(At { index: 3, now_ms }, &Retention::default()).sealed, sealed);
    }
}

#[test]
fn steps_begin_at_their_multiples_and_are_whole() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    let base = NOW / 60_000 * 60_000;
    for i in 0..18 {
        store.push(at(2), id, base - 120_000 + i * 10_000, i as f64).unwrap();
    }
    // The range lies within two steps, and both are answered whole.
    let ask = |agg| ask(&store, &query("load", base - 70_000, base + 1, Some(60_000), agg)).remove(0);
    let steps = [base - 120_000, base - 60_000, base];
    let expect = |values: [f64; 3]| steps.into_iter().zip(values).collect::<Vec<_>>();
    assert_eq!(ask(Agg::Avg), expect([2.5, 8.5, 14.5]));
    assert_eq!(ask(Agg::Min), expect([0.0, 6.0, 12.0]));
    assert_eq!(ask(Agg::Max), expect([5.0, 11.0, 17.0]));
    assert_eq!(ask(Agg::Sum), expect([15.0, 51.0, 87.0]));
    assert_eq!(ask(Agg::Count), expect([6.0; 3]));
    assert_eq!(ask(Agg::Last), expect([5.0, 11.0, 17.0]));
    assert_eq!(ask(Agg::Rate), expect([5.0 / 60.0, 0.1, 0.1]));
}

#[test]
fn the_rate_of_a_counter_that_starts_again_counts_from_zero() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("bytes", "web1")).unwrap();
    let base = NOW / 60_000 * 60_000;
    for (i, value) in [100.0, 160.0, 10.0, 30.0].into_iter().enumerate() {
        store.push(at(2), id, base + i as i64 * 10_000, value).unwrap();
    }
    let rate = ask(&store, &query("bytes", base, base + 60_000, Some(60_000), Agg::Rate));
    assert_eq!(rate, [[(base, (60.0 + 10.0 + 20.0) / 60.0)]]);
}

#[test]
fn series_are_put_together_step_by_step() {
    let mut store = SeriesStore::new();
    let base = NOW / 60_000 * 60_000;
    for (node, value) in [("web1", 1.0), ("web2", 2.0), ("web3", 6.0)] {
        let id = store.intern(at(1), name("load", node)).unwrap();
        store.push(at(2), id, base, value).unwrap();
        if node != "web3" {
            store.push(at(2), id, base + 60_000, value).unwrap();
        }
    }
    for (across, first, second) in [
        (Agg::Avg, 3.0, 1.5),
        (Agg::Min, 1.0, 1.0),
        (Agg::Max, 6.0, 2.0),
        (Agg::Sum, 9.0, 3.0),
        (Agg::Count, 3.0, 2.0),
    ] {
        let query =
            Query { across: Some(across), ..query("load", base, base + 120_000, Some(60_000), Agg::Avg) };
        assert_eq!(ask(&store, &query), [[(base, first), (base + 60_000, second)]], "{across:?}");
    }
    let nodes = Some(vec!["web2".to_owned(), "web9".to_owned(), "web2".to_owned()]);
    let mut some = query("load", base, base + 120_000, None, Agg::Avg);
    some.selector.nodes = nodes;
    assert_eq!(ask(&store, &some), [[(base, 2.0), (base + 60_000, 2.0)]]);
}

#[test]
fn jvm_and_instance_narrow_a_query() {
    let mut store = SeriesStore::new();
    for (jvm, instance) in
        [(None, None), (Some("tomcat"), None), (Some("tomcat"), Some("pool")), (None, Some("pool"))]
    {
        let id = store.intern(at(1), KeyRef { counter: "heap", node: "web1", jvm, instance }).unwrap();
        store.push(at(2), id, NOW, 1.0).unwrap();
    }
    for (jvm, instance, rows) in [
        (None, None, 4),
        (Some("tomcat"), None, 2),
        (Some("tomcat"), Some("pool"), 1),
        (None, Some("pool"), 2),
    ] {
        let mut query = query("heap", NOW, NOW + 1, None, Agg::Avg);
        query.selector.jvm = jvm.map(str::to_owned);
        query.selector.instance = instance.map(str::to_owned);
        assert_eq!(ask(&store, &query).len(), rows, "{jvm:?} {instance:?}");
    }
}

#[test]
fn a_query_over_a_limit_names_the_limit() {
    let mut store = SeriesStore::new();
    for node in ["web1", "web2", "web3"] {
        let id = store.intern(at(1), name("load", node)).unwrap();
        for i in 0..10 {
            store.push(at(2), id, NOW - i * 1_000, 1.0).unwrap();
        }
    }
    let all = Limits::default();
    let table = [
        (
            Limits { series: 2, ..all },
            Some(60_000),
            "the number of series in a query is limited to 2, and this asks for 3",
        ),
        (
            Limits { points: 2, ..all },
            Some(60_000),
            "the number of points in an answer is limited to 2, and this asks for 6",
        ),
        (
            Limits { points: 9, ..all },
            None,
            "the number of points in an answer is limited to 9, and this asks for 10",
        ),
        (
            Limits { samples: 19, ..all },
            None,
            "the number of samples that a query reads is limited to 19, and this asks for 20",
        ),
    ];
    for (limits, step, message) in table {
        let query = query("load", NOW - 60_000, NOW + 1, step, Agg::Avg);
        let result = store.plan(&query, &limits).and_then(|plan| execute(&plan, &NoBlocks));
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_senseless_query_is_refused() {
    let store = SeriesStore::new();
    let good = query("load", NOW, NOW + 60_000, Some(60_000), Agg::Avg);
    store.plan(&good, &Limits::default()).unwrap();
    let table = [
        ("ends before it begins", Query { to: NOW, ..good.clone() }),
        ("no step", Query { step: Some(0), ..good.clone() }),
        ("negative step", Query { step: Some(-5), ..good.clone() }),
        ("rate without a step", Query { step: None, agg: Agg::Rate, ..good.clone() }),
        ("across without a step", Query { step: None, across: Some(Agg::Sum), ..good.clone() }),
        ("last across series", Query { across: Some(Agg::Last), ..good.clone() }),
        ("out of bounds", Query { from: i64::MIN, to: i64::MAX, ..good.clone() }),
        ("a step without end", Query { step: Some(i64::MAX), from: -2, ..good.clone() }),
    ];
    for (what, query) in table {
        let result = store.plan(&query, &Limits::default());
        assert!(matches!(result, Err(Error::Invalid(_) | Error::Limit { .. })), "{what}: {result:?}");
    }
}

#[test]
fn a_block_that_went_meanwhile_is_said_so() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    for i in 0..i64::from(SEAL_SAMPLES) {
        store.push(at(2), id, NOW - 10_000_000 + i * 1_000, 1.0).unwrap();
    }
    let jobs = store.take_jobs(1);
    let blocks = jobs[0].run(&NoBlocks).unwrap();
    store.confirm(&jobs[0], &[blocks[0].meta]);
    let plan = store
        .plan(&query("load", NOW - 10_000_000, NOW, Some(60_000), Agg::Avg), &Limits::default())
        .unwrap();
    assert_eq!(plan.blocks().count(), 1);
    assert!(matches!(execute(&plan, &NoBlocks), Err(Error::Gone(gone)) if gone == blocks[0].meta.id));
}

#[test]
fn only_blocks_that_overlap_are_read() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    let per_block = i64::from(SEAL_SAMPLES) * 1_000;
    let base = NOW - 10 * per_block;
    for i in 0..5 * i64::from(SEAL_SAMPLES) {
        store.push(at(2), id, base + i * 1_000, 1.0).unwrap();
    }
    for job in store.take_jobs(9) {
        let block = job.run(&NoBlocks).unwrap().remove(0);
        store.confirm(&job, &[block.meta]);
    }
    let starts = |from: i64, to: i64| -> Vec<i64> {
        let plan = store.plan(&query("load", from, to, None, Agg::Avg), &Limits::default()).unwrap();
        plan.blocks().map(|block| (block.start - base) / per_block).collect()
    };
    assert_eq!(starts(base + per_block, base + per_block + 1), [1]);
    assert_eq!(starts(base + per_block - 1_000, base + per_block), [0]);
    assert_eq!(starts(base + per_block - 1_000, base + 3 * per_block + 1), [0, 1, 2, 3]);
}

#[test]
fn a_removed_series_leaves_nothing_but_deletions() {
    let mut store = SeriesStore::new();
    let one = store.intern(at(1), name("load", "web1")).unwrap();
    let two = store.intern(at(1), name("load", "web2")).unwrap();
    for i in 0..i64::from(SEAL_SAMPLES) * 2 {
        store.push(at(2), one, NOW - 10_000_000 + i * 1_000, 1.0).unwrap();
        store.push(at(2), two, NOW - 10_000_000 + i * 1_000, 1.0).unwrap();
    }
    let jobs = store.take_jobs(2);
    let metas: Vec<_> = jobs.iter().map(|job| job.run(&NoBlocks).unwrap()[0].meta).collect();
    store.confirm(&jobs[0], &metas[..1]);
    assert_eq!(store.remove_node("web1"), 1);
    assert_eq!(store.remove_node("web1"), 0);
    store.confirm(&jobs[1], &metas[1..]);
    let deletions = store.drain().deletions;
    let of_one: Vec<_> = metas.iter().map(|meta| meta.id).filter(|id| id.series == one).collect();
    assert_eq!(deletions, of_one);
    assert_eq!(store.take_jobs(10).iter().filter(|job| job.series() == one).count(), 0);
    assert_eq!(store.remove_counter("load"), 1);
    assert_eq!(store.status().series, 0);
    let again = store.intern(at(3), name("load", "web1")).unwrap();
    assert!(again > two, "ids are not used again");
}

#[test]
fn an_abandoned_job_comes_again() {
    let mut store = SeriesStore::new();
    let id = store.intern(at(1), name("load", "web1")).unwrap();
    for i in 0..i64::from(SEAL_SAMPLES) {
        store.push(at(2), id, NOW - 10_000_000 + i * 1_000, 1.0).unwrap();
    }
    let job = store.take_jobs(1).remove(0);
    assert!(store.take_jobs(1).is_empty());
    store.abandon(job);
    assert_eq!(store.take_jobs(1).len(), 1);
}
