//! The figures as they come, and the table of them all.

use std::fmt;

/// One line of the table.
struct Line {
    row: &'static str,
    work: String,
    figure: String,
    aim: String,
    met: &'static str,
}

/// All figures.
#[derive(Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
}

impl Table {
    /// A figure that is to be at most `aim`, as the median of some runs.
    pub(crate) fn at_most(&mut self, row: &'static str, work: &str, runs: &[f64], unit: &str, aim: f64) {
        let met = if median(runs) <= aim { "yes" } else { "no" };
        self.add(row, work, spread(runs, unit), format!("≤ {aim} {unit}"), met);
    }

    /// A figure that is to be at least `aim`.
    pub(crate) fn at_least(&mut self, row: &'static str, work: &str, runs: &[f64], unit: &str, aim: f64) {
        let met = if median(runs) >= aim { "yes" } else { "no" };
        self.add(row, work, spread(runs, unit), format!("≥ {aim} {unit}"), met);
    }

    /// A figure without an aim.
    pub(crate) fn note(&mut self, row: &'static str, work: &str, runs: &[f64], unit: &str) {
        self.add(row, work, spread(runs, unit), String::new(), "");
    }

    /// Something that could not be measured, and why.
    pub(crate) fn skipped(&mut self, row: &'static str, work: &str, why: &str) {
        self.add(row, work, format!("not measured: {why}"), String::new(), "");
    }

    fn add(&mut self, row: &'static str, work: &str, figure: String, aim: String, met: &'static str) {
        let line = Line { row, work: work.to_string(), figure, aim, met };
        println!("{}", line.text(&widths(std::slice::from_ref(&line))));
        self.lines.push(line);
    }
}

impl Line {
    fn text(&self, widths: &[usize; 4]) -> String {
        format!(
            "{:<a$}  {:<b$}  {:<c$}  {:<d$}  {}",
            self.row,
            self.work,
            self.figure,
            self.aim,
            self.met,
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3]
        )
    }
}

fn widths(lines: &[Line]) -> [usize; 4] {
    let longest =
        |text: fn(&Line) -> &str| lines.iter().map(|line| text(line).chars().count()).max().unwrap_or(0);
    [longest(|l| l.row), longest(|l| &l.work), longest(|l| &l.figure), longest(|l| &l.aim)]
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = Line {
            row: "row",
            work: "work".to_string(),
            figure: "median (least to greatest)".to_string(),
            aim: "aim".to_string(),
            met: "met",
        };
        let mut widths = widths(&self.lines);
        for (width, least) in widths.iter_mut().zip([3, 4, head.figure.len(), 3]) {
            *width = (*width).max(least);
        }
        writeln!(f, "{}", head.text(&widths))?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{}", line.text(&widths)))?;
        write!(f, "load average {}", crate::process::load_average())
    }
}

/// The middle value; the mean of the two middle ones where there are two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

/// The value that a share of all is not above.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}

fn spread(values: &[f64], unit: &str) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() > 1 {
        format!("{} {unit} ({} to {})", round(median(values)), round(least), round(greatest))
    } else {
        format!("{} {unit}", round(median(values)))
    }
}

/// Three digits that count.
fn round(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
