//! Certificates and who trusts them.

use super::*;
use crate::jvms::{Door, Jvm, key_store};

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_those_that_show_a_trusted_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (store, pem) = key_store(dir.path(), "right");
    let (_, other) = key_store(dir.path(), "other");
    let secured = |registry| Jvm::start_as(&Door { tls: Some((store.clone(), registry)), ..Door::default() });
    let (agent, both) = (secured(false), secured(true));
    let plane = Plane::start(1).await;
    let file = |name: &str, pem: &str| {
        let lines: Vec<String> = pem.lines().map(|line| format!("  {line}")).collect();
        format!("---\nkind: file\nname: {name}\ncontent: |\n{}\n", lines.join("\n"))
    };
    let mut yaml = web("agent", "agent") + &file("right", &pem) + &file("other", &other);
    let trust = |file: &str| format!("tls: true\ntrust_store: {{file: {file}}}\n");
    for (name, port, more) in [
        ("agent", agent.port, trust("right")),
        ("both", both.port, trust("right")),
        ("untrusted", both.port, trust("other")),
        ("unknown", both.port, "tls: true\n".to_string()),
        ("plain", agent.port, String::new()),
    ] {
        yaml += &profile(name, port, &more);
        if name != "agent" {
            yaml += &format!(
                "---\nkind: node\nname: {name}\ncluster: web\nhostname: 127.0.0.1\njvms: [{name}]\n"
            );
        }
    }
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    plane.apply(&yaml);
    for (node, says) in [
        ("agent", ""),
        ("both", ""),
        ("untrusted", "not trusted"),
        ("unknown", "not trusted"),
        ("plain", "tls: true"),
    ] {
        until(node, PATIENCE, || async {
            let check = check(&plane, node, "heap").await;
            let detail = check["failure"]["detail"].as_str().unwrap_or_default();
            let is_right = match says {
                "" => check["ok"] == json!(true),
                says => detail.contains(says),
            };
            if is_right { Ok(()) } else { Err(check) }
        })
        .await;
    }
}
