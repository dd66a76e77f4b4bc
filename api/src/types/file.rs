use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rscaler_raft::model::{self, Kind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Document, FieldError, Time};

/// Replicated content: a script, a fabfile, a manifest. At most 8 MiB. Lists leave the content out.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The content as text. Give this or `content_base64`; reads show this where the content is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The content in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// Its length in bytes.
    #[serde(default)]
    #[schema(read_only)]
    pub bytes: Option<u64>,
    /// SHA-256 of the content, in hex.
    #[serde(default)]
    #[schema(read_only)]
    pub sha256: Option<String>,
}

impl Document for File {
    const KIND: Kind = Kind::File;
}

/// A kept version of a file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileVersion {
    /// The version.
    pub version: u64,
    /// When it was put.
    pub at: Time,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl TryFrom<File> for model::File {
    type Error = Vec<FieldError>;

    fn try_from(file: File) -> Result<Self, Self::Error> {
        let content = match (file.content, file.content_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                let compact: String = base64.split_ascii_whitespace().collect();
                STANDARD.decode(compact).map_err(|error| {
                    vec![FieldError::new("/content_base64", format!("not base64: {error}"))]
                })?
            }
            (None, None) => {
                return Err(vec![FieldError::new(
                    "/content",
                    "give `content`, or `content_base64` for what is no text",
                )]);
            }
            (Some(_), Some(_)) => {
                return Err(vec![FieldError::new(
                    "/content_base64",
                    "give `content` or `content_base64`, not both",
                )]);
            }
        };
        Ok(model::File { content: Arc::from(content) })
    }
}

impl File {
    /// With its content.
    pub(crate) fn whole(file: &model::File) -> File {
        let mut whole = File::summary(file);
        match std::str::from_utf8(&file.content) {
            Ok(text) => whole.content = Some(text.to_string()),
            Err(_) => whole.content_base64 = Some(STANDARD.encode(&file.content)),
        }
        whole
    }

    /// Without its content, for lists.
    pub(crate) fn summary(file: &model::File) -> File {
        File {
            content: None,
            content_base64: None,
            bytes: Some(file.content.len() as u64),
            sha256: Some(sha256_hex(&file.content)),
        }
    }
}
