//! Many runs, one after the other, as long as there is time; the figures as a table.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::harness::run_apart;
use super::scenario::Report;

/// Runs seeds from `first` on for some minutes, two at a time.
pub(crate) fn run(first: u64, minutes: u64) -> ExitCode {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(minutes * 60);
    let mut total = Total::default();
    let mut next = first;
    while Instant::now() < until {
        let threads: Vec<_> =
            (next..next + 2).map(|seed| (seed, std::thread::spawn(move || run_apart(seed, &[])))).collect();
        next += 2;
        for (seed, thread) in threads {
            let said = thread.join().unwrap_or_else(|_| Err("it panicked".to_string()));
            match said.as_deref().map(Report::read) {
                Ok(Some(report)) => total.add(&report),
                Ok(None) => total.failed.push((seed, "it printed no figures".to_string())),
                Err(why) => total.failed.push((seed, why.clone())),
            }
            if let Some((seed, why)) = total.failed.last().filter(|(failed, _)| *failed == seed) {
                println!("seed {seed} FAILED: {why}");
            }
        }
    }
    total.print(first, next, begun.elapsed());
    if total.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Total {
    figures: Vec<(String, u64)>,
    failed: Vec<(u64, String)>,
}

impl Total {
    fn add(&mut self, report: &[(String, u64)]) {
        for (name, value) in report {
            match self.figures.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += value,
                None => self.figures.push((name.clone(), *value)),
            }
        }
    }

    fn print(&self, first: u64, next: u64, took: Duration) {
        println!("\n{:<28} {:>14}", "simulation", "");
        println!("{:<28} {:>14}", "seeds", format!("{first}-{}", next - 1));
        println!("{:<28} {:>14}", "seconds", took.as_secs());
        for (name, sum) in &self.figures {
            println!("{name:<28} {sum:>14}");
        }
        println!("{:<28} {:>14}", "seeds that failed", self.failed.len());
        for (seed, _) in &self.failed {
            println!("  again, exactly: scripts/torture --simulation --seed {seed}");
        }
    }
}
