//! The form `prometheus`: text exposition, as `/metrics` pages and the node exporter's text files have it.
//!
//! A sample's instance is `metric{a="1",b="2"}` with the labels sorted by name and those with an empty value
//! left out (Prometheus takes an empty label for an absent one), so that a series keeps its name however the
//! exporter orders them. Histograms and summaries are their plain samples (`_bucket`, `_sum`, `_count`).
//! Timestamps are ignored, for the time of a sample is the collector's; so are `# HELP`, `# TYPE` and
//! OpenMetrics' exemplars. Names in quotes (`{"a.b", "c.d"="e"} 1`) are read too.
//!
//! Source: Prometheus, "Exposition formats", "Text-based format".

use std::fmt::Write;

use super::readings::Readings;
use super::text::{excerpt, finite, lines};
use super::{ParseError, Parsed};

pub(super) fn parse(stdout: &[u8]) -> Result<Parsed, ParseError> {
    let mut readings = Readings::default();
    for (number, line) in lines(stdout) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if readings.is_full() {
            readings.drop_one();
            continue;
        }
        let Ok(text) = std::str::from_utf8(line) else {
            readings.bad_line(number, line, "not UTF-8");
            continue;
        };
        match sample(text) {
            Ok((instance, value)) => readings.push(Some(&instance), value),
            Err(reason) => readings.bad_line(number, line, reason),
        }
    }
    readings.finish(|| ParseError::NoValue {
        what: "there are only comments",
        output: excerpt(stdout.trim_ascii()),
    })
}

/// One sample line: its canonical instance and its value.
fn sample(line: &str) -> Result<(String, f64), &'static str> {
    let mut cursor = Cursor { rest: line };
    let mut metric = cursor.name(is_metric_byte).map(str::to_owned);
    cursor.skip_blanks();
    let mut labels = Vec::new();
    if cursor.take('{') {
        labels = label_set(&mut cursor, &mut metric)?;
    }
    let metric = metric.ok_or("expected a metric's name")?;
    let mut words = cursor.rest.split_ascii_whitespace();
    let value = number(words.next().ok_or("the value is missing")?).ok_or("the value is not a number")?;
    if let Some(word) = words.next()
        && word != "#"
        && finite(word).is_none()
    {
        return Err("expected a timestamp after the value");
    }
    if words.next().is_some_and(|word| word != "#") && !line.contains(" # ") {
        return Err("expected nothing after the timestamp");
    }
    Ok((canonical(&metric, labels)?, value))
}

/// The labels after `{`, through `}`. Sets `metric` when its quoted name stands among them.
fn label_set(
    cursor: &mut Cursor<'_>,
    metric: &mut Option<String>,
) -> Result<Vec<(String, String)>, &'static str> {
    let mut labels = Vec::new();
    loop {
        cursor.skip_blanks();
        if cursor.take('}') {
            return Ok(labels);
        }
        let quoted = cursor.rest.starts_with('"');
        let name = if quoted {
            cursor.quoted()?
        } else {
            cursor.name(is_label_byte).ok_or("expected a label's name")?.to_owned()
        };
        cursor.skip_blanks();
        if cursor.take('=') {
            cursor.skip_blanks();
            labels.push((name, cursor.quoted()?));
        } else if quoted && metric.is_none() {
            *metric = Some(name);
        } else {
            return Err("expected = after a label's name");
        }
        cursor.skip_blanks();
        if !cursor.take(',') && !cursor.rest.starts_with('}') {
            return Err("expected , or } after a label");
        }
    }
}

fn canonical(metric: &str, mut labels: Vec<(String, String)>) -> Result<String, &'static str> {
    if metric.is_empty() {
        return Err("expected a metric's name");
    }
    labels.sort();
    if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("a label appears twice");
    }
    labels.retain(|(_, value)| !value.is_empty());
    let mut instance = metric.to_owned();
    for (i, (name, value)) in labels.iter().enumerate() {
        instance.push(if i == 0 { '{' } else { ',' });
        // Writing to a String can't fail.
        let _ = write!(instance, "{name}=\"{}\"", Escaped(value));
    }
    if !labels.is_empty() {
        instance.push('}');
    }
    Ok(instance)
}

/// A label's value as the exposition writes it.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

/// A value: decimal, or one of the names that Go gives to what is not finite.
fn number(text: &str) -> Option<f64> {
    finite(text).or_else(|| match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    })
}

fn is_metric_byte(b: u8, first: bool) -> bool {
    b == b':' || is_label_byte(b, first)
}

fn is_label_byte(b: u8, first: bool) -> bool {
    b == b'_' || b.is_ascii_alphabetic() || (!first && b.is_ascii_digit())
}

/// What of a line is still to be read.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// An unquoted name, or `None` when none stands here. Names are ASCII, so the split is at a character.
    fn name(&mut self, is_name_byte: fn(u8, bool) -> bool) -> Option<&'a str> {
        let bytes = self.rest.bytes().enumerate().take_while(|(i, b)| is_name_byte(*b, *i == 0)).count();
        let (name, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    /// A text in quotes, its escapes `\\`, `\"` and `\n` resolved; any other backslash stands for itself.
    fn quoted(&mut self) -> Result<String, &'static str> {
        let mut chars = self.rest.strip_prefix('"').ok_or("expected a quote")?.chars();
        let mut out = String::new();
        loop {
            match chars.next().ok_or("a quote is not closed")? {
                '"' => break,
                '\\' => match chars.next().ok_or("a quote is not closed")? {
                    'n' => out.push('\n'),
                    c @ ('\\' | '"') => out.push(c),
                    c => out.extend(['\\', c]),
                },
                c => out.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sample_line_is_read() {
        for (name, line, instance, value) in [
            ("bare", "up 1", "up", 1.0),
            ("tabs", "up\t 1", "up", 1.0),
            ("colon", "job:up:sum 3", "job:up:sum", 3.0),
            ("timestamp", "up 1 1395066363000", "up", 1.0),
            ("negative timestamp", "up 1 -3982045", "up", 1.0),
            ("no labels", "up{} 1", "up", 1.0),
            ("labels are sorted", r#"a{z="1",b="2"} 3"#, r#"a{b="2",z="1"}"#, 3.0),
            ("blanks everywhere", r#"a { b = "2" , c = "3" , } 4"#, r#"a{b="2",c="3"}"#, 4.0),
            ("no blank before the value", r#"a{b="2"}4"#, r#"a{b="2"}"#, 4.0),
            ("trailing comma", r#"a{b="2",} 4"#, r#"a{b="2"}"#, 4.0),
            ("an empty label is an absent one", r#"a{b="",c="1"} 4"#, r#"a{c="1"}"#, 4.0),
            ("escapes", r#"a{p="C:\\D\"x\"",e="l\nm"} 4"#, r#"a{e="l\nm",p="C:\\D\"x\""}"#, 4.0),
            ("braces and spaces in a value", r#"a{b="{x} y, z=1"} 4"#, r#"a{b="{x} y, z=1"}"#, 4.0),
            ("not ASCII", r#"a{b="é→"} 4"#, r#"a{b="é→"}"#, 4.0),
            ("infinite", "a +Inf", "a", f64::INFINITY),
            ("negative infinite", "a -Inf", "a", f64::NEG_INFINITY),
            ("exponent", "a 1.458255915e9", "a", 1458255915.0),
            ("histogram", r#"h_bucket{le="+Inf"} 144320"#, r#"h_bucket{le="+Inf"}"#, 144320.0),
            ("exemplar", r#"h_bucket{le="1"} 5 # {trace="x y"} 0.67"#, r#"h_bucket{le="1"}"#, 5.0),
            ("timestamp and exemplar", r#"a 5 17 # {t="x"} 0.67 3"#, "a", 5.0),
            ("quoted names", r#"{"my.metric","a.b"="c"} 1"#, r#"my.metric{a.b="c"}"#, 1.0),
        ] {
            assert_eq!(sample(line), Ok((instance.to_owned(), value)), "{name}");
        }
        let (instance, value) = sample("a NaN").unwrap();
        assert!(instance == "a" && value.is_nan());
    }

    #[test]
    fn a_bad_line_says_why() {
        for (line, reason) in [
            ("up", "the value is missing"),
            ("up x", "the value is not a number"),
            ("up 1 later", "expected a timestamp after the value"),
            ("up 1 2 3", "expected nothing after the timestamp"),
            ("1up 1", "expected a metric's name"),
            ("{} 1", "expected a metric's name"),
            (r#"{""} 1"#, "expected a metric's name"),
            (r#"a{b="1" c="2"} 1"#, "expected , or } after a label"),
            (r#"a{b} 1"#, "expected = after a label's name"),
            (r#"a{"b"} 1"#, "expected = after a label's name"),
            (r#"a{b=1} 1"#, "expected a quote"),
            (r#"a{b="1} 1"#, "a quote is not closed"),
            (r#"a{b="1\"#, "a quote is not closed"),
            (r#"a{b="1""#, "expected , or } after a label"),
            (r#"a{1="1"} 1"#, "expected a label's name"),
            (r#"a{b="1",b="2"} 1"#, "a label appears twice"),
            ("a 0x1p3", "the value is not a number"),
        ] {
            assert_eq!(sample(line), Err(reason), "{line}");
        }
    }

    #[test]
    fn a_page_is_read_and_its_comments_skipped() {
        let page = b"# HELP http_requests_total The total.\n# TYPE http_requests_total counter\n\
            http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\
            http_requests_total{method=\"post\",code=\"400\"}    3 1395066363000\n\n\
            # a comment\nmetric_without_timestamp_and_labels 12.47\r\nbroken line here\n# EOF\n";
        let parsed = parse(page).unwrap();
        let named: Vec<_> =
            parsed.readings.iter().map(|r| (r.instance.as_deref().unwrap(), r.value)).collect();
        assert_eq!(
            named,
            [
                ("http_requests_total{code=\"200\",method=\"post\"}", 1027.0),
                ("http_requests_total{code=\"400\",method=\"post\"}", 3.0),
                ("metric_without_timestamp_and_labels", 12.47),
            ]
        );
        assert_eq!(parsed.warnings.shown, ["line 8: the value is not a number: \"broken line here\""]);
    }

    #[test]
    fn labels_in_another_order_are_the_same_series() {
        let parsed = parse(b"a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\n").unwrap();
        assert_eq!(parsed.readings.len(), 1);
        assert_eq!(parsed.warnings.shown.len(), 1);
    }

    #[test]
    fn something_else_entirely_is_an_error() {
        let error = parse(b"<html><body>502</body></html>\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1: expected a metric's name: \"<html><body>502</body></html>\"");
    }
}
