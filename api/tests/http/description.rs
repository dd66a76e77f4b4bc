//! The description of the API is true: what it says of answers is held against them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::access::routes;
use crate::support::{ADMIN, Answer, start};

/// What is wrong with `value`, judged by a schema: types, required fields, unknown fields, enums.
fn check(value: &Value, schema: &Value, all: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return check(value, &all[name], all, at, wrong);
    }
    if let Some(some) = schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array) {
        let fits = some.iter().any(|one| {
            let mut wrong = Vec::new();
            check(value, one, all, at, &mut wrong);
            wrong.is_empty()
        });
        if !fits {
            wrong.push(format!("{at}: {value} fits none of {}", json!(some)));
        }
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        wrong.push(format!("{at}: {value} is not one of {}", json!(words)));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let fits = |name: &&str| match *name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !types.is_empty() && !types.iter().any(fits) {
        wrong.push(format!("{at}: {value} is no {types:?}"));
    }
    if let Some(fields) = value.as_object() {
        for needed in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(needed.as_str().unwrap()) {
                wrong.push(format!("{at}: no {needed}"));
            }
        }
        if let Some(known) = schema["properties"].as_object() {
            for (field, value) in fields {
                match known.get(field) {
                    Some(schema) => check(value, schema, all, &format!("{at}/{field}"), wrong),
                    None => wrong.push(format!("{at}: {field} is not documented")),
                }
            }
        } else if schema["additionalProperties"].is_object() {
            for (field, value) in fields {
                check(value, &schema["additionalProperties"], all, &format!("{at}/{field}"), wrong);
            }
        }
    }
    if let Some(items) = value.as_array() {
        for (position, item) in items.iter().enumerate() {
            check(item, &schema["items"], all, &format!("{at}/{position}"), wrong);
        }
    }
}

#[tokio::test]
async fn answers_are_as_the_description_says() {
    let fixture = start().await;
    fixture.seed().await;
    let at = fixture.handle.read(|state| state.clock().wall.0);
    let pushed = json!({"samples": [{"counter": "queue", "node": "web01", "t": at, "v": 1.5}]});
    assert_eq!(fixture.post("/api/v1/samples", pushed).await.status, 200);
    assert_eq!(fixture.post("/api/v1/nodes/web01/run", json!({"action": "tidy"})).await.status, 202);
    let description = fixture.get("/api/openapi.json").await.json();
    let all = description["components"]["schemas"].clone();
    let mut checked = 0;
    for (method, path, _, operation) in routes() {
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        if method != Method::GET
            || !schema.is_object()
            || path.ends_with("/watch")
            || path.ends_with("/mbeans")
        {
            continue;
        }
        let kind = path.split('/').nth(3).unwrap_or("");
        let named = match kind {
            "clusters" => "web",
            "nodes" => "web01",
            "ssh-profiles" => "ops",
            "jvm-profiles" => "tomcat",
            "counters" => "load1",
            "triggers" => "busy",
            "actions" => "tidy",
            "files" => "load.sh",
            "secrets" => "ops-key",
            "users" => "ada",
            "tokens" => "admin",
            _ => "upgrade",
        };
        let path = path
            .replace("{name}", named)
            .replace("{id}", "1")
            .replace("{counter}", "queue")
            .replace("{jvm}", "none");
        let request = fixture.request(Method::GET, &path, ADMIN).header("accept", "application/json");
        let answer = Answer::read(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let mut wrong = Vec::new();
        check(&answer.json(), schema, &all, "", &mut wrong);
        assert!(wrong.is_empty(), "{path}: {wrong:#?}\n{}", answer.text());
        checked += 1;
    }
    assert!(checked > 35, "{checked}");
    let problem = fixture.get("/api/v1/clusters/none").await.json();
    let mut wrong = Vec::new();
    check(&problem, &all["Problem"], &all, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn every_reference_is_defined_and_every_operation_is_told() {
    let description = serde_json::to_value(rscaler_api::openapi::describe()).unwrap();
    let text = description.to_string();
    for part in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(description["components"]["schemas"][name].is_object(), "{name} is not defined");
    }
    let mut ids = std::collections::BTreeSet::new();
    for (method, path, _, operation) in routes() {
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_string()),
            "{method} {path}: its id is another's too"
        );
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.len() >= 2, "{method} {path}: it says nothing of its answers");
    }
    assert_eq!(description["openapi"], json!("3.1.0"));
}

#[tokio::test]
async fn the_description_can_be_read_as_a_page() {
    let fixture = start().await;
    for (path, media, holds) in [
        ("/api/docs", "text/html", "/api/docs/page.js"),
        ("/api/docs/page.js", "text/javascript", "/api/openapi.json"),
        ("/api/docs/page.css", "text/css", "summary"),
    ] {
        let answer = fixture.get(path).await;
        assert!(answer.header("content-type").unwrap().starts_with(media), "{path}");
        assert!(answer.text().contains(holds), "{path}");
        assert!(!answer.text().contains("https://"), "{path}: nothing from elsewhere");
    }
    let page = fixture.get("/").await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-cache")));
    assert!(page.text().contains("rscaler"));
    // A page of the UI, asked for by a browser, is its start page; anything else is not there.
    let browser = fixture
        .request(Method::GET, "/nodes/web01", ADMIN)
        .header("accept", "text/html,*/*")
        .send()
        .await
        .unwrap();
    assert_eq!(browser.status(), 200);
    assert_eq!(fixture.get("/nodes/web01").await.status, 404);
    let head = fixture.request(Method::HEAD, "/api/v1/clusters", ADMIN).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.bytes().await.unwrap().is_empty());
}
