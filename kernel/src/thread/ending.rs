//! Telling threads to end, or to leave a module that they call.

use super::{NOBODY, THREADS, Thread, Woken, running, schedule, sleep_until, yield_now};
use crate::time;
use abi::registry::ProviderId;
use alloc::vec::Vec;
use core::ptr;
use core::sync::atomic::{Ordering, fence};
use core::time::Duration;

/// How long threads have to end by themselves, before they are ended by force.
pub const POLITENESS: Duration = Duration::from_secs(1);

/// How long a removal waits for threads to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether any thread is calling `provider`. Once its object has been taken away and this is false, it stays so.
pub fn is_called(provider: ProviderId) -> bool {
    fence(Ordering::SeqCst);
    THREADS.lock().iter().any(|thread| thread.is_calling(provider))
}

/// Whether the running thread is calling `provider`.
pub fn calls(provider: ProviderId) -> bool {
    schedule::running().is_calling(provider)
}

/// Ends the waits of all threads that are calling `provider` there; until [`readmit`] they are as urgent as the running thread, but
/// for what [`schedule::MOST_URGENT`] says. With `by_force`, what they run there is ended as well,
/// wherever it is.
pub fn expel(provider: ProviderId, by_force: bool) {
    let running = schedule::running();
    for thread in THREADS.lock().iter().filter(|thread| !ptr::eq(**thread, running) && thread.is_calling(provider)) {
        thread.leaving.store(provider.raw(), Ordering::Release);
        thread.doomed.store(by_force, Ordering::Release);
        // It is waited for.
        thread.lend(running.priority());
        thread.wake(Woken::Stopped);
        schedule::prod(thread);
    }
}

/// Whether the running thread has to be ended where it is. Not while it calls somebody else, who would be blamed for it.
pub fn is_doomed() -> bool {
    let is_doomed_here = |thread: &Thread| match thread.block.innermost() {
        None => thread.stopping.load(Ordering::Acquire),
        Some(call) => {
            let is_stopping = thread.stopping.load(Ordering::Acquire) && thread.owner == Some(call.provider);
            is_stopping || thread.leaving.load(Ordering::Acquire) == call.provider.raw()
        }
    };
    running().is_some_and(|thread| thread.doomed.load(Ordering::Relaxed) && is_doomed_here(thread))
}

/// Lets the threads that [`expel`] sent away call the provider again.
pub fn readmit(provider: ProviderId) {
    for thread in THREADS.lock().iter() {
        // Another removal may have sent it away meanwhile.
        let left = thread.leaving.compare_exchange(provider.raw(), NOBODY, Ordering::Relaxed, Ordering::Relaxed);
        if left.is_ok() {
            thread.set_priority(thread.base_priority as usize);
        }
        thread.doomed.store(false, Ordering::Relaxed);
    }
}

/// Tells all threads that run on behalf of `owner` to end, and waits until they have, or for some seconds: what they run
/// stays in memory as long as they do.
///
/// They have `patience` before they are ended by force.
pub fn stop_all(owner: ProviderId, patience: Duration) {
    stop_where(patience, |thread| thread.owner == Some(owner));
}

/// Tells all threads that run a module's code to end, whoever started them, and waits as [`stop_all`] does.
pub fn stop_module(name: &str) {
    stop_where(POLITENESS, |thread| thread.module.as_ref().is_some_and(|module| module.name() == name));
}

fn stop_where(patience: Duration, is_meant: impl Fn(&Thread) -> bool) {
    let (force, deadline) = (time::now() + patience, time::now() + PATIENCE);
    loop {
        let running = schedule::running();
        let threads = THREADS.lock();
        let meant = threads.iter().filter(|thread| !ptr::eq(**thread, running) && is_meant(thread));
        let meant: Vec<&'static Thread> = meant.copied().collect();
        for thread in &meant {
            thread.stopping.store(true, Ordering::Release);
            thread.wake(Woken::Stopped);
            if time::now() > force {
                thread.doomed.store(true, Ordering::Release);
                schedule::prod(thread);
            }
        }
        let first = meant.first().map(|thread| thread.name.clone());
        drop(threads);
        let Some(name) = first else { return };
        if time::now() > deadline {
            log::error!("thread '{name}' was told to end and doesn't; the code that it runs stays in memory");
            return;
        }
        pause();
    }
}

/// Waits a moment for others, even if the caller is to end itself.
pub fn pause() {
    yield_now();
    if sleep_until(time::now() + Duration::from_micros(200)).is_err() {
        yield_now();
    }
}
