//! Keeping instruction and data caches in step.

/// Makes code that was written through `start..start + size` visible to instruction fetches at any address.
///
/// Arm ARM B2.7.4.2: clean the data cache to the point of unification, invalidate the instruction cache, and both
/// complete before the pipeline is flushed.
pub fn publish_code(start: usize, size: usize) {
    let line = data_line_size();
    let mut address = start & !(line - 1);
    while address < start + size {
        // SAFETY: cleaning a line that is mapped loses nothing; the range is memory that the caller has just written.
        unsafe { core::arch::asm!("dc cvau, {}", in(reg) address, options(nostack, preserves_flags)) }
        address += line;
    }
    // SAFETY: only makes the processor fetch instructions again.
    unsafe { core::arch::asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) }
}

/// The smallest line of the data caches in bytes: CTR_EL0.DminLine (Arm ARM D24.2.33).
fn data_line_size() -> usize {
    let types: usize;
    // SAFETY: reads an identification register.
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) types, options(nomem, nostack, preserves_flags)) }
    4 << ((types >> 16) & 0xf)
}
