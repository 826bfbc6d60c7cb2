//! Events: what threads wait for, and what interrupts and other threads raise.

use super::{Thread, Woken, check_may_wait, schedule};
use crate::processor::{HardGuard, HardLock};
use crate::{thread, time};
use abi::event::{Signal, Wake};
use abi::registry::ProviderId;
use abi::sync::Lock;
use abi::time::Instant;
use abi::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::array;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// How many events a piece of the table has, and how many pieces there can be.
const PIECE: usize = 64;
const PIECES: usize = 1024;

/// How many events a device or service may have at a time, so that there are some for the others.
const MOST_OF_ONE: u32 = 1024;

/// The table: pieces are added and never freed, so that a signal is looked up without a lock.
static TABLE: [AtomicPtr<[Slot; PIECE]>; PIECES] = [const { AtomicPtr::new(ptr::null_mut()) }; PIECES];

/// The places where nothing is, the next to be used last.
static FREE: Lock<Free> = Lock::new(Free { pieces: 0, first: None, held: Vec::new() });

struct Free {
    pieces: usize,
    /// The first free place; each names the next.
    first: Option<usize>,
    /// How many events each provider has, by its number.
    held: Vec<u32>,
}

impl Free {
    /// How many events that provider has; none for the kernel, which needs no limit, and before [`admit`](Self::admit).
    fn held(&mut self, owner: Option<ProviderId>) -> Option<&mut u32> {
        self.held.get_mut(owner?.raw() as usize)
    }

    /// Whether that provider may have one more.
    fn admit(&mut self, owner: Option<ProviderId>) -> Result<()> {
        let needed = owner.map_or(0, |owner| owner.raw() as usize + 1);
        if let Some(more) = needed.checked_sub(self.held.len()) {
            self.held.try_reserve(more).map_err(|_| Error::OutOfMemory(more * size_of::<u32>()))?;
            self.held.resize(needed, 0);
        }
        match self.held(owner) {
            Some(held) if *held >= MOST_OF_ONE => {
                Err(Error::TooMany { what: "events".to_owned(), most: MOST_OF_ONE as usize })
            }
            _ => Ok(()),
        }
    }
}

/// A place for an event.
struct Slot(HardLock<Event>);

struct Event {
    /// Tells this event from those that had the place before.
    generation: u32,
    live: bool,
    raised: bool,
    /// On whose behalf it was made.
    owner: Option<ProviderId>,
    /// Those who wait, the latest first.
    waiters: *const Thread,
    next_free: Option<usize>,
}

// SAFETY: the pointer is to a thread that waits, which isn't freed meanwhile.
unsafe impl Send for Event {}

impl Event {
    fn add_waiter(&mut self, thread: &'static Thread) {
        thread.next_waiter.store(self.waiters.cast_mut(), Ordering::Relaxed);
        self.waiters = thread;
    }

    fn pop_waiter(&mut self) -> Option<&'static Thread> {
        // SAFETY: who waits lives.
        let first = unsafe { self.waiters.as_ref::<'static>() }?;
        self.waiters = first.next_waiter.load(Ordering::Relaxed);
        Some(first)
    }

    fn remove_waiter(&mut self, thread: &Thread) {
        let (mut previous, mut next): (*const Thread, _) = (ptr::null(), self.waiters);
        // SAFETY: who waits lives.
        while let Some(other) = unsafe { next.as_ref() } {
            let after = other.next_waiter.load(Ordering::Relaxed).cast_const();
            if ptr::eq(other, thread) {
                // SAFETY: as above.
                match unsafe { previous.as_ref() } {
                    None => self.waiters = after,
                    Some(previous) => previous.next_waiter.store(after.cast_mut(), Ordering::Relaxed),
                }
                return;
            }
            (previous, next) = (next, after);
        }
    }
}

fn slot(index: usize) -> Option<&'static Slot> {
    // SAFETY: pieces are never freed.
    unsafe { TABLE.get(index / PIECE)?.load(Ordering::Acquire).as_ref() }?.get(index % PIECE)
}

/// The event that a signal means, if it is still there.
fn find(signal: Signal) -> Option<HardGuard<'static, Event>> {
    let (index, generation) = (signal.raw() as u32, (signal.raw() >> 32) as u32);
    let event = slot(index as usize)?.0.lock();
    (event.live && event.generation == generation).then_some(event)
}

fn signal(index: usize, generation: u32) -> Signal {
    Signal::from_raw(u64::from(generation) << 32 | index as u64)
}

/// Makes an event.
///
/// # Errors
/// [`Error::TooMany`], [`Error::OutOfMemory`].
pub fn create() -> Result<Signal> {
    let owner = thread::owner();
    let mut free = FREE.lock();
    free.admit(owner)?;
    let index = match free.first {
        Some(index) => index,
        None => add_piece(&mut free)?,
    };
    let Some(slot) = slot(index) else { unreachable!("a free place is in the table") };
    let mut event = slot.0.lock();
    free.first = event.next_free.take();
    if let Some(held) = free.held(owner) {
        *held += 1;
    }
    event.live = true;
    event.raised = false;
    event.owner = owner;
    Ok(signal(index, event.generation))
}

/// Adds a piece to the table; returns its first place.
fn add_piece(free: &mut Free) -> Result<usize> {
    let Some(place) = TABLE.get(free.pieces) else { return Err(Error::OutOfMemory(size_of::<[Slot; PIECE]>())) };
    let first = free.pieces * PIECE;
    let slot = |offset: usize| {
        let next_free = (offset + 1 < PIECE).then_some(first + offset + 1);
        let event = Event { generation: 0, live: false, raised: false, owner: None, waiters: ptr::null(), next_free };
        Slot(HardLock::new(event))
    };
    place.store(Box::into_raw(Box::new(array::from_fn(slot))), Ordering::Release);
    free.pieces += 1;
    Ok(first)
}

/// Ends an event; later signals do nothing.
pub fn destroy(signal: Signal) {
    let mut free = FREE.lock();
    let Some(mut event) = find(signal) else { return };
    event.live = false;
    if let Some(held) = free.held(event.owner) {
        *held -= 1;
    }
    event.generation = event.generation.wrapping_add(1);
    while let Some(waiter) = event.pop_waiter() {
        waiter.wake(Woken::Gone);
    }
    event.next_free = free.first.replace(signal.raw() as u32 as usize);
}

/// Ends all events that were made on behalf of `owner`; returns how many.
pub fn destroy_all(owner: ProviderId) -> usize {
    let mut count = 0;
    for index in 0.. {
        let Some(slot) = slot(index) else { break };
        let event = slot.0.lock();
        let theirs = event.live && event.owner == Some(owner);
        let signal = signal(index, event.generation);
        drop(event);
        if theirs {
            destroy(signal);
            count += 1;
        }
    }
    count
}

/// Whether an event hasn't been destroyed yet.
pub fn is_live(signal: Signal) -> bool {
    find(signal).is_some()
}

/// Raises an event. If somebody waits for it, one of those who do is woken; else the next who waits isn't kept waiting.
pub fn raise(signal: Signal) {
    let Some(mut event) = find(signal) else { return };
    event.raised = true;
    while let Some(waiter) = event.pop_waiter() {
        if waiter.wake(Woken::Raised) {
            event.raised = false;
            break;
        }
    }
    drop(event);
    super::give_way_if_due();
}

/// Waits for an event.
///
/// # Errors
/// [`Error::Stopping`], or [`Error::Gone`] for an event that has been destroyed.
pub fn wait(signal: Signal, deadline: Option<Instant>) -> Result<Wake> {
    check_may_wait();
    let thread = schedule::running();
    let mut event = find(signal).ok_or(Error::Gone)?;
    if thread.is_stopping() {
        return Err(Error::Stopping);
    }
    if core::mem::take(&mut event.raised) {
        return Ok(Wake::Raised);
    }
    if deadline.is_some_and(|deadline| deadline <= time::now()) {
        return Ok(Wake::TimedOut);
    }
    event.add_waiter(thread);
    match thread.block(event, deadline) {
        Woken::Raised => Ok(Wake::Raised),
        Woken::Gone => Err(Error::Gone),
        other => {
            if let Some(mut event) = find(signal) {
                event.remove_waiter(thread);
            }
            match other {
                Woken::Timeout => Ok(Wake::TimedOut),
                _ if thread.is_stopping() => Err(Error::Stopping),
                // It was to leave a module that it has left meanwhile, or has waited for too long.
                _ => wait(signal, deadline),
            }
        }
    }
}
