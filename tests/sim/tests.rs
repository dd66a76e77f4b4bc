//! The short runs.

use super::bugs;
use super::harness::{Test, run_apart};
use super::scenario::{self, Plan};

/// Every test, by name.
pub(crate) const ALL: &[Test] = &[
    ("a_control_plane_without_faults_serves_everybody", without_faults),
    ("nothing_is_lost_whatever_fails", whatever_fails),
    ("nothing_is_lost_where_power_fails", where_power_fails),
    ("work_is_done_once_where_sessions_break", where_sessions_break),
    ("five_peers_survive_too", five_peers),
    ("the_same_seed_is_the_same_run", same_seed),
    ("a_write_acknowledged_before_it_is_synced_is_found", bugs::acknowledged_before_sync_is_found),
    ("a_vote_that_is_not_synced_is_found", bugs::vote_not_synced_is_found),
    ("a_report_of_any_attempt_is_found", bugs::any_attempt_reports_is_found),
    ("a_request_that_is_done_twice_is_found", bugs::not_deduplicated_is_found),
    ("a_log_purged_past_the_checkpoint_is_found", bugs::purged_past_checkpoint_is_found),
];

/// Runs seeds of a plan, two at a time.
fn survive(plan: &'static str, seeds: std::ops::RangeInclusive<u64>) {
    let seeds: Vec<u64> = seeds.collect();
    for pair in seeds.chunks(2) {
        let running: Vec<_> = pair
            .iter()
            .map(|seed| {
                let seed = *seed;
                std::thread::spawn(move || run_apart(seed, &["--plan", plan]))
            })
            .collect();
        for run in running {
            match run.join().expect("it does not panic") {
                Ok(said) => print!("{said}"),
                Err(why) => panic!("{why}"),
            }
        }
    }
}

fn without_faults() {
    let report = scenario::run(1, Plan::named("calm").expect("it is one"));
    assert!(report.problem.is_none(), "{:?}", report.problem);
    assert!(
        report.done > 100 && report.unknown == 0 && report.firings > 0 && report.executions > 0,
        "{report:?}"
    );
}

fn whatever_fails() {
    survive("all", 1..=6);
}

fn where_power_fails() {
    survive("power", 1..=4);
}

fn where_sessions_break() {
    survive("sessions", 1..=4);
}

fn five_peers() {
    survive("five", 1..=2);
}

/// In processes of their own: what a process did before leaves its marks on tokio's chance.
fn same_seed() {
    let run = |seed: u64| run_apart(seed, &["--ms", "8000"]).expect("it runs");
    let first = run(11);
    assert_eq!(first, run(11));
    assert_ne!(first, run(12), "other seeds are other runs");
}
