//! Keeping caches in step: with each other, and with those who don't look at them.

use super::local;
use crate::interrupt;

/// Makes code that was written through `start..start + size` visible to the instruction fetches of all processors, at any
/// address. To be called with interrupts unmasked and no lock held.
///
/// Arm ARM B2.7.4.2: clean the data cache to the point of unification, invalidate the instruction caches, and both
/// complete before any processor's pipeline is flushed. The others flush theirs by taking an interrupt.
pub fn publish_code(start: usize, size: usize) {
    for line in lines(start, size) {
        // SAFETY: cleaning a line that is mapped loses nothing; the range is memory that the caller has just written.
        unsafe { core::arch::asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) }
    }
    // SAFETY: only makes the processors fetch instructions again.
    unsafe { core::arch::asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) }
    // Should this thread move on to another processor meanwhile, both take an interrupt or change their thread for it.
    let own = local::index();
    for other in (0..local::count()).filter(|other| *other != own) {
        let taken = local::signals(other);
        interrupt::signal(other);
        while local::signals(other) == taken {
            core::hint::spin_loop();
        }
    }
}

/// Writes `start..start + size` back to memory, for those who read it without caches.
pub fn clean(start: usize, size: usize) {
    for line in lines(start, size) {
        // SAFETY: cleaning a line that is mapped loses nothing; the caller has just written there.
        unsafe { core::arch::asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags)) }
    }
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// Writes `start..start + size` back to memory, and forgets it, for those who read and write it without caches: before they
/// begin, and again when they are done. Then the lines that it meets are as in memory, whatever was fetched meanwhile.
pub fn clean_and_invalidate(start: usize, size: usize) {
    // SAFETY: a barrier: what a device's register has told comes before what is read from memory.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) }
    for line in lines(start, size) {
        // SAFETY: a line that is mapped, and written back first: nothing is lost.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) }
    }
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// The cache lines that a range meets.
fn lines(start: usize, size: usize) -> impl Iterator<Item = usize> {
    let line = data_line_size();
    (start & !(line - 1)..start + size).step_by(line)
}

/// The smallest line of the data caches in bytes: CTR_EL0.DminLine (Arm ARM D24.2.33).
fn data_line_size() -> usize {
    let types: usize;
    // SAFETY: reads an identification register.
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) types, options(nomem, nostack, preserves_flags)) }
    4 << ((types >> 16) & 0xf)
}
