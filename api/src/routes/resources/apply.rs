//! Many documents at once: all or nothing, in one entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rscaler_raft::command::{Change, Changed, Command, Effect, Expect, Reply};
use rscaler_raft::handle::SubmitError;
use rscaler_raft::model::{Kind, Name, Object, Spec};
use rscaler_raft::secrets::hash_token;
use serde_json::Value;
use utoipa::openapi::Required;

use super::convert::{self, Detail};
use super::documents::{self, Documents, Wanted};
use super::reply;
use super::write::{at_document, seed_of};
use crate::auth::{self, Access};
use crate::error::Problem;
use crate::request::{Request, Selector, labels};
use crate::routes::endpoint::{Answer, Endpoint};
use crate::types::{Applied, ApplyAnswer, Difference};

/// How often an apply is made anew while others change what it touches.
const TRIES_MAX: u32 = 5;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/apply", Access::ADMIN, "Applies many documents at once", apply)
            .describe(
                "All of them or none, in one entry. Each document says its `kind`. With `dry_run` nothing is changed \
                 and the difference is answered. With `prune`, objects that no document names are removed; users and \
                 tokens never are, and secrets only where the documents hold some.",
            )
            .query("dry_run", "`true`: answer the difference, change nothing.")
            .query("prune", "`true`: remove what is absent.")
            .query("selector", "With `prune`: remove only objects with these labels.")
            .body_as::<Documents>(&["application/yaml", "application/json"], Required::True)
            .answers::<ApplyAnswer>(200, "What was done, or would be."),
    ]
}

async fn apply(mut request: Request) -> Answer {
    let mut query = request.query()?;
    let dry_run = query.flag("dry_run")?;
    let prune = query.flag("prune")?;
    let selector = query.value::<Selector>("selector")?;
    query.finish()?;
    if selector.is_some() && !prune {
        return Err(Problem::malformed("parameter `selector` goes with `prune=true`"));
    }
    let media = request.media_type()?;
    let body = request.bytes(request.ctx.limits().document_bytes_max).await?;
    // Some MiB of YAML keep a thread busy for a while, and take much more memory than they are long.
    let place = request.ctx.parsing().acquire().await.map_err(|error| Problem::internal(&error))?;
    let read = tokio::task::spawn_blocking(move || documents::read(media.as_deref(), &body));
    let wanted = read.await.map_err(|error| Problem::internal(&error))??;
    drop(place);
    if prune {
        // What this peer has not applied yet must not look absent.
        request.ctx.handle().linearize().await.map_err(Problem::from)?;
    }
    let mut tried = 0;
    loop {
        let plan = plan(&request, &wanted, prune.then(|| selector.clone().unwrap_or_default())).await?;
        if dry_run {
            return preview(&request, &plan);
        }
        match carry_out(&request, &plan, tried).await {
            Err(problem) if problem.is_version_moved() && tried + 1 < TRIES_MAX => tried += 1,
            other => return other,
        }
    }
}

/// What is to be changed, and the texts of new tokens by position.
struct Plan {
    changes: Vec<Change>,
    tokens: BTreeMap<usize, String>,
}

async fn plan(request: &Request, wanted: &[Wanted], prune: Option<Selector>) -> Result<Plan, Problem> {
    let seed = seed_of(request)?;
    let mut plan = Plan { changes: Vec::new(), tokens: BTreeMap::new() };
    let mut errors = Vec::new();
    for (position, document) in wanted.iter().enumerate() {
        let Wanted { kind, name, body } = document;
        let draft = match convert::read(*kind, body.clone()) {
            Ok(draft) => draft,
            Err(found) => {
                errors.extend(at_document(position, found));
                continue;
            }
        };
        let existing = request.ctx.handle().read(|state| state.object(*kind, name).cloned());
        let labels = match labels(draft.labels, existing.as_deref()) {
            Ok(labels) => labels,
            Err(error) => {
                errors.extend(at_document(position, vec![error]));
                continue;
            }
        };
        let prepared = match convert::prepare(&request.ctx, name, draft.spec, existing.as_deref(), seed).await
        {
            Ok(prepared) => prepared,
            Err(problem) if !problem.errors.is_empty() => {
                errors.extend(at_document(position, problem.errors));
                continue;
            }
            Err(problem) => return Err(problem),
        };
        let expect = match &existing {
            Some(existing) if prepared.keeps => Expect::Version(existing.meta.version),
            None if prepared.token.is_some() => Expect::Absent,
            _ => Expect::Any,
        };
        if let Some(text) = prepared.token {
            plan.tokens.insert(position, text);
        }
        plan.changes.push(Change::Put {
            name: name.clone(),
            spec: prepared.spec,
            labels,
            description: draft.description,
            expect,
        });
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    if let Some(selector) = prune {
        plan.changes.extend(absent(request, wanted, &selector));
    }
    Ok(plan)
}

/// Removes what no document names. Nobody is locked out by a file that says nothing of users and tokens.
fn absent(request: &Request, wanted: &[Wanted], selector: &Selector) -> Vec<Change> {
    let named: BTreeSet<(Kind, &Name)> =
        wanted.iter().map(|document| (document.kind, &document.name)).collect();
    let holds_secrets = wanted.iter().any(|document| document.kind == Kind::Secret);
    request.ctx.handle().read(|state| {
        Kind::ALL
            .into_iter()
            .filter(|kind| match kind {
                Kind::User | Kind::Token => false,
                Kind::Secret => holds_secrets,
                _ => true,
            })
            .flat_map(|kind| state.objects_of(kind).map(move |(name, object)| (kind, name, object)))
            .filter(|(kind, name, _)| !named.contains(&(*kind, *name)))
            .filter(|(_, _, object)| selector.matches(&object.meta.labels) && !auth::is_login(object))
            .map(|(kind, name, object)| Change::Delete {
                kind,
                name: name.clone(),
                expect: Expect::Version(object.meta.version),
            })
            .collect()
    })
}

fn preview(request: &Request, plan: &Plan) -> Answer {
    let preview =
        request.ctx.handle().read(|state| state.preview(&plan.changes)).map_err(Problem::of_documents)?;
    let mut changes = Vec::new();
    for (changed, (before, after)) in preview.changed.iter().zip(&preview.objects) {
        let mut applied = shown(changed);
        if changed.effect == Effect::Updated {
            applied.diff = difference(&changed.name, before.as_ref(), after.as_ref())?;
        }
        changes.push(applied);
    }
    reply::ok(&ApplyAnswer { dry_run: true, changes })
}

async fn carry_out(request: &Request, plan: &Plan, tried: u32) -> Answer {
    let reply = match request.propose(tried, Command::Configure(plan.changes.clone())).await? {
        Ok(reply) => reply,
        Err(SubmitError::Rejected(rejection)) => return Err(Problem::of_documents(rejection)),
        Err(error) => return Err(error.into()),
    };
    let Reply::Configured(changed) = reply else {
        return Err(Problem::internal(&"an unexpected reply to an apply"));
    };
    if let Some(last) = changed.iter().rev().find(|changed| changed.effect != Effect::Unchanged) {
        let seen = |state: &rscaler_raft::state::State| {
            let object = state.object(last.kind, &last.name);
            let there = match last.effect {
                Effect::Deleted => object.is_none(),
                _ => object.is_some_and(|object| object.meta.version >= last.version),
            };
            there.then_some(())
        };
        request.ctx.wait_for(seen).await;
    }
    let mut changes: Vec<Applied> = changed.iter().map(shown).collect();
    for (position, text) in &plan.tokens {
        if let (Some(applied), Some(changed)) = (changes.get_mut(*position), changed.get(*position))
            && changed.effect == Effect::Created
            && is_text_of(request, &changed.name, text)
        {
            applied.token = Some(text.clone());
        }
    }
    reply::ok(&ApplyAnswer { dry_run: false, changes })
}

fn is_text_of(request: &Request, name: &Name, text: &str) -> bool {
    let hash = hash_token(text);
    request.ctx.handle().read(|state| match state.spec(Kind::Token, name) {
        Some(Spec::Token(token)) => token.hash == hash,
        _ => false,
    })
}

fn shown(changed: &Changed) -> Applied {
    let effect = match changed.effect {
        Effect::Created => "created",
        Effect::Updated => "updated",
        Effect::Unchanged => "unchanged",
        Effect::Deleted => "deleted",
    };
    Applied {
        kind: changed.kind.as_str().to_string(),
        name: changed.name.to_string(),
        effect: effect.to_string(),
        version: changed.version,
        diff: Vec::new(),
        token: None,
    }
}

/// What differs between two versions of an object. What may not be shown is `***`.
fn difference(
    name: &Name,
    before: Option<&Arc<Object>>,
    after: Option<&Arc<Object>>,
) -> Result<Vec<Difference>, Problem> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    let render = |object: &Object| -> Result<Value, Problem> {
        let mut value = convert::render(name, object, Detail::Whole)?;
        if let Some(fields) = value.as_object_mut() {
            for made in ["version", "created", "updated", "bytes", "sha256"] {
                fields.remove(made);
            }
        }
        Ok(value)
    };
    compare("", &render(before)?, &render(after)?, &mut out);
    let hidden = match (&before.spec, &after.spec) {
        (Spec::Secret(before), Spec::Secret(after)) if before != after => Some("/value"),
        (Spec::User(before), Spec::User(after)) if before.password_hash != after.password_hash => {
            Some("/password")
        }
        _ => None,
    };
    if let Some(pointer) = hidden {
        let stars = Some(Value::from("***"));
        out.push(Difference { pointer: pointer.to_string(), before: stars.clone(), after: stars });
    }
    Ok(out)
}

fn compare(pointer: &str, before: &Value, after: &Value, out: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        let pointer = pointer.to_string();
        out.push(Difference { pointer, before: Some(before.clone()), after: Some(after.clone()) });
        return;
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => compare(&pointer, old, new, out),
            (old, new) => out.push(Difference { pointer, before: old.cloned(), after: new.cloned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_field_by_field() {
        let mut out = Vec::new();
        compare(
            "",
            &json!({"a": 1, "b": {"c": [1]}, "d": 1}),
            &json!({"a": 2, "b": {"c": [2]}, "e": 1}),
            &mut out,
        );
        let pointers: Vec<&str> = out.iter().map(|difference| difference.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a", "/b/c", "/d", "/e"]);
        assert_eq!((out[2].before.clone(), out[2].after.clone()), (Some(json!(1)), None));
    }
}
