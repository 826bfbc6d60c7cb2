//! What each processor has of its own.

use super::identifier;
use aarch64_cpu::registers::{Readable, TPIDR_EL1, Writeable};
use core::sync::atomic::{AtomicU64, Ordering};

/// How many processors the kernel can run.
pub const MOST: usize = 64;

/// A processor's own block. TPIDR_EL1 holds its address for good.
#[repr(C)]
pub struct Local {
    /// Its number: 0 for the one that booted.
    index: usize,
    /// What the device tree calls it ([`identifier`]).
    identifier: AtomicU64,
}

static LOCALS: [Local; MOST] = {
    let mut locals = [const { Local { index: 0, identifier: AtomicU64::new(0) } }; MOST];
    let mut index = 0;
    while index < MOST {
        locals[index].index = index;
        index += 1;
    }
    locals
};

/// Makes the calling processor number `index`. The first thing that it does, with interrupts masked.
///
/// # Panics
/// When the kernel can't run that many.
pub fn initialise(index: usize) {
    let Some(local) = LOCALS.get(index) else { panic!("processor {index} of {MOST} at most") };
    local.identifier.store(identifier(), Ordering::Relaxed);
    TPIDR_EL1.set(&raw const *local as u64);
}

/// The number of the processor that this runs on: from 0, without gaps, in the order in which they were started. Without
/// interrupts or preemption masked, it may be another one a moment later.
#[inline]
pub fn index() -> usize {
    // SAFETY: TPIDR_EL1 was set in `initialise` to a static, before anything else ran on this processor.
    unsafe { (*(TPIDR_EL1.get() as *const Local)).index }
}
