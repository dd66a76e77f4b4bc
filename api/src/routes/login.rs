//! Tokens for people: a name and a password give one that ends by itself. Browsers keep theirs in a cookie: [`super::session`].

use std::collections::BTreeMap;
use std::time::Duration;

use rscaler_raft::command::{Change, Command, Expect};
use rscaler_raft::model::{self, Actor, Kind, Name, Object, Role, Spec, Timestamp};
use rscaler_raft::secrets::{hash_token, random};
use rscaler_raft::state::State;
use warp::http::{HeaderValue, header};

use super::endpoint::{Answer, Endpoint};
use super::reply;
use super::resources::{token_text, verify_password};
use crate::auth::{self, Access, LOGIN_LABEL, PASSWORD_LABEL, SESSION_LABEL, password_mark};
use crate::context::Context;
use crate::error::Problem;
use crate::request::Request;
use crate::types::{Identity, Login, LoginAnswer, Span, Time, actor_text};

const LIFE_DEFAULT: Duration = Duration::from_secs(12 * 3600);
const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Logins of one user at once; the one that ends first makes place for the next.
const LOGINS_MAX: usize = 50;
/// Ended logins that one login clears away.
const CLEARED_MAX: usize = 100;
/// Verified in place of an unknown user's hash, so that both take as long. Of no password that anybody knows.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$MzMzMzMzMzMzMzMzMzMzMw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/login", Access::Public, "Gives a token for a user's name and password", login)
            .describe(
                "The token does what its user may do at the time it is used, and ends when their password changes. \
                 `Idempotency-Key` counts for nothing here.",
            )
            .body::<Login>()
            .answers::<LoginAnswer>(200, "The token. It is shown once."),
        Endpoint::post("/api/v1/logout", Access::VIEWER, "Ends the token that a login gave", logout)
            .answers_nothing(204, "It does not work any more."),
        Endpoint::get("/api/v1/whoami", Access::VIEWER, "Says who asks", whoami)
            .answers::<Identity>(200, "The caller."),
    ]
}

async fn login(mut request: Request) -> Answer {
    request.query()?.finish()?;
    request.ctx.limiter().check_attempt(request.address)?;
    let body: Login = request.json().await?;
    let life = life(body.ttl)?;
    let labels = verified(&request.ctx, &body.user, body.password).await?;
    let issued = issue(&request.ctx, labels, request.ctx.now() + life).await?;
    let answer = LoginAnswer {
        token: issued.text,
        expires: Time(issued.token.expires),
        role: issued.token.role.into(),
    };
    let mut response = reply::ok(&answer)?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// How long a login lasts.
pub(super) fn life(asked: Option<Span>) -> Result<Duration, Problem> {
    let life = asked.map_or(LIFE_DEFAULT, |ttl| ttl.0);
    if life < Duration::from_secs(60) || life > LIFE_MAX {
        return Err(Problem::field("/ttl", "a login lasts from 1m to 30d"));
    }
    Ok(life)
}

/// On whose behalf a token is issued.
pub(super) struct Basis {
    pub(super) actor: Actor,
    pub(super) role: Role,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) description: String,
}

/// A user who gave their password.
pub(super) async fn verified(ctx: &Context, name: &Name, password: String) -> Result<Basis, Problem> {
    let user = ctx.handle().read(|state| match state.spec(Kind::User, name) {
        Some(Spec::User(user)) => Some(user.clone()),
        _ => None,
    });
    let hash = user.as_ref().map_or_else(|| NOBODY.to_string(), |user| user.password_hash.clone());
    let right = verify_password(ctx, password, hash).await?;
    let Some(user) = user.filter(|_| right) else {
        return Err(Problem::unauthenticated("the user or the password is wrong"));
    };
    Ok(Basis {
        actor: Actor::User(name.clone()),
        role: user.role,
        labels: BTreeMap::from([
            (LOGIN_LABEL.to_string(), name.to_string()),
            (PASSWORD_LABEL.to_string(), password_mark(&user)),
        ]),
        description: format!("a login of user {name}"),
    })
}

/// A token that was issued.
pub(super) struct Issued {
    pub(super) text: String,
    pub(super) token: IssuedToken,
}

/// What is replicated of it.
pub(super) struct IssuedToken {
    pub(super) name: Name,
    pub(super) hash: [u8; 32],
    pub(super) role: Role,
    pub(super) expires: Timestamp,
}

/// Makes a token, on every peer when this returns; old ones that are too many go.
pub(super) async fn issue(ctx: &Context, basis: Basis, expires: Timestamp) -> Result<Issued, Problem> {
    let suffix = random::<8>().map_err(|error| Problem::internal(&error))?;
    let name =
        Name::new(&format!("login-{}", auth::hex(&suffix))).map_err(|error| Problem::internal(&error))?;
    let text = token_text(ctx, "login", &name, None)?;
    let hash = hash_token(&text);
    let token = model::Token { role: basis.role, hash, expires: Some(expires) };
    let mut changes = ctx.handle().read(|state| to_clear(state, &basis.labels));
    changes.push(Change::Put {
        name: name.clone(),
        spec: Spec::Token(token),
        labels: basis.labels,
        description: basis.description,
        expect: Expect::Absent,
    });
    ctx.handle().submit(basis.actor, Command::Configure(changes)).await.map_err(Problem::from)?;
    ctx.wait_for(|state| state.object(Kind::Token, &name).map(|_| ())).await;
    Ok(Issued { text, token: IssuedToken { name, hash, role: basis.role, expires } })
}

/// Logins that have ended, and what is too much of those who are labelled so.
fn to_clear(state: &State, labels: &BTreeMap<String, String>) -> Vec<Change> {
    let now = state.clock().wall;
    let remove = |name: &Name, object: &Object| Change::Delete {
        kind: Kind::Token,
        name: name.clone(),
        expect: Expect::Version(object.meta.version),
    };
    let mut cleared = Vec::new();
    let mut own = Vec::new();
    for (name, object) in state.objects_of(Kind::Token).filter(|(_, object)| auth::is_login(object)) {
        let Spec::Token(token) = &object.spec else { continue };
        if token.expires.is_some_and(|expires| expires <= now) {
            if cleared.len() < CLEARED_MAX {
                cleared.push(remove(name, object));
            }
        } else if [LOGIN_LABEL, SESSION_LABEL]
            .iter()
            .all(|key| object.meta.labels.get(*key) == labels.get(*key))
        {
            own.push((token.expires, name, object));
        }
    }
    own.sort_by_key(|(expires, _, _)| *expires);
    let too_many = (own.len() + 1).saturating_sub(LOGINS_MAX);
    cleared.extend(own.iter().take(too_many).map(|(_, name, object)| remove(name, object)));
    cleared
}

async fn logout(request: Request) -> Answer {
    request.query()?.finish()?;
    let caller = request.caller()?;
    if !caller.login {
        return Err(Problem::conflict(format!(
            "token `{}` was not given by a login: an admin can delete it",
            caller.token
        )));
    }
    let change = Change::Delete { kind: Kind::Token, name: caller.token.clone(), expect: Expect::Present };
    let token = caller.token.clone();
    request.submit(0, Command::Configure(vec![change])).await?;
    request.ctx.wait_for(|state| state.object(Kind::Token, &token).is_none().then_some(())).await;
    let mut response = reply::no_content()?;
    if auth::session_cookie(&request.headers).is_some() {
        super::session::forget(&mut response);
    }
    Ok(response)
}

async fn whoami(request: Request) -> Answer {
    request.query()?.finish()?;
    let caller = request.caller()?;
    reply::ok(&Identity {
        actor: actor_text(&caller.actor),
        role: caller.role.into(),
        expires: caller.expires.map(Time),
    })
}
