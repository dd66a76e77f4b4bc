//! Whether the peer lives, whether it can serve, and how it does.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use warp::http::{HeaderValue, header};

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
use crate::context::Context;
use crate::error::Problem;
use crate::request::Request;
use crate::types::FieldError;

/// How long an answer of `/readyz` is taken for true.
const READY_FOR: Duration = Duration::from_millis(500);
/// How long a leader may take to confirm that this peer is caught up.
const CONFIRM_MAX: Duration = Duration::from_secs(2);

/// The peer can serve.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// Always true; a peer that is not ready answers 503.
    ready: bool,
    /// The last log entry it has applied.
    applied: u64,
}

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/healthz", Access::Public, "Whether the process lives", alive)
            .answers_as(200, "It lives.", "text/plain"),
        Endpoint::get("/readyz", Access::Public, "Whether the peer can serve", ready)
            .describe("It knows a leader and is caught up. Otherwise 503; `errors` names each layer that is not ready.")
            .answers::<Ready>(200, "It can serve."),
        Endpoint::get("/metrics", Access::VIEWER, "Metrics, as Prometheus reads them", metrics)
            .answers_as(200, "The metrics.", "application/openmetrics-text"),
    ]
}

async fn alive(request: Request) -> Answer {
    request.query()?.finish()?;
    reply::text("text/plain", "ok\n")
}

async fn ready(request: Request) -> Answer {
    request.query()?.finish()?;
    match problems(&request.ctx).await {
        Ok(()) => {
            let mut response = reply::ok(&Ready { ready: true, applied: request.ctx.handle().applied() })?;
            // The UI of another peer asks, to go on here. It is told nothing else.
            let anybody = HeaderValue::from_static("*");
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anybody);
            Ok(response)
        }
        Err(problems) => {
            let words: Vec<String> = problems.iter().map(|(layer, why)| format!("{layer}: {why}")).collect();
            let mut problem = Problem::unavailable(format!("not ready: {}", words.join("; ")));
            problem.code = "not_ready".to_string();
            problem.kind = "urn:rscaler:problem:not_ready".to_string();
            problem.errors =
                problems.into_iter().map(|(layer, why)| FieldError::new(format!("/{layer}"), why)).collect();
            Err(problem)
        }
    }
}

/// The layers that are not ready, with the reasons.
async fn problems(ctx: &Context) -> Result<(), Vec<(String, String)>> {
    if let Some((at, answer)) = &*ctx.ready_cache().lock()
        && at.elapsed() < READY_FOR
    {
        return answer.clone();
    }
    let mut problems: Vec<(String, String)> = ctx
        .hooks()
        .readiness
        .iter()
        .filter_map(|part| part.problem().map(|why| (part.layer().to_string(), why)))
        .collect();
    if ctx.handle().leadership().borrow().leader.is_none() {
        problems.push(("leader".to_string(), "no leader is known".to_string()));
    } else {
        match tokio::time::timeout(CONFIRM_MAX, ctx.handle().linearize()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => problems.push(("log".to_string(), error.to_string())),
            Err(_) => problems.push((
                "log".to_string(),
                "the leader does not confirm that this peer is caught up".to_string(),
            )),
        }
    }
    if ctx.closing().is_cancelled() {
        problems.push(("peer".to_string(), "it is about to stop".to_string()));
    }
    let answer = if problems.is_empty() { Ok(()) } else { Err(problems) };
    *ctx.ready_cache().lock() = Some((Instant::now(), answer.clone()));
    answer
}

async fn metrics(request: Request) -> Answer {
    request.query()?.finish()?;
    let text = request.ctx.metrics().render(request.ctx.handle());
    reply::text("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}
