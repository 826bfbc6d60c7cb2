//! Exports the same symbol as `test-library`.
#![no_std]

abi::library!(summary = "Exports a symbol of test-library's");

/// What `test-library` defines as well.
// SAFETY: the loader refuses this module when another defines the symbol.
#[unsafe(no_mangle)]
pub extern "C" fn test_library_count() -> u32 {
    0
}
