//! The members of the control plane, and copies of it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use rscaler_raft::command::Command;
use rscaler_raft::handle::EngineError;
use rscaler_raft::model::{self, PeerId};
use utoipa::openapi::Required;
use warp::http::{HeaderValue, StatusCode, header};

use super::endpoint::{Answer, Endpoint};
use super::reply;
use super::resources::derive_secret;
use super::stream::{StreamError, answer, place};
use crate::auth::Access;
use crate::error::Problem;
use crate::request::Request;
use crate::types::{IssuedToken, JoinToken, List, NewLeader, Peer, PeerRole, Span, Time};

/// The longest life of a join token.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);

/// How long the snapshot that a copy is made of may take.
const BACKUP_MAX: Duration = Duration::from_secs(120);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/peers", Access::VIEWER, "Lists the peers of the control plane", list)
            .describe("How far each has come is the leader's word, where it answers within half a second.")
            .pages()
            .answers::<List<Peer>>(200, "By number."),
        Endpoint::post("/api/v1/peers/{id}/promote", Access::ADMIN, "Makes a learner a voter", promote)
            .describe("It becomes a voter once it has caught up.")
            .answers_nothing(204, "Membership follows."),
        Endpoint::post("/api/v1/peers/{id}/demote", Access::ADMIN, "Makes a voter a learner", demote)
            .answers_nothing(204, "Membership follows."),
        Endpoint::delete(
            "/api/v1/peers/{id}",
            Access::ADMIN,
            "Removes a peer and revokes its certificate",
            remove,
        )
        .answers_nothing(204, "Membership follows."),
        Endpoint::post("/api/v1/peers/leader", Access::ADMIN, "Hands leadership to a voter", transfer)
            .body::<NewLeader>()
            .answers_nothing(204, "It leads, or is about to."),
        Endpoint::post(
            "/api/v1/peers/join-tokens",
            Access::ADMIN,
            "Makes a right to join, for one peer",
            join_token,
        )
        .body_as::<JoinToken>(&["application/json"], Required::False)
        .answers::<IssuedToken>(201, "The token. It is shown once."),
        Endpoint::get(
            "/api/v1/backup",
            Access::ADMIN,
            "Streams a consistent copy of the control plane",
            backup,
        )
        .within(BACKUP_MAX)
        .describe("For `rscaler restore`. Secrets in it are sealed.")
        .answers_as(200, "The copy.", "application/octet-stream"),
    ]
}

async fn list(request: Request) -> Answer {
    let query = request.query()?;
    let handle = request.ctx.handle();
    let leadership = *handle.leadership().borrow();
    let members: BTreeMap<PeerId, _> =
        handle.members().await.into_iter().map(|member| (member.peer, member)).collect();
    let leaders_last = leadership.leader.and_then(|leader| members.get(&leader)).and_then(|m| m.last_log);
    let own_applied = handle.applied();
    let items: Vec<Peer> = handle.read(|state| {
        let mut nodes: BTreeMap<PeerId, u64> = BTreeMap::new();
        for (_, assignment) in state.assignments() {
            *nodes.entry(assignment.peer).or_default() += 1;
        }
        let mut tasks: BTreeMap<PeerId, u64> = BTreeMap::new();
        for task in state.open_tasks() {
            if let Some(executor) = task.executor {
                *tasks.entry(executor.peer).or_default() += 1;
            }
        }
        let show = |(id, peer): (PeerId, &std::sync::Arc<model::Peer>)| {
            let member = members.get(&id);
            let session = state.session(id);
            let applied = if id == leadership.local {
                Some(own_applied)
            } else {
                member.and_then(|member| member.applied)
            };
            let role = match member {
                _ if leadership.leader == Some(id) => PeerRole::Leader,
                Some(member) if member.voter => PeerRole::Voter,
                _ => PeerRole::Learner,
            };
            let last_log = member.and_then(|member| member.last_log);
            Peer {
                id: id.0,
                name: peer.name.clone(),
                api: peer.api_url.clone(),
                peer: peer.peer_addr.clone(),
                role,
                wanted_role: match peer.role {
                    model::PeerRole::Voter => PeerRole::Voter,
                    model::PeerRole::Learner => PeerRole::Learner,
                },
                term: leadership.term,
                last_log,
                applied,
                lag: leaders_last.zip(last_log.or(applied)).map(|(last, own)| last.saturating_sub(own)),
                version: session.map_or_else(String::new, |session| session.capabilities.version.clone()),
                tasks: tasks.get(&id).copied().unwrap_or(0),
                nodes: nodes.get(&id).copied().unwrap_or(0),
                alive: session.is_some(),
                jmx: session.is_some_and(|session| session.capabilities.takes(model::Capabilities::JMX)),
                joined: peer.joined.into(),
            }
        };
        state.peers().map(show).collect()
    });
    reply::paged(query, items)
}

async fn set_role(request: Request, role: model::PeerRole) -> Answer {
    let peer: PeerId = request.id(0, "peer")?;
    request.query()?.finish()?;
    if role == model::PeerRole::Learner {
        refuse_needed(&request, peer).await?;
    }
    request.submit(0, Command::SetPeerRole { peer, role }).await?;
    reply::no_content()
}

/// The state knows who votes, but not who answers.
async fn refuse_needed(request: &Request, peer: PeerId) -> Result<(), Problem> {
    match request.ctx.handle().why_needed(peer).await {
        Some(why) => Err(Problem::conflict(why)),
        None => Ok(()),
    }
}

async fn promote(request: Request) -> Answer {
    set_role(request, model::PeerRole::Voter).await
}

async fn demote(request: Request) -> Answer {
    set_role(request, model::PeerRole::Learner).await
}

async fn remove(request: Request) -> Answer {
    let peer: PeerId = request.id(0, "peer")?;
    request.query()?.finish()?;
    refuse_needed(&request, peer).await?;
    request.submit(0, Command::RemovePeer(peer)).await?;
    reply::no_content()
}

async fn transfer(mut request: Request) -> Answer {
    request.query()?.finish()?;
    let body: NewLeader = request.json().await?;
    let to = PeerId(body.to);
    let handle = request.ctx.handle();
    let known = handle.read(|state| state.peer(to).map(|peer| peer.role));
    match known {
        None => return Err(Problem::field("/to", format!("there is no peer {to}"))),
        Some(model::PeerRole::Learner) => {
            return Err(Problem::conflict(format!("peer {to} is a learner: promote it first")));
        }
        Some(model::PeerRole::Voter) => {}
    }
    if handle.leadership().borrow().leader == Some(to) {
        return reply::no_content();
    }
    handle.transfer_leader(to).await.map_err(|error| match error {
        EngineError::Refused(why) => Problem::conflict(why),
        other => other.into(),
    })?;
    reply::no_content()
}

async fn join_token(mut request: Request) -> Answer {
    request.query()?.finish()?;
    let body: JoinToken = request.json_or_default().await?;
    let ttl = body.ttl.unwrap_or(Span(TOKEN_LIFE_MAX)).0;
    if ttl < Duration::from_secs(1) || ttl > TOKEN_LIFE_MAX {
        return Err(Problem::field("/ttl", "a join token lives from 1s to 1h"));
    }
    let role = match body.role {
        None | Some(PeerRole::Voter) => model::PeerRole::Voter,
        Some(PeerRole::Learner) => model::PeerRole::Learner,
        Some(PeerRole::Leader) => {
            return Err(Problem::field("/role", "a peer joins as voter or learner; who leads is elected"));
        }
    };
    let secret = derive_secret(&request.ctx, "join-token", request.request_id(0)?)?;
    let token = request.ctx.hooks().join_tokens.token(secret);
    let ttl_ms = u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX);
    request.submit(0, Command::CreateJoinToken { hash: token.hash, ttl_ms, role }).await?;
    let expires = Time(request.ctx.now() + ttl);
    let mut response = reply::json(StatusCode::CREATED, &IssuedToken { token: token.text, expires })?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn backup(request: Request) -> Answer {
    request.query()?.finish()?;
    let place = place(&request.ctx)?;
    let copy = request
        .ctx
        .hooks()
        .backup
        .begin()
        .await
        .map_err(|why| Problem::unavailable(format!("there can be no copy now: {why}")))?;
    let copy = copy.map(|chunk| chunk.map_err(|error| -> StreamError { Box::new(error) }));
    let mut response = answer(&request.ctx, place, "application/octet-stream", Box::pin(copy));
    response.headers_mut().insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"rscaler.backup\""),
    );
    Ok(response)
}
