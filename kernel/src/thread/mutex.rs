//! Waiting for a mutex, and lending its holder the priority of those who wait.

use super::{THREADS, Thread, Woken, check_may_wait, schedule};
use crate::processor::HardLock;
use abi::running::LockWord;
use abi::{Error, Result};
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
    lend(seen & !AWAITED, thread.priority());
    let mut bucket = bucket(word).lock();
    if word.load(Ordering::Relaxed) != seen {
        return Ok(());
    }
    thread.deadline.store(ptr::from_ref(word).addr() as u64, Ordering::Relaxed);
    thread.next_waiter.store(bucket.first.cast_mut(), Ordering::Relaxed);
    bucket.first = thread;
    let woken = thread.block(bucket, None);
    if woken == Woken::Raised {
        return Ok(());
    }
    remove(word, |other| ptr::eq(other, thread));
    Err(Error::Stopping)
}

/// Wakes the most urgent of those who wait for the mutex, whose holder has just let go of it and has its own priority
/// again.
pub fn wake(word: &AtomicU32) {
    let running = schedule::running();
    running.priority.store(running.base_priority as usize, Ordering::Relaxed);
    let address = ptr::from_ref(word).addr() as u64;
    let waits = |thread: &Thread| thread.deadline.load(Ordering::Relaxed) == address;
    loop {
        let (mut count, mut highest) = (0, 0);
        let guard = bucket(word).lock();
        let mut next = guard.first;
        // SAFETY: who waits lives.
        while let Some(thread) = unsafe { next.as_ref() } {
            if waits(thread) {
                count += 1;
                highest = highest.max(thread.priority());
            }
            next = thread.next_waiter.load(Ordering::Relaxed);
        }
        drop(guard);
        if count > 1 {
            // Whoever holds it next is to wake the others in turn.
            word.fetch_or(AWAITED, Ordering::Relaxed);
        }
        // One that doesn't wait any more leaves it to the next.
        match remove(word, |thread| waits(thread) && thread.priority() >= highest) {
            Some(thread) if !thread.wake(Woken::Raised) => {}
            _ => break,
        }
    }
    super::give_way_if_due();
}

/// Has all who wait for a mutex see what has become of it. It may not even be there any more.
pub fn abandon(word: *const LockWord) {
    // The holder is a lock's first word, and only its address counts.
    let address = word.addr() as u64;
    let word = word.cast::<AtomicU32>();
    let waits = |thread: &Thread| thread.deadline.load(Ordering::Relaxed) == address;
    while let Some(thread) = remove(word, waits) {
        thread.wake(Woken::Raised);
    }
}

/// Takes the first that passes `test` out of the bucket.
fn remove(word: *const AtomicU32, test: impl Fn(&Thread) -> bool) -> Option<&'static Thread> {
    let mut bucket = bucket(word).lock();
    let (mut previous, mut next): (*const Thread, _) = (ptr::null(), bucket.first);
    // SAFETY: who waits lives.
    while let Some(thread) = unsafe { next.as_ref::<'static>() } {
        let after = thread.next_waiter.load(Ordering::Relaxed).cast_const();
        if test(thread) {
            // SAFETY: as above.
            match unsafe { previous.as_ref() } {
                None => bucket.first = after,
                Some(previous) => previous.next_waiter.store(after.cast_mut(), Ordering::Relaxed),
            }
            return Some(thread);
        }
        (previous, next) = (next, after);
    }
    None
}

/// Lends the priority of a thread that waits to the one that it waits for.
fn lend(holder: u32, priority: usize) {
    let threads = THREADS.lock();
    if let Some(thread) = threads.iter().find(|thread| thread.number() == holder)
        && thread.priority() < priority
    {
        thread.priority.store(priority, Ordering::Relaxed);
        schedule::requeue(thread);
    }
}
