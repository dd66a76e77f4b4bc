use serde::{Deserialize, Serialize};

use super::Name;

/// Text that stands in a document or lives elsewhere: `"..."`, `{secret: NAME}` or `{file: NAME}`. It is
/// resolved where it is used, at the moment of use, so that a changed secret takes effect at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// The text itself.
    Inline(String),
    /// The value of a secret.
    Secret(Name),
    /// The newest content of a file.
    File(Name),
}
