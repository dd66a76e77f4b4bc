//! The web UI: an npm project in `web/`, built by `build.rs` and embedded here. It talks to the public API alone
//! and needs no other host.

use std::borrow::Cow;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/ui"]
struct Assets;

/// A file of the UI.
pub struct Asset {
    /// Its bytes, encoded as [`Asset::encoding`] says.
    pub content: Cow<'static, [u8]>,
    /// `br` or `gzip`; as it is where absent.
    pub encoding: Option<&'static str>,
    /// Whether its name changes with its content, so that it may be cached for ever.
    pub immutable: bool,
}

/// The file at `path` (without a leading slash); the empty path is the start page. `encodings` is what the client takes, as
/// `Accept-Encoding` says it.
pub fn asset(path: &str, encodings: &str) -> Option<Asset> {
    let path = if path.is_empty() { "index.html" } else { path };
    let immutable = path.starts_with("assets/");
    let takes = |encoding: &str| {
        encodings.split(',').any(|said| {
            let mut parts = said.split(';').map(str::trim);
            parts.next() == Some(encoding) && parts.all(|part| part != "q=0")
        })
    };
    for (encoding, ending) in [("br", "br"), ("gzip", "gz")] {
        if takes(encoding)
            && let Some(file) = Assets::get(&format!("{path}.{ending}"))
        {
            return Some(Asset { content: file.data, encoding: Some(encoding), immutable });
        }
    }
    let file = Assets::get(path)?;
    Some(Asset { content: file.data, encoding: None, immutable })
}

#[cfg(test)]
mod tests {
    use super::asset;

    #[test]
    fn the_start_page_is_embedded() {
        let page = asset("", "").expect("there is a start page");
        assert!(String::from_utf8_lossy(&page.content).contains("rscaler"));
        assert!(!page.immutable && page.encoding.is_none());
        assert!(asset("", "gzip;q=0, br;q=0").is_some_and(|page| page.encoding.is_none()));
        assert!(asset("../Cargo.toml", "").is_none());
    }
}
