//! Errors as RFC 9457 `application/problem+json`: status, a stable `code`, and words.
//!
//! | code | status | what the client can do |
//! | --- | --- | --- |
//! | `malformed` | 400 | send well-formed JSON, YAML, parameters |
//! | `unauthenticated` | 401 | give a token that works |
//! | `forbidden` | 403 | ask with a token whose role may |
//! | `not_found` | 404 | look for the name |
//! | `method_not_allowed` | 405 | see `Allow` |
//! | `body_timeout` | 408 | send the body faster |
//! | `conflict`, `stale`, `too_many`, `refused` | 409 | change what it clashes with |
//! | `version_moved` | 412 | read again, then change |
//! | `too_large` | 413 | send less |
//! | `unsupported_media_type` | 415 | see the detail |
//! | `invalid` | 422 | see `errors` |
//! | `rate_limited` | 429 | wait for `Retry-After` |
//! | `internal` | 500 | report it, with the request id |
//! | `unavailable`, `not_ready` | 503 | nothing happened: try again |
//! | `unknown` | 503 | it may have happened: repeat under the same `Idempotency-Key`, or look |

use rscaler_raft::command::{Rejection, RejectionKind};
use rscaler_raft::handle::{EngineError, SubmitError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use crate::types::FieldError;

/// An error of the API, as it is sent and as the client receives it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// `urn:rscaler:problem:` and the code.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, and what would be right.
    #[serde(default)]
    pub detail: String,
    /// Stable and for programs: `not_found`, `conflict`, `version_moved`, `invalid`, `unavailable`, `unknown`, ...
    #[serde(default)]
    pub code: String,
    /// Names the request in the peer's log.
    #[serde(default)]
    pub request_id: String,
    /// Which fields are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Sent as `Retry-After`, in seconds.
    #[serde(skip)]
    pub(crate) retry_after: Option<u64>,
}

impl Problem {
    /// A problem without fields.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:rscaler:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_string(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_string(),
            request_id: String::new(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(crate) fn not_found(what: impl std::fmt::Display, name: impl std::fmt::Display) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} `{name}`"))
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub(crate) fn media_type(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// Fields that cannot be so. The first one is told in the detail too.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Problem {
        let first = errors.first().map_or_else(String::new, |error| match error.pointer.as_str() {
            "" => error.detail.clone(),
            pointer => format!("{pointer}: {}", error.detail),
        });
        let more = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{first}{more}"));
        problem.errors = errors;
        problem
    }

    pub(crate) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem::invalid(vec![FieldError::new(pointer, detail)])
    }

    pub(crate) fn rate_limited(seconds: u64) -> Problem {
        let mut problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "too many requests: wait as long as Retry-After says",
        );
        problem.retry_after = Some(seconds.max(1));
        problem
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        problem.retry_after = Some(1);
        problem
    }

    /// It may have happened.
    pub(crate) fn unknown(detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unknown", detail);
        problem.retry_after = Some(1);
        problem
    }

    /// Something that should not be. What it was goes to the log, not to the client.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Problem {
        tracing::error!(%cause, "a request met an internal error");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "an internal error; the peer's log has more under the request id",
        )
    }

    /// A refusal of one of many documents: pointers begin with the document's position.
    pub(crate) fn of_documents(rejection: Rejection) -> Problem {
        let errors = rejection.fields.iter().map(|field| {
            FieldError::new(format!("/{}{}", field.document, field.pointer), field.detail.clone())
        });
        let errors = errors.collect();
        Problem { errors, ..Problem::from(rejection) }
    }

    /// Whether a write met another version than it expected.
    pub(crate) fn is_version_moved(&self) -> bool {
        self.code == "version_moved"
    }

    pub(crate) fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Reply::into_response(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Problem {
        let (status, code) = match rejection.kind {
            RejectionKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            RejectionKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            RejectionKind::VersionMoved => (StatusCode::PRECONDITION_FAILED, "version_moved"),
            RejectionKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            RejectionKind::Stale => (StatusCode::CONFLICT, "stale"),
            RejectionKind::TooMany => (StatusCode::CONFLICT, "too_many"),
        };
        let mut problem = Problem::new(status, code, rejection.message);
        problem.errors = rejection.fields.into_iter().map(Into::into).collect();
        problem
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Problem {
        match error {
            EngineError::Unavailable(why) => {
                Problem::unavailable(format!("nothing was changed, for no leader could take it: {why}"))
            }
            EngineError::Unknown(why) => Problem::unknown(format!(
                "it may have happened: {why}. Repeat it under the same Idempotency-Key, or look before you repeat it"
            )),
            EngineError::Refused(why) => Problem::new(StatusCode::CONFLICT, "refused", why),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        match error {
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::Engine(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_refusal_has_its_status_and_code() {
        let rejected = |kind| Problem::from(SubmitError::Rejected(Rejection::new(kind, "why")));
        for (problem, status, code) in [
            (rejected(RejectionKind::NotFound), 404, "not_found"),
            (rejected(RejectionKind::Conflict), 409, "conflict"),
            (rejected(RejectionKind::VersionMoved), 412, "version_moved"),
            (rejected(RejectionKind::Invalid), 422, "invalid"),
            (rejected(RejectionKind::Stale), 409, "stale"),
            (rejected(RejectionKind::TooMany), 409, "too_many"),
            (EngineError::Unavailable("x".into()).into(), 503, "unavailable"),
            (EngineError::Unknown("x".into()).into(), 503, "unknown"),
            (EngineError::Refused("x".into()).into(), 409, "refused"),
        ] {
            assert_eq!((problem.status, problem.code.as_str()), (status, code));
            let retry = problem.into_response().headers().get("retry-after").is_some();
            assert_eq!(retry, status == 503, "{code}");
        }
    }

    #[test]
    fn an_unknown_outcome_says_that_it_may_have_happened() {
        let problem = Problem::from(EngineError::Unknown("the leader changed".into()));
        assert!(problem.detail.contains("may have happened"), "{}", problem.detail);
        assert!(problem.detail.contains("Idempotency-Key"), "{}", problem.detail);
    }

    #[test]
    fn a_problem_reads_back_as_it_is_sent() {
        let problem = Problem::field("/a/0", "wrong");
        let sent = serde_json::to_string(&problem).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&sent).unwrap(), problem);
        assert!(sent.contains("\"type\":\"urn:rscaler:problem:invalid\""), "{sent}");
        assert_eq!(problem.detail, "/a/0: wrong");
    }
}
