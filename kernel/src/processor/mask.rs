//! Keeping interrupts from this processor, for the few instructions in which it can't take one.
//!
//! Modules have `abi::sync::Lock` for what handlers share with threads: there interrupts are taken and wait. This is for
//! what lies below it: switching threads, waking them, and what else interrupts do before anything can wait.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// No interrupt comes to this processor while it lives; then it is as it was before.
#[derive(Debug)]
pub struct InterruptsMasked {
    before: u64,
    // The mask belongs to one processor: it must not be sent to a thread that may run on another.
    processor: PhantomData<*const ()>,
}

impl InterruptsMasked {
    /// Masks interrupts.
    #[inline]
    pub fn new() -> Self {
        let before: u64;
        // SAFETY: reads and sets the interrupt masks of PSTATE; no memory is involved, but none may be moved across it,
        // hence no `nomem`.
        unsafe { core::arch::asm!("mrs {}, daif", "msr daifset, #3", out(reg) before, options(nostack)) }
        Self { before, processor: PhantomData }
    }
}

impl Drop for InterruptsMasked {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: restores the masks that `new` found on this processor: the type isn't `Send`.
        unsafe { core::arch::asm!("msr daif, {}", in(reg) self.before, options(nostack)) }
    }
}

/// Whether interrupts are masked.
#[inline]
pub fn interrupts_are_masked() -> bool {
    let masks: u64;
    // SAFETY: reads a register; not moved across what changes it, hence no `nomem`.
    unsafe { core::arch::asm!("mrs {}, daif", out(reg) masks, options(nostack, preserves_flags)) }
    masks & (1 << 7) != 0
}

/// A spin lock that masks interrupts while it is held.
pub struct HardLock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one processor at a time.
unsafe impl<T: Send> Sync for HardLock<T> {}

impl<T> HardLock<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the lock, waiting for another processor that holds it.
    #[inline]
    pub fn lock(&self) -> HardGuard<'_, T> {
        let masked = InterruptsMasked::new();
        while !self.try_take() {
            while self.taken.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        }
        HardGuard { lock: self, masked }
    }

    /// Takes the lock if nobody holds it.
    #[inline]
    pub fn try_lock(&self) -> Option<HardGuard<'_, T>> {
        let masked = InterruptsMasked::new();
        self.try_take().then_some(HardGuard { lock: self, masked })
    }

    #[inline]
    fn try_take(&self) -> bool {
        self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    fn free(&self) {
        self.taken.store(false, Ordering::Release);
    }
}

/// Access to what a [`HardLock`] protects.
pub struct HardGuard<'a, T> {
    lock: &'a HardLock<T>,
    // Dropped after the lock has been freed.
    masked: InterruptsMasked,
}

impl<T> HardGuard<'_, T> {
    /// Frees the lock, and goes on keeping interrupts masked: until then they were not, perhaps, and a mask that is made
    /// while the lock is held must not outlive it.
    pub fn into_mask(self) -> InterruptsMasked {
        let guard = ManuallyDrop::new(self);
        guard.lock.free();
        // The guard isn't dropped: what it found passes to the new mask.
        InterruptsMasked { before: guard.masked.before, processor: PhantomData }
    }
}

impl<T> Deref for HardGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for HardGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as the guard lives, which is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for HardGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.free();
    }
}
