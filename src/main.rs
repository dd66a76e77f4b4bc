//! The binary: parses arguments and hands over to [`rscaler::cli`].

use std::process::ExitCode;

// Samples, tasks and requests make many small allocations on many threads, in bursts, and a peer runs for months.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a burst took is given back to the system within a second, by a thread of the allocator's own: jemalloc's defaults
/// keep it for ten, and where nothing is allocated any more for ever.
#[allow(unsafe_code, reason = "jemalloc reads its options from a symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 70] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4\0";

fn main() -> ExitCode {
    rscaler::cli::main()
}
