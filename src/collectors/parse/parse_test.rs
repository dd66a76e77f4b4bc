//! What holds for every form, whatever a host prints.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn forms() -> Vec<Parse> {
    vec![
        Parse::Number,
        Parse::Pairs,
        Parse::Json,
        Parse::Nagios,
        Parse::Prometheus,
        Parse::pattern(r"(?<instance>\S+)[= ](?<value>\S+)").unwrap(),
        Parse::pattern(r"(?<a>\d+)|(?<b>[a-z]+)").unwrap(),
    ]
}

/// Pieces that the grammars are made of, so that random outputs get past their first checks.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            &b"a"[..],
            b"load",
            b"=",
            b" ",
            b"\n",
            b"\r\n",
            b"|",
            b"'",
            b"''",
            b"\"",
            b"\\",
            b"\\n",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b";",
            b"#",
            b"1",
            b"-2.5",
            b"1e3",
            b"1e999",
            b"NaN",
            b"+Inf",
            b"U",
            b"%",
            b"MB",
            b"ms",
            b"null",
            b"true",
            b"\t",
            b"\0",
            b"\xff",
            b"\xc3",
            "é".as_bytes(),
            b"\x1b[0m",
            b"le=",
            b"\"a\":",
            b"{\"a\":1}",
            b"m{l=\"v\"} 1",
            b"k=1;2;3",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn assert_bounds(form: &Parse, result: Result<Parsed, ParseError>) {
    match result {
        Ok(Parsed { readings, warnings }) => {
            assert!(!readings.is_empty() && readings.len() <= INSTANCES_MAX, "{form}");
            assert!(
                warnings.shown.len() <= 11 && warnings.shown.iter().all(|w| w.chars().count() < 300),
                "{form}"
            );
            let mut names = std::collections::HashSet::new();
            for reading in &readings {
                let name = reading.instance.as_deref().unwrap_or("");
                assert!(
                    name.len() <= INSTANCE_BYTES_MAX && !name.chars().any(char::is_control),
                    "{form}: {name:?}"
                );
                assert!(names.insert(reading.instance.clone()), "{form}: {name:?} twice");
                assert!(reading.value.is_finite() || matches!(form, Parse::Prometheus), "{form}: {name:?}");
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.chars().count() < 400 && !text.chars().any(char::is_control), "{form}: {text:?}");
        }
    }
}

fn exit_codes() -> impl Strategy<Value = Option<i32>> {
    prop_oneof![4 => Just(Some(0)), 1 => any::<Option<i32>>(), 1 => (0..4).prop_map(Some)]
}

proptest! {
    #[test]
    fn no_bytes_panic_or_break_a_bound(stdout in prop::collection::vec(any::<u8>(), 0..400), exit_code in exit_codes()) {
        for form in forms() {
            assert_bounds(&form, parse(&form, &Output { stdout: &stdout, exit_code }));
        }
    }

    #[test]
    fn no_almost_valid_output_panics_or_breaks_a_bound(stdout in fragments(), exit_code in exit_codes()) {
        for form in forms() {
            assert_bounds(&form, parse(&form, &Output { stdout: &stdout, exit_code }));
        }
    }

    #[test]
    fn a_finite_number_is_read_back_by_every_form(value in prop::num::f64::NORMAL | prop::num::f64::ZERO) {
        let cases = [
            (Parse::Number, format!(" {value}\n"), None),
            (Parse::Pairs, format!("a={value}\n"), Some("a")),
            (Parse::Pairs, format!("a {value:e}\n"), Some("a")),
            (Parse::Json, format!("{{\"a\": {{\"b\": \"{value:e}\"}}}}"), Some("a.b")),
            (Parse::Prometheus, format!("a{{c=\"d\"}} {value:e} 1700000000000\n"), Some("a{c=\"d\"}")),
            (Parse::pattern(r"is (?<value>\S+)").unwrap(), format!("it is {value:e} now"), None),
        ];
        for (form, stdout, instance) in cases {
            let parsed = parse(&form, &Output { stdout: stdout.as_bytes(), exit_code: Some(0) }).unwrap();
            prop_assert_eq!(parsed.readings, vec![Reading { instance: instance.map(str::to_owned), value }]);
        }
        let stdout = format!("OK | 'a b'={value:e}B;1;2");
        let parsed = parse(&Parse::Nagios, &Output { stdout: stdout.as_bytes(), exit_code: Some(1) }).unwrap();
        prop_assert_eq!(parsed.readings[1].value, value);
    }

    #[test]
    fn prometheus_label_values_survive(value in "\\PC{1,20}", name in "[a-z_][a-z0-9_]{0,8}") {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let stdout = format!("m{{{name}=\"{escaped}\"}} 1\n");
        let parsed = parse(&Parse::Prometheus, &Output { stdout: stdout.as_bytes(), exit_code: Some(0) }).unwrap();
        let instance = format!("m{{{name}=\"{escaped}\"}}");
        prop_assert_eq!(parsed.readings[0].instance.as_deref(), Some(instance.as_str()));
    }
}

#[test]
fn a_failed_script_yields_nothing_but_from_a_plugin() {
    for form in forms().iter().filter(|form| !matches!(form, Parse::Nagios)) {
        let error = parse(form, &Output { stdout: b"a=1\n", exit_code: Some(1) }).unwrap_err();
        assert_eq!(error.to_string(), "the script exited with 1, having printed \"a=1\"", "{form}");
        let error = parse(form, &Output { stdout: b"", exit_code: None }).unwrap_err();
        assert_eq!(error.to_string(), "the script was ended by a signal", "{form}");
    }
}

#[test]
fn silence_is_an_error_of_its_own() {
    for form in forms() {
        let error = parse(&form, &Output { stdout: b" \n\t\n", exit_code: Some(0) }).unwrap_err();
        assert_eq!(error, ParseError::Empty, "{form}");
    }
}

#[test]
fn a_huge_output_is_refused_before_it_is_looked_at() {
    let stdout = vec![b'1'; OUTPUT_BYTES_MAX + 1];
    for form in forms() {
        let error = parse(&form, &Output { stdout: &stdout, exit_code: Some(0) }).unwrap_err();
        assert!(matches!(error, ParseError::TooLarge { .. }), "{form}");
    }
}

#[test]
fn what_scripts_like_those_of_pyscaler_print_is_a_number() {
    // What `free -m | grep Mem | awk '{print $3}'` and its kin print.
    for stdout in ["1842\n", "  1842 \n", "0.35\n"] {
        let parsed =
            parse(&Parse::Number, &Output { stdout: stdout.as_bytes(), exit_code: Some(0) }).unwrap();
        assert_eq!(parsed.readings.len(), 1, "{stdout:?}");
    }
}
