//! The figures of a programme, as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::Fault;
use crate::load::Judged;
use crate::load::firings::Fired;
use crate::load::tasks::Effects;
use crate::round::Setup;

/// What one round came to.
pub(crate) struct Round {
    pub(crate) setup: Setup,
    pub(crate) took: Duration,
    /// The longest time without an acknowledged write, for each time the fault was done.
    pub(crate) gaps: Vec<Duration>,
    /// How long it took to be one again when all was healed.
    pub(crate) converged: Option<Duration>,
    /// The longest time without a sample of a node that is collected every second.
    pub(crate) longest_silence: Duration,
    pub(crate) judged: Judged,
    pub(crate) effects: Effects,
    pub(crate) fired: Fired,
}

/// All rounds so far.
#[derive(Default)]
pub(crate) struct Figures {
    rounds: Vec<Round>,
}

impl Figures {
    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    pub(crate) fn violations(&self) -> usize {
        self.rounds.iter().map(|round| round.judged.violations.len()).sum()
    }

    /// The table, a line for each fault and one for all.
    pub(crate) fn table(&self) -> String {
        let mut by_fault: BTreeMap<Fault, Vec<&Round>> = BTreeMap::new();
        for round in &self.rounds {
            by_fault.entry(round.setup.fault).or_default().push(round);
        }
        let mut text = format!(
            "{:<20} {:>7} {:>7} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8} {:>8} {:>8} {:>9}\n",
            "fault",
            "rounds",
            "minutes",
            "struck",
            "ops",
            "unknown",
            "violations",
            "gap p50",
            "gap p99",
            "gap max",
            "silence",
            "converged"
        );
        for (fault, rounds) in &by_fault {
            text += &line(fault.name(), rounds);
        }
        let all: Vec<&Round> = self.rounds.iter().collect();
        text += &line("all", &all);
        text += "ops: operations of clients that were checked; gap: the longest time without an acknowledged write, of each \
                 strike, ms; silence: the longest time \
                 between two samples that are taken every second, ms; converged: the longest, s\n";
        text += &effects(&all);
        let seeds = self.rounds.iter().map(|round| round.setup.seed);
        if let (Some(first), Some(last)) = (seeds.clone().min(), seeds.max()) {
            text += &format!("seeds {first} to {last}\n");
        }
        text
    }
}

fn effects(rounds: &[&Round]) -> String {
    let sum = |of: fn(&Effects) -> u64| rounds.iter().map(|round| of(&round.effects)).sum::<u64>();
    let mut takeovers: Vec<Duration> =
        rounds.iter().flat_map(|round| round.effects.takeovers.iter().copied()).collect();
    takeovers.sort();
    let fired = |of: fn(&Fired) -> usize| rounds.iter().map(|round| of(&round.fired)).sum::<usize>();
    format!(
        "tasks: {} succeeded, {} lost with their executor, {} failed, {} begun again as they may, {} attempts lost \
         with an executor that nobody had disturbed; taken over {} times, ms \
         from kill -9: p50 {}, p99 {}, max {}\ntriggers: {} fired, {} acted, {} lost with their executor\n",
        sum(|effects| effects.succeeded),
        sum(|effects| effects.lost),
        sum(|effects| effects.failed),
        sum(|effects| effects.repeated),
        sum(|effects| effects.undisturbed.len() as u64),
        takeovers.len(),
        percentile(&takeovers, 50).as_millis(),
        percentile(&takeovers, 99).as_millis(),
        percentile(&takeovers, 100).as_millis(),
        fired(|fired| fired.fired),
        fired(|fired| fired.acted),
        fired(|fired| fired.not_acted),
    )
}

fn line(name: &str, rounds: &[&Round]) -> String {
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(|round| of(round)).sum::<u64>();
    let minutes = rounds.iter().map(|round| round.took.as_secs_f64()).sum::<f64>() / 60.0;
    let mut gaps: Vec<Duration> = rounds.iter().flat_map(|round| round.gaps.iter().copied()).collect();
    gaps.sort();
    let silence = rounds.iter().map(|round| round.longest_silence).max().unwrap_or_default();
    let converged = rounds.iter().filter_map(|round| round.converged).max().unwrap_or_default();
    format!(
        "{name:<20} {:>7} {minutes:>7.1} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8} {:>8} {:>8} {:>9.1}\n",
        rounds.len(),
        gaps.len(),
        sum(|round| round.judged.operations),
        sum(|round| round.judged.unknown),
        sum(|round| round.judged.violations.len() as u64),
        percentile(&gaps, 50).as_millis(),
        percentile(&gaps, 99).as_millis(),
        percentile(&gaps, 100).as_millis(),
        silence.as_millis(),
        converged.as_secs_f64(),
    )
}

/// Of a sorted list; zero where it is empty.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}
