//! What this process says of itself: a tracing subscriber on stderr.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("`{other}` is no log format: `text` or `json`")),
        }
    }
}

/// What is logged where nothing else is said: our own at info, the libraries' warnings.
pub const DEFAULT_FILTER: &str = "warn,rscaler=info,rscaler_raft=info,rscaler_api=info";

/// Checks a filter such as `info,rscaler::ssh=debug`.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(|_| ()).map_err(|error| format!("`{filter}` is no log filter: {error}"))
}

/// Starts logging to stderr. Colours only on a terminal, and never with `NO_COLOR`. A second call does nothing.
///
/// # Errors
/// What is wrong with `filter`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    check_filter(filter)?;
    let filter = EnvFilter::new(filter);
    let is_coloured =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let registry = tracing_subscriber::registry().with(filter);
    // An error says that somebody else has begun already, in a test or as a library.
    let _ = match format {
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_coloured);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer =
                tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
    };
    Ok(())
}
