//! The description of the API, made of its endpoints.

use std::sync::OnceLock;

use utoipa::openapi::schema::Components;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths};
use warp::http::Method;

use crate::routes;

const INTRODUCTION: &str = "Everything is JSON in UTF-8. A list is `{\"items\": [...], \"next\": cursor or null}`. A \
resource is one flat object; `version` is its ETag, and `If-Match` guards writes. Durations are strings (`90s`, `5m`), \
timestamps RFC 3339 in resources and ms since the epoch in samples. Unknown fields and parameters are errors. Errors \
are RFC 9457 problems with a stable `code`. Every answer says in `X-Rscaler-Applied` up to which log index it has seen \
the state, and in `X-Request-Id` how the peer's log names the request. Any peer answers any request.";

/// The description.
pub fn describe() -> OpenApi {
    let mut paths = Paths::new();
    let mut components = Components::new();
    for endpoint in routes::endpoints() {
        let item = paths.paths.entry(endpoint.path.to_string()).or_default();
        let place = match endpoint.method {
            Method::POST => &mut item.post,
            Method::PUT => &mut item.put,
            Method::PATCH => &mut item.patch,
            Method::DELETE => &mut item.delete,
            _ => &mut item.get,
        };
        *place = Some(endpoint.operation);
        components.schemas.extend(endpoint.components);
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token: of an object of kind token, or from a login."))
        .build();
    components.security_schemes.insert("bearer".to_string(), SecurityScheme::Http(bearer).into());
    let cookie = ApiKeyValue::with_description(
        crate::auth::SESSION_COOKIE,
        "A browser's session, as POST /api/v1/session begins it. Changes take the header `X-CSRF-Token` beside it.",
    );
    components
        .security_schemes
        .insert("session".to_string(), SecurityScheme::ApiKey(ApiKey::Cookie(cookie)).into());
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("rscaler")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .license(Some(license))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
}

/// The description as JSON; made once.
pub(crate) fn text() -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| serde_json::to_vec(&describe()).unwrap_or_default())
}
