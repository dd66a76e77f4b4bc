//! Who asks, what they may do, and how often.
//!
//! Every call carries `Authorization: Bearer TOKEN`. Only the hash of a token is known; a token that a login gave
//! does no more than its user may now, and ends when their password changes. The UI's session cookie will be read
//! in [`credentials`], beside the header.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use rscaler_raft::model::{Actor, Kind, Name, Object, Role, Spec, Timestamp, User};
use rscaler_raft::secrets::hash_token;
use rscaler_raft::state::State;
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

use crate::context::{Context, Limits};
use crate::error::Problem;
use crate::types;

/// Labels with this prefix are the API's own; documents may not set them.
pub(crate) const OWN_LABELS: &str = "rscaler/";
/// Whose login gave a token.
pub(crate) const LOGIN_LABEL: &str = "rscaler/login";
/// Which of their passwords it was.
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

/// The token a request shows.
fn credentials(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing =
        || Problem::unauthenticated("this needs a token: send the header `Authorization: Bearer TOKEN`");
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?.to_str().map_err(|_| missing())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(missing());
    }
    Ok(token.trim())
}

/// How long a token that is not known here waits for what this peer has yet to apply.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// Finds out who asks.
pub(crate) async fn authenticate(
    ctx: &Context,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Caller, Problem> {
    let hash = match credentials(headers) {
        Ok(token) => hash_token(token),
        Err(problem) => return Err(ctx.limiter().check_attempt(address).err().unwrap_or(problem)),
    };
    let known = || ctx.handle().read(|state| caller(state, &hash));
    let caller = match known() {
        Some(caller) => caller,
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
            })?
        }
    };
    ctx.limiter().check_request(&caller.token)?;
    Ok(caller)
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
    let Some(login) = object.meta.labels.get(LOGIN_LABEL) else { return Some(caller) };
    let user_name = Name::new(login).ok()?;
    let Some(Spec::User(user)) = state.spec(Kind::User, &user_name) else { return None };
    if object.meta.labels.get(PASSWORD_LABEL) != Some(&password_mark(user)) {
        return None;
    }
    Some(Caller { actor: Actor::User(user_name), role: caller.role.min(user.role), login: true, ..caller })
}

/// Tells passwords of a user apart, and nothing else about them: the hash it is made of is salted.
pub(crate) fn password_mark(user: &User) -> String {
    let digest = hash_token(&user.password_hash);
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a login gave this token.
pub(crate) fn is_login(object: &Object) -> bool {
    object.meta.labels.contains_key(LOGIN_LABEL)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_bearer_token_is_a_credential() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            headers
        };
        assert_eq!(credentials(&with("Bearer abc")).unwrap(), "abc");
        assert_eq!(credentials(&with("bearer  abc ")).unwrap(), "abc");
        for bad in ["abc", "Basic abc", "Bearer", "Bearer  "] {
            assert_eq!(credentials(&with(bad)).unwrap_err().status, 401, "{bad}");
        }
        assert_eq!(credentials(&HeaderMap::new()).unwrap_err().status, 401);
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
