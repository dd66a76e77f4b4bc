#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::decide::replay::replay;
use crate::model::{Condition, Held, NoData, OnFailure, Operator, Per, Step, Target};

const INTERVAL: Duration = Duration::from_secs(10);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn over(counter: &str, threshold: f64) -> Condition {
    Condition { counter: name(counter), instance: None, op: Operator::Greater, threshold, recover: None }
}

fn trigger(change: impl FnOnce(&mut Trigger)) -> Trigger {
    let mut trigger = Trigger {
        cluster: name("web"),
        conditions: vec![over("load1", 4.0)],
        matching: Matching::Any,
        hold: Duration::ZERO,
        aggregate: Aggregate::Each,
        per: Per::Trigger,
        cooldown: Duration::ZERO,
        no_data: NoData::Ignore,
        enabled: true,
        steps: vec![Step { action: name("tidy"), target: Target::Cluster, on_failure: OnFailure::Stop }],
    };
    change(&mut trigger);
    trigger
}

fn key(counter: &str, node: &str, instance: &str) -> SeriesKey {
    SeriesKey {
        counter: counter.into(),
        node: node.into(),
        jvm: None,
        instance: (!instance.is_empty()).then(|| instance.into()),
    }
}

/// The world around a watch, as a test wants it.
#[derive(Clone, Default)]
struct World {
    wall: Timestamp,
    resumed: Timestamp,
    /// Nodes in maintenance; an empty name: the cluster.
    silent: BTreeSet<&'static str>,
    history: BTreeMap<SeriesId, Vec<Sample>>,
}

impl Surroundings for World {
    fn wall(&self) -> Timestamp {
        self.wall
    }
    fn resumed(&self) -> Timestamp {
        self.resumed
    }
    fn silenced(&self, _: &Name, node: Option<&Name>) -> Option<Name> {
        let hit = self.silent.contains("") || node.is_some_and(|node| self.silent.contains(node.as_str()));
        hit.then(|| name("upgrade"))
    }
    fn window(&self, series: SeriesId, from: Timestamp, to: Timestamp) -> Vec<Sample> {
        let samples = self.history.get(&series).into_iter().flatten();
        samples.filter(|s| s.at >= from && s.at <= to).copied().collect()
    }
}

/// A watch with its rows, ticked every second, and what it said.
struct Rig {
    trigger: Trigger,
    nodes: Vec<Name>,
    series: Vec<Arc<SeriesKey>>,
    world: World,
    watch: Watch,
    row: Watched,
    subjects: BTreeMap<Subject, Tracked>,
    bells: BTreeMap<Unit, Bell>,
    said: Vec<Happening>,
}

impl Rig {
    fn new(trigger: Trigger, nodes: &[&str], series: &[(&str, &str, &str)]) -> Rig {
        let series = series.iter().map(|(c, n, i)| Arc::new(key(c, n, i))).collect();
        let nodes = nodes.iter().map(|node| name(node)).collect();
        let mut rig = Rig {
            watch: Watch::new(Plan::new(&trigger, |_| INTERVAL), Watched::default(), []),
            trigger,
            nodes,
            series,
            world: World::default(),
            row: Watched::default(),
            subjects: BTreeMap::new(),
            bells: BTreeMap::new(),
            said: Vec::new(),
        };
        rig.restart();
        rig
    }

    /// One counter on some nodes.
    fn load(trigger: Trigger, nodes: &[&str]) -> Rig {
        let series: Vec<_> = nodes.iter().map(|node| ("load1", *node, "")).collect();
        Rig::new(trigger, nodes, &series)
    }

    /// Makes the watch anew from what is stored.
    fn restart(&mut self) {
        let plan = Plan::new(&self.trigger, |_| INTERVAL);
        let mut watch = Watch::new(plan, self.row, self.nodes.iter().map(|n| (n.clone(), Timestamp(0))));
        for (position, key) in self.series.iter().enumerate() {
            let id = SeriesId(position as u32);
            let samples = self.world.history.get(&id).into_iter().flatten();
            watch.add_series(id, key, samples.max_by_key(|sample| sample.at).copied());
        }
        for (subject, tracked) in &self.subjects {
            watch.restore(subject.clone(), *tracked);
        }
        for (unit, bell) in &self.bells {
            watch.restore_bell(unit.clone(), bell.clone());
        }
        let mut out = Vec::new();
        watch.settle(self.world.wall, &mut out);
        assert!(out.is_empty() && !watch.has_changes(), "a restart changes nothing: {out:?}");
        self.watch = watch;
    }

    fn store(&mut self) {
        let changes = self.watch.drain_changes();
        self.row = changes.row.unwrap_or(self.row);
        for (subject, tracked) in changes.subjects {
            match tracked {
                Some(tracked) => drop(self.subjects.insert(subject, tracked)),
                None => drop(self.subjects.remove(&subject)),
            }
        }
        for (unit, bell) in changes.bells {
            match bell {
                Some(bell) => drop(self.bells.insert(unit, bell)),
                None => drop(self.bells.remove(&unit)),
            }
        }
    }

    /// Ticks every full second up to `ms`.
    fn until_ms(&mut self, ms: i64) -> &mut Rig {
        while (self.world.wall.0 + 1000).div_euclid(1000) * 1000 <= ms {
            self.world.wall = Timestamp((self.world.wall.0 + 1000).div_euclid(1000) * 1000);
            self.watch.tick(&self.world, &mut self.said);
            self.store();
        }
        self
    }

    fn until(&mut self, secs: i64) -> &mut Rig {
        self.until_ms(secs * 1000)
    }

    fn sample_ms(&mut self, series: usize, ms: i64, value: f64) -> &mut Rig {
        self.until_ms(ms);
        self.give(series, ms, value)
    }

    fn give(&mut self, series: usize, ms: i64, value: f64) -> &mut Rig {
        let sample = Sample { at: Timestamp(ms), value };
        let id = SeriesId(series as u32);
        self.world.history.entry(id).or_default().push(sample);
        self.watch.sample(id, sample, &self.world, &mut self.said);
        self.store();
        self
    }

    fn sample(&mut self, series: usize, secs: i64, value: f64) -> &mut Rig {
        self.sample_ms(series, secs * 1000, value)
    }

    /// Samples of one series every ten seconds from `from` on.
    fn samples(&mut self, series: usize, from: i64, values: &[f64]) -> &mut Rig {
        for (at, value) in (from..).step_by(10).zip(values) {
            self.sample(series, at, *value);
        }
        self
    }

    fn story(&self) -> Vec<String> {
        let on = |node: &Option<Name>| node.as_ref().map_or_else(String::new, |node| format!(" {node}"));
        self.said
            .iter()
            .map(|happening| match happening {
                Happening::Fired { node, at, .. } => format!("fired{} {}", on(node), at.0 / 1000),
                Happening::Silenced { node, .. } => format!("silenced{}", on(node)),
                Happening::Recovered { unit, at } => format!("recovered{} {}", on(unit), at.0 / 1000),
            })
            .collect()
    }

    fn phases(&self) -> Vec<&'static str> {
        self.watch.report(self.world.wall).subjects.iter().map(|s| s.phase.as_str()).collect()
    }

    fn evidence(&self) -> Vec<(String, i64, Option<f64>)> {
        let last = self.said.iter().rev().find_map(|happening| match happening {
            Happening::Fired { evidence, .. } => Some(evidence),
            _ => None,
        });
        let place = |e: &Evidence| format!("{} {}", e.series.counter, e.series.node);
        last.unwrap().iter().map(|e| (place(e), e.at.0 / 1000, e.value)).collect()
    }
}

#[test]
fn it_fires_when_the_hold_is_full_and_not_a_sample_before() {
    let mut rig = Rig::load(trigger(|t| t.hold = secs(30)), &["web01"]);
    rig.samples(0, 10, &[5.0, 5.0, 5.0]);
    assert!(rig.story().is_empty());
    assert_eq!(rig.phases(), ["pending"]);
    assert_eq!(rig.watch.report(Timestamp(30_000)).subjects[0].held, secs(20));
    rig.sample(0, 40, 6.0);
    assert_eq!(rig.story(), ["fired web01 40"]);
    let values: Vec<_> = rig.evidence().into_iter().map(|(_, at, value)| (at, value.unwrap())).collect();
    assert_eq!(values, [(10, 5.0), (20, 5.0), (30, 5.0), (40, 6.0)], "all samples of the hold");
}

#[test]
fn time_is_the_samples_own_not_the_ticks() {
    let mut rig = Rig::load(trigger(|t| t.hold = secs(30)), &["web01"]);
    rig.sample(0, 10, 5.0).until(39);
    assert!(rig.story().is_empty(), "ticks hold nothing");
    rig.sample(0, 40, 5.0);
    assert_eq!(rig.story(), ["fired web01 40"]);
}

#[test]
fn a_break_starts_the_hold_anew() {
    let mut rig = Rig::load(trigger(|t| t.hold = secs(30)), &["web01"]);
    rig.samples(0, 10, &[5.0, 5.0, 5.0, 4.0, 5.0, 5.0, 5.0]);
    assert!(rig.story().is_empty());
    rig.sample(0, 80, 5.0);
    assert_eq!(rig.story(), ["fired web01 80"]);
}

#[test]
fn a_gap_neither_breaks_the_hold_nor_fills_it() {
    let mut rig = Rig::load(trigger(|t| t.hold = secs(60)), &["web01"]);
    // 30 s count as data after the last sample before the gap.
    rig.samples(0, 10, &[5.0, 5.0]).sample(0, 1000, 5.0);
    assert!(rig.story().is_empty());
    rig.sample(0, 1010, 5.0).sample(0, 1020, 5.0);
    assert_eq!(rig.story(), ["fired web01 1020"], "10 s + 30 s before the gap, 20 s after it");
}

#[test]
fn within_the_recovery_band_it_neither_recovers_nor_fires_again() {
    let mut rig = Rig::load(trigger(|t| t.conditions[0].recover = Some(3.0)), &["web01"]);
    rig.samples(0, 10, &[5.0, 3.5]);
    assert_eq!(rig.phases(), ["recovering"]);
    rig.samples(0, 30, &[5.0, 3.1, 3.0, 3.5]);
    assert_eq!(rig.story(), ["fired web01 10", "recovered 50"]);
    assert_eq!(rig.phases(), ["ok"], "between the two it does not begin");
}

#[test]
fn it_fires_again_after_recovery_and_cooldown_both() {
    let busy = |cooldown| trigger(|t| t.cooldown = secs(cooldown));
    let mut rig = Rig::load(busy(30), &["web01"]);
    rig.samples(0, 10, &[5.0, 5.0, 5.0, 5.0, 5.0]);
    assert_eq!(rig.story(), ["fired web01 10"], "the cooldown alone is not enough");
    let mut rig = Rig::load(busy(30), &["web01"]);
    rig.samples(0, 10, &[5.0, 1.0, 5.0]);
    assert_eq!(rig.story(), ["fired web01 10", "recovered 20"], "recovery alone is not enough");
    assert_eq!(rig.bells[&None].held, Some(Held::Cooldown));
    rig.sample_ms(0, 39_999, 5.0);
    assert_eq!(rig.story().len(), 2);
    rig.sample(0, 40, 5.0);
    assert_eq!(rig.story()[2..], ["fired web01 40"], "at the boundary, by a sample that still holds");
    let mut rig = Rig::load(busy(30), &["web01"]);
    rig.samples(0, 10, &[5.0, 1.0, 5.0, 1.0, 1.0]);
    assert_eq!(rig.story(), ["fired web01 10", "recovered 20"], "what recovered within the cooldown is over");
    assert_eq!(rig.bells[&None].held, None);
}

#[test]
fn per_trigger_it_fires_once_until_all_have_recovered() {
    let mut rig = Rig::load(trigger(|_| ()), &["web01", "web02"]);
    rig.sample(0, 10, 5.0).sample(1, 11, 5.0).sample(0, 20, 1.0).sample(0, 30, 5.0);
    assert_eq!(rig.story(), ["fired web01 10"]);
    rig.sample(0, 40, 1.0).sample(1, 41, 1.0).sample(1, 51, 5.0);
    assert_eq!(rig.story(), ["fired web01 10", "recovered 41", "fired web02 51"]);
}

#[test]
fn per_node_each_fires_by_itself_with_its_own_cooldown() {
    let mut rig = Rig::load(
        trigger(|t| {
            t.per = Per::Node;
            t.cooldown = secs(60);
        }),
        &["web01", "web02"],
    );
    rig.sample(0, 10, 5.0).sample(1, 11, 5.0).sample(0, 20, 1.0).sample(1, 21, 5.0).sample(0, 70, 5.0);
    assert_eq!(rig.story(), ["fired web01 10", "fired web02 11", "recovered web01 20", "fired web01 70"]);
}

#[test]
fn a_late_or_repeated_sample_is_not_judged() {
    let mut rig = Rig::load(trigger(|_| ()), &["web01"]);
    rig.sample(0, 20, 1.0).give(0, 10_000, 5.0).give(0, 20_000, 5.0);
    assert!(rig.story().is_empty());
}

#[test]
fn samples_from_before_the_trigger_are_not_judged() {
    let mut rig = Rig::load(trigger(|_| ()), &["web01"]);
    rig.row.from = Timestamp(15_000);
    rig.restart();
    rig.sample(0, 14, 5.0);
    assert!(rig.story().is_empty());
    rig.sample(0, 15, 5.0);
    assert_eq!(rig.story(), ["fired web01 15"]);
}

#[test]
fn any_judges_each_condition_by_itself() {
    let two = trigger(|t| {
        t.conditions.push(Condition { op: Operator::Less, ..over("load1", 1.0) });
        t.hold = secs(20);
    });
    let mut rig = Rig::load(two, &["web01"]);
    rig.samples(0, 10, &[5.0, 5.0, 0.5, 0.5]);
    assert!(rig.story().is_empty(), "neither held for 20 s");
    rig.sample(0, 50, 0.5);
    assert_eq!(rig.story(), ["fired web01 50"]);
}

#[test]
fn an_instance_is_watched_alone_where_the_condition_names_it() {
    let root =
        trigger(|t| t.conditions = vec![Condition { instance: Some("/".into()), ..over("disk", 90.0) }]);
    let mut rig = Rig::new(root, &["web01"], &[("disk", "web01", "/"), ("disk", "web01", "/var")]);
    rig.sample(1, 10, 99.0);
    assert!(rig.story().is_empty());
    rig.sample(0, 10, 99.0);
    assert_eq!(rig.story(), ["fired web01 10"]);
}

fn both(change: impl FnOnce(&mut Trigger)) -> Trigger {
    trigger(|t| {
        t.conditions = vec![over("load1", 4.0), over("mem", 90.0)];
        t.matching = Matching::All;
        change(t);
    })
}

#[test]
fn all_must_hold_on_one_node() {
    let series = [("load1", "web01", ""), ("mem", "web01", ""), ("load1", "web02", ""), ("mem", "web02", "")];
    let mut rig = Rig::new(both(|_| ()), &["web01", "web02"], &series);
    rig.sample(0, 10, 5.0).sample(1, 10, 50.0).sample(2, 10, 1.0).sample(3, 10, 95.0).until(12);
    assert!(rig.story().is_empty(), "load on one and memory on the other");
    rig.sample(1, 20, 95.0).until(22);
    assert_eq!(rig.story(), ["fired web01 20"]);
    assert_eq!(rig.evidence(), [("load1 web01".into(), 10, Some(5.0)), ("mem web01".into(), 20, Some(95.0))]);
    rig.sample(0, 30, 1.0).until(32);
    assert_eq!(rig.story()[1..], ["recovered 30"], "one that breaks is enough");
}

#[test]
fn conditions_pair_by_instance_and_one_without_counts_for_each() {
    let series =
        [("load1", "web01", ""), ("disk", "web01", "/"), ("disk", "web01", "/var"), ("busy", "web01", "/")];
    let three = trigger(|t| {
        t.conditions = vec![over("load1", 4.0), over("disk", 90.0), over("busy", 50.0)];
        t.matching = Matching::All;
    });
    let mut rig = Rig::new(three, &["web01"], &series);
    rig.sample(0, 10, 5.0).sample(2, 10, 95.0).sample(1, 10, 10.0).sample(3, 10, 60.0).until(12);
    assert!(rig.story().is_empty(), "/var is full and / is busy");
    rig.sample(1, 20, 95.0).until(22);
    assert_eq!(rig.story(), ["fired web01 20"]);
    assert_eq!(rig.evidence().len(), 3);
}

#[test]
fn a_condition_that_names_its_instance_pairs_with_all_of_the_node() {
    let two = trigger(|t| {
        t.conditions =
            vec![over("disk", 90.0), Condition { instance: Some("eth0".into()), ..over("net", 10.0) }];
        t.matching = Matching::All;
    });
    let mut rig = Rig::new(two, &["web01"], &[("disk", "web01", "/"), ("net", "web01", "eth0")]);
    rig.sample(0, 10, 95.0).sample(1, 10, 20.0).until(12);
    assert_eq!(rig.story(), ["fired web01 10"]);
}

#[test]
fn with_all_a_stale_condition_is_no_data_unless_another_breaks() {
    let series = [("load1", "web01", ""), ("mem", "web01", "")];
    let mut rig = Rig::new(both(|_| ()), &["web01"], &series);
    rig.sample(0, 10, 5.0).sample(1, 10, 95.0).until(12);
    assert_eq!(rig.story(), ["fired web01 10"]);
    rig.sample(0, 60, 5.0).until(62);
    assert_eq!(rig.phases(), ["firing"], "mem is 50 s old");
    rig.sample(0, 70, 1.0).until(72);
    assert_eq!(rig.story()[1..], ["recovered 70"]);
}

#[test]
fn a_second_is_judged_as_a_whole_in_whatever_order_it_comes() {
    let series = [("load1", "web01", ""), ("mem", "web01", "")];
    for order in [[0, 1], [1, 0]] {
        let mut rig = Rig::new(both(|_| ()), &["web01"], &series);
        rig.sample_ms(0, 10_100, 5.0).sample_ms(1, 10_200, 50.0).until(12);
        // Load falls and memory rises within one second: at no moment do both hold.
        for which in order {
            let (ms, value) = [(20_100, 1.0), (20_200, 95.0)][which];
            rig.give(which, ms, value);
        }
        rig.until(22);
        assert!(rig.story().is_empty(), "{order:?}");
    }
}

fn over_cluster(aggregate: Aggregate, threshold: f64) -> Trigger {
    trigger(|t| {
        t.aggregate = aggregate;
        t.conditions[0].threshold = threshold;
    })
}

/// Fires or not, for three nodes that report 2, 4 and 9, after a round to get them known.
fn fires(trigger: Trigger) -> bool {
    let mut rig = Rig::load(trigger, &["web01", "web02", "web03"]);
    for round in [10, 20] {
        for (series, value) in [2.0, 4.0, 9.0].into_iter().enumerate() {
            rig.sample(series, round, value);
        }
    }
    rig.until(25);
    !rig.story().is_empty()
}

#[test]
fn each_aggregate_at_its_boundary() {
    let table = [
        (Aggregate::Avg, 4.9, 5.0),
        (Aggregate::Min, 1.9, 2.0),
        (Aggregate::Max, 8.9, 9.0),
        (Aggregate::Sum, 14.9, 15.0),
        (Aggregate::Count, 2.0, 3.0),
    ];
    for (aggregate, below, at) in table {
        assert!(fires(over_cluster(aggregate, below)), "{aggregate:?} > {below}");
        assert!(!fires(over_cluster(aggregate, at)), "{aggregate:?} > {at}");
    }
}

#[test]
fn a_node_without_data_does_not_count_for_the_cluster() {
    let mut rig = Rig::load(over_cluster(Aggregate::Avg, 4.0), &["web01", "web02"]);
    for at in (10..=40).step_by(10) {
        rig.sample(0, at, 5.0).sample(1, at, 1.0);
    }
    rig.sample(0, 50, 5.0).sample(0, 60, 5.0).sample(0, 70, 5.0).until(72);
    assert!(rig.story().is_empty(), "three intervals old is data");
    rig.sample(0, 80, 5.0).until(82);
    assert_eq!(rig.story(), ["fired 80"]);
}

#[test]
fn nodes_that_report_at_different_times_do_not_make_it_flap() {
    let mut rig = Rig::load(over_cluster(Aggregate::Avg, 4.0), &["web01", "web02", "web03", "web04"]);
    for round in 1..100 {
        for series in 0..4 {
            let value = if series == 0 { 17.0 } else { 0.0 };
            rig.sample_ms(series, round * 10_000 + series as i64 * 2_300, value);
        }
    }
    assert_eq!(rig.story().len(), 1, "{:?}", rig.story());
}

#[test]
fn after_the_silence_of_all_the_first_to_report_does_not_speak_for_the_cluster() {
    let mut rig = Rig::load(over_cluster(Aggregate::Avg, 4.0), &["web01", "web02"]);
    for at in [10, 20] {
        rig.sample(0, at, 5.0).sample(1, at, 1.0);
    }
    rig.sample(0, 500, 5.0).until(505).sample(1, 507, 1.0).until(520);
    assert!(rig.story().is_empty());
    rig.sample(0, 521, 9.0).until(523);
    assert_eq!(rig.story(), ["fired 521"]);
}

#[test]
fn one_sample_of_one_node_is_judged_an_interval_later_without_another() {
    let mut rig = Rig::load(over_cluster(Aggregate::Sum, 4.0), &["web01"]);
    rig.sample(0, 100, 5.0).until(109);
    assert!(rig.story().is_empty());
    rig.until(110);
    assert_eq!(rig.story(), ["fired 100"]);
}

#[test]
fn count_sees_that_all_are_silent() {
    let few = trigger(|t| {
        t.aggregate = Aggregate::Count;
        t.conditions = vec![Condition { op: Operator::Less, ..over("load1", 2.0) }];
    });
    let mut rig = Rig::load(few, &["web01", "web02"]);
    rig.until(100);
    rig.said.clear();
    for at in [110, 120, 130] {
        rig.sample(0, at, 1.0).sample(1, at, 1.0);
    }
    rig.until(140);
    rig.said.clear();
    rig.until(155);
    assert!(rig.story().is_empty());
    rig.until(175);
    assert_eq!(rig.story().len(), 1, "{:?}", rig.story());
}

#[test]
fn all_over_a_cluster_compares_both_values() {
    let series = [("load1", "web01", ""), ("mem", "web02", "")];
    let mut rig = Rig::new(both(|t| t.aggregate = Aggregate::Max), &["web01", "web02"], &series);
    for at in [10, 20, 30] {
        rig.sample(0, at, 5.0).sample(1, at, if at == 30 { 95.0 } else { 50.0 });
    }
    rig.until(32);
    assert_eq!(rig.story(), ["fired 30"], "on different nodes: it is about the cluster");
}

#[test]
fn a_sample_far_ahead_does_not_make_the_others_stale() {
    let mut rig = Rig::load(over_cluster(Aggregate::Sum, 4.0), &["web01", "web02"]);
    for at in [10, 20, 30] {
        rig.sample(0, at, 1.0).sample(1, at, 1.0);
    }
    rig.give(1, 250_000, 2.0);
    rig.sample(0, 40, 3.0).until(42);
    assert_eq!(rig.story(), ["fired 40"], "its clock is held back; 3 + 2");
}

#[test]
fn the_samples_that_say_most_are_the_evidence() {
    let nodes: Vec<String> = (0..40).map(|n| format!("web{n:02}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let mut rig = Rig::load(over_cluster(Aggregate::Max, 30.0), &nodes);
    for at in [10, 20] {
        for series in 0..40 {
            rig.sample(series, at, series as f64);
        }
    }
    rig.until(25);
    let evidence = rig.evidence();
    assert_eq!(evidence.len(), 16);
    assert_eq!(evidence[0].0, "load1 web39");
}

fn silence(change: impl FnOnce(&mut Trigger)) -> Trigger {
    trigger(|t| {
        t.no_data = NoData::FireAfter(secs(60));
        change(t);
    })
}

#[test]
fn missing_data_fires_at_its_boundary_and_the_next_sample_ends_it() {
    let mut rig = Rig::load(silence(|t| t.per = Per::Node), &["web01", "web02"]);
    rig.sample(0, 10, 1.0).sample(1, 10, 1.0).sample(1, 50, 1.0).until(69);
    assert!(rig.story().is_empty());
    rig.until(70);
    assert_eq!(rig.story(), ["fired web01 70"]);
    assert_eq!(rig.evidence(), [("load1 web01".into(), 10, None)]);
    rig.until(80).sample(0, 81, 1.0).sample(1, 82, 1.0).until(130);
    assert_eq!(rig.story()[1..], ["recovered web01 81"]);
}

#[test]
fn a_node_that_never_had_a_sample_is_missed_too() {
    let mut rig = Rig::new(silence(|_| ()), &["web01"], &[]);
    rig.until(59);
    assert!(rig.story().is_empty());
    rig.until(60);
    assert_eq!(rig.story(), ["fired web01 60"]);
}

#[test]
fn one_instance_of_many_that_goes_is_not_missed_unless_it_is_named() {
    let series = [("disk", "web01", "/"), ("disk", "web01", "/mnt")];
    for (instance, expected) in [(None, 0), (Some("/mnt"), 1)] {
        let watched = silence(|t| {
            t.conditions = vec![Condition { instance: instance.map(String::from), ..over("disk", 90.0) }];
        });
        let mut rig = Rig::new(watched, &["web01"], &series);
        rig.sample(1, 10, 1.0);
        for at in (10..200).step_by(10) {
            rig.sample(0, at, 1.0);
        }
        assert_eq!(rig.story().len(), expected, "{instance:?}");
    }
}

#[test]
fn samples_that_are_old_when_they_come_do_not_end_a_silence() {
    let mut rig = Rig::load(silence(|_| ()), &["web01"]);
    rig.sample(0, 10, 1.0).until(100).give(0, 30_000, 1.0).until(101);
    assert_eq!(rig.story(), ["fired web01 70"]);
    rig.give(0, 99_000, 1.0);
    assert_eq!(rig.story()[1..], ["recovered 99"]);
}

#[test]
fn a_pause_of_the_control_plane_is_nobodys_silence() {
    let mut rig = Rig::load(silence(|_| ()), &["web01"]);
    rig.sample(0, 10, 1.0).until(20);
    rig.world.wall = Timestamp(1_000_000);
    rig.world.resumed = Timestamp(1_000_000);
    rig.until(1059);
    assert!(rig.story().is_empty());
    rig.until(1060);
    assert_eq!(rig.story().len(), 1, "but silence goes on to be one");
}

#[test]
fn maintenance_silences_and_what_still_fires_at_its_end_fires_then() {
    let mut rig = Rig::load(trigger(|_| ()), &["web01", "web02"]);
    rig.world.silent.insert("web01");
    rig.sample(0, 10, 5.0).sample(0, 20, 5.0).sample(1, 21, 1.0).until(25);
    assert_eq!(rig.story(), ["silenced web01"], "once");
    assert_eq!(rig.phases(), ["firing", "ok"], "it is tracked all the same");
    rig.world.silent.clear();
    rig.until(26);
    assert_eq!(rig.story()[1..], ["fired web01 20"]);
}

#[test]
fn what_recovers_within_maintenance_never_fires() {
    let mut rig = Rig::load(trigger(|_| ()), &["web01"]);
    rig.world.silent.insert("");
    rig.sample(0, 10, 5.0).sample(0, 20, 1.0);
    rig.world.silent.clear();
    rig.until(30);
    assert_eq!(rig.story(), ["silenced web01"]);
}

#[test]
fn maintenance_of_one_node_leaves_the_others_loud() {
    let mut rig = Rig::load(trigger(|_| ()), &["web01", "web02"]);
    rig.world.silent.insert("web01");
    rig.sample(0, 10, 5.0).sample(1, 11, 5.0);
    assert_eq!(rig.story(), ["silenced web01", "fired web02 11"]);
}

#[test]
fn maintenance_that_ends_within_the_cooldown_leaves_it_held_back() {
    let mut rig = Rig::load(trigger(|t| t.cooldown = secs(60)), &["web01"]);
    rig.samples(0, 10, &[5.0, 1.0]);
    rig.world.silent.insert("");
    rig.sample(0, 30, 5.0).until(35);
    rig.world.silent.clear();
    rig.until(36);
    assert_eq!(rig.bells[&None].held, Some(Held::Cooldown));
    rig.samples(0, 40, &[5.0, 5.0, 5.0, 5.0]);
    assert_eq!(rig.story()[2..], ["silenced web01", "fired web01 70"]);
}

#[test]
fn a_subject_whose_samples_stopped_is_forgotten_after_a_day() {
    let mut rig = Rig::load(trigger(|_| ()), &["web01", "web02"]);
    rig.sample(0, 10, 5.0).sample(1, 10, 1.0);
    rig.world.wall = Timestamp(86_400_000);
    rig.until(86_409);
    assert_eq!(rig.phases(), ["firing", "ok"]);
    rig.until(86_410);
    assert_eq!(rig.story(), ["fired web01 10", "recovered 86410"]);
    rig.sample(1, 86_420, 5.0);
    assert_eq!(rig.story()[2..], ["fired web02 86420"]);
}

/// What comes in: a series, how much later than the last sample of all, a value.
type Coming = (usize, i64, u8);

fn coming() -> impl Strategy<Value = Vec<Coming>> {
    prop::collection::vec((0usize..6, 0i64..9_000, 0u8..8), 1..80)
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    let aggregate = prop_oneof![
        3 => Just(Aggregate::Each), 1 => Just(Aggregate::Avg), 1 => Just(Aggregate::Sum),
        1 => Just(Aggregate::Max), 1 => Just(Aggregate::Count),
    ];
    (aggregate, any::<(bool, bool, bool, bool)>(), 0u64..40, 0u64..60, 1usize..3, 0usize..2).prop_map(
        |(aggregate, (all, per_node, recover, no_data), hold, cooldown, conditions, named)| {
            trigger(|t| {
                let recover = recover.then_some(2.0);
                let mem = Condition { recover, ..over("mem", 3.0) };
                t.conditions = vec![Condition { recover, ..over("load1", 4.0) }, mem];
                t.conditions.truncate(conditions);
                if named == 1 {
                    t.conditions[0] = Condition { instance: Some("a".into()), ..over("load1", 4.0) };
                }
                t.matching = if all { Matching::All } else { Matching::Any };
                t.aggregate = aggregate;
                t.per = if per_node { Per::Node } else { Per::Trigger };
                t.hold = secs(hold);
                t.cooldown = secs(cooldown);
                t.no_data = if no_data { NoData::FireAfter(secs(25)) } else { NoData::Ignore };
            })
        },
    )
}

const FLEET: [(&str, &str, &str); 6] = [
    ("load1", "web01", ""),
    ("load1", "web02", ""),
    ("load1", "web02", "a"),
    ("mem", "web01", ""),
    ("mem", "web02", "a"),
    ("mem", "web02", "b"),
];

/// Lets everything come in, in the order of time, restarting before the samples given.
fn play(trigger: &Trigger, coming: &[Coming], restarts: &BTreeSet<usize>, windows: bool) -> Rig {
    let mut rig = Rig::new(trigger.clone(), &["web01", "web02"], &FLEET);
    let mut now = 1000;
    for (position, (series, later, value)) in coming.iter().enumerate() {
        now += later;
        if restarts.contains(&position) {
            rig.restart();
        }
        if windows && position % 7 == 3 {
            // As a change of configuration: judged at once.
            rig.world.silent = if position % 2 == 0 { BTreeSet::new() } else { BTreeSet::from(["web01"]) };
            let mut said = Vec::new();
            rig.watch.ring_held(&rig.world, &mut said);
            rig.said.append(&mut said);
            rig.store();
        }
        rig.sample_ms(*series, now, f64::from(*value));
    }
    rig.until_ms(now + 60_000);
    rig
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_restart_anywhere_changes_nothing(
        trigger in any_trigger(), coming in coming(),
        restarts in prop::collection::btree_set(0usize..80, 0..80), windows: bool,
    ) {
        let straight = play(&trigger, &coming, &BTreeSet::new(), windows);
        let restarted = play(&trigger, &coming, &restarts, windows);
        prop_assert_eq!(&straight.said, &restarted.said);
        prop_assert_eq!(straight.row, restarted.row);
        prop_assert_eq!(straight.subjects, restarted.subjects);
        prop_assert_eq!(straight.bells, restarted.bells);
    }

    #[test]
    fn a_replay_says_what_happened(trigger in any_trigger(), coming in coming()) {
        let live = play(&trigger, &coming, &BTreeSet::new(), false);
        let mut stored: BTreeMap<usize, Vec<Sample>> = (0..FLEET.len()).map(|i| (i, Vec::new())).collect();
        for (id, samples) in &live.world.history {
            stored.insert(id.0 as usize, samples.clone());
        }
        let series = stored.into_iter().map(|(i, samples)| {
            let (counter, node, instance) = FLEET[i];
            (key(counter, node, instance), INTERVAL, samples)
        });
        let found = replay(&trigger, series, Timestamp(0), live.world.wall);
        let mut expected = Vec::new();
        let mut open: BTreeMap<Unit, usize> = BTreeMap::new();
        for happening in &live.said {
            match happening {
                Happening::Fired { unit, node, at, evidence } => {
                    open.insert(unit.clone(), expected.len());
                    expected.push((*at, node.clone(), evidence.clone(), None));
                }
                Happening::Recovered { unit, at } => expected[open[unit]].3 = Some(*at),
                Happening::Silenced { .. } => {}
            }
        }
        let found: Vec<_> = found.into_iter().map(|f| (f.at, f.node, f.evidence, f.recovered_at)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn it_never_fires_twice_without_recovery_between_nor_within_the_cooldown(
        trigger in any_trigger(), coming in coming(),
    ) {
        let rig = play(&trigger, &coming, &BTreeSet::new(), false);
        let mut rung: BTreeMap<Unit, bool> = BTreeMap::new();
        let mut last: BTreeMap<Unit, Timestamp> = BTreeMap::new();
        for happening in &rig.said {
            match happening {
                Happening::Fired { unit, at, evidence, .. } => {
                    prop_assert!(!rung.insert(unit.clone(), true).unwrap_or(false));
                    if let Some(before) = last.insert(unit.clone(), *at) {
                        prop_assert!(before + trigger.cooldown <= *at);
                    }
                    prop_assert!((1..=16).contains(&evidence.len()));
                }
                Happening::Recovered { unit, .. } => {
                    prop_assert_eq!(rung.insert(unit.clone(), false), Some(true));
                }
                Happening::Silenced { .. } => {}
            }
        }
    }
}
