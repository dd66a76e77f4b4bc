//! What happened, as one digest: two runs with the same digest were the same run.

use std::cell::RefCell;

use ring::digest::{Context, SHA256};

use super::clock;

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::new(Trace { events: 0, digest: Context::new(&SHA256) });
}

struct Trace {
    events: u64,
    digest: Context,
}

/// Adds an event. With `SIM_TRACE` set in the environment it is printed too.
pub(crate) fn event(what: &str, bytes: &[u8]) {
    TRACE.with_borrow_mut(|trace| {
        trace.events += 1;
        trace.digest.update(&clock::now().to_be_bytes());
        trace.digest.update(&(what.len() as u64).to_be_bytes());
        trace.digest.update(what.as_bytes());
        trace.digest.update(&(bytes.len() as u64).to_be_bytes());
        trace.digest.update(bytes);
    });
    if is_told() {
        println!("{:>8} {what} [{} bytes]", clock::now(), bytes.len());
    }
}

/// Adds an event that is told in words, and printed where events are.
pub(crate) fn told(what: &str) {
    event(what, &[]);
}

fn is_told() -> bool {
    thread_local! {
        static TOLD: bool = std::env::var_os("SIM_TRACE").is_some();
    }
    TOLD.with(|told| *told)
}

/// How many events there were, and the digest of them all, in hexadecimal digits.
pub(crate) fn end() -> (u64, String) {
    TRACE.with_borrow(|trace| {
        let digest = trace.digest.clone().finish();
        (trace.events, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    })
}
