//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// With fewer, a peer says so: every node, client and peer is an open connection.
const ENOUGH: u64 = 4096;

/// Asks for as many as the system lets this process have; many systems begin with 1024 for programs that can't deal
/// with more. Gives how many there may be.
pub(super) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(u64::MAX);
    let before = current.unwrap_or(u64::MAX);
    let now = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => most,
        Err(error) => {
            warn!(%error, "the bound of open files could not be raised");
            before
        }
    };
    if now < ENOUGH {
        warn!(open_files_max = now, "few files may be open: large fleets need more (ulimit -n, LimitNOFILE)");
    } else {
        info!(open_files_max = now, "open files");
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_what_the_system_allows() {
        let raised = raise();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), raised);
    }
}
