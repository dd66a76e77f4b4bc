#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rscaler_api::fuzz::run("documents", data));
