#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rscaler::fuzz::run("shell_output", data));
