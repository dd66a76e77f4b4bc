//! Configuration objects: the same routes for every kind.

mod apply;
mod convert;
mod documents;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod write;

use std::str::FromStr;
use std::sync::Arc;

use rscaler_raft::model::{ClusterSelector, CounterSource, Kind, Name, Object, Spec, WindowScope};
use rscaler_raft::state::State;
use utoipa::ToSchema;
use utoipa::openapi::Required;
use warp::http::StatusCode;
use warp::reply::Reply as _;

pub use convert::hash_first_password;
pub(crate) use convert::{Detail, derive_secret, render, token_text, verify_password};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::fuzz_documents;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
use crate::error::Problem;
use crate::request::{Query, Request, Selector, missing};
use crate::types::{
    Action, Cluster, Counter, Document, File, JvmProfile, List, MaintenanceWindow, Node, Patch, Resource,
    Secret, SshProfile, Token, Trigger, User,
};

/// About how large a page may be.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// The routes of all kinds, and apply.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    let mut all = apply::endpoints();
    all.extend(kind::<Cluster>());
    all.extend(kind::<Node>());
    all.extend(kind::<SshProfile>());
    all.extend(kind::<JvmProfile>());
    all.extend(kind::<Counter>());
    all.extend(kind::<Trigger>());
    all.extend(kind::<Action>());
    all.extend(kind::<File>());
    all.extend(kind::<Secret>());
    all.extend(kind::<User>());
    all.extend(kind::<Token>());
    all.extend(kind::<MaintenanceWindow>());
    all
}

fn kind<T: Document + ToSchema>() -> Vec<Endpoint> {
    let kind = T::KIND;
    let many = format!("/api/v1/{}", kind.plural());
    let one = format!("{many}/{{name}}");
    let mut list =
        Endpoint::get(&many, Access::VIEWER, &format!("Lists {}, by name", kind.plural()), move |request| {
            list(kind, request)
        })
        .pages()
        .query("selector", "Labels they must carry: `app=web,tier!=db,owner,!old`.");
    for (filter, description) in filters(kind) {
        list = list.query(filter, description);
    }
    let a = if kind.as_str().starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    vec![
        list.answers::<List<Resource<T>>>(200, "A page."),
        Endpoint::post(&many, Access::ADMIN, &format!("Creates {a} {kind}"), move |request| {
            write::create(kind, request)
        })
        .body::<Resource<T>>()
        .answers::<Resource<T>>(201, "It is created; `Location` says where."),
        Endpoint::get(&one, Access::VIEWER, &format!("Shows {a} {kind}"), move |request| show(kind, request))
            .header("If-None-Match", "Answers 304 while the object has this ETag.")
            .answers::<Resource<T>>(200, "The object, with its ETag.")
            .answers_nothing(304, "It is as the client knows it."),
        Endpoint::put(&one, Access::ADMIN, &format!("Creates or replaces {a} {kind}"), move |request| {
            write::put(kind, request)
        })
        .guarded()
        .header("If-None-Match", "`*`: only if there is none yet.")
        .body::<Resource<T>>()
        .answers::<Resource<T>>(200, "It is replaced, or was so already.")
        .answers::<Resource<T>>(201, "It is created."),
        Endpoint::patch(&one, Access::ADMIN, &format!("Changes fields of {a} {kind}"), move |request| {
            write::patch(kind, request)
        })
        .describe("The body is a JSON merge patch (RFC 7396): fields that it names are replaced, `null` removes one.")
        .guarded()
        .body_as::<Patch<Resource<T>>>(&["application/merge-patch+json", "application/json"], Required::True)
        .answers::<Resource<T>>(200, "It is changed, or was so already."),
        Endpoint::delete(&one, Access::ADMIN, &format!("Deletes {a} {kind}"), move |request| {
            write::delete(kind, request)
        })
        .guarded()
        .answers_nothing(204, "It is gone."),
    ]
}

/// What a kind's list can be narrowed by, beside labels.
fn filters(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Node => &[
            ("cluster", "Only nodes of this cluster."),
            ("ssh_profile", "Only nodes that use this SSH profile."),
            ("jvm", "Only nodes that have a JVM of this profile."),
        ],
        Kind::Counter => &[
            ("cluster", "Only counters collected on this cluster."),
            ("type", "Only counters of this type."),
        ],
        Kind::Trigger => &[
            ("cluster", "Only triggers of this cluster."),
            ("counter", "Only triggers that read this counter."),
        ],
        Kind::Action => &[("type", "Only actions of this type.")],
        Kind::MaintenanceWindow => &[("cluster", "Only windows of this cluster or its nodes.")],
        Kind::User | Kind::Token => &[("role", "Only with this role.")],
        Kind::Cluster | Kind::SshProfile | Kind::JvmProfile | Kind::File | Kind::Secret => &[],
    }
}

/// Whether an object passes a filter of its kind.
fn passes(state: &State, object: &Object, filter: &str, wanted: &str) -> bool {
    let named = |name: &Name| name.as_str() == wanted;
    match (&object.spec, filter) {
        (Spec::Node(node), "cluster") => named(&node.cluster),
        (Spec::Node(node), "ssh_profile") => node.ssh_profile.as_ref().is_some_and(named),
        (Spec::Node(node), "jvm") => node.jvms.iter().any(named),
        (Spec::Counter(counter), "cluster") => counter.clusters.iter().any(|selector| match selector {
            ClusterSelector::All => true,
            ClusterSelector::Named(name) => named(name),
        }),
        (Spec::Counter(counter), "type") => match counter.source {
            CounterSource::Ssh(_) => wanted == "ssh",
            CounterSource::Push => wanted == "push",
            CounterSource::Jmx(_) => wanted == "jmx",
        },
        (Spec::Trigger(trigger), "cluster") => named(&trigger.cluster),
        (Spec::Trigger(trigger), "counter") => {
            trigger.conditions.iter().any(|condition| named(&condition.counter))
        }
        (Spec::Action(action), "type") => action.kind.as_str() == wanted,
        (Spec::MaintenanceWindow(window), "cluster") => match &window.scope {
            WindowScope::Cluster(cluster) => named(cluster),
            WindowScope::Node(node) => state.node(node).is_some_and(|node| named(&node.cluster)),
        },
        (Spec::User(user), "role") => crate::types::Role::from(user.role).as_str() == wanted,
        (Spec::Token(token), "role") => crate::types::Role::from(token.role).as_str() == wanted,
        _ => true,
    }
}

async fn list(kind: Kind, request: Request) -> Answer {
    let mut query = request.query()?;
    let limit = query.limit()?;
    let cursor = cursor::<Name>(&mut query)?;
    let selector = query.value::<Selector>("selector")?.unwrap_or_default();
    let wanted: Vec<(&str, String)> =
        filters(kind).iter().filter_map(|(key, _)| query.text(key).map(|value| (*key, value))).collect();
    query.finish()?;
    let mut found: Vec<(Name, Arc<Object>)> = request.ctx.handle().read(|state| {
        state
            .objects_of(kind)
            .filter(|(name, _)| cursor.as_ref().is_none_or(|cursor| *name > cursor))
            .filter(|(_, object)| selector.matches(&object.meta.labels))
            .filter(|(_, object)| wanted.iter().all(|(key, value)| passes(state, object, key, value)))
            .take(limit + 1)
            .map(|(name, object)| (name.clone(), Arc::clone(object)))
            .collect()
    });
    let mut more = found.len() > limit;
    found.truncate(limit);
    let mut items = Vec::new();
    let mut bytes = 0;
    for (name, object) in &found {
        // Objects may hold scripts of a MiB: a page ends early rather than grow without end.
        if bytes > PAGE_BYTES_MAX {
            more = true;
            break;
        }
        let item = render(name, object, Detail::Summary)?;
        bytes += weight(&item);
        items.push(item);
    }
    let last = items.len().checked_sub(1).and_then(|last| found.get(last));
    let next = if more { last.map(|(name, _)| name.to_string()) } else { None };
    reply::ok(&List { items, next })
}

/// About how many bytes a value takes.
fn weight(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len() + 2,
        serde_json::Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum::<usize>() + 2
        }
        _ => 8,
    }
}

/// Where the last page ended.
pub(crate) fn cursor<T: FromStr>(query: &mut Query) -> Result<Option<T>, Problem> {
    query
        .text("cursor")
        .map(|text| {
            text.parse().map_err(|_| Problem::malformed("parameter `cursor` is the `next` of the last page"))
        })
        .transpose()
}

async fn show(kind: Kind, request: Request) -> Answer {
    let name = request.name(0, kind)?;
    request.query()?.finish()?;
    let object = request.ctx.handle().read(|state| state.object(kind, &name).cloned());
    let object = object.ok_or_else(|| missing(kind, &name))?;
    if request.has_version(object.meta.version) {
        let mut response = warp::reply().into_response();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    reply::object(StatusCode::OK, &render(&name, &object, Detail::Whole)?, object.meta.version)
}
