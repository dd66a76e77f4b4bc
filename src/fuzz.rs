//! One function for each thing that a managed host prints, as a fuzzer calls it: see `tests/fuzz`, and `rscaler_raft::fuzz`,
//! which has the same for what lies below.
#![allow(clippy::unwrap_used)]

use crate::collectors::parse::{self, INSTANCE_BYTES_MAX, INSTANCES_MAX, Output, Parse};

/// Every target of this package.
pub const TARGETS: &[rscaler_raft::fuzz::Target] = &[
    ("command_output", crate::executors::fuzz_output),
    ("parse_forms", parse_forms),
    ("shell_output", crate::ssh::fuzz_shell),
    ("ssh_keys", crate::ssh::fuzz_keys),
];

/// Gives `data` to the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.expect("fuzzers name targets that there are").1(data);
}

/// The first byte says which form, the second how the script ended. A pattern comes first, up to the first zero byte.
fn parse_forms(data: &[u8]) {
    let Some((&[form, exit], rest)) = data.split_first_chunk() else { return };
    let (form, stdout) = match form % 6 {
        0 => (Parse::Number, rest),
        1 => (Parse::Pairs, rest),
        2 => (Parse::Json, rest),
        3 => (Parse::Nagios, rest),
        4 => (Parse::Prometheus, rest),
        _ => {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            let Ok(pattern) = std::str::from_utf8(&rest[..end]) else { return };
            let Ok(form) = Parse::pattern(pattern) else { return };
            (form, rest.get(end + 1..).unwrap_or_default())
        }
    };
    let output = Output { stdout, exit_code: (exit < 128).then(|| i32::from(exit)) };
    match parse::parse(&form, &output) {
        Ok(parsed) => {
            assert!(parsed.readings.len() <= INSTANCES_MAX);
            for reading in &parsed.readings {
                assert!(reading.instance.as_ref().is_none_or(|name| name.len() <= INSTANCE_BYTES_MAX));
            }
            assert!(parsed.warnings.shown.iter().map(String::len).sum::<usize>() <= 16 << 10);
        }
        Err(error) => assert!(error.to_string().len() <= 4096, "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzers_begin_with_and_what_they_found_harms_nobody() {
        rscaler_raft::fuzz::replay(TARGETS);
    }

    #[test]
    fn every_target_has_its_fuzzer() {
        let manifest = include_str!("../tests/fuzz/Cargo.toml");
        let all = [TARGETS, rscaler_raft::fuzz::TARGETS, rscaler_api::fuzz::TARGETS].concat();
        for (name, _) in &all {
            assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"")), "{name}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), all.len());
    }
}
