//! Rules of the house that a machine can check.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file holds one idea. Those that are longer today may only get shorter; new ones stay below.
const LINES_MAX: usize = 700;

fn sources(root: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                sources(&path, out);
            }
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

fn all() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "raft", "api", "ui", "tests"] {
        sources(&root.join(folder), &mut paths);
    }
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root).unwrap().display().to_string(), text)
        })
        .collect()
}

fn offenders(found: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    all().iter().filter_map(|(path, text)| found(path, text).map(|why| format!("{path}: {why}"))).collect()
}

#[test]
fn files_stay_small() {
    let long = offenders(|path, text| {
        let lines = text.lines().count();
        let tests = path.contains("test") || path.starts_with("tests/");
        (lines > LINES_MAX && !tests).then(|| format!("{lines} lines; at most {LINES_MAX}: is it one idea?"))
    });
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_left_undone() {
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
    ];
    let undone =
        offenders(|_, text| marks.iter().find(|mark| text.contains(**mark)).map(|mark| mark.to_string()));
    assert!(undone.is_empty(), "{undone:#?}");
}

#[test]
fn one_module_each_names_the_packages_that_formats_depend_on() {
    let homes: [(&str, &[&str]); 4] = [
        ("bincode::", &["raft/src/codec.rs"]),
        ("raft_log::", &["raft/src/store/wal"]),
        ("sled::", &["raft/src/store/"]),
        ("openraft::", &["raft/src/consensus/"]),
    ];
    let strangers = offenders(|path, text| {
        homes.iter().find_map(|(name, homes)| {
            let named = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(name));
            let at_home = homes.iter().any(|home| path.starts_with(home)) || path == "tests/tidy.rs";
            (named && !at_home).then(|| format!("names {name} outside {homes:?}"))
        })
    });
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[test]
fn apply_reads_no_clock_and_no_unordered_map() {
    let banned = ["SystemTime", "Instant::now", "HashMap", "HashSet", "rand::", "std::env"];
    let impure = offenders(|path, text| {
        let pure = path.starts_with("raft/src/state/") || path.starts_with("raft/src/decide/");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        (pure && !path.contains("test"))
            .then(|| banned.iter().find(|word| code.contains(**word)))
            .flatten()
            .map(|word| format!("names `{word}`"))
    });
    assert!(impure.is_empty(), "{impure:#?}");
}

#[test]
fn arrows_between_packages_point_one_way() {
    let wrong = offenders(|path, text| {
        let banned: &[&str] = match path.split('/').next().unwrap() {
            "raft" => &["rscaler_api", "rscaler_ui", "warp::", "russh"],
            "api" => &["use rscaler::", "russh"],
            "ui" => &["rscaler_api", "rscaler_raft"],
            _ => &[],
        };
        banned.iter().find(|name| text.contains(**name)).map(|name| format!("reaches for `{name}`"))
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
