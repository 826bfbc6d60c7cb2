//! Events that threads of the host wait for.

use crate::{lock, session};
use abi::event::{Signal, Wake};
use abi::time::Instant;
use abi::{Error, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// All events, by the number of their signal.
static EVENTS: Mutex<BTreeMap<u64, Arc<Event>>> = Mutex::new(BTreeMap::new());

/// How often anybody has waited for an event.
static WAITS: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Event {
    counts: Mutex<Counts>,
    condition: Condvar,
}

#[derive(Default)]
struct Counts {
    /// How often the event has been raised.
    raised: usize,
    /// What `raised` was when a wait last ended because of it.
    seen: usize,
}

/// How often an event that still exists has been raised.
pub fn raised(signal: Signal) -> usize {
    let event = find(signal).expect("the event has ended");
    lock(&event.counts).raised
}

/// Waits until all threads sleep, and go on sleeping for that long.
///
/// # Panics
/// When one wakes up again and again.
pub fn expect_sleep(duration: Duration) {
    let sleeps = |_| {
        let before = WAITS.load(Ordering::SeqCst);
        std::thread::sleep(duration);
        WAITS.load(Ordering::SeqCst) == before
    };
    // More than one try, because this machine may be slow to get there.
    assert!((0..5).any(sleeps), "a thread wakes up again and again");
}

pub fn create() -> Signal {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    lock(&EVENTS).insert(number, Arc::default());
    Signal::from_raw(number)
}

pub fn destroy(signal: Signal) {
    lock(&EVENTS).remove(&signal.raw());
}

pub fn raise(signal: Signal) {
    if let Some(event) = find(signal) {
        lock(&event.counts).raised += 1;
        event.condition.notify_all();
    }
}

pub fn wait(signal: Signal, deadline: Option<Instant>) -> Result<Wake> {
    WAITS.fetch_add(1, Ordering::SeqCst);
    let event = find(signal).ok_or(Error::Gone)?;
    let mut counts = lock(&event.counts);
    loop {
        if session::is_stopping() {
            return Err(Error::Stopping);
        }
        if counts.raised != counts.seen {
            counts.seen = counts.raised;
            return Ok(Wake::Raised);
        }
        let left = deadline.map_or(Duration::from_secs(60), |deadline| deadline - Instant::now());
        if left.is_zero() {
            return Ok(Wake::TimedOut);
        }
        counts = event.condition.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Has every wait look whether its thread is to stop.
pub fn wake_all() {
    let events: Vec<_> = lock(&EVENTS).values().cloned().collect();
    for event in events {
        // A wait that has looked already is asleep once the lock is free.
        drop(lock(&event.counts));
        event.condition.notify_all();
    }
}

fn find(signal: Signal) -> Option<Arc<Event>> {
    lock(&EVENTS).get(&signal.raw()).cloned()
}
