//! Between documents and what the state holds. Secrets are sealed and passwords hashed here, before anything is
//! proposed.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rscaler_raft::model::{self, Kind, Name, Object, RequestId, Spec, Timestamp};
use rscaler_raft::secrets::{hash_token, random_token};
use serde_json::Value;

use crate::context::Context;
use crate::error::Problem;
use crate::types::{
    Action, Cluster, Counter, Document, Draft, Expiry, FieldError, File, JvmProfile, MaintenanceWindow, Node,
    Resource, Secret, SshProfile, Token, Trigger, User, read_document,
};

const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;

/// How much of an object is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All that may be shown.
    Whole,
    /// Without a file's content.
    Summary,
}

/// A document that was read: what can be turned into the state's form by itself has been.
pub(crate) enum Fields {
    Ready(Spec),
    Secret(Secret),
    User(User),
    Token(Token),
}

/// What is to be proposed.
pub(crate) struct Prepared {
    pub(crate) spec: Spec,
    /// It holds a part of the present object, so it must meet that very version.
    pub(crate) keeps: bool,
    /// The text of a token that does not exist yet.
    pub(crate) token: Option<String>,
}

/// Reads a document of a kind.
pub(crate) fn read(kind: Kind, body: Value) -> Result<Draft<Fields>, Vec<FieldError>> {
    fn ready<T: Document>(
        body: Value,
        make: impl FnOnce(T) -> Spec,
    ) -> Result<Draft<Fields>, Vec<FieldError>> {
        read_document::<T>(body).map(|draft| map(draft, |spec| Fields::Ready(make(spec))))
    }
    match kind {
        Kind::Cluster => ready::<Cluster>(body, |cluster| Spec::Cluster(cluster.into())),
        Kind::Node => ready::<Node>(body, |node| Spec::Node(node.into())),
        Kind::SshProfile => ready::<SshProfile>(body, |profile| Spec::SshProfile(Box::new(profile.into()))),
        Kind::JvmProfile => ready::<JvmProfile>(body, |profile| Spec::JvmProfile(Box::new(profile.into()))),
        Kind::Trigger => ready::<Trigger>(body, |trigger| Spec::Trigger(Box::new(trigger.into()))),
        Kind::Action => tried(read_document::<Action>(body)?, |action| {
            model::Action::try_from(action).map(|action| Spec::Action(Box::new(action)))
        }),
        Kind::Counter => tried(read_document::<Counter>(body)?, |counter| {
            model::Counter::try_from(counter).map(|counter| Spec::Counter(Box::new(counter)))
        }),
        Kind::File => tried(read_document::<File>(body)?, |file| model::File::try_from(file).map(Spec::File)),
        Kind::MaintenanceWindow => tried(read_document::<MaintenanceWindow>(body)?, |window| {
            model::MaintenanceWindow::try_from(window).map(Spec::MaintenanceWindow)
        }),
        Kind::Secret => read_document::<Secret>(body).map(|draft| map(draft, Fields::Secret)),
        Kind::User => read_document::<User>(body).map(|draft| map(draft, Fields::User)),
        Kind::Token => read_document::<Token>(body).map(|draft| map(draft, Fields::Token)),
    }
}

fn map<T, U>(draft: Draft<T>, change: impl FnOnce(T) -> U) -> Draft<U> {
    let Draft { name, labels, description, spec } = draft;
    Draft { name, labels, description, spec: change(spec) }
}

fn tried<T>(
    draft: Draft<T>,
    make: impl FnOnce(T) -> Result<Spec, Vec<FieldError>>,
) -> Result<Draft<Fields>, Vec<FieldError>> {
    let Draft { name, labels, description, spec } = draft;
    Ok(Draft { name, labels, description, spec: Fields::Ready(make(spec)?) })
}

/// Makes what is to be proposed in place of `existing`. `seed` makes a new token's text a function of the request,
/// so that a retry answers the same.
pub(crate) async fn prepare(
    ctx: &Context,
    name: &Name,
    fields: Fields,
    existing: Option<&Object>,
    seed: Option<RequestId>,
) -> Result<Prepared, Problem> {
    let plain = |spec| Prepared { spec, keeps: false, token: None };
    match fields {
        Fields::Ready(spec) => Ok(plain(spec)),
        Fields::Secret(secret) => prepare_secret(ctx, name, secret, existing),
        Fields::User(user) => prepare_user(ctx, user, existing).await,
        Fields::Token(token) => prepare_token(ctx, name, &token, existing, seed),
    }
}

fn secret_path(name: &Name) -> String {
    format!("secret/{name}")
}

fn prepare_secret(
    ctx: &Context,
    name: &Name,
    secret: Secret,
    existing: Option<&Object>,
) -> Result<Prepared, Problem> {
    let present = match existing.map(|object| &object.spec) {
        Some(Spec::Secret(secret)) => Some(secret),
        _ => None,
    };
    let value = match (secret.value, secret.value_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => {
            let compact: String = base64.split_ascii_whitespace().collect();
            // The cause would quote a part of the secret.
            STANDARD.decode(compact).map_err(|_| Problem::field("/value_base64", "this is not base64"))?
        }
        (Some(_), Some(_)) => {
            return Err(Problem::field("/value_base64", "give `value` or `value_base64`, not both"));
        }
        (None, None) => match present {
            Some(present) => {
                return Ok(Prepared { spec: Spec::Secret(present.clone()), keeps: true, token: None });
            }
            None => return Err(Problem::field("/value", "a new secret needs its value")),
        },
    };
    let path = secret_path(name);
    let keyring = ctx.handle().keyring();
    // The same value sealed anew would look like a change.
    if let Some(present) = present
        && keyring.open(&path, &present.sealed).is_ok_and(|open| *open == *value)
    {
        return Ok(Prepared { spec: Spec::Secret(present.clone()), keeps: true, token: None });
    }
    let sealed = keyring.seal(&path, &value).map_err(|error| Problem::internal(&error))?;
    Ok(Prepared { spec: Spec::Secret(model::Secret { sealed }), keeps: false, token: None })
}

async fn prepare_user(ctx: &Context, user: User, existing: Option<&Object>) -> Result<Prepared, Problem> {
    let present = match existing.map(|object| &object.spec) {
        Some(Spec::User(user)) => Some(user),
        _ => None,
    };
    let role = user.role.into();
    let keep = |present: &model::User| Prepared {
        spec: Spec::User(model::User { role, password_hash: present.password_hash.clone() }),
        keeps: true,
        token: None,
    };
    let Some(password) = user.password else {
        let missing = || Problem::field("/password", "a new user needs a password");
        return present.map(keep).ok_or_else(missing);
    };
    if !PASSWORD_BYTES.contains(&password.len()) {
        return Err(Problem::field("/password", "a password takes 8 to 1024 bytes"));
    }
    if let Some(present) = present
        && verify_password(ctx, password.clone(), present.password_hash.clone()).await?
    {
        return Ok(keep(present));
    }
    let password_hash = hash_password(ctx, password).await?;
    Ok(Prepared { spec: Spec::User(model::User { role, password_hash }), keeps: false, token: None })
}

fn prepare_token(
    ctx: &Context,
    name: &Name,
    token: &Token,
    existing: Option<&Object>,
    seed: Option<RequestId>,
) -> Result<Prepared, Problem> {
    let present = match existing.map(|object| (&object.spec, &object.meta)) {
        Some((Spec::Token(token), meta)) => Some((token, meta)),
        _ => None,
    };
    // Counted from the creation, so that applying a document again changes nothing.
    let begin = present.map_or_else(|| ctx.now(), |(_, meta)| meta.created);
    let expires = token.expires.map(|expiry| match expiry {
        Expiry::At(time) => time.0,
        Expiry::After(span) => begin + span.0,
    });
    if present.is_none() && expires.is_some_and(|expires| expires <= ctx.now()) {
        return Err(Problem::field("/expires", "this is over already"));
    }
    let role = token.role.into();
    if let Some((present, _)) = present {
        let spec = Spec::Token(model::Token { role, hash: present.hash, expires });
        return Ok(Prepared { spec, keeps: true, token: None });
    }
    let text = token_text(ctx, "token", name, seed)?;
    let hash = hash_token(&text);
    let spec = Spec::Token(model::Token { role, hash, expires });
    Ok(Prepared { spec, keeps: false, token: Some(text) })
}

/// A secret of `N` = 32 bytes that all peers derive alike from a request, or a random one.
pub(crate) fn derive_secret(ctx: &Context, what: &str, seed: Option<RequestId>) -> Result<[u8; 32], Problem> {
    let Some(RequestId(seed)) = seed else {
        return rscaler_raft::secrets::random::<32>().map_err(|error| Problem::internal(&error));
    };
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, ctx.handle().keyring().authority_key());
    let mut context = ring::hmac::Context::with_key(&key);
    context.update(b"rscaler derived secret");
    context.update(&seed.to_be_bytes());
    context.update(what.as_bytes());
    let tag = context.sign();
    let mut secret = [0; 32];
    secret.copy_from_slice(tag.as_ref());
    Ok(secret)
}

/// The text of a new token.
pub(crate) fn token_text(
    ctx: &Context,
    what: &str,
    name: &Name,
    seed: Option<RequestId>,
) -> Result<String, Problem> {
    if seed.is_none() {
        return random_token().map_err(|error| Problem::internal(&error));
    }
    let secret = derive_secret(ctx, &format!("{what}/{name}"), seed)?;
    Ok(format!("rsc_{}", URL_SAFE_NO_PAD.encode(secret)))
}

fn argon2() -> Argon2<'static> {
    // 19 MiB, 2 passes: OWASP's first choice, and argon2's default.
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// Runs on its own threads, a few at once: a hash takes tens of milliseconds of a core.
async fn hashing<T: Send + 'static>(
    ctx: &Context,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let permit =
        Arc::clone(ctx.hashing()).acquire_owned().await.map_err(|error| Problem::internal(&error))?;
    tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    })
    .await
    .map_err(|error| Problem::internal(&error))
}

async fn hash_password(ctx: &Context, password: String) -> Result<String, Problem> {
    hashing(ctx, move || argon2().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
        .await?
        .map_err(|error| Problem::internal(&error))
}

/// Whether the password is the one of the hash.
pub(crate) async fn verify_password(ctx: &Context, password: String, hash: String) -> Result<bool, Problem> {
    hashing(ctx, move || {
        PasswordHash::new(&hash)
            .is_ok_and(|parsed| argon2().verify_password(password.as_bytes(), &parsed).is_ok())
    })
    .await
}

/// An object as a document.
pub(crate) fn render(name: &Name, object: &Object, detail: Detail) -> Result<Value, Problem> {
    let meta = &object.meta;
    let value = match &object.spec {
        Spec::Cluster(cluster) => serde_json::to_value(Resource::new(name, meta, Cluster::from(cluster))),
        Spec::Node(node) => serde_json::to_value(Resource::new(name, meta, Node::from(node))),
        Spec::SshProfile(profile) => {
            serde_json::to_value(Resource::new(name, meta, SshProfile::from(&**profile)))
        }
        Spec::JvmProfile(profile) => {
            serde_json::to_value(Resource::new(name, meta, JvmProfile::from(&**profile)))
        }
        Spec::Counter(counter) => serde_json::to_value(Resource::new(name, meta, Counter::from(&**counter))),
        Spec::Trigger(trigger) => serde_json::to_value(Resource::new(name, meta, Trigger::from(&**trigger))),
        Spec::Action(action) => serde_json::to_value(Resource::new(name, meta, Action::from(&**action))),
        Spec::File(file) => {
            let shown = if detail == Detail::Whole { File::whole(file) } else { File::summary(file) };
            serde_json::to_value(Resource::new(name, meta, shown))
        }
        Spec::Secret(_) => serde_json::to_value(Resource::new(name, meta, Secret::default())),
        Spec::User(user) => {
            serde_json::to_value(Resource::new(name, meta, User { role: user.role.into(), password: None }))
        }
        Spec::Token(token) => {
            let expires = token.expires.map(|at: Timestamp| Expiry::At(at.into()));
            serde_json::to_value(Resource::new(
                name,
                meta,
                Token { role: token.role.into(), expires, token: None },
            ))
        }
        Spec::MaintenanceWindow(window) => {
            serde_json::to_value(Resource::new(name, meta, MaintenanceWindow::from(window)))
        }
    };
    value.map_err(|error| Problem::internal(&error))
}

/// The hash of a password, as the state keeps it: for what creates users without the API.
///
/// # Errors
/// The system has no random bytes.
pub fn hash_first_password(password: &str) -> Result<String, String> {
    let hash = argon2().hash_password(password.as_bytes()).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}
