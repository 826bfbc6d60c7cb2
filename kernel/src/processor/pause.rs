//! Having all other processors stand still for a while.

use super::{InterruptsMasked, MOST, count, index};
use crate::interrupt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether processors are to stand still, all but the one that says so.
static PAUSED: AtomicBool = AtomicBool::new(false);

/// The stack pointers of those that do, or 0.
static STACK_POINTERS: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];

/// As long as this lives, the other processors stand still: none holds a lock, and none is switching threads. This one
/// takes no interrupts.
pub struct OthersPaused {
    // Dropped when the others go on again.
    _masked: InterruptsMasked,
}

/// Has the other processors stand still. To be called with no lock held.
pub fn pause_others() -> OthersPaused {
    let masked = InterruptsMasked::new();
    // One at a time.
    while PAUSED.swap(true, Ordering::AcqRel) {
        pause_if_told();
    }
    let own = index();
    for other in (0..count()).filter(|other| *other != own) {
        interrupt::signal(other);
        while STACK_POINTERS.get(other).is_some_and(|pointer| pointer.load(Ordering::Acquire) == 0) {
            core::hint::spin_loop();
        }
    }
    OthersPaused { _masked: masked }
}

impl Drop for OthersPaused {
    fn drop(&mut self) {
        PAUSED.store(false, Ordering::Release);
        // Or the next would take them for standing still.
        let own = index();
        for other in (0..count()).filter(|other| *other != own) {
            while STACK_POINTERS.get(other).is_some_and(|pointer| pointer.load(Ordering::Acquire) != 0) {
                core::hint::spin_loop();
            }
        }
    }
}

/// Stands still for as long as another processor wants that. Called with interrupts masked and no lock held.
pub fn pause_if_told() {
    if !PAUSED.load(Ordering::Relaxed) {
        return;
    }
    let here = 0usize;
    let Some(pointer) = STACK_POINTERS.get(index()) else { return };
    // What the callers keep in registers is on the stack by now: the interrupt's frame has it all.
    pointer.store(&raw const here as usize, Ordering::Release);
    while PAUSED.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    pointer.store(0, Ordering::Release);
}

/// The stack pointer of a processor that stands still.
pub fn paused_stack_pointer(index: usize) -> usize {
    STACK_POINTERS.get(index).map_or(0, |pointer| pointer.load(Ordering::Acquire))
}
