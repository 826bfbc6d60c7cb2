//! What each processor has of its own.

use super::identifier;
use aarch64_cpu::registers::{Readable, TPIDR_EL1, Writeable};
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// How many processors the kernel can run.
pub const MOST: usize = 64;

/// No processor's identifier: it has bits that an affinity doesn't.
pub(super) const NOBODY: u64 = u64::MAX;

/// A processor's own block. TPIDR_EL1 holds its address for good.
#[repr(C)]
pub struct Local {
    /// Its number: 0 for the one that booted.
    index: usize,
    /// What the device tree calls it ([`identifier`]).
    identifier: AtomicU64,
    /// The end of the stack that reports an overflow of any other.
    exception_stack_end: AtomicPtr<u8>,
    /// How many signals it has taken.
    signals: AtomicUsize,
}

impl Local {
    /// Where `exceptions.s` finds the end of the exception stack.
    pub const EXCEPTION_STACK: usize = offset_of!(Self, exception_stack_end);
}

unsafe extern "C" {
    static mut boot_exception_stack_end: u8;
}

static LOCALS: [Local; MOST] = {
    let mut locals = [const {
        Local {
            index: 0,
            identifier: AtomicU64::new(NOBODY),
            exception_stack_end: AtomicPtr::new(core::ptr::null_mut()),
            signals: AtomicUsize::new(0),
        }
    }; MOST];
    let mut index = 0;
    while index < MOST {
        locals[index].index = index;
        index += 1;
    }
    locals[0].exception_stack_end = AtomicPtr::new(&raw mut boot_exception_stack_end);
    locals
};

/// How many processors run.
static COUNT: AtomicUsize = AtomicUsize::new(1);

/// Gives the processor that will have number `index` its exception stack.
///
/// # Panics
/// When the kernel can't run that many.
pub(super) fn prepare(index: usize, exception_stack_end: usize) {
    local(index).exception_stack_end.store(exception_stack_end as *mut u8, Ordering::Relaxed);
}

/// Makes the calling processor number `index`. The first thing that it does, with interrupts masked.
///
/// # Panics
/// When the kernel can't run that many.
pub fn initialise(index: usize) {
    let local = local(index);
    local.identifier.store(identifier(), Ordering::Relaxed);
    TPIDR_EL1.set(&raw const *local as u64);
}

fn local(index: usize) -> &'static Local {
    let Some(local) = LOCALS.get(index) else { panic!("processor {index} of {MOST} at most") };
    local
}

/// The block of the processor that this runs on.
fn own() -> &'static Local {
    // SAFETY: TPIDR_EL1 was set in `initialise` to a static, before anything else ran on this processor.
    unsafe { &*(TPIDR_EL1.get() as *const Local) }
}

/// The number of the processor that this runs on: from 0, without gaps, in the order in which they were started. Without
/// interrupts or preemption masked, it may be another one a moment later.
#[inline]
pub fn index() -> usize {
    own().index
}

/// How many processors run: their numbers are below.
pub fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// Notes that one more processor runs.
pub(super) fn set_count(count: usize) {
    COUNT.store(count, Ordering::Release);
}

/// What the device tree calls processor number `index`; none as long as it hasn't run.
pub fn identifier_of(index: usize) -> Option<u64> {
    LOCALS.get(index).map(|local| local.identifier.load(Ordering::Relaxed)).filter(|identifier| *identifier != NOBODY)
}

/// Counts a signal that this processor has taken.
pub fn count_signal() {
    own().signals.fetch_add(1, Ordering::Release);
}

/// How many signals processor number `index` has taken; one that was never started none.
pub(super) fn signals(index: usize) -> usize {
    LOCALS.get(index).map_or(0, |local| local.signals.load(Ordering::Acquire))
}
