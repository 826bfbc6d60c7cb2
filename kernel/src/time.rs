//! The architected timer (Arm ARM D12): time since reset, and one deadline.

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable};
use abi::time::Instant;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Nanoseconds in a tick, and ticks in a nanosecond, both times 2^32. Set once, at boot.
static NANOSECONDS: AtomicU64 = AtomicU64::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);

/// Which of the timer node's interrupts is the virtual timer's: it counts the same at EL1 with and without a hypervisor
/// (Linux binding `timer/arm,arch_timer.yaml`: secure, non-secure, virtual, hypervisor).
pub const INTERRUPT: usize = 2;

/// The timer's interrupt arrives.
static INTERRUPT_CLAIMED: AtomicBool = AtomicBool::new(false);

/// Notes that the timer's interrupt arrives from now on.
pub fn set_has_interrupt() {
    INTERRUPT_CLAIMED.store(true, Ordering::Relaxed);
}

/// Whether the timer's interrupt arrives: not before its controller is bound.
pub fn has_interrupt() -> bool {
    INTERRUPT_CLAIMED.load(Ordering::Relaxed)
}

/// Reads the counter's frequency. Before this, no time passes.
pub fn initialise() {
    let frequency = CNTFRQ_EL0.get().max(1);
    NANOSECONDS.store((1_000_000_000 << 32) / frequency, Ordering::Relaxed);
    TICKS.store((frequency << 32) / 1_000_000_000, Ordering::Relaxed);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
}

fn scale(value: u64, factor: u64) -> u64 {
    ((u128::from(value) * u128::from(factor)) >> 32) as u64
}

/// The counter of this processor, which is that of all.
#[inline]
pub fn counter() -> u64 {
    CNTVCT_EL0.get()
}

/// The time since reset at which the counter showed this.
#[inline]
pub fn at(counter: u64) -> Instant {
    Instant::from_nanoseconds(scale(counter, NANOSECONDS.load(Ordering::Relaxed)))
}

/// The time since reset.
pub fn now() -> Instant {
    // The counter may be read early, but never before an instruction that this thread has seen the effect of.
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
    at(counter())
}

/// Interrupts at `deadline`, or never.
pub fn set_deadline(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => {
            // One tick later than rounding down: never early.
            CNTV_CVAL_EL0.set(scale(deadline.as_nanoseconds(), TICKS.load(Ordering::Relaxed)).saturating_add(1));
            CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
        }
        None => CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR),
    }
}
