#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rscaler::fuzz::run("command_output", data));
