//! `query`: samples of a counter, as a graph or a table in the terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Format, field};

/// Options of `query`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["cluster", "node"]))]
pub(crate) struct QueryArgs {
    /// The counter
    counter: String,
    /// On all nodes of this cluster
    #[arg(long)]
    cluster: Option<String>,
    /// On this node
    #[arg(long)]
    node: Option<String>,
    /// Only this instance of the counter
    #[arg(long)]
    instance: Option<String>,
    /// How far back
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    since: String,
    /// Length of a step
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    /// How the samples of a step become one value: avg, min, max, sum, count, last, rate
    #[arg(long, value_name = "HOW")]
    agg: Option<String>,
    /// Print every value instead of a graph
    #[arg(long)]
    table: bool,
}

struct Series {
    name: String,
    unit: String,
    points: Vec<(i64, f64)>,
}

/// Runs `rscaler query`.
pub(crate) async fn query(connection: &Connection, format: Format, args: QueryArgs) -> Done {
    let base = match (&args.cluster, &args.node) {
        (Some(cluster), _) => format!("clusters/{cluster}"),
        (None, Some(node)) => format!("nodes/{node}"),
        (None, None) => return Err(Failure::Usage("say --cluster or --node".to_string())),
    };
    let mut path = format!("{base}/counters/{}/samples?from=-{}", args.counter, &args.since);
    for (name, value) in [("step", &args.step), ("agg", &args.agg), ("instance", &args.instance)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", value);
        }
    }
    let answer = connection.get(&path).await?;
    if format != Format::Table {
        return output::object(format, &answer);
    }
    let series: Vec<Series> = answer["series"].as_array().into_iter().flatten().map(read_series).collect();
    if series.iter().all(|series| series.points.is_empty()) {
        explain_nothing(connection, &args).await;
        return Ok(());
    }
    let graph = std::io::stdout().is_terminal() && !args.table;
    for series in &series {
        output::say(&if graph { draw(series, 60) } else { list(series) })?;
    }
    Ok(())
}

fn read_series(item: &Value) -> Series {
    let parts: Vec<&str> =
        ["node", "jvm", "instance"].iter().filter_map(|name| item[*name].as_str()).collect();
    let points = item["points"].as_array().into_iter().flatten();
    Series {
        name: format!("{} {}", field(item, "counter"), output::printable(&parts.join(" "))),
        unit: item["unit"].as_str().unwrap_or_default().to_string(),
        points: points.filter_map(|p| Some((p[0].as_i64()?, p[1].as_f64()?))).collect(),
    }
}

/// Says why there is nothing, where the control plane knows.
async fn explain_nothing(connection: &Connection, args: &QueryArgs) {
    eprintln!("no samples of `{}` in the last {}", args.counter, args.since);
    let Some(node) = &args.node else { return };
    let Ok(checks) = connection.list(&format!("nodes/{node}/checks")).await else { return };
    let check = checks.iter().find(|check| check["counter"].as_str() == Some(&args.counter));
    if let Some(why) = check.and_then(|check| check["failure"]["detail"].as_str()) {
        eprintln!("the last reading failed: {}", output::printable(why));
    }
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

fn list(series: &Series) -> String {
    let mut out = format!("{} {}", series.name, series.unit).trim_end().to_string();
    for (at, value) in &series.points {
        let _ = write!(out, "\n{}  {value}", time(*at));
    }
    out
}

/// A graph of `width` columns: a row of bars, with the range it spans.
fn draw(series: &Series, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (Some((from, _)), Some((to, newest))) = (series.points.first(), series.points.last()) else {
        return series.name.clone();
    };
    let least = series.points.iter().map(|(_, v)| *v).fold(f64::INFINITY, f64::min);
    let most = series.points.iter().map(|(_, v)| *v).fold(f64::NEG_INFINITY, f64::max);
    let span = (to - from).max(1) as f64;
    let mut columns: Vec<Option<f64>> = vec![None; width];
    for (at, value) in &series.points {
        let column = (((at - from) as f64 / span) * (width - 1) as f64).round() as usize;
        let place = &mut columns[column.min(width - 1)];
        *place = Some(place.map_or(*value, |other| other.max(*value)));
    }
    let height = if most > least { most - least } else { 1.0 };
    let bars: String = columns
        .iter()
        .map(|value| match value {
            None => ' ',
            Some(value) => BARS[((((value - least) / height) * 7.0).round() as usize).min(7)],
        })
        .collect();
    format!(
        "{}\n  {bars}\n  {} … {}   min {least:.2}  max {most:.2}  now {newest:.2} {}",
        series.name,
        time(*from),
        time(*to),
        series.unit,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_spans_its_least_and_most() {
        let series = Series {
            name: "load1 web01".to_string(),
            unit: "load".to_string(),
            points: vec![(0, 0.0), (1000, 7.0), (2000, 3.5)],
        };
        let drawn = draw(&series, 3);
        assert!(drawn.contains("▁█▅"), "{drawn}");
        assert!(drawn.contains("min 0.00  max 7.00  now 3.50 load"), "{drawn}");
    }
}
