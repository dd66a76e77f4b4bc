//! Every endpoint, by file.
//!
//! | file | endpoints |
//! | --- | --- |
//! | `resources` | `GET POST /api/v1/{kind}`, `GET PUT PATCH DELETE /api/v1/{kind}/{name}`, `POST /api/v1/apply` |
//! | `files` | `GET /api/v1/files/{name}/versions`, `GET PUT /api/v1/files/{name}/content` |
//! | `puts` | `POST /api/v1/puts`: contents of files, one after the other |
//! | `nodes` | `GET PUT DELETE /api/v1/nodes/{name}/host-keys`, `GET /api/v1/nodes/{name}/checks`, `GET /api/v1/checks` |
//! | `jvms` | `GET /api/v1/nodes/{name}/jvms/{jvm}/mbeans` |
//! | `samples` | `GET /api/v1/series`, `GET /api/v1/clusters/{name}/counters/{counter}/samples` and of nodes and JVMs |
//! | `push` | `POST /api/v1/samples` |
//! | `act` | `POST /api/v1/clusters/{name}/run`, `/nodes/{name}/run` |
//! | `runs` | `GET /api/v1/runs`, `/runs/{id}`, `/tasks`, `/tasks/{id}`; `POST .../cancel`, `/runs/{id}/retry` |
//! | `output` | `GET /api/v1/tasks/{id}/output` |
//! | `triggers` | `GET /api/v1/triggers/{name}/state`, `POST .../execute`, `.../test` |
//! | `events` | `GET /api/v1/events` |
//! | `peers` | `GET /api/v1/peers`, `POST /peers/{id}/promote`, `/demote`, `DELETE /peers/{id}`, `POST /peers/leader`, `/peers/join-tokens`, `GET /backup` |
//! | `settings` | `GET PATCH /api/v1/settings` |
//! | `watch` | `GET /api/v1/watch` |
//! | `login` | `POST /api/v1/login`, `/logout`, `GET /whoami` |
//! | `session` | `POST GET /api/v1/session` |
//! | `health` | `GET /healthz`, `/readyz`, `/metrics` |
//! | `docs` | `GET /api/openapi.json`, `/api/docs`, the UI |
//!
//! A handler is an `async fn` from a [`Request`](crate::request::Request) to an answer or a problem.

pub(crate) mod endpoint;
mod reply;
mod stream;

mod act;
mod docs;
mod events;
mod files;
mod health;
mod jvms;
mod login;
mod nodes;
mod output;
mod peers;
mod push;
mod puts;
mod resources;
mod runs;
mod samples;
mod session;
mod settings;
mod triggers;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, header};
use warp::reply::Response;

use crate::context::Context;
use crate::error::Problem;
use crate::request::RequestName;
use endpoint::Endpoint;
pub use resources::hash_first_password as hash_password;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use {push::fuzz_pushed, puts::fuzz_puts, resources::fuzz_documents, samples::fuzz_queries};

/// Every endpoint there is.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    [
        resources::endpoints(),
        files::endpoints(),
        puts::endpoints(),
        nodes::endpoints(),
        jvms::endpoints(),
        act::endpoints(),
        samples::endpoints(),
        runs::endpoints(),
        output::endpoints(),
        triggers::endpoints(),
        events::endpoints(),
        peers::endpoints(),
        settings::endpoints(),
        watch::endpoints(),
        login::endpoints(),
        session::endpoints(),
        health::endpoints(),
        docs::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The whole API as one filter. It rejects nothing: what no route has is answered too.
pub(crate) fn filter(ctx: &Context) -> BoxedFilter<(Response,)> {
    let endpoints: Vec<Arc<Endpoint>> = endpoints().into_iter().map(Arc::new).collect();
    // Grouped by the first segments, so that a request is compared with a dozen routes and not with all.
    let mut groups: BTreeMap<Vec<String>, Vec<Arc<Endpoint>>> = BTreeMap::new();
    for endpoint in &endpoints {
        let fixed = endpoint.path.split('/').filter(|segment| !segment.is_empty()).take(3);
        let key = fixed.take_while(|segment| !segment.starts_with('{')).map(str::to_string).collect();
        groups.entry(key).or_default().push(Arc::clone(endpoint));
    }
    let mut all = docs::assets(ctx.clone());
    for (prefix, group) in groups {
        let skip = prefix.len();
        let mut guard = warp::any().boxed();
        for segment in prefix {
            guard = guard.and(warp::path(segment)).boxed();
        }
        // Fixed paths first: `/peers/leader` is no peer.
        let mut group = group;
        group.sort_by_key(|endpoint| endpoint.path.contains('{'));
        let routes = group.into_iter().map(|endpoint| endpoint.filter(ctx.clone(), skip));
        let Some(routes) = routes.reduce(|routes, route| routes.or(route).unify().boxed()) else { continue };
        all = guard.and(routes).or(all).unify().boxed();
    }
    let templates: Arc<[(Method, Arc<str>)]> =
        endpoints.iter().map(|endpoint| (endpoint.method.clone(), Arc::clone(&endpoint.path))).collect();
    let otherwise = warp::method()
        .and(warp::path::full())
        .and(warp::ext::optional::<RequestName>())
        .map(move |method: Method, path: warp::path::FullPath, name: Option<RequestName>| {
            unknown(&templates, &method, path.as_str(), name)
        })
        .boxed();
    all.or(otherwise).unify().boxed()
}

/// What no route has: 405 where the path is known with other methods, 404 otherwise.
fn unknown(
    templates: &[(Method, Arc<str>)],
    method: &Method,
    path: &str,
    name: Option<RequestName>,
) -> Response {
    let allowed: Vec<&str> = templates
        .iter()
        .filter(|(_, template)| fits(template, path))
        .map(|(method, _)| method.as_str())
        .collect();
    let mut problem = if allowed.is_empty() {
        let path: String = path.chars().take(200).collect();
        Problem::new(
            warp::http::StatusCode::NOT_FOUND,
            "not_found",
            format!("there is nothing at `{path}`; /api/docs shows what there is"),
        )
    } else {
        Problem::new(
            warp::http::StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{method} is not possible here; possible: {}", allowed.join(", ")),
        )
    };
    problem.request_id = name.map_or_else(String::new, |name| name.0.to_string());
    let mut response = problem.into_response();
    if !allowed.is_empty()
        && let Ok(allow) = HeaderValue::from_str(&allowed.join(", "))
    {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Whether a path is one of a template's.
fn fits(template: &str, path: &str) -> bool {
    let mut wanted = template.split('/');
    let mut found = path.split('/');
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted.starts_with('{') && !found.is_empty() => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn templates_fit_their_paths() {
        assert!(fits("/a/{b}/c", "/a/x/c"));
        for other in ["/a/x", "/a//c", "/a/x/c/", "/a/x/d", "/"] {
            assert!(!fits("/a/{b}/c", other), "{other}");
        }
    }
}
