//! Functions that are called directly, and statics in functions of several kinds.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

unsafe extern "Rust" {
    /// Implemented by the kernel.
    #[link_name = "lockstep_scale"]
    safe fn scale(value: u64) -> u64;
}

/// A function that is never inlined: a module's code calls it by its name.
#[inline(never)]
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(5381, |sum, &byte| sum * 33 % 1_000_003 + u64::from(byte))
}

/// A function that the kernel itself never calls.
#[inline(never)]
pub fn for_modules_alone(value: u64) -> u64 {
    value * 2 + 1
}

/// A type with methods that are never inlined.
#[derive(Default, Debug)]
pub struct Ledger {
    entries: Vec<u64>,
}

impl Ledger {
    /// Adds an entry.
    #[inline(never)]
    pub fn enter(&mut self, amount: u64) {
        self.entries.push(amount);
    }
}

/// A trait whose methods are dispatched statically.
pub trait Sum {
    /// The sum.
    fn sum(&self) -> u64;
}

impl Sum for Ledger {
    #[inline(never)]
    fn sum(&self) -> u64 {
        self.entries.iter().sum()
    }
}

/// A trait whose methods are dispatched statically and do their work in the kernel.
pub trait Apply {
    /// Applies it.
    fn apply(&self, value: u64) -> u64;
}

/// Multiplies by this and by the kernel's factor.
pub struct Scale(pub u64);

impl Apply for Scale {
    fn apply(&self, value: u64) -> u64 {
        scale(value) * self.0
    }
}

/// Counts from 1, with a static of its own, in whoever calls it.
#[inline(always)]
pub fn next_inlined() -> u64 {
    inlined_static().fetch_add(1, Ordering::Relaxed) + 1
}

/// The address of that static.
#[inline(always)]
pub fn address_of_static() -> usize {
    (&raw const *inlined_static()).addr()
}

#[inline(always)]
fn inlined_static() -> &'static AtomicU64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    &COUNT
}

/// Counts on by `step`, with a static in a generic function, which each side compiles for the types that it needs.
pub fn next_generic<T: Into<u64>>(step: T) -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let step = step.into();
    COUNT.fetch_add(step, Ordering::Relaxed) + step
}

/// Counts from 1, in the contract's own code.
#[inline(never)]
pub fn next_called() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) + 1
}
