//! Browsers' sessions: by cookie, guarded against other sites' pages, and carried on at other peers.

use reqwest::header::{CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Fixture, VIEWER, http, start};

async fn begin(fixture: &Fixture, body: &Value) -> Answer {
    let request = http().post(format!("{}/api/v1/session", fixture.url())).json(body);
    Answer::read(request.header(ORIGIN, "https://rscaler.example").send().await.unwrap()).await
}

/// The cookie that an answer sets, as the browser sends it again.
fn cookie(answer: &Answer) -> String {
    let set = answer.headers.get(SET_COOKIE).expect("a cookie is set").to_str().unwrap();
    for guard in ["HttpOnly", "SameSite=Strict", "Path=/", "Secure"] {
        assert!(set.split("; ").any(|part| part == guard), "{set}");
    }
    set.split(';').next().unwrap().to_string()
}

fn by_cookie(fixture: &Fixture, method: Method, path: &str, cookie: &str) -> RequestBuilder {
    http().request(method, format!("{}{path}", fixture.url())).header(COOKIE, cookie)
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

async fn with_user(fixture: &Fixture) {
    let user = json!({"name": "ada", "role": "operator", "password": "correct horse"});
    let made = fixture.request(Method::POST, "/api/v1/users", ADMIN).json(&user);
    assert_eq!(status(made).await, 201);
}

#[tokio::test]
async fn a_session_does_what_its_user_may_and_ends_with_logout() {
    let fixture = start().await;
    with_user(&fixture).await;
    let wrong = begin(&fixture, &json!({"user": "ada", "password": "wrong"})).await;
    assert_eq!((wrong.status, wrong.headers.get(SET_COOKIE)), (401, None));
    let session = begin(&fixture, &json!({"user": "ada", "password": "correct horse"})).await;
    assert_eq!(session.status, 200, "{}", session.text());
    let cookie = cookie(&session);
    assert_eq!((&session.json()["actor"], &session.json()["role"]), (&json!("user/ada"), &json!("operator")));
    assert!(!session.text().contains(cookie.split('=').nth(1).unwrap()), "the token is in the cookie alone");

    let shown =
        Answer::read(by_cookie(&fixture, Method::GET, "/api/v1/session", &cookie).send().await.unwrap());
    let shown = shown.await;
    assert_eq!(shown.json()["csrf"], session.json()["csrf"]);
    let csrf = shown.json()["csrf"].as_str().unwrap().to_string();
    let change = |csrf: &str| {
        by_cookie(&fixture, Method::POST, "/api/v1/samples", &cookie)
            .header("x-csrf-token", csrf)
            .json(&json!({"samples": []}))
    };
    assert_eq!(status(change("")).await, 403);
    assert_eq!(status(change("0123")).await, 403);
    assert_eq!(status(change(&csrf)).await, 422);
    let admins = by_cookie(&fixture, Method::POST, "/api/v1/clusters", &cookie)
        .header("x-csrf-token", &csrf)
        .json(&json!({"name": "x"}));
    assert_eq!(status(admins).await, 403);

    let out = by_cookie(&fixture, Method::POST, "/api/v1/logout", &cookie).header("x-csrf-token", &csrf);
    let out = Answer::read(out.send().await.unwrap()).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(status(by_cookie(&fixture, Method::GET, "/api/v1/session", &cookie)).await, 401);
}

#[tokio::test]
async fn another_sites_page_cannot_begin_a_session() {
    let fixture = start().await;
    let body = json!({"token": VIEWER}).to_string();
    for media in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut request = http().post(format!("{}/api/v1/session", fixture.url())).body(body.clone());
        if let Some(media) = media {
            request = request.header(CONTENT_TYPE, media);
        }
        assert_eq!(status(request).await, 415, "{media:?}");
    }
    for body in [json!({}), json!({"user": "ada"}), json!({"token": VIEWER, "ticket": "x"})] {
        assert_eq!(begin(&fixture, &body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_session_of_a_token_ends_with_it() {
    let fixture = start().await;
    let session = begin(&fixture, &json!({"token": VIEWER})).await;
    assert_eq!(session.status, 200, "{}", session.text());
    let cookie = cookie(&session);
    let body = session.json();
    assert_eq!((&body["actor"], &body["role"]), (&json!("token/viewer"), &json!("viewer")));
    assert!(body["expires"].is_string() && !cookie.contains(VIEWER));
    assert_eq!(status(by_cookie(&fixture, Method::GET, "/api/v1/nodes", &cookie)).await, 200);
    assert_eq!(status(fixture.request(Method::DELETE, "/api/v1/tokens/viewer", ADMIN)).await, 204);
    assert_eq!(status(by_cookie(&fixture, Method::GET, "/api/v1/nodes", &cookie)).await, 401);
    // A new token of the same name does not bring it back.
    let again = json!({"name": "viewer", "role": "viewer"});
    assert_eq!(status(fixture.request(Method::POST, "/api/v1/tokens", ADMIN).json(&again)).await, 201);
    assert_eq!(status(by_cookie(&fixture, Method::GET, "/api/v1/nodes", &cookie)).await, 401);
}

#[tokio::test]
async fn a_ticket_gives_the_same_rights_at_another_address() {
    let fixture = start().await;
    with_user(&fixture).await;
    let first = begin(&fixture, &json!({"user": "ada", "password": "correct horse"})).await;
    let ticket = first.json()["ticket"].as_str().unwrap().to_string();
    let second = begin(&fixture, &json!({"ticket": ticket})).await;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_ne!(cookie(&first), cookie(&second));
    assert_eq!(second.json()["actor"], "user/ada");
    assert_eq!(second.json()["role"], "operator");
    assert!(second.json()["expires"].as_str() <= first.json()["expires"].as_str());
    // None of its parts can be changed.
    let parts: Vec<&str> = ticket.split('.').collect();
    let later = parts[1].parse::<i64>().unwrap() + 1;
    for bad in [
        String::new(),
        "x".to_string(),
        format!("{}.{later}.{}", parts[0], parts[2]),
        format!("admin.{}.{}", parts[1], parts[2]),
        format!("{}.{}.00", parts[0], parts[1]),
    ] {
        assert_eq!(begin(&fixture, &json!({"ticket": bad})).await.status, 401, "{bad}");
    }
    // Who logs out takes their tickets with them.
    let csrf = first.json()["csrf"].as_str().unwrap().to_string();
    let out =
        by_cookie(&fixture, Method::POST, "/api/v1/logout", &cookie(&first)).header("x-csrf-token", csrf);
    assert_eq!(status(out).await, 204);
    assert_eq!(begin(&fixture, &json!({"ticket": ticket})).await.status, 401);
}

#[tokio::test]
async fn the_page_may_run_no_script_but_its_files() {
    let fixture = start().await;
    let page = http().get(format!("{}/runs/7", fixture.url())).header("accept", "text/html");
    let page = Answer::read(page.send().await.unwrap()).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'self'") && !policy.contains("script-src"), "{policy}");
    assert!(!page.text().contains("<script>"));
}

#[test]
fn the_description_that_the_ui_is_typed_from_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ui/web/openapi.json");
    let now = serde_json::to_value(rscaler_api::openapi::describe()).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&now).unwrap();
        std::fs::write(path, format!("{text}\n")).unwrap();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(kept == now, "ui/web/openapi.json is stale: run this test with UPDATE_GOLDEN=1");
}
