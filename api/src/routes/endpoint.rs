//! One endpoint: what it matches, who may call it, what it says of itself, and what answers.
//!
//! Path, method, role, parameters and bodies are said once, and both the warp filter and the OpenAPI description
//! are made of that. A filter only matches and extracts: it rejects for path and method alone, and all other
//! refusals are the answers of what comes after, so that no rejection hides another.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Ref, RefOr, Required};
use utoipa::{PartialSchema, ToSchema};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method};
use warp::reply::Response;

use crate::auth::{self, Access};
use crate::context::Context;
use crate::error::Problem;
use crate::request::{Query, Request, RequestName, body_stream};
use crate::types;

/// What a handler comes to.
pub(crate) type Answer = Result<Response, Problem>;
type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Answer> + Send + Sync>;
type Components = Vec<(String, RefOr<Schema>)>;

/// The header that says up to which log index an answer has seen the state.
pub(crate) const APPLIED: &str = "x-rscaler-applied";

/// The template of the route that answered, for logs and metrics.
#[derive(Clone)]
pub(crate) struct Matched(pub(crate) Arc<str>);

/// One endpoint.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: Arc<str>,
    pub(crate) access: Access,
    pub(crate) operation: Operation,
    pub(crate) components: Components,
    /// How long an answer may take to begin, where that is longer than usual.
    patience: Option<Duration>,
    handler: Handler,
}

impl Endpoint {
    fn new<H, F>(method: Method, path: &str, access: Access, summary: &str, handler: H) -> Endpoint
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let mut operation = Operation::new();
        operation.summary = Some(summary.to_string());
        operation.operation_id = Some(operation_id(&method, path));
        operation.tags = Some(vec![tag(path)]);
        if let Access::Role(role) = access {
            let role = types::Role::from(role).as_str();
            operation.extensions = Some(ExtensionsBuilder::new().add("x-role", role).build());
            let ways = ["bearer", "session"];
            operation.security =
                Some(ways.map(|way| SecurityRequirement::new(way, Vec::<String>::new())).into());
        } else {
            operation.security = Some(Vec::new());
        }
        let mut endpoint = Endpoint {
            method,
            path: path.into(),
            access,
            operation,
            components: Vec::new(),
            patience: None,
            handler: Arc::new(move |request| Box::pin(handler(request))),
        };
        for segment in path.split('/') {
            if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                endpoint.parameter(name, ParameterIn::Path, None);
            }
        }
        let problem = endpoint.reference::<Problem>();
        let content = ContentBuilder::new().schema(Some(problem)).build();
        let answer = ResponseBuilder::new()
            .description("What went wrong.")
            .content("application/problem+json", content);
        endpoint.operation.responses.responses.insert("default".to_string(), answer.build().into());
        endpoint
    }

    pub(crate) fn get<H, F>(path: &str, access: Access, summary: &str, handler: H) -> Endpoint
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let endpoint = Endpoint::new(Method::GET, path, access, summary, handler);
        if access == Access::Public {
            return endpoint;
        }
        endpoint.query("consistency", "`local` (as this peer has applied it) or `linearizable`.")
    }

    pub(crate) fn post<H, F>(path: &str, access: Access, summary: &str, handler: H) -> Endpoint
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        Endpoint::new(Method::POST, path, access, summary, handler)
            .header("Idempotency-Key", "A retry under the same key is answered as the first try was.")
    }

    pub(crate) fn put<H, F>(path: &str, access: Access, summary: &str, handler: H) -> Endpoint
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        Endpoint::new(Method::PUT, path, access, summary, handler)
    }

    pub(crate) fn patch<H, F>(path: &str, access: Access, summary: &str, handler: H) -> Endpoint
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        Endpoint::new(Method::PATCH, path, access, summary, handler)
    }

    pub(crate) fn delete<H, F>(path: &str, access: Access, summary: &str, handler: H) -> Endpoint
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        Endpoint::new(Method::DELETE, path, access, summary, handler)
    }

    /// Lets an answer take this long to begin.
    pub(crate) fn within(mut self, patience: Duration) -> Endpoint {
        self.patience = Some(patience);
        self
    }

    /// Says more of what it does.
    pub(crate) fn describe(mut self, text: &str) -> Endpoint {
        self.operation.description = Some(text.to_string());
        self
    }

    fn parameter(&mut self, name: &str, place: ParameterIn, description: Option<&str>) {
        let required = if place == ParameterIn::Path { Required::True } else { Required::False };
        let place_copy = place.clone();
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(description)
            .schema(Some(parameter_schema(name, place_copy)))
            .build();
        self.operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
    }

    /// A query parameter that it takes.
    pub(crate) fn query(mut self, name: &str, description: &str) -> Endpoint {
        self.parameter(name, ParameterIn::Query, Some(description));
        self
    }

    /// A header that it heeds.
    pub(crate) fn header(mut self, name: &str, description: &str) -> Endpoint {
        self.parameter(name, ParameterIn::Header, Some(description));
        self
    }

    /// The parameters of a list.
    pub(crate) fn pages(self) -> Endpoint {
        self.query("limit", "At most this many items: 1 to 1000, 100 where absent.")
            .query("cursor", "Where the last page ended: its `next`.")
    }

    /// The headers that guard a write.
    pub(crate) fn guarded(self) -> Endpoint {
        self.header("If-Match", "Only while the object has this ETag; `*`: only if there is one.")
            .header("Idempotency-Key", "A retry under the same key is answered as the first try was.")
    }

    fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name().into_owned();
        self.components.push((name.clone(), <T as PartialSchema>::schema()));
        T::schemas(&mut self.components);
        RefOr::Ref(Ref::from_schema_name(name))
    }

    /// The JSON body that it takes.
    pub(crate) fn body<T: ToSchema>(self) -> Endpoint {
        self.body_as::<T>(&["application/json"], Required::True)
    }

    /// The body that it takes, in one of some media types.
    pub(crate) fn body_as<T: ToSchema>(mut self, media: &[&str], required: Required) -> Endpoint {
        let schema = self.reference::<T>();
        let mut body = RequestBodyBuilder::new().required(Some(required));
        for media in media {
            body = body.content(*media, ContentBuilder::new().schema(Some(schema.clone())).build());
        }
        self.operation.request_body = Some(RefOr::T(body.build()));
        self
    }

    /// A body that is taken as it is.
    pub(crate) fn takes(mut self, media: &str) -> Endpoint {
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        let body = body.content(media, ContentBuilder::new().schema(None::<RefOr<Schema>>).build());
        self.operation.request_body = Some(RefOr::T(body.build()));
        self
    }

    /// An answer of JSON.
    pub(crate) fn answers<T: ToSchema>(mut self, status: u16, description: &str) -> Endpoint {
        let schema = self.reference::<T>();
        self.answer(status, description, &[("application/json", Some(schema))]);
        self
    }

    /// An answer of another media type.
    pub(crate) fn answers_as(mut self, status: u16, description: &str, media: &str) -> Endpoint {
        self.answer(status, description, &[(media, None)]);
        self
    }

    /// An answer without a body.
    pub(crate) fn answers_nothing(mut self, status: u16, description: &str) -> Endpoint {
        self.answer(status, description, &[]);
        self
    }

    fn answer(&mut self, status: u16, description: &str, media: &[(&str, Option<RefOr<Schema>>)]) {
        let responses = &mut self.operation.responses.responses;
        let mut response = match responses.remove(&status.to_string()) {
            Some(RefOr::T(response)) => response,
            _ => ResponseBuilder::new().description(description).build(),
        };
        for (media, schema) in media {
            let content = ContentBuilder::new().schema(schema.clone()).build();
            response.content.insert((*media).to_string(), content.into());
        }
        responses.insert(status.to_string(), response.into());
    }

    /// The warp filter, for the path after its first `skip` segments.
    pub(crate) fn filter(self: Arc<Self>, ctx: Context, skip: usize) -> BoxedFilter<(Response,)> {
        let method = match self.method {
            Method::POST => warp::post().boxed(),
            Method::PUT => warp::put().boxed(),
            Method::PATCH => warp::patch().boxed(),
            Method::DELETE => warp::delete().boxed(),
            _ => warp::get().boxed(),
        };
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        segments(&self.path, skip)
            .and(method)
            .and(warp::path::full())
            .and(query)
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<SocketAddr>())
            .and(warp::ext::optional::<RequestName>())
            .and(warp::body::stream().map(body_stream))
            .then(
                move |params,
                      path: warp::path::FullPath,
                      query,
                      headers,
                      address: Option<SocketAddr>,
                      name: Option<RequestName>,
                      body| {
                    let request = Request {
                        ctx: ctx.clone(),
                        method: self.method.clone(),
                        path: path.as_str().to_string(),
                        params,
                        query,
                        headers,
                        body: Some(body),
                        room: None,
                        caller: None,
                        address: address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip()),
                    };
                    answer(Arc::clone(&self), request, name)
                },
            )
            .boxed()
    }
}

/// Authenticates, authorizes, waits for consistency, and lets the handler answer in bounded time.
async fn answer(endpoint: Arc<Endpoint>, mut request: Request, name: Option<RequestName>) -> Response {
    let ctx = request.ctx.clone();
    let reads = endpoint.method == Method::GET;
    let patience = endpoint.patience.unwrap_or(ctx.limits().request_timeout);
    let work = async {
        match endpoint.access {
            // A probe must not fail because somebody else at the same address asks too often.
            Access::Public if endpoint.path.starts_with("/api/") => {
                ctx.limiter().check_visit(request.address)?
            }
            Access::Public => {}
            Access::Role(role) => {
                let caller =
                    auth::authenticate(&ctx, &request.method, &request.headers, request.address).await?;
                auth::authorize(&caller, role)?;
                request.caller = Some(caller);
            }
        }
        for param in &mut request.params {
            *param = crate::request::unescape(&param.replace('+', "%2B"))?;
        }
        if reads && endpoint.access != Access::Public {
            consistent(&ctx, &request.query).await?;
        }
        let applied = ctx.handle().applied();
        let response = (endpoint.handler)(request).await?;
        Ok((response, if reads { applied } else { ctx.handle().applied() }))
    };
    let answered = match tokio::time::timeout(patience, work).await {
        Ok(answered) => answered,
        Err(_) if reads => Err(Problem::unavailable("the answer took too long")),
        Err(_) => Err(Problem::unknown(
            "it took too long, and may have happened. Repeat it under the same Idempotency-Key, or look first",
        )),
    };
    let (mut response, applied) = match answered {
        Ok(answered) => answered,
        Err(mut problem) => {
            problem.request_id = name.map_or_else(String::new, |name| name.0.to_string());
            (problem.into_response(), ctx.handle().applied())
        }
    };
    response.headers_mut().insert(APPLIED, HeaderValue::from(applied));
    response.extensions_mut().insert(Matched(Arc::clone(&endpoint.path)));
    response
}

/// Waits until this peer sees what was acknowledged anywhere, where the caller asks for that.
async fn consistent(ctx: &Context, query: &str) -> Result<(), Problem> {
    if !query.contains("consistency") {
        return Ok(());
    }
    match Query::parse(query)?.text("consistency").as_deref() {
        None | Some("local") => Ok(()),
        Some("linearizable") => ctx.handle().linearize().await.map(|_| ()).map_err(|error| {
            Problem::unavailable(format!("a linearizable read is not possible now: {error}"))
        }),
        Some(_) => Err(Problem::malformed("parameter `consistency` is `local` or `linearizable`")),
    }
}

/// What a parameter may be: those of one name are alike everywhere.
fn parameter_schema(name: &str, place: ParameterIn) -> ObjectBuilder {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let number = || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    match (place, name) {
        (ParameterIn::Path, "id") => number(),
        (ParameterIn::Path, _) => text().pattern(Some(types::NAME_PATTERN)),
        (_, "consistency") => text().enum_values(Some(["local", "linearizable"])),
        (_, "limit") => number().minimum(Some(1)).maximum(Some(1000)),
        (_, "dry_run" | "prune" | "failing" | "follow") => ObjectBuilder::new().schema_type(Type::Boolean),
        (_, "version" | "run" | "peer") => number(),
        (_, "Idempotency-Key") => text().min_length(Some(1)).max_length(Some(255)),
        (_, "If-Match") => text().pattern(Some(r#"^(\*|(W/)?"[0-9]{1,18}")$"#)),
        _ => text(),
    }
}

/// Matches a template's segments after the first `skip`, to the end of the path.
fn segments(template: &str, skip: usize) -> BoxedFilter<(Vec<String>,)> {
    let mut filter = warp::any().map(Vec::new).boxed();
    for segment in template.split('/').filter(|segment| !segment.is_empty()).skip(skip) {
        filter = if segment.starts_with('{') {
            filter
                .and(warp::path::param::<String>())
                .map(|mut params: Vec<String>, param| {
                    params.push(param);
                    params
                })
                .boxed()
        } else {
            filter.and(warp::path(segment.to_string())).boxed()
        };
    }
    filter.and(warp::path::end()).boxed()
}

fn tag(path: &str) -> String {
    let segment = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next());
    segment.unwrap_or("peer").to_string()
}

fn operation_id(method: &Method, path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let words: String = path
        .chars()
        .filter(|c| !matches!(c, '{' | '}'))
        .map(|c| if c == '/' || c == '-' || c == '.' { '_' } else { c })
        .collect();
    format!("{}{words}", method.as_str().to_ascii_lowercase())
}
