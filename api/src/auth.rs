//! Who asks, what they may do, and how often.
//!
//! Every call carries `Authorization: Bearer TOKEN`, or a browser's session cookie. Only the hash of a token is known; a
//! token that a login gave does no more than its user may now, and ends when their password changes. A browser sends its
//! cookie whoever made it ask: what changes something needs a header beside it that only the UI's own page can know.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use rscaler_raft::model::{Actor, Kind, Name, Object, Role, Spec, Timestamp, Token, User};
use rscaler_raft::secrets::hash_token;
use rscaler_raft::state::State;
use warp::http::header::{AUTHORIZATION, COOKIE};
use warp::http::{HeaderMap, Method};

use crate::context::{Context, Limits};
use crate::error::Problem;
use crate::types;

/// Labels with this prefix are the API's own; documents may not set them.
pub(crate) const OWN_LABELS: &str = "rscaler/";
/// Whose login gave a token.
pub(crate) const LOGIN_LABEL: &str = "rscaler/login";
/// With which token a browser's session was begun, where that was no login.
pub(crate) const SESSION_LABEL: &str = "rscaler/session";
/// The cookie that holds a browser's session.
pub(crate) const SESSION_COOKIE: &str = "rscaler_session";
/// The header that shows that a write comes from the UI's own page.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";
/// Which of their passwords, or which text of the token, it was.
pub(crate) const PASSWORD_LABEL: &str = "rscaler/password";

/// Who may call a route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Access {
    /// Anybody.
    Public,
    /// Who has at least this role.
    Role(Role),
}

impl Access {
    pub(crate) const VIEWER: Access = Access::Role(Role::Viewer);
    pub(crate) const OPERATOR: Access = Access::Role(Role::Operator);
    pub(crate) const ADMIN: Access = Access::Role(Role::Admin);
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) role: Role,
    /// The token they show.
    pub(crate) token: Name,
    pub(crate) expires: Option<Timestamp>,
    /// Whether a login gave it.
    pub(crate) login: bool,
}

/// How often somebody may ask. Keyed by token and by address; idle keys are forgotten.
pub(crate) struct Limiter {
    requests: DefaultKeyedRateLimiter<Name>,
    visits: DefaultKeyedRateLimiter<IpAddr>,
    attempts: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    checks: AtomicU64,
}

/// Idle keys are looked for once in so many checks.
const CHECKS_BETWEEN_SWEEPS: u64 = 10_000;

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Limiter {
        let requests = Quota::per_second(at_least_one(limits.requests_per_second))
            .allow_burst(at_least_one(limits.requests_burst));
        let visits = Quota::per_second(at_least_one(limits.visits_per_second))
            .allow_burst(at_least_one(limits.visits_per_second.saturating_mul(2)));
        let attempts = Quota::per_minute(at_least_one(limits.attempts_per_minute));
        Limiter {
            requests: RateLimiter::keyed(requests),
            visits: RateLimiter::keyed(visits),
            attempts: RateLimiter::keyed(attempts),
            clock: DefaultClock::default(),
            checks: AtomicU64::new(0),
        }
    }

    fn sweep(&self) {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_BETWEEN_SWEEPS == CHECKS_BETWEEN_SWEEPS - 1 {
            self.requests.retain_recent();
            self.visits.retain_recent();
            self.attempts.retain_recent();
        }
    }

    fn check<K: Clone + Eq + std::hash::Hash>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
    ) -> Result<(), Problem> {
        self.sweep();
        let limited = |until: governor::NotUntil<_>| until.wait_time_from(self.clock.now());
        limiter.check_key(key).map_err(|until| Problem::rate_limited(seconds(limited(until))))
    }

    fn check_request(&self, token: &Name) -> Result<(), Problem> {
        self.check(&self.requests, token)
    }

    /// Counts a request to what takes no token.
    pub(crate) fn check_visit(&self, address: IpAddr) -> Result<(), Problem> {
        self.check(&self.visits, &network(address))
    }

    /// Counts `more` requests beside the one that was counted already.
    pub(crate) fn check_requests(&self, token: &Name, more: usize) -> Result<(), Problem> {
        let Some(more) = u32::try_from(more).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        let limited = |wait| Err(Problem::rate_limited(wait));
        match self.requests.check_key_n(token, more) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => limited(seconds(until.wait_time_from(self.clock.now()))),
            // More at once than ever may be.
            Err(_) => limited(1),
        }
    }

    /// Counts an attempt to authenticate that has failed, or one to log in.
    pub(crate) fn check_attempt(&self, address: IpAddr) -> Result<(), Problem> {
        self.check(&self.attempts, &network(address))
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// What counts as one address: with IPv6, everybody has 2^64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        },
    }
}

/// The token a request shows: in the header, or else in a browser's cookie.
fn credentials<'a>(method: &Method, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
    let missing =
        || Problem::unauthenticated("this needs a token: send the header `Authorization: Bearer TOKEN`");
    let Some(value) = headers.get(AUTHORIZATION) else {
        let token = session_cookie(headers).ok_or_else(missing)?;
        let shown = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("");
        // Compared by their hashes, so that how long it takes tells nothing.
        if *method != Method::GET && hash_token(shown) != hash_token(&csrf_token(token)) {
            return Err(Problem::forbidden(
                "a change by session cookie takes the header `X-CSRF-Token`, as GET /api/v1/session gives it",
            ));
        }
        return Ok(token);
    };
    let (scheme, token) = value.to_str().map_err(|_| missing())?.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(missing());
    }
    Ok(token.trim())
}

/// The token in a browser's session cookie.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == SESSION_COOKIE && !value.is_empty()).then_some(value))
}

/// What the UI's page shows with each write of a session. Made of the session's token, so that any peer knows it.
pub(crate) fn csrf_token(token: &str) -> String {
    hex(&hash_token(&format!("csrf/{token}"))[..16])
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How long a token that is not known here waits for what this peer has yet to apply.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// Finds out who asks.
pub(crate) async fn authenticate(
    ctx: &Context,
    method: &Method,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Caller, Problem> {
    let hash = match credentials(method, headers) {
        Ok(token) => hash_token(token),
        Err(problem) => return Err(ctx.limiter().check_attempt(address).err().unwrap_or(problem)),
    };
    let caller = find_caller(ctx, &hash, address).await?;
    ctx.limiter().check_request(&caller.token)?;
    Ok(caller)
}

/// Whose token has this hash.
pub(crate) async fn find_caller(ctx: &Context, hash: &[u8; 32], address: IpAddr) -> Result<Caller, Problem> {
    let known = || ctx.handle().read(|state| caller(state, hash));
    match known() {
        Some(caller) => Ok(caller),
        None => {
            // Counted first: strangers must not have the leader asked without end.
            ctx.limiter().check_attempt(address)?;
            // A peer that lags, or has just joined, has not heard of every token.
            if !matches!(tokio::time::timeout(CATCHING_UP, ctx.handle().linearize()).await, Ok(Ok(_))) {
                return Err(Problem::unavailable(
                    "this token is not known here, and this peer has not caught up with the others",
                ));
            }
            known().ok_or_else(|| {
                Problem::unauthenticated("this token does not work: it is unknown, deleted or expired")
            })
        }
    }
}

/// Refuses who has too small a role.
pub(crate) fn authorize(caller: &Caller, wanted: Role) -> Result<(), Problem> {
    if caller.role >= wanted {
        return Ok(());
    }
    Err(Problem::forbidden(format!(
        "this takes role {}; {} has role {}",
        types::Role::from(wanted).as_str(),
        types::actor_text(&caller.actor),
        types::Role::from(caller.role).as_str(),
    )))
}

fn caller(state: &State, hash: &[u8; 32]) -> Option<Caller> {
    let (name, token) = state.token_by_hash(hash)?;
    let object = state.object(Kind::Token, name)?;
    let caller = Caller {
        actor: Actor::Token(name.clone()),
        role: token.role,
        token: name.clone(),
        expires: token.expires,
        login: false,
    };
    let mark = object.meta.labels.get(PASSWORD_LABEL);
    if let Some(base) = object.meta.labels.get(SESSION_LABEL) {
        let base_name = Name::new(base).ok()?;
        let Some(Spec::Token(base)) = state.spec(Kind::Token, &base_name) else { return None };
        let is_over = base.expires.is_some_and(|expires| expires <= state.clock().wall);
        if is_over || mark != Some(&token_mark(base)) {
            return None;
        }
        let role = caller.role.min(base.role);
        return Some(Caller { actor: Actor::Token(base_name), role, login: true, ..caller });
    }
    let Some(login) = object.meta.labels.get(LOGIN_LABEL) else { return Some(caller) };
    let user_name = Name::new(login).ok()?;
    let Some(Spec::User(user)) = state.spec(Kind::User, &user_name) else { return None };
    if mark != Some(&password_mark(user)) {
        return None;
    }
    Some(Caller { actor: Actor::User(user_name), role: caller.role.min(user.role), login: true, ..caller })
}

/// Tells passwords of a user apart, and nothing else about them: the hash it is made of is salted.
pub(crate) fn password_mark(user: &User) -> String {
    hex(&hash_token(&user.password_hash)[..8])
}

/// Tells tokens that had the same name apart, and nothing else about them.
pub(crate) fn token_mark(token: &Token) -> String {
    hex(&hash_token(&hex(&token.hash))[..8])
}

/// Whether a login or a browser's session gave this token.
pub(crate) fn is_login(object: &Object) -> bool {
    object.meta.labels.contains_key(LOGIN_LABEL) || object.meta.labels.contains_key(SESSION_LABEL)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn credentials(method: &Method, headers: &HeaderMap) -> Result<String, Problem> {
        super::credentials(method, headers).map(str::to_string)
    }

    #[test]
    fn only_a_bearer_token_is_a_credential() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            headers
        };
        assert_eq!(credentials(&Method::POST, &with("Bearer abc")).unwrap(), "abc");
        assert_eq!(credentials(&Method::POST, &with("bearer  abc ")).unwrap(), "abc");
        for bad in ["abc", "Basic abc", "Bearer", "Bearer  "] {
            assert_eq!(credentials(&Method::POST, &with(bad)).unwrap_err().status, 401, "{bad}");
        }
        assert_eq!(credentials(&Method::POST, &HeaderMap::new()).unwrap_err().status, 401);
    }

    #[test]
    fn a_cookie_alone_reads_and_changes_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "theme=dark; rscaler_session=abc; x=y".parse().unwrap());
        assert_eq!(credentials(&Method::GET, &headers).unwrap(), "abc");
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            headers.remove(CSRF_HEADER);
            assert_eq!(credentials(&method, &headers).unwrap_err().status, 403, "{method}");
            headers.insert(CSRF_HEADER, csrf_token("abd").parse().unwrap());
            assert_eq!(credentials(&method, &headers).unwrap_err().status, 403, "{method}");
            headers.insert(CSRF_HEADER, csrf_token("abc").parse().unwrap());
            assert_eq!(credentials(&method, &headers).unwrap(), "abc", "{method}");
        }
        // The header is what counts where both are there.
        headers.insert(AUTHORIZATION, "Bearer other".parse().unwrap());
        assert_eq!(credentials(&Method::GET, &headers).unwrap(), "other");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let one = network("2001:db8::1".parse().unwrap());
        assert_eq!(one, network("2001:db8::2".parse().unwrap()));
        assert_ne!(one, network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_bound_is_met_and_says_how_long_to_wait() {
        let limits = Limits { requests_per_second: 1, requests_burst: 2, ..Limits::default() };
        let limiter = Limiter::new(&limits);
        let (a, b) = (Name::new("a").unwrap(), Name::new("b").unwrap());
        assert!(limiter.check_request(&a).is_ok() && limiter.check_request(&a).is_ok());
        let problem = limiter.check_request(&a).unwrap_err();
        assert_eq!((problem.status, problem.retry_after), (429, Some(1)));
        assert!(limiter.check_request(&b).is_ok());
    }
}
