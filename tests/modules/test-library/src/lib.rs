//! Counts, for all modules that are linked against it.
#![no_std]

use core::sync::atomic::{AtomicU32, Ordering};

abi::library!(
    summary = "Counts for others",
    parameters = {
        /// What is counted at a time
        step: u32 in 1..=100 = 1,
    },
);

/// How far it has counted. One for all: it exists in this module alone.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Counts on.
pub fn count() -> u32 {
    let step = parameters::step();
    COUNT.fetch_add(step, Ordering::Relaxed) + step
}

/// What C would call.
// SAFETY: no other module that is loaded with this one defines the symbol: the loader refuses it.
#[unsafe(no_mangle)]
pub extern "C" fn test_library_count() -> u32 {
    count()
}
