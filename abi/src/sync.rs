//! Mutual exclusion.

use crate::running::LockWord;
#[cfg(target_os = "none")]
use crate::running::{Block, MOST_LOCKS, block};
use crate::{Result, kernel};
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
#[cfg(target_os = "none")]
use core::sync::atomic::compiler_fence;
use core::sync::atomic::{AtomicU32, Ordering};

/// A lock whose holder may wait, for what no interrupt handler needs. Whoever wants it meanwhile sleeps, and its holder
/// runs with the priority of the most urgent that waits, so that nobody in between holds both up.
///
/// When its holder panics, faults or is stopped, the mutex is poisoned as a [`Lock`] is.
#[derive(Default)]
pub struct Mutex<T> {
    /// With [`AWAITED`] in its holder when others wait.
    word: LockWord,
    value: UnsafeCell<T>,
}

/// The bit of a mutex's word that says that somebody waits.
const AWAITED: u32 = 1 << 31;

// SAFETY: the value is reached by one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self { word: LockWord::new(), value: UnsafeCell::new(value) }
    }

    /// Takes the mutex, waiting for whoever holds it.
    ///
    /// # Errors
    /// [`Error::Stopping`](crate::Error::Stopping) when the caller is to end instead of waiting.
    ///
    /// # Panics
    /// When the thread holds it already, or too many others, or a [`Lock`] while it would have to wait, or when it is
    /// poisoned.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        let number = number();
        if !self.word.try_take(number) {
            self.wait(number)?;
        }
        note(&self.word);
        let guard = MutexGuard { mutex: self, thread: PhantomData };
        if self.word.poisoned.load(Ordering::Relaxed) != 0 {
            poisoned();
        }
        Ok(guard)
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, number: u32) -> Result<()> {
        let holder = &self.word.holder;
        loop {
            let seen = holder.load(Ordering::Relaxed);
            if seen & !AWAITED == 0 {
                // Others may wait still, and only whoever lets go of it wakes the next.
                if holder.compare_exchange(seen, number | seen, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return Ok(());
                }
                continue;
            }
            if cfg!(target_os = "none") && seen & !AWAITED == number {
                panic!("a mutex is taken by the thread that holds it already");
            }
            if self.word.poisoned.load(Ordering::Relaxed) != 0 {
                poisoned();
            }
            let awaited = seen | AWAITED;
            if seen == awaited || holder.compare_exchange(seen, awaited, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                kernel::mutex_wait(holder, awaited)?;
            }
        }
    }

    /// The value, when nobody else can hold the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mutex").field("word", &self.word).finish_non_exhaustive()
    }
}

/// Access to what a [`Mutex`] protects; releases it when dropped.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    // It belongs to the thread that took it.
    thread: PhantomData<*const ()>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the mutex is held as long as the guard lives.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the mutex is held as long as the guard lives, which is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        forget(&self.mutex.word);
        let holder = &self.mutex.word.holder;
        if holder.swap(0, Ordering::Release) & AWAITED != 0 {
            kernel::mutex_wake(holder);
        }
    }
}

/// The running thread's number.
#[inline]
fn number() -> u32 {
    #[cfg(target_os = "none")]
    return block().number.load(Ordering::Relaxed);
    #[cfg(not(target_os = "none"))]
    return 1;
}

/// Notes that the thread holds a mutex.
#[inline]
fn note(_word: &LockWord) {
    #[cfg(target_os = "none")]
    {
        let block = block();
        let count = block.mutexes_held.load(Ordering::Relaxed);
        let Some(slot) = block.mutexes.get(count as usize) else {
            _word.holder.store(0, Ordering::Release);
            too_many()
        };
        slot.set((_word, block.depth.load(Ordering::Relaxed)));
        block.mutexes_held.store(count + 1, Ordering::Relaxed);
    }
}

/// Notes that the thread doesn't hold a mutex any more.
#[inline]
fn forget(_word: &LockWord) {
    #[cfg(target_os = "none")]
    {
        let block = block();
        let count = block.mutexes_held.load(Ordering::Relaxed) as usize;
        let Some(held) = block.mutexes.get(..count) else { return };
        let Some(index) = held.iter().rposition(|slot| core::ptr::eq(slot.get().0, _word)) else { return };
        for (slot, next) in held.iter().zip(held.iter().skip(1)).skip(index) {
            slot.set(next.get());
        }
        block.mutexes_held.store(count as u32 - 1, Ordering::Relaxed);
    }
}

/// A spin lock for what an interrupt handler or another processor may want at the same time.
///
/// While it is held its thread isn't preempted, and interrupts wait (the processor takes them, the kernel serves them
/// when the last lock is free). Hold it for some microseconds at most. A wait while it is held is refused with a panic,
/// and so is taking it twice.
///
/// When its holder panics, faults or is stopped, the lock is poisoned: what it protects may be half changed, and whoever
/// takes it from then on panics in turn, until the module has been started again with fresh data.
#[derive(Default)]
pub struct Lock<T> {
    word: LockWord,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { word: LockWord::new(), value: UnsafeCell::new(value) }
    }

    /// Takes the lock, waiting for another processor that holds it.
    ///
    /// # Panics
    /// When the thread holds it already, or holds too many others, or when it is poisoned.
    #[inline]
    pub fn lock(&self) -> LockGuard<'_, T> {
        let mask = Mask::new(&self.word);
        if !self.word.try_take(mask.number()) {
            self.word.wait(mask.number());
        }
        self.guard(mask)
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Panics
    /// When it is poisoned, or the thread holds too many others.
    #[inline]
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        let mask = Mask::new(&self.word);
        let taken = self.word.try_take(mask.number());
        taken.then(|| self.guard(mask))
    }

    #[inline]
    fn guard<'a>(&'a self, mask: Mask<'a>) -> LockGuard<'a, T> {
        let guard = LockGuard { value: &self.value, _held: Held(mask), thread: PhantomData };
        if self.word.poisoned.load(Ordering::Relaxed) != 0 {
            poisoned();
        }
        guard
    }

    /// The value, when nobody else can hold the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lock").field("word", &self.word).finish_non_exhaustive()
    }
}

#[cold]
#[inline(never)]
fn poisoned() -> ! {
    panic!("a lock is taken whose holder was stopped while it held it");
}

impl LockWord {
    const fn new() -> Self {
        Self { holder: AtomicU32::new(0), poisoned: AtomicU32::new(0) }
    }

    #[inline]
    fn try_take(&self, number: u32) -> bool {
        self.holder.compare_exchange(0, number, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, number: u32) {
        loop {
            // On the host all threads have the same number, and none of them is interrupted.
            if cfg!(target_os = "none") && self.holder.load(Ordering::Relaxed) == number {
                panic!("a lock is taken by the thread that holds it already");
            }
            if self.poisoned.load(Ordering::Relaxed) != 0 {
                poisoned();
            }
            core::hint::spin_loop();
            if self.holder.load(Ordering::Relaxed) == 0 && self.try_take(number) {
                return;
            }
        }
    }
}

/// Access to what a [`Lock`] protects; releases it when dropped.
pub struct LockGuard<'a, T> {
    value: &'a UnsafeCell<T>,
    _held: Held<'a>,
    // It belongs to the thread that took it.
    thread: PhantomData<*const ()>,
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as the guard lives, which is borrowed exclusively.
        unsafe { &mut *self.value.get() }
    }
}

/// A lock that has been taken; frees it when dropped, and lets interrupts in after that.
struct Held<'a>(Mask<'a>);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.word.holder.store(0, Ordering::Release);
    }
}

/// An entry in the thread's list of the locks that it holds.
struct Mask<'a> {
    word: &'a LockWord,
    #[cfg(target_os = "none")]
    block: &'static Block,
}

#[cfg(target_os = "none")]
impl<'a> Mask<'a> {
    #[inline]
    fn new(word: &'a LockWord) -> Self {
        let block = block();
        let count = block.masked.load(Ordering::Relaxed);
        let slot = match block.held[..MOST_LOCKS].get(count as usize) {
            Some(slot) => slot,
            None => spare(block),
        };
        slot.set(word);
        block.masked.store(count + 1, Ordering::Relaxed);
        // An interrupt on this processor must find the mask before the lock is taken.
        compiler_fence(Ordering::SeqCst);
        Self { word, block }
    }

    #[inline]
    fn number(&self) -> u32 {
        self.block.number.load(Ordering::Relaxed)
    }
}

/// A place for one more lock than a thread may hold: there is none, but for those that ending it takes.
#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
fn spare(block: &Block) -> &core::cell::Cell<*const LockWord> {
    let count = block.masked.load(Ordering::Relaxed) as usize;
    // The first place may stand for an interrupt; another one that is empty stands for having been refused before.
    let is_ending = block.held.iter().take(count).skip(1).any(|slot| slot.get().is_null());
    match block.held.get(count) {
        Some(slot) if is_ending => slot,
        _ => {
            block.held[MOST_LOCKS].set(core::ptr::null());
            block.masked.store(MOST_LOCKS as u32 + 1, Ordering::Relaxed);
            too_many()
        }
    }
}

#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
fn too_many() -> ! {
    panic!("a thread holds {MOST_LOCKS} locks and takes another");
}

#[cfg(target_os = "none")]
impl Drop for Mask<'_> {
    #[inline]
    fn drop(&mut self) {
        // ... and the lock free before the mask is gone.
        compiler_fence(Ordering::SeqCst);
        let count = self.block.masked.load(Ordering::Relaxed).wrapping_sub(1);
        let is_last = |slot: &core::cell::Cell<*const LockWord>| core::ptr::eq(slot.get(), self.word);
        if !self.block.held.get(count as usize).is_some_and(is_last) {
            return remove(self.block, self.word);
        }
        self.block.masked.store(count, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        if count == 0 && self.block.pending.load(Ordering::Relaxed) != 0 {
            kernel::unmasked();
        }
    }
}

/// Takes a lock out of the list that isn't the last there.
#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
fn remove(block: &Block, word: &LockWord) {
    let count = block.masked.load(Ordering::Relaxed) as usize;
    let Some(held) = block.held.get(..count) else { return };
    let Some(index) = held.iter().rposition(|slot| core::ptr::eq(slot.get(), word)) else { return };
    for (slot, next) in held.iter().zip(held.iter().skip(1)).skip(index) {
        slot.set(next.get());
    }
    block.masked.store(count as u32 - 1, Ordering::Relaxed);
}

#[cfg(not(target_os = "none"))]
impl<'a> Mask<'a> {
    fn new(word: &'a LockWord) -> Self {
        Self { word }
    }

    fn number(&self) -> u32 {
        1
    }
}
