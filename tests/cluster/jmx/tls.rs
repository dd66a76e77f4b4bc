//! Certificates and who trusts them.

use super::*;
use crate::hosts::secret;
use crate::jvms::{Door, Jvm, jks, key_store};

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_those_that_show_a_trusted_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (store, pem) = key_store(dir.path(), "right");
    let (_, other) = key_store(dir.path(), "other");
    let secured = |registry| Jvm::start_as(&Door { tls: Some((store.clone(), registry)), ..Door::default() });
    let (agent, both) = (secured(false), secured(true));
    let plane = Plane::start(1).await;
    let mut yaml = web("agent", "agent") + &file("right", pem.as_bytes()) + &file("other", other.as_bytes());
    yaml += &secret("open", "changeit");
    yaml += &file("right-p12", &std::fs::read(&store).unwrap());
    yaml += &file("right-jks", &std::fs::read(jks(&store)).unwrap());
    let opened = |file: &str, word: &str| {
        format!("tls: true\ntrust_store: {{file: {file}}}\ntrust_store_password: {word}\n")
    };
    let trust = |file: &str| format!("tls: true\ntrust_store: {{file: {file}}}\n");
    for (name, port, more) in [
        ("agent", agent.port, trust("right")),
        ("both", both.port, trust("right")),
        ("untrusted", both.port, trust("other")),
        ("unknown", both.port, "tls: true\n".to_string()),
        ("plain", agent.port, String::new()),
        ("pkcs12", both.port, opened("right-p12", "{secret: open}")),
        ("jks", both.port, opened("right-jks", "{secret: open}")),
        ("shut", both.port, trust("right-p12")),
        ("wrong", both.port, opened("right-p12", "wrong-word")),
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
        ("pkcs12", ""),
        ("jks", ""),
        ("shut", "jvm-profile `shut`: trust_store: it is PKCS #12, and wants a `trust_store_password`"),
        ("wrong", "jvm-profile `wrong`: trust_store: `trust_store_password` does not open it"),
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
