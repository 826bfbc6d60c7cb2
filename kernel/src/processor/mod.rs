//! The processor itself: exceptions, context switches, caches, waiting.

pub mod cache;
pub mod context;
pub mod exceptions;

use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use abi::sync::InterruptsMasked;

core::arch::global_asm!(include_str!("bytes.s"));

/// Which processor this is: the affinity fields of MPIDR_EL1 (Arm ARM D24.2.118), as the device tree's `reg` has them.
pub fn identifier() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

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
