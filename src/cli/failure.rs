//! Why a command did not do what it should, and what the process says of it.

use std::fmt::Write as _;

use serde_json::Value;

/// Why a command did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed: refused, not found, or the work itself failed. Exit status 1.
    Failed(String),
    /// The object is no longer as it was read. Exit status 1.
    Moved(String),
    /// The arguments make no sense. Exit status 2.
    Usage(String),
    /// No peer answered. Exit status 3.
    NoAnswer(String),
    /// The work ran, and its own exit status is passed on.
    Status(u8),
}

impl Failure {
    /// The process's exit status.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Failure::Failed(_) | Failure::Moved(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NoAnswer(_) => 3,
            Failure::Status(status) => *status,
        }
    }

    /// What is said on standard error; nothing where everything is said already.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Failure::Failed(text) | Failure::Moved(text) | Failure::Usage(text) | Failure::NoAnswer(text) => {
                Some(text)
            }
            Failure::Status(_) => None,
        }
    }

    /// From a problem+json answer: one line, then a line for each field.
    pub(crate) fn from_problem(status: u16, problem: &Value) -> Failure {
        let text = |field: &str| problem[field].as_str().filter(|text| !text.is_empty());
        let title =
            text("title").map_or_else(|| format!("the peer answered with status {status}"), str::to_string);
        let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut said = match text("detail") {
            // It names the first of several: they all follow.
            Some(detail) if detail.ends_with(" more)") => format!("{} mistakes:", errors.len()),
            Some(detail) => detail.to_string(),
            None => title,
        };
        for error in errors {
            let pointer = error["pointer"].as_str().unwrap_or_default();
            let detail = error["detail"].as_str().unwrap_or_default();
            if !(said.contains(pointer) && said.contains(detail)) {
                let _ = write!(said, "\n  {pointer}: {detail}");
            }
        }
        if status == 401 {
            said += "\n  give a token with RSCALER_TOKEN or a context, or `rscaler login`";
        }
        match status {
            503 => Failure::NoAnswer(said),
            412 => Failure::Moved(said),
            _ => Failure::Failed(said),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Failed(format!("{error:#}"))
    }
}

/// What commands give.
pub(crate) type Done = Result<(), Failure>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_becomes_a_line_and_one_for_each_field() {
        let problem = json!({"title": "Invalid", "detail": "node `web01` is not valid", "errors": [
            {"pointer": "/cluster", "detail": "there is no cluster `nope`"}]});
        let failure = Failure::from_problem(422, &problem);
        assert_eq!(failure.exit_status(), 1);
        assert_eq!(
            failure.message(),
            Some("node `web01` is not valid\n  /cluster: there is no cluster `nope`")
        );
    }

    #[test]
    fn no_leader_is_no_answer() {
        assert_eq!(Failure::from_problem(503, &json!({"detail": "no leader is known"})).exit_status(), 3);
    }
}
