//! The processor itself: exceptions, context switches, caches, waiting.

pub mod cache;
pub mod context;
pub mod exceptions;
mod local;
mod mask;
mod pause;
mod stack;
pub mod start;

use aarch64_cpu::registers::{
    ID_AA64MMFR1_EL1, ID_AA64PFR1_EL1, MIDR_EL1, MPIDR_EL1, Readable, SCTLR_EL1, TPIDRRO_EL0, Writeable,
};
use abi::interrupt::ProcessorId;
use abi::running::Block;

pub use local::{MOST, count, count_signal, identifier_of, index, initialise};
pub use mask::{HardGuard, HardLock, InterruptsMasked, interrupts_are_masked};
pub use pause::{pause_if_told, pause_others, paused_stack_pointer};
pub use stack::{claim_stack, clear_unused_stack};

core::arch::global_asm!(include_str!("bytes.s"));

/// Which processor this is: the affinity fields of MPIDR_EL1, as the device tree's `reg` has them.
pub fn identifier() -> u64 {
    ProcessorId::from_mpidr(MPIDR_EL1.get()).affinity()
}

/// Whether this processor may compute a wrong address after an ADRP in the last two words of a page (Arm Cortex-A53 MPCore
/// Software Developers Errata Notice, 843419): up to r0p4, and there unless REVIDR_EL1 says that it was mended.
pub fn has_erratum_843419() -> bool {
    const CORTEX_A53: u64 = 0x410f_d030;
    const MENDED: u64 = 1 << 8;
    let (model, revision) = (MIDR_EL1.get() & 0xffff_fff0, MIDR_EL1.get() & 0xf);
    let revision_details: u64;
    // SAFETY: the register can be read at EL1 on every processor, and reading has no effect.
    unsafe {
        core::arch::asm!("mrs {}, revidr_el1", out(reg) revision_details, options(nomem, nostack, preserves_flags));
    }
    model == CORTEX_A53 && (revision < 4 || revision == 4 && revision_details & MENDED == 0)
}

/// What a processor has against misuse of the kernel's code. `start.s` switches it on.
pub struct Protection {
    /// Memory that EL0 may access is closed to EL1 (FEAT_PAN).
    pub access: bool,
    /// Indirect branches lead to where they are expected (FEAT_BTI), in pages that are mapped for that.
    pub targets: bool,
    /// Return addresses are signed (FEAT_PAuth).
    pub returns: bool,
}

impl Protection {
    /// What the processor has that this runs on, as its registers say (Arm ARM D24.2, ID_AA64MMFR1_EL1, ID_AA64PFR1_EL1,
    /// SCTLR_EL1.EnIA).
    pub fn of_this() -> Self {
        Self {
            access: ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::PAN) != 0,
            targets: ID_AA64PFR1_EL1.get() & 0xf != 0,
            returns: SCTLR_EL1.get() & (1 << 31) != 0,
        }
    }
}

/// Whether the kernel could write to an address, as the translation tables are.
pub fn is_writable(address: usize) -> bool {
    let result: u64;
    let _masked = InterruptsMasked::new();
    // SAFETY: translating an address (AT S1E1W; Arm ARM C5.4.7) changes PAR_EL1 alone, which nobody else uses, and which is
    // read before anybody else could.
    unsafe {
        core::arch::asm!("at s1e1w, {}", "isb", "mrs {}, par_el1", in(reg) address, lateout(reg) result, options(nostack));
    }
    result & 1 == 0
}

/// Stops this processor for good.
pub fn halt() -> ! {
    // SAFETY: no interrupt is taken any more, and nothing else follows.
    unsafe { core::arch::asm!("msr daifset, #3", options(nostack)) }
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

/// Makes `block` the running thread's, as modules see it.
#[inline]
pub fn set_block(block: &'static Block) {
    TPIDRRO_EL0.set(&raw const *block as u64);
}
