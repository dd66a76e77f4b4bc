//! Builds the npm project in `web/` into `OUT_DIR/ui`, which the crate embeds.
//!
//! Without the feature `web`, or without npm, a page that says so is embedded in its place, so that the other
//! packages build on machines without Node.js.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let web = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("web");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("ui");
    for watched in [
        "src",
        "public",
        "index.html",
        "package.json",
        "package-lock.json",
        "openapi.json",
        "tsconfig.json",
        "vite.config.ts",
    ] {
        println!("cargo::rerun-if-changed=web/{watched}");
    }
    // Nothing of an earlier build may stay.
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).expect("OUT_DIR can be written");
    if env::var_os("CARGO_FEATURE_WEB").is_none() {
        say_instead(&out, "This peer was built without its web interface.");
    } else if let Err(why) = build(&web, &out) {
        println!("cargo::warning=the web interface is not built: {why}");
        say_instead(
            &out,
            "This peer was built without its web interface: Node.js with npm was missing, or failed.",
        );
    }
}

fn build(web: &Path, out: &Path) -> Result<(), String> {
    // As scripts/lib.sh has it: what the lock file names is there already where it is the same as when it was installed.
    let (lock, installed) = (web.join("package-lock.json"), web.join("node_modules/.rscaler-lock"));
    let wanted = fs::read(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        npm(web, &["ci", "--no-audit", "--no-fund", "--silent"])?;
        fs::write(&installed, &wanted).map_err(|error| format!("{}: {error}", installed.display()))?;
    }
    npm(web, &["run", "--silent", "build", "--", "--outDir", &out.to_string_lossy()])
}

fn npm(web: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(web)
        .output()
        .map_err(|error| format!("npm cannot be started ({error}); install Node.js 20 or newer"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    Err(format!("npm {} failed: {}", arguments[0], last.join(" / ")))
}

fn say_instead(out: &Path, why: &str) {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>rscaler</title><h1>rscaler</h1><p>{why}</p>\
         <p><a href=\"/api/docs\">The API, described</a></p></html>"
    );
    fs::write(out.join("index.html"), page).expect("OUT_DIR can be written");
}
