//! One method for each endpoint, by noun.

mod nodes;
mod objects;
mod plane;
mod runs;
mod samples;
mod triggers;

pub use objects::{Listing, Written};
pub use runs::{RunFilter, TaskFilter};

/// A path segment: what a name may not hold is escaped, so that a wrong name is not found instead of elsewhere.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // Dots alone would walk up the path.
    if out.bytes().all(|byte| byte == b'.') { out.replace('.', "%2E") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Kind;

    #[test]
    fn a_wrong_name_stays_one_segment() {
        assert_eq!(objects::object_path(Kind::Node, "web01"), "/api/v1/nodes/web01");
        assert_eq!(segment("../x y"), "..%2Fx%20y");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
