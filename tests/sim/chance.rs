//! Where chance comes from: the seed, and nothing else.
//!
//! The maps of the standard library, `rand` and tokio all ask the system for random bytes. On a thread that was given
//! a seed they get the seed's: [`getrandom`] stands in this program before the system's. All other threads get the
//! system's.

// The one function of the C library that is replaced has a raw signature.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io::Read;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// Makes this thread's chance that of `seed`, once and for all. Call it first of all on a thread.
pub(crate) fn seed_this_thread(seed: u64) {
    SEEDED.with(|seeded| *seeded.borrow_mut() = Some(StdRng::seed_from_u64(seed)));
}

/// A source of its own, for one part of the simulation: what one part takes from it changes nothing for the others.
pub(crate) fn source(seed: u64, part: &str) -> StdRng {
    let mut mixed = seed ^ 0x9e37_79b9_7f4a_7c15;
    for byte in part.bytes() {
        mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    StdRng::seed_from_u64(mixed)
}

/// The system call's function, as the C library has it.
///
/// # Safety
/// `bytes` must point to `len` bytes that may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(bytes: *mut u8, len: usize, _flags: u32) -> isize {
    if len == 0 {
        return 0;
    }
    // SAFETY: as the caller promises.
    let out = unsafe { std::slice::from_raw_parts_mut(bytes, len) };
    let seeded = SEEDED.try_with(|seeded| match &mut *seeded.borrow_mut() {
        Some(source) => {
            source.fill_bytes(out);
            true
        }
        None => false,
    });
    let filled = seeded.unwrap_or(false)
        || std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(out)).is_ok();
    if filled { isize::try_from(len).unwrap_or(isize::MAX) } else { -1 }
}
