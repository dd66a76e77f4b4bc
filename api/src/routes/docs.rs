//! The API's description of itself, and the embedded UI.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderValue, header};
use warp::reply::Response;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
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
pub(crate) fn assets() -> BoxedFilter<(Response,)> {
    warp::get()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and_then(|path: warp::path::FullPath, headers: HeaderMap| async move {
            asset(path.as_str(), &headers).ok_or_else(warp::reject::not_found)
        })
        .boxed()
}

fn asset(path: &str, headers: &HeaderMap) -> Option<Response> {
    let path = path.trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return None;
    }
    let wants_page = || {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    };
    let (file, shown) = match rscaler_ui::asset(path) {
        Some(file) => (file, if path.is_empty() { "index.html" } else { path }),
        None if wants_page() => (rscaler_ui::asset("")?, "index.html"),
        None => return None,
    };
    let mut response = reply::text(media_type(shown), file.content.into_owned()).ok()?;
    let headers = response.headers_mut();
    let cache = if file.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY_UI));
    Some(response)
}

/// The UI's components set styles in place.
const POLICY_UI: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

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
