//! Samples: which there are, and what they say. Writing them is [`super::push`]'s.

use std::str::FromStr;
use std::sync::Arc;

use rscaler_raft::model::{Kind, Name, SeriesId, SeriesKey};
use rscaler_raft::series::{self, Limits, Query as SeriesQuery, Selector, execute};
use rscaler_raft::state::State;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
use crate::context::Context;
use crate::error::Problem;
use crate::request::{Query, Request, missing};
use crate::types::{Agg, List, Pushed, SamplesAnswer, SamplesPushed, SeriesInfo, SeriesPoints, Span, Time};

/// What one query may cost.
const LIMITS: Limits = Limits { series: 10_000, points: 250_000, samples: 50_000_000 };
/// How often a query is planned anew because blocks were merged meanwhile.
const PLANS_MAX: usize = 5;
const HOUR_MS: i64 = 3_600_000;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let samples = |path: &str, summary: &str, handler| {
        Endpoint::get(path, Access::VIEWER, summary, handler)
            .query("from", "Begin, inclusive: RFC 3339, ms since the epoch, or `-1h` from now. An hour ago where absent.")
            .query("to", "End, exclusive; now where absent.")
            .query("step", "Length of a step, such as `1m`; without one, samples as they are kept.")
            .query("agg", "How a step's samples become one: avg (where absent), min, max, sum, count, last, rate.")
            .query("across", "How all series become one: avg, min, max, sum, count. Needs a step.")
            .query("instance", "Only this instance.")
            .answers::<SamplesAnswer>(200, "One item a series that has samples in the range.")
    };
    type Handler = fn(Request) -> futures::future::BoxFuture<'static, Answer>;
    let of_cluster: Handler = |request| Box::pin(of_cluster(request));
    let of_node: Handler = |request| Box::pin(of_node(request));
    let of_jvm: Handler = |request| Box::pin(of_jvm(request));
    vec![
        Endpoint::get("/api/v1/series", Access::VIEWER, "Lists known series, by node", list)
            .pages()
            .query("cluster", "Only on nodes of this cluster.")
            .query("node", "Only on this node.")
            .query("jvm", "Only of this JVM.")
            .query("counter", "Only of this counter.")
            .answers::<List<SeriesInfo>>(200, "A page."),
        samples(
            "/api/v1/clusters/{name}/counters/{counter}/samples",
            "Gives a counter's samples on a cluster's nodes",
            of_cluster,
        ),
        samples(
            "/api/v1/nodes/{name}/counters/{counter}/samples",
            "Gives a counter's samples on a node",
            of_node,
        ),
        samples(
            "/api/v1/nodes/{name}/jvms/{jvm}/counters/{counter}/samples",
            "Gives a counter's samples of a node's JVM",
            of_jvm,
        ),
        Endpoint::post(
            "/api/v1/samples",
            Access::OPERATOR,
            "Writes samples of push counters",
            super::push::push,
        )
        .describe(
            "1 to 4096, each of a counter of type `push` that covers the node's cluster. Samples of a series \
                 come in the order of their time; older ones, duplicates and ones too far in the future are \
                 dropped, and counted in the answer.",
        )
        .body::<Pushed>()
        .answers::<SamplesPushed>(200, "How many were taken."),
    ]
}

/// Where a page of series ended: the node, and the number of its last series.
#[derive(Clone)]
struct Place(Name, u32);

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Place, ()> {
        let (node, id) = text.split_once('/').ok_or(())?;
        Ok(Place(Name::new(node).map_err(|_| ())?, id.parse().map_err(|_| ())?))
    }
}

async fn list(request: Request) -> Answer {
    let mut query = request.query()?;
    let limit = query.limit()?;
    let after = super::resources::cursor::<Place>(&mut query)?;
    let cluster = query.value::<Name>("cluster")?;
    let node = query.value::<Name>("node")?;
    let jvm = query.text("jvm");
    let counter = query.value::<Name>("counter")?;
    query.finish()?;
    let (items, next) = request.ctx.handle().read(|state| {
        let nodes: Vec<Name> = match (&node, &cluster) {
            (Some(node), _) => vec![node.clone()],
            (None, Some(cluster)) => state.nodes_of(cluster).cloned().collect(),
            (None, None) => state.objects_of(Kind::Node).map(|(name, _)| name.clone()).collect(),
        };
        let in_cluster = |name: &Name| {
            cluster
                .as_ref()
                .is_none_or(|cluster| state.node(name).is_some_and(|node| node.cluster == *cluster))
        };
        let store = state.series();
        let mut found = Vec::new();
        let mut last: Option<(Name, u32)> = None;
        for name in nodes.iter().filter(|name| in_cluster(name)) {
            if after.as_ref().is_some_and(|Place(node, _)| name < node) {
                continue;
            }
            let ids = match &counter {
                Some(counter) => store.of_counter_on(counter.as_str(), name.as_str()),
                None => store.of_node(name.as_str()),
            };
            for id in ids {
                if after.as_ref().is_some_and(|Place(node, after)| name == node && id.0 <= *after) {
                    continue;
                }
                let Some(key) = store.key(id) else { continue };
                if jvm.is_some() && jvm.as_deref() != key.jvm.as_deref() {
                    continue;
                }
                if found.len() == limit {
                    return (found, last.map(|(node, id)| format!("{node}/{id}")));
                }
                found.push(info(state, key, id));
                last = Some((name.clone(), id.0));
            }
        }
        (found, None)
    });
    reply::ok(&List { items, next })
}

fn info(state: &State, key: &SeriesKey, id: SeriesId) -> SeriesInfo {
    SeriesInfo {
        counter: key.counter.to_string(),
        node: key.node.to_string(),
        jvm: key.jvm.as_deref().map(str::to_string),
        instance: key.instance.as_deref().map(str::to_string),
        unit: unit(state, &key.counter),
        last: state.series().latest(id),
    }
}

fn unit(state: &State, counter: &str) -> String {
    let counter = Name::new(counter).ok();
    counter.and_then(|name| state.counter(&name)).map_or_else(String::new, |counter| counter.unit.clone())
}

async fn of_cluster(request: Request) -> Answer {
    let cluster = request.name(0, Kind::Cluster)?;
    let counter = request.name(1, Kind::Counter)?;
    let nodes = request.ctx.handle().read(|state| {
        state.object(Kind::Cluster, &cluster)?;
        Some(state.nodes_of(&cluster).map(Name::to_string).collect::<Vec<_>>())
    });
    let nodes = nodes.ok_or_else(|| missing(Kind::Cluster, &cluster))?;
    samples(&request, &counter, nodes, None).await
}

async fn of_node(request: Request) -> Answer {
    let (node, counter) = (request.name(0, Kind::Node)?, request.name(1, Kind::Counter)?);
    let there = request.ctx.handle().read(|state| state.node(&node).is_some());
    if !there {
        return Err(missing(Kind::Node, &node));
    }
    samples(&request, &counter, vec![node.to_string()], None).await
}

async fn of_jvm(request: Request) -> Answer {
    let (node, jvm) = (request.name(0, Kind::Node)?, request.name(1, "jvm")?);
    let counter = request.name(2, Kind::Counter)?;
    let there = request.ctx.handle().read(|state| state.node(&node).is_some());
    if !there {
        return Err(missing(Kind::Node, &node));
    }
    samples(&request, &counter, vec![node.to_string()], Some(jvm.to_string())).await
}

/// A moment of a query: `2026-02-03T04:05:06Z`, ms since the epoch, `-1h`, `now`.
fn moment(query: &mut Query, key: &'static str, now: i64) -> Result<Option<i64>, Problem> {
    let Some(text) = query.text(key) else { return Ok(None) };
    let wrong = || {
        Problem::malformed(format!(
            "parameter `{key}` is a time: \"2026-02-03T04:05:06Z\", ms since the epoch, or \"-1h\""
        ))
    };
    if text == "now" {
        return Ok(Some(now));
    }
    if let Some(span) = text.strip_prefix('-').and_then(|span| span.parse::<Span>().ok()) {
        let ms = i64::try_from(span.0.as_millis()).map_err(|_| wrong())?;
        return Ok(Some(now.saturating_sub(ms)));
    }
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(Some(ms));
    }
    text.parse::<Time>().map(|time| Some(time.0.0)).map_err(|_| wrong())
}

async fn samples(request: &Request, counter: &Name, nodes: Vec<String>, jvm: Option<String>) -> Answer {
    let ctx = &request.ctx;
    let now = ctx.now().0;
    let mut query = request.query()?;
    // The newest sample is of this very moment, and the end is exclusive.
    let to = moment(&mut query, "to", now)?.unwrap_or(now.saturating_add(1000));
    let from = moment(&mut query, "from", now)?.unwrap_or(to.saturating_sub(HOUR_MS));
    let step = query.value::<Span>("step")?;
    let agg = query.word::<Agg>("agg")?.unwrap_or_default();
    let across = query.word::<Agg>("across")?;
    let instance = query.text("instance");
    query.finish()?;
    let unit = ctx.handle().read(|state| state.counter(counter).map(|counter| counter.unit.clone()));
    let unit = unit.ok_or_else(|| missing(Kind::Counter, counter))?;
    let selector = Selector { counter: counter.to_string(), nodes: Some(nodes), jvm, instance };
    let step = match step {
        None => None,
        Some(Span(step)) if step.is_zero() => {
            return Err(Problem::malformed("parameter `step` is longer than zero"));
        }
        Some(Span(step)) => Some(i64::try_from(step.as_millis()).unwrap_or(i64::MAX)),
    };
    let asked = SeriesQuery { selector, from, to, step, agg: agg_of(agg), across: across.map(agg_of) };
    let result = run(ctx, asked, LIMITS).await?;
    let series = result.rows.into_iter().map(|row| SeriesPoints {
        counter: counter.to_string(),
        node: row.key.as_ref().map(|key| key.node.to_string()),
        jvm: row.key.as_ref().and_then(|key| key.jvm.as_deref().map(str::to_string)),
        instance: row.key.as_ref().and_then(|key| key.instance.as_deref().map(str::to_string)),
        unit: unit.clone(),
        points: row.points,
    });
    reply::ok(&SamplesAnswer { series: series.collect() })
}

/// Plans under the state's lock, reads without it, on threads of its own.
pub(crate) async fn run(
    ctx: &Context,
    query: SeriesQuery,
    limits: Limits,
) -> Result<series::QueryResult, Problem> {
    let _place = ctx.queries().acquire().await.map_err(|error| Problem::internal(&error))?;
    for _ in 0..PLANS_MAX {
        let plan = ctx.handle().read(|state| state.series().plan(&query, &limits)).map_err(refused)?;
        let blocks = Arc::clone(ctx.handle().blocks());
        let done = tokio::task::spawn_blocking(move || execute(&plan, &*blocks)).await;
        match done.map_err(|error| Problem::internal(&error))? {
            // Blocks were merged since the plan was made.
            Err(series::Error::Gone(_)) => {}
            other => return other.map_err(refused),
        }
    }
    Err(Problem::unavailable("the samples are being reorganised: try again"))
}

fn refused(error: series::Error) -> Problem {
    match error {
        series::Error::Invalid(_) | series::Error::Limit { .. } => {
            Problem::new(warp::http::StatusCode::UNPROCESSABLE_ENTITY, "invalid", error.to_string())
        }
        other => Problem::internal(&other),
    }
}

fn agg_of(agg: Agg) -> series::Agg {
    match agg {
        Agg::Avg => series::Agg::Avg,
        Agg::Min => series::Agg::Min,
        Agg::Max => series::Agg::Max,
        Agg::Sum => series::Agg::Sum,
        Agg::Count => series::Agg::Count,
        Agg::Last => series::Agg::Last,
        Agg::Rate => series::Agg::Rate,
    }
}

/// For `crate::fuzz`: a query string, with every way in which parameters are read; and a path's parameter.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(whole) = crate::request::unescape(text) {
        assert!(whole.len() <= text.len());
    }
    let ways: [fn(&mut Query) -> bool; 14] = [
        |query| query.limit().is_ok(),
        |query| query.flag("follow").is_ok(),
        |query| super::resources::cursor::<Place>(query).is_ok(),
        |query| super::resources::cursor::<Name>(query).is_ok(),
        |query| super::resources::cursor::<rscaler_raft::model::EventId>(query).is_ok(),
        |query| super::resources::cursor::<u64>(query).is_ok(),
        |query| query.value::<crate::request::Selector>("selector").is_ok(),
        |query| query.value::<Span>("step").is_ok(),
        |query| query.word::<Agg>("agg").is_ok(),
        |query| query.word::<crate::types::TaskState>("state").is_ok(),
        |query| moment(query, "from", 1_700_000_000_000).is_ok(),
        |query| moment(query, "to", i64::MIN).is_ok(),
        |query| moment(query, "at", i64::MAX).is_ok(),
        |query| query.value::<rscaler_raft::model::PeerId>("peer").is_ok(),
    ];
    for way in ways {
        let Ok(mut query) = Query::parse(text) else { return };
        if way(&mut query) {
            let _ = query.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let read =
            |text: &str| moment(&mut Query::parse(&format!("from={text}")).unwrap(), "from", 7_200_000);
        for (text, ms) in [
            ("-1h", 3_600_000),
            ("now", 7_200_000),
            ("5", 5),
            ("-5", -5),
            ("1970-01-01T00:00:01Z", 1000),
            ("1970-01-01T01:00:01%2B01:00", 1000),
        ] {
            assert_eq!(read(text).unwrap(), Some(ms), "{text}");
        }
        assert!(read("yesterday").unwrap_err().detail.contains("-1h"));
        assert_eq!(moment(&mut Query::parse("").unwrap(), "from", 0).unwrap(), None);
    }
}
