//! Our classes are those of their source.

use std::path::Path;
use std::process::Command;

use crate::plane::binary;

#[test]
fn the_classes_that_are_kept_are_those_of_the_source() {
    let javac = Command::new("javac").arg("-version").output().expect("the tests need a JDK");
    let version = String::from_utf8_lossy(&javac.stdout).into_owned();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let script = Command::new(root.join("scripts/java-classes")).arg(dir.path()).status().unwrap();
    assert!(script.success(), "they compile");
    // Other compilers write the same in other words.
    if version.starts_with("javac 17.") {
        for name in ["rscaler.bin", "demo.bin"] {
            let kept = std::fs::read(root.join("src/jvm/java").join(name)).unwrap();
            let made = std::fs::read(dir.path().join(name)).unwrap();
            assert!(kept == made, "{name}: run scripts/java-classes, which compiles src/jvm/java");
        }
    }
    assert!(binary().exists());
}
