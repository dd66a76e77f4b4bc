//! The web UI: an npm project in `web/`, built by `build.rs` and embedded here. It talks to the public API alone
//! and needs no other host.

use std::borrow::Cow;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/ui"]
struct Assets;

/// A file of the UI.
pub struct Asset {
    /// Its bytes.
    pub content: Cow<'static, [u8]>,
    /// Whether its name changes with its content, so that it may be cached for ever.
    pub immutable: bool,
}

/// The file at `path` (without a leading slash); the empty path is the start page.
pub fn asset(path: &str) -> Option<Asset> {
    let path = if path.is_empty() { "index.html" } else { path };
    let file = Assets::get(path)?;
    Some(Asset { content: file.data, immutable: path.starts_with("assets/") })
}

#[cfg(test)]
mod tests {
    use super::asset;

    #[test]
    fn the_start_page_is_embedded() {
        let page = asset("").expect("there is a start page");
        assert!(String::from_utf8_lossy(&page.content).contains("rscaler"));
        assert!(!page.immutable);
        assert!(asset("../Cargo.toml").is_none());
    }
}
