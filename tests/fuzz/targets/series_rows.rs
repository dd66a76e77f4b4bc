#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rscaler_raft::fuzz::run("series_rows", data));
