//! Who may do what, for every route there is.

use reqwest::Method;
use rscaler_api::context::Limits;
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Fixture, OPERATOR, VIEWER, http, start, start_with};

/// Every documented route: method, path, role.
pub(crate) fn routes() -> Vec<(Method, String, Option<String>, Value)> {
    let description = serde_json::to_value(rscaler_api::openapi::describe()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let role = operation["x-role"].as_str().map(str::to_string);
            routes.push((method, path.clone(), role, operation.clone()));
        }
    }
    routes
}

/// A path that fits the template; of things that are not there, so that nothing is changed.
pub(crate) fn example(path: &str) -> String {
    path.replace("{id}", "999")
        .replace("{name}", "nothing")
        .replace("{counter}", "none")
        .replace("{jvm}", "none")
}

async fn ask(fixture: &Fixture, method: &Method, path: &str, token: Option<&str>) -> Answer {
    let mut request = http().request(method.clone(), format!("{}{}", fixture.url(), example(path)));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if *method != Method::GET {
        request = request.json(&json!({"an unknown field": true}));
    }
    let response = request.send().await.unwrap();
    if response.headers().get("content-type").is_some_and(|media| media == "text/event-stream") {
        // It has no end.
        return Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: Vec::new(),
        };
    }
    Answer::read(response).await
}

#[tokio::test]
async fn every_route_asks_for_its_role() {
    // Each route is tried without a right token more often than anybody may.
    let fixture = start_with(Limits { attempts_per_minute: 100_000, ..Limits::default() }).await;
    fixture.seed().await;
    let routes = routes();
    assert!(routes.len() > 90, "{}", routes.len());
    let mut public = Vec::new();
    for (method, path, role, _) in &routes {
        let Some(role) = role else {
            public.push(path.as_str());
            continue;
        };
        let stranger = ask(&fixture, method, path, None).await;
        assert_eq!(
            (stranger.status, stranger.header("www-authenticate")),
            (401, Some("Bearer")),
            "{method} {path}"
        );
        let wrong = ask(&fixture, method, path, Some("rsc_wrong")).await;
        assert_eq!(wrong.status, 401, "{method} {path}");
        for (token, rank) in [(VIEWER, 0), (OPERATOR, 1), (ADMIN, 2)] {
            let wanted = ["viewer", "operator", "admin"].iter().position(|name| name == role).unwrap();
            let answer = ask(&fixture, method, path, Some(token)).await;
            if rank < wanted {
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (403, "forbidden"),
                    "{method} {path} as {token}"
                );
                let detail = answer.json()["detail"].as_str().unwrap().to_string();
                assert!(detail.contains(&format!("takes role {role}")), "{detail}");
            } else {
                assert!(
                    answer.status != 401 && answer.status != 403,
                    "{method} {path} as {token}: {}",
                    answer.text()
                );
            }
        }
    }
    public.sort_unstable();
    let expected = [
        "/api/docs",
        "/api/docs/page.css",
        "/api/docs/page.js",
        "/api/openapi.json",
        "/api/v1/login",
        "/api/v1/session",
        "/healthz",
        "/readyz",
    ];
    assert_eq!(public, expected);
}

#[tokio::test]
async fn only_reading_is_for_viewers_and_configuration_for_admins() {
    for (method, path, role, _) in routes() {
        let role = role.unwrap_or_default();
        if method != Method::GET && role == "viewer" {
            assert!(
                ["/api/v1/logout", "/api/v1/triggers/{name}/test"].contains(&path.as_str()),
                "{method} {path}"
            );
        }
        if [Method::PUT, Method::PATCH, Method::DELETE].contains(&method) {
            assert_eq!(role, "admin", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_documented_route_is_there_and_takes_what_it_documents() {
    let fixture = start().await;
    fixture.seed().await;
    for (method, path, _, operation) in routes() {
        let answer = ask(&fixture, &method, &path, Some(ADMIN)).await;
        assert_ne!(answer.status, 405, "{method} {path}");
        assert!(!answer.text().contains("there is nothing at"), "{method} {path}");
        let mut documented: Vec<&str> = operation["parameters"]
            .as_array()
            .map(|parameters| {
                parameters
                    .iter()
                    .filter(|p| p["in"] == "query")
                    .map(|p| p["name"].as_str().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        // A parameter that nobody knows is answered with those there are; where something else is wrong first, that
        // is told instead.
        let wrong = ask(&fixture, &method, &format!("{path}?nonsense=1"), Some(ADMIN)).await;
        let detail =
            if wrong.status == 400 { wrong.json()["detail"].as_str().unwrap().to_string() } else { continue };
        let Some((_, known)) = detail.split_once("there are: ") else { panic!("{method} {path}: {detail}") };
        let mut known: Vec<&str> = known.split(", ").collect();
        if !documented.contains(&"consistency") {
            known.retain(|name| *name != "consistency");
        }
        documented.sort_unstable();
        assert_eq!(known, documented, "{method} {path}");
    }
}

#[tokio::test]
async fn an_ended_token_does_not_work() {
    let fixture = start().await;
    let created =
        fixture.post("/api/v1/tokens", json!({"name": "short", "role": "viewer", "expires": "1m"})).await;
    let text = created.json()["token"].as_str().unwrap().to_string();
    let client = fixture.client(&text);
    assert!(client.whoami().await.is_ok());
    rscaler_raft::solo::Solo::advance(&fixture.handle, std::time::Duration::from_secs(61)).await.unwrap();
    assert_eq!(client.whoami().await.unwrap_err().status(), Some(401));
}
