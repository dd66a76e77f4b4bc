//! What this program is started with: as a test program by cargo or nextest, for one run, or for many.

use std::process::{Command, ExitCode};

use super::scenario::{self, Plan};

/// A test, by name.
pub(crate) type Test = (&'static str, fn());

/// Does what the arguments say.
pub(crate) fn main(tests: &[Test]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    match args.first().map(String::as_str) {
        Some("run") => return run_one(&args),
        Some("torture") => {
            let minutes = number(&args, "--minutes").unwrap_or(10);
            return super::torture::run(number(&args, "--seed").unwrap_or(1), minutes);
        }
        _ => {}
    }
    if has("--list") {
        for (name, _) in tests.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |name: &str| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|want| if has("--exact") { name == want.as_str() } else { name.contains(want.as_str()) })
    };
    let chosen: Vec<&Test> = tests.iter().filter(|(name, _)| is_wanted(name)).collect();
    if let [(_, test)] = chosen[..] {
        test();
        return ExitCode::SUCCESS;
    }
    // Each in a process of its own, as nextest does it.
    let mut failed = 0;
    for (name, _) in &chosen {
        let ended = this_program().args([name, "--exact"]).status();
        let is_ok = ended.is_ok_and(|status| status.success());
        println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
        failed += usize::from(!is_ok);
    }
    println!("\ntest result: {} of {} passed", chosen.len() - failed, chosen.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn text<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == flag)?;
    args.get(at + 1).map(String::as_str)
}

fn number(args: &[String], flag: &str) -> Option<u64> {
    text(args, flag)?.parse().ok()
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("a running program has a file"))
}

/// One run, told in one line.
fn run_one(args: &[String]) -> ExitCode {
    let seed = number(args, "--seed").unwrap_or(1);
    let Some(mut plan) = Plan::named(text(args, "--plan").unwrap_or("all")) else {
        eprintln!("there is no such plan");
        return ExitCode::from(2);
    };
    plan.ms = number(args, "--ms").unwrap_or(plan.ms);
    if let Some(bug) = text(args, "--bug")
        && !super::bugs::plant(bug)
    {
        eprintln!("there is no such bug, or none at all in a program that is built for release");
        return ExitCode::from(2);
    }
    if let Ok(filter) = std::env::var("SIM_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let report = scenario::run(seed, plan);
    println!("{}", report.line());
    match report.problem {
        None => ExitCode::SUCCESS,
        Some(problem) => {
            eprintln!("seed {seed}: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// One run in a process of its own; what it printed.
///
/// # Errors
/// What it said when it failed.
pub(crate) fn run_apart(seed: u64, more: &[&str]) -> Result<String, String> {
    let ended = this_program().args(["run", "--seed", &seed.to_string()]).args(more).output();
    let ended = ended.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ended.status.success() { Ok(text(&ended.stdout)) } else { Err(text(&ended.stderr)) }
}
