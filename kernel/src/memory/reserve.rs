//! Who may take the memory that is kept for the kernel, besides the kernel: threads that a panic unwinds. What they need
//! goes back soon, and without it a module that ran out of memory could not be ended.

use super::layout::STACK_SLOT;
use core::sync::atomic::{AtomicUsize, Ordering};

/// How many threads may be unwound at a time.
const MOST: usize = 64;

/// The slots of their stacks, or 0.
static UNWINDING: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];

/// What tells the running thread from others: the slot of its stack.
fn current() -> usize {
    let on_the_stack = 0u8;
    &raw const on_the_stack as usize & !(STACK_SLOT - 1)
}

/// Lets the running thread take from the reserve, until [`close`].
pub fn open() {
    if is_open() {
        return;
    }
    let take = |place: &AtomicUsize| place.compare_exchange(0, current(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
    // With all places taken it has to do without.
    let _ = UNWINDING.iter().any(take);
}

/// Keeps the running thread from the reserve again.
pub fn close() {
    let current = current();
    for place in &UNWINDING {
        let _ = place.compare_exchange(current, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Whether the running thread may take from the reserve.
pub fn is_open() -> bool {
    let current = current();
    UNWINDING.iter().any(|place| place.load(Ordering::Relaxed) == current)
}
