//! What triggers have beside the routes of all kinds: how they stand, running them by hand, testing them on the past.

use std::time::Duration;

use rscaler_raft::command::{Change, Command, Expect};
use rscaler_raft::decide::replay;
use rscaler_raft::decide::watch::Sample;
use rscaler_raft::model::{
    self, Held, Kind, Name, Phase, SeriesKey, Spec, Subject, SubjectReport, Timestamp, TriggerReport,
};
use rscaler_raft::series::{Agg, Limits, Query as SeriesQuery, Selector};
use utoipa::openapi::Required;

use super::endpoint::{Answer, Endpoint};
use super::{act, reply, samples};
use crate::auth::Access;
use crate::error::Problem;
use crate::request::{Request, missing};
use crate::types::{
    ExecuteTrigger, FieldError, RunStarted, Span, TestFiring, TestTrigger, Trigger, TriggerFiring,
    TriggerState, TriggerSubject, TriggerTest, read_document,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const SINCE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Samples that one test holds in memory.
const SAMPLES_MAX: usize = 4_000_000;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/triggers/{name}/state", Access::VIEWER, "Shows how a trigger stands", state)
            .answers::<TriggerState>(200, "Its firings, and what it judges."),
        Endpoint::post("/api/v1/triggers/{name}/execute", Access::OPERATOR, "Runs a trigger's steps by hand", execute)
            .describe("Whatever its condition, its cooldown and maintenance say.")
            .body_as::<ExecuteTrigger>(&["application/json"], Required::False)
            .answers::<RunStarted>(202, "It goes on; `Location` says where to look."),
        Endpoint::post("/api/v1/triggers/{name}/test", Access::VIEWER, "Says when a trigger would have fired", test)
            .describe(
                "Replays stored samples through the evaluator that watches live ones. Changes nothing, runs nothing. \
                 `trigger` in the body tests another definition than the stored one.",
            )
            .body_as::<TestTrigger>(&["application/json"], Required::False)
            .answers::<TriggerTest>(200, "The firings, oldest first."),
    ]
}

async fn execute(mut request: Request) -> Answer {
    let trigger = request.name(0, Kind::Trigger)?;
    request.query()?.finish()?;
    let body: ExecuteTrigger = request.json_or_default().await?;
    let reply = request.submit(0, Command::ExecuteTrigger { trigger, node: body.node }).await?;
    act::started(&request, &reply).await
}

async fn state(request: Request) -> Answer {
    let name = request.name(0, Kind::Trigger)?;
    request.query()?.finish()?;
    let report = request.ctx.handle().read(|state| state.trigger_state(&name));
    let report = report.ok_or_else(|| missing(Kind::Trigger, &name))?;
    reply::ok(&show(name, report))
}

fn since(phase: Phase) -> Option<Timestamp> {
    match phase {
        Phase::Ok => None,
        Phase::Pending { since } | Phase::Firing { since, .. } => Some(since),
        Phase::Recovering { from, .. } => Some(from),
    }
}

fn show(trigger: Name, report: TriggerReport) -> TriggerState {
    let firing = |report: model::BellReport| TriggerFiring {
        node: report.node,
        active: report.bell.rung,
        fired: report.bell.fired.map(Into::into),
        run: report.bell.run.map(|run| run.0),
        refused: report.bell.refused,
        held_back: report.bell.held.map(|held| match held {
            Held::Cooldown => "cooldown".to_string(),
            Held::Maintenance(window) => format!("maintenance {window}"),
        }),
        cooldown_until: report.cooldown_until.map(Into::into),
    };
    TriggerState {
        trigger,
        enabled: report.enabled,
        state: report.phase.as_str().to_string(),
        since: since(report.phase).map(Into::into),
        watched_from: report.from.map(Into::into),
        firings: report.bells.into_iter().map(firing).collect(),
        subjects: report.subjects.into_iter().map(subject).collect(),
        more: report.more,
    }
}

fn subject(report: SubjectReport) -> TriggerSubject {
    let condition = match &report.subject {
        Subject::Series { condition, .. } | Subject::Silence { condition, .. } => Some(*condition),
        Subject::Cluster { condition } => *condition,
        Subject::Place { .. } => None,
    };
    let series = report.series.as_ref();
    let (jvm, instance) = match (&report.subject, series) {
        (Subject::Place { jvm, instance, .. }, _) => (jvm.clone(), instance.clone()),
        (_, Some(key)) => (key.jvm.clone(), key.instance.clone()),
        _ => (None, None),
    };
    TriggerSubject {
        node: report.node,
        counter: series.map(|key: &SeriesKey| key.counter.to_string()),
        jvm: jvm.as_deref().map(str::to_string),
        instance: instance.as_deref().map(str::to_string),
        condition,
        no_data: matches!(report.subject, Subject::Silence { .. }),
        state: report.phase.as_str().to_string(),
        since: since(report.phase).map(Into::into),
        held: report.held.into(),
        value: report.value,
        at: report.at.map(Into::into),
        samples: report.samples.iter().map(Into::into).collect(),
    }
}

async fn test(mut request: Request) -> Answer {
    let name = request.name(0, Kind::Trigger)?;
    request.query()?.finish()?;
    let body: TestTrigger = request.json_or_default().await?;
    let since = body.since.map_or(DAY, |Span(since)| since);
    if since.is_zero() || since > SINCE_MAX {
        return Err(Problem::field("/since", "longer than zero, at most 366d"));
    }
    let trigger = match body.trigger {
        Some(document) => other_definition(&request, &name, document)?,
        None => {
            let stored = request.ctx.handle().read(|state| state.trigger(&name).cloned());
            stored.ok_or_else(|| missing(Kind::Trigger, &name))?
        }
    };
    let to = request.ctx.now();
    let from = to - since;
    let mut stored = Vec::new();
    let mut count = 0;
    let mut counters: Vec<&Name> = trigger.conditions.iter().map(|condition| &condition.counter).collect();
    counters.sort();
    counters.dedup();
    for counter in counters {
        let (nodes, interval) = request.ctx.handle().read(|state| {
            let nodes: Vec<String> = state.nodes_of(&trigger.cluster).map(Name::to_string).collect();
            (nodes, state.counter(counter).map(|counter| counter.interval))
        });
        let selector =
            Selector { counter: counter.to_string(), nodes: Some(nodes), jvm: None, instance: None };
        let query = SeriesQuery {
            selector,
            from: from.0,
            to: to.0.saturating_add(1),
            step: None,
            agg: Agg::Avg,
            across: None,
        };
        let limits = Limits { series: 10_000, points: SAMPLES_MAX - count, samples: 100_000_000 };
        let found = samples::run(&request.ctx, query, limits).await?;
        for row in found.rows {
            let Some(key) = row.key else { continue };
            count += row.points.len();
            stored.push((SeriesKey::clone(&key), interval.unwrap_or(Duration::from_secs(10)), row.points));
        }
    }
    let replayed = tokio::task::spawn_blocking(move || {
        let series = stored.into_iter().map(|(key, interval, points)| {
            let samples = points.into_iter().map(|(at, value)| Sample { at: Timestamp(at), value });
            (key, interval, samples)
        });
        replay::replay(&trigger, series, from, to)
    });
    let firings = replayed.await.map_err(|error| Problem::internal(&error))?;
    let truncated = firings.len() >= replay::FIRINGS_MAX;
    let show = |firing: replay::WouldHaveFired| TestFiring {
        at: firing.at.into(),
        node: firing.node,
        recovered: firing.recovered_at.map(Into::into),
        evidence: firing.evidence.iter().map(Into::into).collect(),
    };
    reply::ok(&TriggerTest {
        trigger: name,
        from: from.into(),
        to: to.into(),
        samples: count as u64,
        firings: firings.into_iter().map(show).collect(),
        truncated,
    })
}

/// A definition to test in place of the stored one: held to the same rules.
fn other_definition(
    request: &Request,
    name: &Name,
    document: serde_json::Value,
) -> Result<model::Trigger, Problem> {
    let under = |errors: Vec<FieldError>| {
        let under = errors
            .into_iter()
            .map(|error| FieldError::new(format!("/trigger{}", error.pointer), error.detail));
        Problem::invalid(under.collect())
    };
    let draft = read_document::<Trigger>(document).map_err(under)?;
    let trigger = model::Trigger::from(draft.spec);
    let change = Change::Put {
        name: name.clone(),
        spec: Spec::Trigger(Box::new(trigger.clone())),
        labels: draft.labels,
        description: draft.description,
        expect: Expect::Any,
    };
    match request.ctx.handle().read(|state| state.preview(&[change])) {
        Ok(_) => Ok(trigger),
        Err(rejection) if rejection.fields.is_empty() => Err(rejection.into()),
        Err(rejection) => Err(under(rejection.fields.into_iter().map(Into::into).collect())),
    }
}
