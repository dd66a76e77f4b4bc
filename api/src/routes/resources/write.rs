//! Creating, replacing, changing and deleting one object.

use std::sync::Arc;

use rscaler_raft::command::{Change, Changed, Command, Effect, Expect, Reply};
use rscaler_raft::model::{Kind, Meta, Name, Object, RequestId, Spec};
use rscaler_raft::secrets::hash_token;
use serde_json::Value;
use warp::http::StatusCode;
use warp::reply::Response;

use super::convert::{self, Fields, Prepared};
use super::{Detail, reply};
use crate::error::Problem;
use crate::request::{Guard, Request, labels, missing};
use crate::routes::endpoint::Answer;
use crate::types::{Draft, FieldError};

/// How often a write that keeps a part of the object is tried while others change it.
const TRIES_MAX: u32 = 8;

fn bytes_max(kind: Kind, request: &Request) -> usize {
    let limits = request.ctx.limits();
    if kind == Kind::File { limits.document_bytes_max } else { limits.body_bytes_max }
}

pub(super) async fn create(kind: Kind, mut request: Request) -> Answer {
    request.query()?.finish()?;
    let body = request.json_value(bytes_max(kind, &request), None).await?;
    let draft = convert::read(kind, body).map_err(Problem::invalid)?;
    let name = draft.name.clone().ok_or_else(|| Problem::field("/name", "this field is needed"))?;
    let seed = request.request_id(0)?;
    let prepared = convert::prepare(&request.ctx, &name, draft.spec, None, seed).await?;
    let labels = labels(draft.labels, None).map_err(|error| Problem::invalid(vec![error]))?;
    let meta = Carried { labels, description: draft.description };
    let changed = propose(&request, 0, &name, meta, &prepared, Expect::Absent).await?;
    let response = respond(&request, kind, &name, &changed, &prepared, StatusCode::CREATED).await?;
    Ok(reply::located(response, &format!("/api/v1/{}/{name}", kind.plural())))
}

pub(super) async fn put(kind: Kind, mut request: Request) -> Answer {
    request.query()?.finish()?;
    let name = request.name(0, kind)?;
    let guard = request.guard()?;
    let body = request.json_value(bytes_max(kind, &request), None).await?;
    let mut tried = 0;
    loop {
        let draft = read_named(kind, &name, body.clone())?;
        let existing = present(&request, kind, &name);
        match replace(&request, kind, &name, draft, existing, guard, tried).await {
            Err(problem) if problem.is_version_moved() && guard == Guard::None && tried + 1 < TRIES_MAX => {
                tried += 1;
            }
            // The answer of HTTP to a precondition that does not hold.
            Err(mut problem)
                if guard == Guard::Absent && problem.status == 409 && problem.code == "conflict" =>
            {
                problem.status = StatusCode::PRECONDITION_FAILED.as_u16();
                return Err(problem);
            }
            other => return other,
        }
    }
}

pub(super) async fn patch(kind: Kind, mut request: Request) -> Answer {
    request.query()?.finish()?;
    let name = request.name(0, kind)?;
    let guard = request.guard()?;
    if guard == Guard::Absent {
        return Err(Problem::malformed("a patch changes what is there: If-None-Match makes no sense"));
    }
    let patch = request.json_value(bytes_max(kind, &request), Some("application/merge-patch+json")).await?;
    if !patch.is_object() {
        return Err(Problem::field("", "a merge patch is an object"));
    }
    let mut tried = 0;
    loop {
        let existing = present(&request, kind, &name).ok_or_else(|| missing(kind, &name))?;
        let mut document = convert::render(&name, &existing, Detail::Whole)?;
        patch_file(&patch, &mut document);
        merge(&mut document, &patch);
        let draft = read_named(kind, &name, document)?;
        // What the patch was merged with must still be there.
        let guard_now = match guard {
            Guard::None | Guard::Present => Guard::Version(existing.meta.version),
            other => other,
        };
        match replace(&request, kind, &name, draft, Some(existing), guard_now, tried).await {
            Err(problem)
                if problem.is_version_moved()
                    && !matches!(guard, Guard::Version(_))
                    && tried + 1 < TRIES_MAX =>
            {
                tried += 1;
            }
            other => return other,
        }
    }
}

pub(super) async fn delete(kind: Kind, request: Request) -> Answer {
    request.query()?.finish()?;
    let name = request.name(0, kind)?;
    let expect = match request.guard()? {
        Guard::None | Guard::Present => Expect::Present,
        Guard::Version(version) => Expect::Version(version),
        Guard::Absent => return Err(Problem::malformed("what is absent cannot be deleted")),
    };
    let change = Change::Delete { kind, name: name.clone(), expect };
    request.submit(0, Command::Configure(vec![change])).await?;
    request.ctx.wait_for(|state| state.object(kind, &name).is_none().then_some(())).await;
    reply::no_content()
}

/// Reads a document whose name the path says.
fn read_named(kind: Kind, name: &Name, body: Value) -> Result<Draft<Fields>, Problem> {
    let draft = convert::read(kind, body).map_err(Problem::invalid)?;
    match &draft.name {
        Some(said) if said != name => Err(Problem::field(
            "/name",
            format!("the path says `{name}`, the body `{said}`: a name does not change"),
        )),
        _ => Ok(draft),
    }
}

fn present(request: &Request, kind: Kind, name: &Name) -> Option<Arc<Object>> {
    request.ctx.handle().read(|state| state.object(kind, name).cloned())
}

async fn replace(
    request: &Request,
    kind: Kind,
    name: &Name,
    draft: Draft<Fields>,
    existing: Option<Arc<Object>>,
    guard: Guard,
    tried: u32,
) -> Answer {
    let seed = request.request_id(tried)?;
    let prepared = convert::prepare(&request.ctx, name, draft.spec, existing.as_deref(), seed).await?;
    let expect = match (guard, &existing) {
        (Guard::None, Some(existing)) if prepared.keeps => Expect::Version(existing.meta.version),
        // Another may create the token meanwhile: its text must not change under whoever was given it.
        (Guard::None, None) if prepared.token.is_some() => Expect::Absent,
        _ => guard.expect(),
    };
    let labels = labels(draft.labels, existing.as_deref()).map_err(|error| Problem::invalid(vec![error]))?;
    let meta = Carried { labels, description: draft.description };
    let changed = propose(request, tried, name, meta, &prepared, expect).await?;
    let status = if changed.effect == Effect::Created { StatusCode::CREATED } else { StatusCode::OK };
    let response = respond(request, kind, name, &changed, &prepared, status).await?;
    Ok(match status {
        StatusCode::CREATED => reply::located(response, &format!("/api/v1/{}/{name}", kind.plural())),
        _ => response,
    })
}

/// What every object carries beside its fields.
struct Carried {
    labels: std::collections::BTreeMap<String, String>,
    description: String,
}

async fn propose(
    request: &Request,
    part: u32,
    name: &Name,
    carried: Carried,
    prepared: &Prepared,
    expect: Expect,
) -> Result<Changed, Problem> {
    let change = Change::Put {
        name: name.clone(),
        spec: prepared.spec.clone(),
        labels: carried.labels,
        description: carried.description,
        expect,
    };
    match request.submit(part, Command::Configure(vec![change])).await? {
        Reply::Configured(changed) => {
            changed.into_iter().next().ok_or_else(|| Problem::internal(&"a change without an effect"))
        }
        other => Err(Problem::internal(&format!("an unexpected reply: {other:?}"))),
    }
}

/// Shows the object as the change left it, or as it is by now.
async fn respond(
    request: &Request,
    kind: Kind,
    name: &Name,
    changed: &Changed,
    prepared: &Prepared,
    status: StatusCode,
) -> Result<Response, Problem> {
    let version = changed.version;
    let object = request
        .ctx
        .wait_for(|state| state.object(kind, name).filter(|object| object.meta.version >= version).cloned())
        .await;
    let Some(object) = object else {
        // It was acknowledged, and is gone again or not seen here yet: what was put is still true.
        let now = request.ctx.now();
        let meta = Meta { version, created: now, updated: now, ..Meta::default() };
        let put = Object { meta, spec: prepared.spec.clone() };
        let mut body = convert::render(name, &put, Detail::Whole)?;
        show_token(&mut body, &put.spec, prepared.token.as_deref());
        return reply::object(status, &body, version);
    };
    let mut body = convert::render(name, &object, Detail::Whole)?;
    show_token(&mut body, &object.spec, prepared.token.as_deref());
    reply::object(status, &body, object.meta.version)
}

/// Adds a new token's text, once.
fn show_token(body: &mut Value, spec: &Spec, text: Option<&str>) {
    if let (Spec::Token(token), Some(text)) = (spec, text)
        && token.hash == hash_token(text)
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("token".to_string(), Value::from(text));
    }
}

/// A patch that gives one form of a file's content takes the other away.
fn patch_file(patch: &Value, document: &mut Value) {
    let (Some(patch), Some(fields)) = (patch.as_object(), document.as_object_mut()) else { return };
    if patch.contains_key("content") || patch.contains_key("content_base64") {
        fields.remove("content");
        fields.remove("content_base64");
    }
    for made in ["bytes", "sha256"] {
        fields.remove(made);
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The names of requests that are parts of one.
pub(super) fn seed_of(request: &Request) -> Result<Option<RequestId>, Problem> {
    request.request_id(0)
}

/// Puts a document's position before its pointers.
pub(super) fn at_document(position: usize, errors: Vec<FieldError>) -> Vec<FieldError> {
    errors
        .into_iter()
        .map(|error| FieldError::new(format!("/{position}{}", error.pointer), error.detail))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merging_follows_the_rfc() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut target = target;
            merge(&mut target, &patch);
            assert_eq!(target, expected);
        }
    }
}
