//! The simulation is tested itself: each bug that is put in on purpose is found.

use rscaler_raft::planted::Bug;

use super::harness::run_apart;

/// Every bug, by name.
const ALL: &[(&str, Bug)] = &[
    ("acknowledged-before-sync", Bug::AcknowledgedBeforeSync),
    ("vote-not-synced", Bug::VoteNotSynced),
    ("any-attempt-reports", Bug::AnyAttemptReports),
    ("not-deduplicated", Bug::NotDeduplicated),
    ("purged-past-checkpoint", Bug::PurgedPastCheckpoint),
];

/// Puts a bug in; false where there is none of this name, or no way to put one in.
pub(crate) fn plant(name: &str) -> bool {
    let Some((_, bug)) = ALL.iter().find(|(known, _)| *known == name) else { return false };
    #[cfg(debug_assertions)]
    rscaler_raft::planted::plant(*bug);
    cfg!(debug_assertions) && *bug as u8 != 0
}

/// Runs seeds with the bug until one finds it; the same seeds find nothing without it.
fn is_found(bug: &str, plan: &str, seeds: std::ops::RangeInclusive<u64>, signs: &[&str]) {
    if cfg!(not(debug_assertions)) {
        return;
    }
    for seed in seeds {
        let Err(why) = run_apart(seed, &["--plan", plan, "--bug", bug]) else { continue };
        println!("seed {seed} finds {bug}: {why}");
        assert!(signs.iter().any(|sign| why.contains(sign)), "found for another reason: {why}");
        if let Err(why) = run_apart(seed, &["--plan", plan]) {
            panic!("seed {seed} finds something without the bug, too: {why}");
        }
        return;
    }
    panic!("no seed finds {bug}");
}

const LOST: &[&str] =
    &["lacks", "not linearizable", "another one as", "both lead", "is not there", "panicked"];

pub(crate) fn acknowledged_before_sync_is_found() {
    is_found("acknowledged-before-sync", "power", 5..=40, LOST);
}

pub(crate) fn vote_not_synced_is_found() {
    is_found("vote-not-synced", "elections", 1..=40, LOST);
}

pub(crate) fn any_attempt_reports_is_found() {
    is_found(
        "any-attempt-reports",
        "sessions",
        1..=20,
        &["counts as done", "goes on", "after Execution", "must not be"],
    );
}

pub(crate) fn not_deduplicated_is_found() {
    let signs =
        ["twice", "two requests", "was said that nothing", "not linearizable", "answered with", "fired"];
    is_found("not-deduplicated", "sessions", 1..=20, &signs);
}

pub(crate) fn purged_past_checkpoint_is_found() {
    let signs = ["not within", "does not start", "panicked", "not answered", "lacks"];
    is_found("purged-past-checkpoint", "power", 1..=20, &signs);
}
