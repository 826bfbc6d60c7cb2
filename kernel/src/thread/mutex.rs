//! Waiting for a mutex, and lending its holder the priority of those who wait.

use super::{THREADS, Thread, Woken, check_may_wait, schedule};
use crate::processor::HardLock;
use abi::running::LockWord;
use abi::{Error, Result};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Those who wait for the mutexes whose words fall into this bucket.
struct Bucket {
    first: *const Thread,
}

// SAFETY: the pointer is to a thread that waits, which isn't freed meanwhile.
unsafe impl Send for Bucket {}

const BUCKETS: usize = 64;

static WAITERS: [HardLock<Bucket>; BUCKETS] = [const { HardLock::new(Bucket { first: ptr::null() }) }; BUCKETS];

fn bucket(word: *const AtomicU32) -> &'static HardLock<Bucket> {
    &WAITERS[(word.addr() >> 3) % BUCKETS]
}

/// The bit of a mutex's word that says that somebody waits; the rest is its holder's number.
pub const AWAITED: u32 = 1 << 31;

/// Waits until somebody lets go of the mutex, unless its word isn't `seen` any more.
///
/// # Errors
/// [`Error::Stopping`].
pub fn wait(word: &AtomicU32, seen: u32) -> Result<()> {
    check_may_wait();
    let thread = schedule::running();
    if thread.is_stopping() {
        return Err(Error::Stopping);
    }
    let mut bucket = bucket(word).lock();
    if word.load(Ordering::Relaxed) != seen {
        return Ok(());
    }
    // While the bucket is locked, so that the holder can't have taken its own priority back before.
    lend(seen & !AWAITED, thread.priority());
    thread.mutex.store(ptr::from_ref(word).cast_mut(), Ordering::Relaxed);
    thread.next_waiter.store(bucket.first.cast_mut(), Ordering::Relaxed);
    bucket.first = thread;
    let woken = thread.block(bucket, None);
    if woken == Woken::Raised {
        return Ok(());
    }
    self::bucket(word).lock().remove(|other| ptr::eq(other, thread));
    // One that was to leave a module may have left it meanwhile, another has waited for too long: it looks again.
    if thread.is_stopping() { Err(Error::Stopping) } else { Ok(()) }
}

/// Wakes the most urgent of those who wait for the mutex, which the running thread has just let go of. That takes back
/// what was lent to it for this one.
pub fn wake(word: &AtomicU32) {
    let mut bucket = bucket(word).lock();
    while let (Some(priority), count) = bucket.highest(word) {
        if count > 1 {
            // Whoever holds it next is to wake the others in turn.
            word.fetch_or(AWAITED, Ordering::Relaxed);
        }
        let is_next = |thread: &Thread| waits_for(thread, word) && thread.priority() >= priority;
        // One that doesn't wait any more leaves it to the next. The bucket is locked, so that it can't wait for something
        // else meanwhile.
        match bucket.remove(is_next) {
            Some(thread) if !thread.wake(Woken::Raised) => {}
            _ => break,
        }
    }
    drop(bucket);
    take_back();
    super::give_way_if_due();
}

/// Gives the running thread its own priority again, or the highest of those who wait for mutexes that it still holds.
fn take_back() {
    let running = schedule::running();
    let base = running.base_priority as usize;
    if running.priority() == base {
        return;
    }
    schedule::set_priority(base);
    for (word, _) in
        running.block.mutexes.iter().take(running.block.mutexes_held.load(Ordering::Relaxed) as usize).map(Cell::get)
    {
        let word = word.cast();
        // While the bucket is locked nobody begins to wait: who came before is seen here, who comes later lends by himself.
        let bucket = bucket(word).lock();
        if let (Some(priority), _) = bucket.highest(word)
            && priority > running.priority()
        {
            schedule::set_priority(priority);
        }
    }
}

/// Has all who wait for a mutex see what has become of it. It may not even be there any more.
pub fn abandon(word: *const LockWord) {
    // The holder is a lock's first word, and only its address counts.
    let word = word.cast::<AtomicU32>();
    let mut bucket = bucket(word).lock();
    while let Some(thread) = bucket.remove(|thread| waits_for(thread, word)) {
        thread.wake(Woken::Raised);
    }
}

/// Whether a thread in the bucket of `word` waits for that one.
fn waits_for(thread: &Thread, word: *const AtomicU32) -> bool {
    ptr::eq(thread.mutex.load(Ordering::Relaxed), word)
}

impl Bucket {
    /// The highest priority of those who wait for a mutex, and how many they are.
    fn highest(&self, word: *const AtomicU32) -> (Option<usize>, usize) {
        let (mut highest, mut count) = (None, 0);
        let mut next = self.first;
        // SAFETY: who waits lives.
        while let Some(thread) = unsafe { next.as_ref() } {
            if waits_for(thread, word) {
                count += 1;
                highest = highest.max(Some(thread.priority()));
            }
            next = thread.next_waiter.load(Ordering::Relaxed);
        }
        (highest, count)
    }

    /// Takes the first that passes `test` out.
    fn remove(&mut self, test: impl Fn(&Thread) -> bool) -> Option<&'static Thread> {
        let (mut previous, mut next): (*const Thread, _) = (ptr::null(), self.first);
        // SAFETY: who waits lives.
        while let Some(thread) = unsafe { next.as_ref::<'static>() } {
            let after = thread.next_waiter.load(Ordering::Relaxed).cast_const();
            if test(thread) {
                // SAFETY: as above.
                match unsafe { previous.as_ref() } {
                    None => self.first = after,
                    Some(previous) => previous.next_waiter.store(after.cast_mut(), Ordering::Relaxed),
                }
                return Some(thread);
            }
            (previous, next) = (next, after);
        }
        None
    }
}

/// Lends the priority of a thread that waits to the one that it waits for.
fn lend(holder: u32, priority: usize) {
    let threads = THREADS.lock();
    if let Some(thread) = threads.iter().find(|thread| thread.number() == holder) {
        thread.lend(priority);
    }
}
