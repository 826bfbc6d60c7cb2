//! The processor itself: exceptions, context switches, caches, waiting.

pub mod cache;
pub mod context;
pub mod exceptions;

use abi::sync::InterruptsMasked;

core::arch::global_asm!(include_str!("bytes.s"));

/// Stops this processor for good.
pub fn halt() -> ! {
    core::mem::forget(InterruptsMasked::new());
    loop {
        aarch64_cpu::asm::wfi();
    }
}

/// Lets this processor take interrupts from now on.
///
/// # Safety
/// The exception vectors must be installed, and no [`abi::sync::Lock`] may be held.
pub unsafe fn unmask_interrupts() {
    // SAFETY: the caller answers for the handlers; SError is unmasked as well, so that a bus error is reported when it
    // happens.
    unsafe { core::arch::asm!("msr daifclr, #6", options(nostack)) }
}
