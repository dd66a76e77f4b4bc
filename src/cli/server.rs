//! `server`: one peer, until it is asked to stop.

use clap::Args;

use super::failure::{Done, Failure};
use crate::config::{Config, Flags};
use crate::server::peer;
use crate::telemetry;

/// Options of `server`.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    flags: Flags,
    /// End when standard input ends: whoever started this peer is gone
    #[arg(long, hide = true)]
    exit_on_stdin_eof: bool,
}

/// Runs `rscaler server`.
pub(crate) async fn run(args: ServerArgs) -> Done {
    let config = Config::read(&args.flags).map_err(|mistakes| Failure::Usage(mistakes.to_string()))?;
    telemetry::init(config.log_format, &config.log).map_err(Failure::Usage)?;
    if args.exit_on_stdin_eof {
        peer::stop_when_stdin_ends();
    }
    peer::run(config).await.map_err(|error| Failure::Failed(format!("{error:#}")))
}
