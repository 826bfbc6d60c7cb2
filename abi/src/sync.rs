//! Mutual exclusion.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A spin lock that masks interrupts while it is held, so that a driver's interrupt handler may take it too.
///
/// Hold it for a few microseconds at most, and never across a wait. Of two that are held at once, let go of the later one
/// first: it is the one that found interrupts masked.
#[derive(Debug, Default)]
pub struct Lock<T> {
    inner: spin::mutex::SpinMutex<T>,
}

impl<T> Lock<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { inner: spin::mutex::SpinMutex::new(value) }
    }

    /// Takes the lock, waiting for another processor that holds it.
    #[inline]
    pub fn lock(&self) -> LockGuard<'_, T> {
        let interrupts = InterruptsMasked::new();
        LockGuard { inner: self.inner.lock(), _interrupts: interrupts }
    }

    /// Takes the lock if nobody holds it.
    #[inline]
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        let interrupts = InterruptsMasked::new();
        Some(LockGuard { inner: self.inner.try_lock()?, _interrupts: interrupts })
    }

    /// The value, when nobody else can hold the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

/// Access to what a [`Lock`] protects; releases it when dropped.
pub struct LockGuard<'a, T> {
    // Fields are dropped in order: the lock is free before interrupts come back.
    inner: spin::mutex::SpinMutexGuard<'a, T>,
    _interrupts: InterruptsMasked,
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Interrupts stay masked on this processor while it lives; then they are as they were before.
#[derive(Debug)]
pub struct InterruptsMasked {
    #[cfg(target_os = "none")]
    before: u64,
    // The mask belongs to one processor: it must not be sent to a thread that may run on another.
    processor: PhantomData<*const ()>,
}

impl InterruptsMasked {
    /// Masks interrupts.
    #[inline]
    #[allow(clippy::new_without_default, reason = "masking interrupts should be visible where it is done")]
    pub fn new() -> Self {
        #[cfg(target_os = "none")]
        let before: u64;
        // SAFETY: reads and sets the interrupt masks of PSTATE; no memory is involved, but none may be moved across it,
        // hence no `nomem`.
        #[cfg(target_os = "none")]
        unsafe {
            core::arch::asm!("mrs {}, daif", "msr daifset, #3", out(reg) before, options(nostack));
        }
        Self {
            #[cfg(target_os = "none")]
            before,
            processor: PhantomData,
        }
    }
}

impl Drop for InterruptsMasked {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: restores the masks that `new` found on this processor: the type isn't `Send`.
        #[cfg(target_os = "none")]
        unsafe {
            core::arch::asm!("msr daif, {}", in(reg) self.before, options(nostack));
        }
    }
}
