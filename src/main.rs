//! The binary: parses arguments and hands over to [`rscaler::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rscaler::cli::main()
}
