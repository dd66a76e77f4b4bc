//! What the JVMs of nodes offer. Whichever peer is asked, the one that speaks to the JVM answers.

use std::time::Duration;

use rscaler_raft::handle::EngineError;
use rscaler_raft::model::{Capabilities, Kind, Name, PeerId};
use rscaler_raft::state::State;
use warp::http::StatusCode;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use super::resources::cursor;
use crate::auth::Access;
use crate::error::Problem;
use crate::request::{Request, missing};
use crate::types::{JvmAnswer, JvmQuestion, Mbeans};

/// How long the JVM may take, and how much longer the way to its peer.
const LIMIT: Duration = Duration::from_secs(20);
const WAY: Duration = Duration::from_secs(5);
/// MBeans of one page: each may have hundreds of attributes.
const PAGE_MAX: usize = 500;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/nodes/{name}/jvms/{jvm}/mbeans", Access::OPERATOR, "Browses the MBeans of a JVM", mbeans)
            .describe(
                "Attributes with their types and present values, and operations. Asks the JVM now. For operators, since values may \
                 hold what was given to the JVM in confidence.",
            )
            .pages()
            .query("pattern", "Only MBeans that match this object name, such as `java.lang:*`; all where absent.")
            .query("values", "`false`: without reading attributes.")
            .answers::<Mbeans>(200, "By name."),
    ]
}

/// The peer that speaks to the JVMs of a node: the one that collects it, else any that can.
fn speaker(state: &State, node: &Name, needs_java: bool) -> Option<PeerId> {
    let able = |peer: PeerId| {
        state.session(peer).is_some_and(|s| !needs_java || s.capabilities.takes(Capabilities::JMX))
    };
    let collector = state.assignment(node).map(|assignment| assignment.peer);
    collector
        .filter(|peer| able(*peer))
        .or_else(|| state.sessions().map(|(peer, _)| peer).find(|peer| able(*peer)))
        .or(collector)
}

async fn mbeans(request: Request) -> Answer {
    let node = request.name(0, Kind::Node)?;
    let jvm = request.name(1, Kind::JvmProfile)?;
    let mut query = request.query()?;
    let limit = query.limit()?.min(PAGE_MAX);
    let after = cursor::<String>(&mut query)?.unwrap_or_default();
    let pattern = query.text("pattern").filter(|text| !text.is_empty()).unwrap_or_else(|| "*:*".to_string());
    let values = query.value::<bool>("values")?.unwrap_or(true);
    query.finish()?;
    let (has_jvm, speaker) = request.ctx.handle().read(|state| {
        let has_jvm = state.node(&node).map(|node| node.jvms.contains(&jvm));
        (has_jvm, speaker(state, &node, state.needs_java(&jvm)))
    });
    match has_jvm {
        None => return Err(missing(Kind::Node, &node)),
        Some(false) => return Err(Problem::not_found(format!("JVM of node `{node}`"), &jvm)),
        Some(true) => {}
    }
    let speaker = speaker.ok_or_else(|| Problem::unavailable("no peer takes work now"))?;
    let question = JvmQuestion {
        version: 1,
        node: node.to_string(),
        jvm: jvm.to_string(),
        pattern,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        after,
        values,
        limit_ms: u32::try_from(LIMIT.as_millis()).unwrap_or(u32::MAX),
    };
    let question = serde_json::to_vec(&question).map_err(|error| Problem::internal(&error))?;
    let answer =
        request.ctx.handle().ask(speaker, question, LIMIT + WAY).await.map_err(|error| match error {
            EngineError::Unavailable(why) => Problem::unavailable(why),
            EngineError::Unknown(why) | EngineError::Refused(why) => {
                Problem::unavailable(format!("peer {speaker} does not answer: {why}"))
            }
        })?;
    match serde_json::from_slice(&answer).map_err(|error| Problem::internal(&error))? {
        JvmAnswer::Mbeans(mbeans) => reply::ok(&mbeans),
        JvmAnswer::Fault { kind, text } => Err(problem(&kind, &jvm, &text)),
    }
}

fn problem(kind: &str, jvm: &Name, text: &str) -> Problem {
    let (status, code) = match kind {
        "missing" => (StatusCode::NOT_FOUND, "not_found"),
        "invalid" => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        "too-large" => (StatusCode::UNPROCESSABLE_ENTITY, "too_much"),
        "timed-out" => (StatusCode::GATEWAY_TIMEOUT, "jvm_timed_out"),
        "authentication" => (StatusCode::BAD_GATEWAY, "jvm_authentication"),
        "no-java" => (StatusCode::BAD_GATEWAY, "no_java"),
        _ => (StatusCode::BAD_GATEWAY, "jvm_unreachable"),
    };
    Problem::new(status, code, format!("jvm `{jvm}`: {text}"))
}
