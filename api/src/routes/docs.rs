//! The API's description of itself, and the embedded UI.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderValue, header};
use warp::reply::Response;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
use crate::context::Context;
use crate::openapi;
use crate::request::Request;

const PAGE: &str = include_str!("docs/page.html");
const SCRIPT: &str = include_str!("docs/page.js");
const STYLE: &str = include_str!("docs/page.css");
/// Nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/openapi.json", Access::Public, "This description", description).answers_as(
            200,
            "OpenAPI 3.1.",
            "application/json",
        ),
        Endpoint::get("/api/docs", Access::Public, "This description, to be read", page).answers_as(
            200,
            "A page.",
            "text/html",
        ),
        Endpoint::get("/api/docs/page.js", Access::Public, "The page's script", script).answers_as(
            200,
            "JavaScript.",
            "text/javascript",
        ),
        Endpoint::get("/api/docs/page.css", Access::Public, "The page's style", style)
            .answers_as(200, "CSS.", "text/css"),
    ]
}

async fn description(request: Request) -> Answer {
    request.query()?.finish()?;
    reply::text("application/json", openapi::text().to_vec())
}

async fn page(request: Request) -> Answer {
    request.query()?.finish()?;
    let mut response = reply::text("text/html; charset=utf-8", PAGE)?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

async fn script(request: Request) -> Answer {
    request.query()?.finish()?;
    reply::text("text/javascript; charset=utf-8", SCRIPT)
}

async fn style(request: Request) -> Answer {
    request.query()?.finish()?;
    reply::text("text/css; charset=utf-8", STYLE)
}

/// Files of the UI; its start page for whatever a browser asks for that no route has.
pub(crate) fn assets(ctx: Context) -> BoxedFilter<(Response,)> {
    warp::get()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and_then(move |path: warp::path::FullPath, headers: HeaderMap| {
            let found = asset(&ctx, path.as_str(), &headers);
            async move { found.ok_or_else(warp::reject::not_found) }
        })
        .boxed()
}

fn asset(ctx: &Context, path: &str, headers: &HeaderMap) -> Option<Response> {
    let path = path.trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return None;
    }
    let said = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
    let encodings = said(header::ACCEPT_ENCODING);
    let (file, shown) = match rscaler_ui::asset(path, encodings) {
        Some(file) => (file, if path.is_empty() { "index.html" } else { path }),
        None if said(header::ACCEPT).contains("text/html") => {
            (rscaler_ui::asset("", encodings)?, "index.html")
        }
        None => return None,
    };
    let mut response = reply::text(media_type(shown), file.content.into_owned()).ok()?;
    let headers = response.headers_mut();
    let cache = if file.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Some(encoding) = file.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if shown == "index.html" {
        let policy = HeaderValue::from_str(&page_policy(ctx)).ok()?;
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
    Some(response)
}

/// What the UI's page may do: no script but its own files. Its components set styles in place, and it asks the other
/// peers whether they are ready, when its own does not answer.
fn page_policy(ctx: &Context) -> String {
    let peers: Vec<String> =
        ctx.handle().read(|state| state.peers().filter_map(|(_, peer)| origin(&peer.api_url)).collect());
    format!(
        "default-src 'self'; connect-src 'self' {}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        peers.join(" ")
    )
}

/// The origin of a URL, where it is one that can stand in a policy.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let is_origin = ["http", "https"].contains(&scheme) && !host.is_empty() && host.chars().all(is_plain);
    is_origin.then(|| format!("{scheme}://{host}"))
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::origin;

    #[test]
    fn only_plain_origins_stand_in_a_policy() {
        assert_eq!(origin("https://10.0.0.1:7700/x").unwrap(), "https://10.0.0.1:7700");
        assert_eq!(origin("http://[::1]:7700").unwrap(), "http://[::1]:7700");
        for bad in ["10.0.0.1:7700", "ftp://a", "http://", "http://a; script-src *", "http://a b"] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }
}
