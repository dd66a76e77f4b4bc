//! The form `nagios`: the performance data of a Nagios, Icinga or Naemon plugin, and its exit code.
//!
//! ```text
//! DISK OK - free space: / 3326 MB | /=2643MB;5948;5958;0;5968
//! any text
//! / 15272 MB (77%);
//! more text | /boot=68MB;88;93;0;98
//! 'home dir'=69357MB;253404;253409;0;253414
//! ```
//!
//! What follows the first `|` of the first line is performance data; so is what follows the first `|` in the
//! lines after it, to the end. An item is `'label'=value[unit];[warn];[crit];[min];[max]`; the label needs its
//! quotes only when it holds a space, and `''` in them is one quote. A value `U` is unknown and skipped.
//! Thresholds and bounds are the plugin's own view and are not read.
//!
//! Source: Monitoring Plugins Development Guidelines, "Performance data"; Nagios Core, "Plugin API".

use std::borrow::Cow;

use super::readings::Readings;
use super::text::finite;
use super::{Output, ParseError, Parsed};

/// The instance that holds the exit code: 0 ok, 1 warning, 2 critical, 3 unknown.
const EXIT_CODE: &str = "exit_code";

/// Any exit code but 0 to 3 is a failure: there was no plugin, or it was ended before it could say.
pub(super) fn parse(output: &Output<'_>) -> Result<Parsed, ParseError> {
    let code = match output.exit_code {
        Some(code @ 0..=3) => code,
        _ => return Err(ParseError::exit(output)),
    };
    if output.stdout.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    let mut readings = Readings::default();
    // First, so that a plugin with a thousand items still has it.
    readings.push(Some(EXIT_CODE), f64::from(code));
    for line in performance_data(output.stdout) {
        // Lossy, for a label in Latin-1 is still a label.
        items(&String::from_utf8_lossy(line), &mut readings);
    }
    readings.finish(|| ParseError::Empty)
}

/// The pieces of the output that are performance data, one a line.
fn performance_data(stdout: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = split_once(stdout, b'\n').unwrap_or((stdout, b""));
    let in_first = split_once(first, b'|').map(|(_, data)| data);
    let in_rest = split_once(rest, b'|').map_or(&b""[..], |(_, data)| data);
    in_first.into_iter().chain(in_rest.split(|b| *b == b'\n'))
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Reads the items of one line. A bad item costs only itself: reading goes on after the next white space.
fn items(line: &str, readings: &mut Readings) {
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let after = match item(rest) {
            Ok((label, value, after)) => {
                if let Some(value) = value {
                    readings.push(Some(&label), value);
                }
                after
            }
            Err(reason) => {
                let (bad, after) = word(rest);
                readings.warn(|| format!("{reason}: \"{}\"", super::text::excerpt(bad.as_bytes())));
                after
            }
        };
        rest = after.trim_start();
    }
}

/// An item at the start of `text`: its label, its value (`None` for `U`) and what follows it.
fn item(text: &str) -> Result<(Cow<'_, str>, Option<f64>, &str), &'static str> {
    let (label, rest) = if let Some(quoted) = text.strip_prefix('\'') {
        let (label, rest) = quoted_label(quoted).ok_or("the label's quote is not closed")?;
        (label, rest.strip_prefix('=').ok_or("expected = after the label")?)
    } else {
        let (name, _) = word(text);
        let (label, _) = name.split_once('=').ok_or("expected label=value")?;
        (Cow::Borrowed(label), &text[label.len() + 1..])
    };
    if label.trim().is_empty() {
        return Err("the label is empty");
    }
    let (fields, after) = word(rest);
    let quantity = fields.split(';').next().unwrap_or_default();
    if quantity == "U" {
        return Ok((label, None, after));
    }
    // The units begin with a letter or a sign that no number ends in; an exponent's `e` is followed by digits.
    let unit_at = quantity
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-') || is_exponent(quantity, *i)))
        .map_or(quantity.len(), |(i, _)| i);
    let (number, unit) = quantity.split_at(unit_at);
    let value = finite(number).ok_or("the value is not a number")?;
    if unit.starts_with([',', '=']) {
        return Err("the value is not a number");
    }
    let scaled = value * factor(unit);
    if !scaled.is_finite() {
        return Err("the value is out of range");
    }
    Ok((label, Some(scaled), after))
}

/// The label up to its closing quote, and what follows the quote.
fn quoted_label(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut from = 0;
    loop {
        let quote = from + text[from..].find('\'')?;
        let after = &text[quote + 1..];
        if after.starts_with('\'') {
            from = quote + 2;
            continue;
        }
        let label = &text[..quote];
        let label =
            if label.contains("''") { Cow::Owned(label.replace("''", "'")) } else { Cow::Borrowed(label) };
        return Some((label, after));
    }
}

/// Whether the character at `at` is the `e` of an exponent.
fn is_exponent(quantity: &str, at: usize) -> bool {
    let (before, after) = quantity.split_at(at);
    let Some(exponent) = after.strip_prefix(['e', 'E']) else { return false };
    before.ends_with(|c: char| c.is_ascii_digit())
        && exponent.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit())
}

/// What a value in `unit` is multiplied with to be in seconds or bytes. `%`, `c` (a counter) and units that the
/// guidelines don't have stay as they are. A kilobyte is 1,024 bytes, as the plugins compute it.
fn factor(unit: &str) -> f64 {
    const KIB: f64 = 1024.0;
    match unit {
        "ms" => 1e-3,
        "us" | "µs" | "μs" => 1e-6,
        "ns" => 1e-9,
        "KB" | "kB" | "KiB" => KIB,
        "MB" | "MiB" => KIB * KIB,
        "GB" | "GiB" => KIB * KIB * KIB,
        "TB" | "TiB" => KIB * KIB * KIB * KIB,
        "PB" | "PiB" => KIB * KIB * KIB * KIB * KIB,
        _ => 1.0,
    }
}

/// Splits off the text up to the first white space.
fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(stdout: &str, code: i32) -> Parsed {
        parse(&Output { stdout: stdout.as_bytes(), exit_code: Some(code) }).unwrap()
    }

    /// Without the exit code.
    fn named(parsed: &Parsed) -> Vec<(&str, f64)> {
        assert_eq!(parsed.readings[0].instance.as_deref(), Some("exit_code"));
        parsed.readings[1..].iter().map(|r| (r.instance.as_deref().unwrap(), r.value)).collect()
    }

    #[test]
    fn an_item_is_read_in_base_units() {
        for (name, item, expected) in [
            ("bare", "users=4", vec![("users", 4.0)]),
            ("thresholds", "users=4;5;10;0;20", vec![("users", 4.0)]),
            ("ranges", "t=4;@10:20;~:30;;", vec![("t", 4.0)]),
            ("seconds", "time=0.5s;;;0", vec![("time", 0.5)]),
            ("milliseconds", "rta=250ms", vec![("rta", 0.25)]),
            ("microseconds", "t=500us", vec![("t", 0.0005)]),
            ("per cent", "pl=20%;40;80", vec![("pl", 20.0)]),
            ("bytes", "b=12B", vec![("b", 12.0)]),
            ("kilobytes", "b=2KB", vec![("b", 2048.0)]),
            ("megabytes", "/=1MB;5948;5958;0;5968", vec![("/", 1048576.0)]),
            ("gigabytes", "b=1GB", vec![("b", 1073741824.0)]),
            ("terabytes", "b=1TB", vec![("b", 1099511627776.0)]),
            ("counter", "in=123456c", vec![("in", 123456.0)]),
            ("unit of the plugin's own", "temp=21.5C", vec![("temp", 21.5)]),
            ("negative", "t=-3.5", vec![("t", -3.5)]),
            ("exponent", "t=1e3s;;", vec![("t", 1000.0)]),
            ("exponent with sign", "t=1.5e-2ms", vec![("t", 0.000015)]),
            ("unknown value", "a=U;1;2 b=3", vec![("b", 3.0)]),
            ("quoted label", "'home dir'=5", vec![("home dir", 5.0)]),
            ("quote in a label", "'it''s'=5", vec![("it's", 5.0)]),
            ("equals in a quoted label", "'a=b'=5", vec![("a=b", 5.0)]),
            ("several", "a=1 b=2\tc=3", vec![("a", 1.0), ("b", 2.0), ("c", 3.0)]),
            ("pipe in the data", "a=1 'x|y'=2", vec![("a", 1.0), ("x|y", 2.0)]),
        ] {
            let parsed = run(&format!("OK - fine | {item}\n"), 0);
            assert_eq!(named(&parsed), expected, "{name}");
            assert!(parsed.warnings.is_empty(), "{name}: {:?}", parsed.warnings);
        }
    }

    #[test]
    fn performance_data_spans_lines() {
        let parsed = run(
            "DISK OK - free space: / 3326 MB | /=2643B;5948\nany text\n/ 15272 MB (77%);\nmore | /boot=68B;88\n\
             '/home dir'=69B;253\n/var=1B\n",
            0,
        );
        assert_eq!(named(&parsed), [("/", 2643.0), ("/boot", 68.0), ("/home dir", 69.0), ("/var", 1.0)]);
    }

    #[test]
    fn the_exit_code_is_a_reading_and_0_to_3_are_no_failure() {
        for code in 0..=3 {
            let parsed = run("CRITICAL - no data", code);
            assert_eq!(parsed.readings.len(), 1);
            assert_eq!(parsed.readings[0].value, f64::from(code));
        }
        for (code, message) in [
            (Some(127), "the script exited with 127, having printed \"a | b=1\""),
            (Some(4), "the script exited with 4, having printed \"a | b=1\""),
            (Some(-1), "the script exited with -1, having printed \"a | b=1\""),
            (None, "the script was ended by a signal, having printed \"a | b=1\""),
        ] {
            let error = parse(&Output { stdout: b"a | b=1", exit_code: code }).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_plugin_that_prints_nothing_is_an_error() {
        assert_eq!(parse(&Output { stdout: b" \n", exit_code: Some(0) }).unwrap_err(), ParseError::Empty);
    }

    #[test]
    fn a_bad_item_costs_only_itself() {
        let parsed = run("OK | a=1 b c=x d=1,5 =7 e=1e400 g=5 'open=3", 0);
        assert_eq!(named(&parsed), [("a", 1.0), ("g", 5.0)]);
        assert_eq!(
            parsed.warnings.shown,
            [
                "expected label=value: \"b\"",
                "the value is not a number: \"c=x\"",
                "the value is not a number: \"d=1,5\"",
                "the label is empty: \"=7\"",
                "the value is not a number: \"e=1e400\"",
                "the label's quote is not closed: \"\\'open=3\"",
            ]
        );
    }
}
