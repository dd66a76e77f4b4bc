//! How a host's load moves: pure, and the same for the same host and the same targets.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::CORES;
use super::figures::Figures;

/// How quickly figures follow, as time constants in seconds. Quicker than a kernel's, whose one-minute load
/// takes a minute to show anything: who turns the load up wants to see it.
const DEMAND_S: f64 = 3.0;
const LOAD1_S: f64 = 6.0;
const LOAD5_S: f64 = 30.0;
const LOAD15_S: f64 = 90.0;
const MEMORY_S: f64 = 15.0;

/// How far noise moves the demand, as a share of all cores.
const NOISE: f64 = 0.03;
/// How much of the last second's noise is left, so that curves wander instead of jittering.
const NOISE_KEPT: f64 = 0.85;

/// The rate of requests, in 1/s, that keeps all cores busy.
const REQUESTS_FULL: f64 = 480.0;

/// The moving state of one host.
#[derive(Debug)]
pub(super) struct Model {
    random: StdRng,
    target: f64,
    demand: f64,
    noise: f64,
    load: [f64; 3],
    memory: f64,
    seconds: u64,
    requests_total: f64,
    errors_total: f64,
}

impl Model {
    /// A host that has been under `target` for long. The name seeds the noise.
    pub(super) fn new(name: &str, target: Option<f64>) -> Self {
        let target = target.unwrap_or(0.0);
        let seed = name.bytes().fold(17, |seed: u64, b| seed.wrapping_mul(31).wrapping_add(u64::from(b)));
        Self {
            random: StdRng::seed_from_u64(seed),
            target,
            demand: target,
            noise: 0.0,
            load: [target * f64::from(CORES); 3],
            memory: memory_at(target),
            seconds: 0,
            requests_total: 0.0,
            errors_total: 0.0,
        }
    }

    /// One second passes, with the load moving to `target`, or to the last known one.
    pub(super) fn step(&mut self, target: Option<f64>) -> Figures {
        self.target = target.unwrap_or(self.target);
        self.seconds += 1;
        approach(&mut self.demand, self.target, DEMAND_S);
        self.noise = self.noise * NOISE_KEPT + self.random.random_range(-1.0..=1.0) * (1.0 - NOISE_KEPT);
        // Less noise near idle, so that an idle host stays idle.
        let busy = (self.demand + 3.0 * NOISE * self.noise * (0.2 + self.demand)).clamp(0.0, 1.0);

        let [load1, load5, load15] = &mut self.load;
        for (load, seconds) in [(load1, LOAD1_S), (load5, LOAD5_S), (load15, LOAD15_S)] {
            approach(load, busy * f64::from(CORES), seconds);
        }
        approach(&mut self.memory, memory_at(busy), MEMORY_S);

        let requests = REQUESTS_FULL * busy * (1.0 + NOISE * self.random.random_range(-1.0..=1.0));
        // As a queue does: slow rises at first, steep ones near saturation.
        let latency_ms = 12.0 / (1.05 - busy);
        let errors = requests * 0.02 * ((busy - 0.85).max(0.0) / 0.15);
        self.requests_total += requests;
        self.errors_total += errors;
        Figures {
            seconds: self.seconds,
            busy,
            load: self.load,
            memory: self.memory,
            requests,
            latency_ms,
            errors,
            requests_total: self.requests_total,
            errors_total: self.errors_total,
        }
    }
}

/// Moves `value` a second's way to `goal`.
fn approach(value: &mut f64, goal: f64, time_constant_s: f64) {
    *value += (goal - *value) * (1.0 - (-1.0 / time_constant_s).exp());
}

/// The share of memory in use under a load.
fn memory_at(busy: f64) -> f64 {
    0.28 + 0.45 * busy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_load_moves_to_its_target_in_half_a_minute() {
        for (from, to) in [(0.1, 0.9), (0.9, 0.1), (0.0, 1.0), (0.5, 0.5)] {
            let mut model = Model::new("web01", Some(from));
            let last = (0..30).map(|_| model.step(Some(to)).load[0]).last().unwrap();
            assert!((last - to * 4.0).abs() < 0.3, "{from} to {to}: {last}");
        }
    }

    #[test]
    fn it_moves_smoothly() {
        let mut model = Model::new("web01", Some(0.0));
        let mut before = 0.0;
        for _ in 0..60 {
            let load1 = model.step(Some(1.0)).load[0];
            assert!((load1 - before).abs() < 0.6, "{before} to {load1}");
            before = load1;
        }
    }

    #[test]
    fn it_is_alive_and_the_same_every_time() {
        let run = |name| {
            let mut model = Model::new(name, Some(0.5));
            (0..100).map(|_| model.step(None).load[0]).collect::<Vec<_>>()
        };
        assert_eq!(run("web01"), run("web01"));
        assert_ne!(run("web01"), run("web02"));
        assert!(run("web01").windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn an_idle_host_stays_idle() {
        let mut model = Model::new("web01", Some(0.0));
        assert!((0..1_000).all(|_| model.step(None).load[0] < 0.15));
    }

    #[test]
    fn without_a_target_the_last_one_holds() {
        let mut model = Model::new("web01", Some(0.2));
        model.step(Some(0.8));
        let last = (0..60).map(|_| model.step(None).busy).last().unwrap();
        assert!((last - 0.8).abs() < 0.1, "{last}");
    }

    proptest! {
        #[test]
        fn figures_stay_in_their_bounds(targets in prop::collection::vec(prop::option::of(0.0..=1.0), 1..200)) {
            let mut model = Model::new("web01", None);
            for target in targets {
                let figures = model.step(target);
                prop_assert!((0.0..=1.0).contains(&figures.busy));
                prop_assert!(figures.load.iter().all(|load| (0.0..=4.0).contains(load)));
                prop_assert!((0.0..1.0).contains(&figures.memory));
                prop_assert!((0.0..=REQUESTS_FULL * 1.1).contains(&figures.requests));
                prop_assert!((0.0..=241.0).contains(&figures.latency_ms) && figures.errors >= 0.0);
            }
        }
    }
}
