//! Each Java that is installed, as the peer's own and as the one that is watched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::hosts::secret;
use crate::jvms::{Door, Jvm, key_store};

/// Java runtimes by their version: those in `/usr/lib/jvm`, and in the directories that `RSCALER_TEST_JAVA_HOMES` names with colons
/// between them.
fn runtimes() -> BTreeMap<String, PathBuf> {
    let installed =
        std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let named = std::env::var_os("RSCALER_TEST_JAVA_HOMES").unwrap_or_default();
    installed
        .chain(std::env::split_paths(&named))
        .filter(|home| home.join("bin/java").is_file())
        .filter_map(|home| Some((version(&home)?, home)))
        .collect()
}

/// `17.0.15` of a runtime.
fn version(home: &Path) -> Option<String> {
    let said = std::process::Command::new(home.join("bin/java")).arg("-version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    said.split('"').nth(1).map(str::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_java_watches_and_is_watched() {
    let runtimes = runtimes();
    assert!(!runtimes.is_empty(), "the tests need Java: openjdk-17-jdk-headless");
    let dir = tempfile::tempdir().unwrap();
    let (store, pem) = key_store(dir.path(), "jvm");
    let door = |home: &Path| Door {
        java_home: Some(home.to_path_buf()),
        credentials: Some(("monitor".into(), "right-word".into())),
        tls: Some((store.clone(), true)),
        ..Door::default()
    };
    let watched: Vec<(&String, Jvm)> =
        runtimes.iter().map(|(version, home)| (version, Jvm::start_as(&door(home)))).collect();
    let pem: Vec<String> = pem.lines().map(|line| format!("  {line}")).collect();
    let mut yaml = "---\n{kind: cluster, name: web}\n".to_string() + &secret("word", "right-word");
    yaml += &format!("---\nkind: file\nname: ca\ncontent: |\n{}\n", pem.join("\n"));
    for (_, jvm) in &watched {
        let more = "user: monitor\npassword: {secret: word}\ntls: true\ntrust_store: {file: ca}\n";
        yaml += &profile(&format!("p{}", jvm.port), jvm.port, more);
        yaml += &format!(
            "---\n{{kind: node, name: n{0}, cluster: web, hostname: 127.0.0.1, jvms: [p{0}]}}\n",
            jvm.port
        );
    }
    yaml += &counter("heap", "java.lang:type=Memory", "HeapMemoryUsage", "key: used\n");
    yaml += &counter("pools", "java.lang:type=MemoryPool,name=*", "Usage", "key: used\n");
    yaml += &counter("table", THING, "Table", "key: a.b\n");
    yaml += &counter("text", THING, "Text", "");
    yaml += &format!(
        "---\n{{kind: action, name: greet, type: jmx-invoke, mbean: \"{THING}\", operation: greet, args: [world, \"1\"]}}\n"
    );
    for (own, home) in &runtimes {
        let plane = Plane::start_with(1, &[("RSCALER_SERVER_JAVA_HOME", home.to_str().unwrap())]).await;
        plane.apply(&yaml);
        for (version, jvm) in &watched {
            let node = format!("n{}", jvm.port);
            until(&format!("Java {own} to read Java {version}"), PATIENCE, || async {
                let mut checks = Vec::new();
                for counter in ["heap", "pools", "table", "text"] {
                    checks.push(check(&plane, &node, counter).await);
                }
                let read = checks[..3].iter().all(|check| check["ok"] == json!(true));
                let is_told = checks[3]["failure"]["code"] == json!("parse");
                if read && is_told { Ok(()) } else { Err(checks) }
            })
            .await;
            let said = plane.cli_ok(&["run", "--node", &node, "--action", "greet"]);
            assert!(said.contains("hello world"), "Java {own} to Java {version}: {said}");
            let at = format!("{node}/p{}", jvm.port);
            let shown = plane.cli_ok(&["jmx", "browse", &at, "java.lang:*"]);
            assert!(shown.contains("HeapMemoryUsage"), "Java {own} to Java {version}: {shown}");
        }
        println!("Java {own} watched {:?}", runtimes.keys().collect::<Vec<_>>());
    }
}
