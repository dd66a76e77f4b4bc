//! Sessions of browsers.
//!
//! A session is a token like that of a login, in a cookie that no script can read; being replicated, it is known to every
//! peer. A browser keeps cookies by host: to go on at a peer with another address the page shows a *ticket*, which is
//! short-lived, made of what every peer knows of the session's token, and gives a session of the same rights there.

use std::collections::BTreeMap;
use std::time::Duration;

use rscaler_raft::model::{Kind, Name, Object, Spec, Timestamp};
use rscaler_raft::secrets::hash_token;
use rscaler_raft::state::State;
use warp::http::{HeaderValue, header};
use warp::reply::Response;

use super::endpoint::{Answer, Endpoint};
use super::login::{self, Basis, IssuedToken};
use super::reply;
use crate::auth::{self, Access, LOGIN_LABEL, PASSWORD_LABEL, SESSION_COOKIE, SESSION_LABEL};
use crate::context::Context;
use crate::error::Problem;
use crate::request::Request;
use crate::types::{NewSession, Session, Time, actor_text};

/// How long a ticket works.
const TICKET_LIFE: Duration = Duration::from_secs(15 * 60);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/session", Access::Public, "Begins a browser's session", begin)
            .describe(
                "Give `user` and `password`, or `token`, or `ticket`. The answer sets a cookie (HttpOnly, SameSite=Strict) \
                 that stands for the token in all other calls; what changes something takes `csrf` in the header \
                 `X-CSRF-Token` beside it. POST /api/v1/logout ends it. `Idempotency-Key` counts for nothing here.",
            )
            .body::<NewSession>()
            .answers::<Session>(200, "The session."),
        Endpoint::get("/api/v1/session", Access::VIEWER, "Says whose session it is, and what changes take", show)
            .answers::<Session>(200, "The session; of a token in the header, without `csrf` and `ticket`."),
    ]
}

async fn begin(mut request: Request) -> Answer {
    request.query()?.finish()?;
    request.ctx.limiter().check_attempt(request.address)?;
    // Another site's page can send any other media type without asking first.
    if request.media_type()?.as_deref() != Some("application/json") {
        return Err(Problem::media_type("a session begins with JSON: `Content-Type: application/json`"));
    }
    let body: NewSession = request.json().await?;
    let ctx = request.ctx.clone();
    let now = ctx.now();
    let (basis, until) = match body {
        NewSession { user: Some(user), password: Some(password), token: None, ticket: None } => {
            (login::verified(&ctx, &user, password).await?, None)
        }
        NewSession { user: None, password: None, token: Some(token), ticket: None } => {
            let caller = auth::find_caller(&ctx, &hash_token(token.trim()), request.address).await?;
            let basis = ctx.handle().read(|state| same_rights(state, &caller.token));
            (basis.ok_or_else(ended)?, caller.expires)
        }
        NewSession { user: None, password: None, token: None, ticket: Some(ticket) } => {
            let (name, hash) = opened(&ctx, &ticket).await?;
            let caller = auth::find_caller(&ctx, &hash, request.address).await?;
            let basis = ctx.handle().read(|state| same_rights(state, &name));
            (basis.ok_or_else(ended)?, caller.expires)
        }
        _ => return Err(Problem::malformed("give `user` and `password`, or `token`, or `ticket`")),
    };
    let actor = actor_text(&basis.actor);
    let expires = (now + login::life(None)?).min(until.unwrap_or(Timestamp(i64::MAX)));
    let issued = login::issue(&ctx, basis, expires).await?;
    let mut response = reply::ok(&Session {
        actor,
        role: issued.token.role.into(),
        expires: Some(Time(expires)),
        peer: ctx.handle().local().0,
        csrf: Some(auth::csrf_token(&issued.text)),
        ticket: Some(ticket(&issued.token, now)),
    })?;
    // What the browser sees counts, not what this peer speaks: TLS may end before it.
    let origin = request.headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()).unwrap_or("");
    let secure = if origin.starts_with("https://") { "; Secure" } else { "" };
    let seconds = (expires.0 - now.0).max(0) / 1000;
    let cookie = HeaderValue::from_str(&cookie(&issued.text, seconds, secure))
        .map_err(|error| Problem::internal(&error))?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn show(request: Request) -> Answer {
    request.query()?.finish()?;
    let caller = request.caller()?;
    let ctx = &request.ctx;
    let has_header = request.headers.contains_key(header::AUTHORIZATION);
    let cookie = auth::session_cookie(&request.headers).filter(|_| !has_header);
    let session = cookie.zip(caller.expires).map(|(text, expires)| IssuedToken {
        name: caller.token.clone(),
        hash: hash_token(text),
        role: caller.role,
        expires,
    });
    let mut response = reply::ok(&Session {
        actor: actor_text(&caller.actor),
        role: caller.role.into(),
        expires: caller.expires.map(Time),
        peer: ctx.handle().local().0,
        csrf: cookie.map(auth::csrf_token),
        ticket: session.map(|session| ticket(&session, ctx.now())),
    })?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// No script can read it, and no other site's page can send it.
fn cookie(value: &str, seconds: i64, secure: &str) -> String {
    format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

/// Has the browser forget its session.
pub(super) fn forget(response: &mut Response) {
    if let Ok(gone) = HeaderValue::from_str(&cookie("", 0, "")) {
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
}

fn ended() -> Problem {
    Problem::unauthenticated("the session has ended: log in")
}

/// The rights of a token, for another that ends with it.
fn same_rights(state: &State, name: &Name) -> Option<Basis> {
    let object = state.object(Kind::Token, name)?;
    let Spec::Token(token) = &object.spec else { return None };
    let (labels, whose) = basis_labels(object, name, token);
    let actor = match labels.get(LOGIN_LABEL) {
        Some(user) => rscaler_raft::model::Actor::User(Name::new(user).ok()?),
        None => rscaler_raft::model::Actor::Token(Name::new(labels.get(SESSION_LABEL)?).ok()?),
    };
    Some(Basis { actor, role: token.role, labels, description: format!("a browser's session of {whose}") })
}

fn basis_labels(
    object: &Object,
    name: &Name,
    token: &rscaler_raft::model::Token,
) -> (BTreeMap<String, String>, String) {
    let kept = |key: &str| Some((key.to_string(), object.meta.labels.get(key)?.clone()));
    let labels: BTreeMap<_, _> =
        [LOGIN_LABEL, SESSION_LABEL, PASSWORD_LABEL].into_iter().filter_map(kept).collect();
    if let Some(user) = labels.get(LOGIN_LABEL) {
        let whose = format!("user {user}");
        return (labels, whose);
    }
    if let Some(base) = labels.get(SESSION_LABEL) {
        let whose = format!("token {base}");
        return (labels, whose);
    }
    let labels = BTreeMap::from([
        (SESSION_LABEL.to_string(), name.to_string()),
        (PASSWORD_LABEL.to_string(), auth::token_mark(token)),
    ]);
    (labels, format!("token {name}"))
}

/// `NAME.MS.SEAL`: which session, until when, and what only a peer can have made.
fn ticket(session: &IssuedToken, now: Timestamp) -> String {
    let until = (now + TICKET_LIFE).min(session.expires).0;
    format!("{}.{until}.{}", session.name, seal(&session.name, until, &session.hash))
}

/// The hash of a session's token is known to the peers alone; that it comes last keeps others from going on from a seal.
fn seal(name: &Name, until: i64, hash: &[u8; 32]) -> String {
    auth::hex(&hash_token(&format!("ticket/{name}/{until}/{}", auth::hex(hash))))
}

/// The session of a ticket that holds.
async fn opened(ctx: &Context, ticket: &str) -> Result<(Name, [u8; 32]), Problem> {
    let wrong = || Problem::unauthenticated("this ticket does not work, or not any more: log in");
    let (rest, shown) = ticket.rsplit_once('.').ok_or_else(wrong)?;
    let (name, until) = rest.rsplit_once('.').ok_or_else(wrong)?;
    let name = Name::new(name).map_err(|_| wrong())?;
    let until: i64 = until.parse().map_err(|_| wrong())?;
    let hash = |state: &State| match state.spec(Kind::Token, &name) {
        Some(Spec::Token(token)) => Some(token.hash),
        _ => None,
    };
    // The session may be younger than what this peer has applied.
    let hash = ctx.wait_for(hash).await.ok_or_else(wrong)?;
    let is_right = hash_token(&seal(&name, until, &hash)) == hash_token(shown);
    if !is_right || until <= ctx.now().0 {
        return Err(wrong());
    }
    Ok((name, hash))
}
