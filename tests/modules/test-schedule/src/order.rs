//! Who runs before whom.

use abi::prelude::*;
use abi::sync::Mutex;
use abi::thread::{Priority, spawn_with_priority};
use abi::time;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// After this nobody runs on for the sake of a trial.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs until `is_over`, which it isn't in time unless something else runs as well; returns whether it came about.
fn spin_until(mut is_over: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + LIMIT;
    while !is_over() {
        if Instant::now() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// What the threads of [`inherit`] tell each other.
#[derive(Default)]
struct Steps {
    is_held: AtomicBool,
    is_awaited: AtomicBool,
    is_taken: AtomicBool,
    holder_went_on: AtomicBool,
}

/// An urgent thread waits for what a thread holds that another keeps from running.
pub fn inherit() -> Result<String> {
    let steps: &'static Steps = Box::leak(Box::default());
    let mutex: &'static Mutex<()> = Box::leak(Box::default());
    let done = Event::new()?;
    let signal = done.signal();
    spawn_with_priority("holder", Priority::Low, move || {
        let Ok(held) = mutex.lock() else { return };
        steps.is_held.store(true, Ordering::Release);
        spin_until(|| steps.is_awaited.load(Ordering::Acquire));
        drop(held);
        steps.holder_went_on.store(true, Ordering::Release);
        signal.raise();
    })?;
    while !steps.is_held.load(Ordering::Acquire) {
        time::sleep(Duration::from_millis(1))?;
    }
    // Whoever runs alone now does so until the waiter has what it waits for.
    spawn_with_priority("hog", Priority::Normal, move || {
        spin_until(|| steps.is_taken.load(Ordering::Acquire));
        // The holder is less urgent again.
        let end = Instant::now() + Duration::from_millis(50);
        spin_until(|| Instant::now() > end);
        let order = if steps.holder_went_on.load(Ordering::Acquire) { "before" } else { "after" };
        warn!("inherit: the holder goes on {order} the hog");
    })?;
    let taken = Event::new()?;
    let taken_signal = taken.signal();
    spawn_with_priority("waiter", Priority::High, move || {
        steps.is_awaited.store(true, Ordering::Release);
        if mutex.lock().is_ok() {
            steps.is_taken.store(true, Ordering::Release);
            taken_signal.raise();
        }
    })?;
    let start = Instant::now();
    let result = taken.wait(Some(start + LIMIT / 2))?;
    let time = Instant::now() - start;
    // Ends the hog in any case.
    steps.is_taken.store(true, Ordering::Release);
    done.wait(Some(Instant::now() + LIMIT))?;
    match result {
        Wake::Raised => Ok(format!("the waiter has it after {} us", time.as_micros())),
        Wake::TimedOut => Err(Error::TimedOut),
    }
}

/// Two equals that never wait, until each has found often enough that the other has run meanwhile.
pub fn turns() -> Result<String> {
    const TURNS: u32 = 10;
    let counts: &'static [AtomicU32; 2] = Box::leak(Box::default());
    let satisfied: &'static AtomicU32 = Box::leak(Box::default());
    let done = Event::new()?;
    for index in 0..2 {
        let signal = done.signal();
        let (own, other) = (&counts[index], &counts[1 - index]);
        spawn_with_priority("equal", Priority::Normal, move || {
            let (mut seen, mut turns) = (0, 0);
            spin_until(|| {
                own.fetch_add(1, Ordering::Relaxed);
                let now = other.load(Ordering::Relaxed);
                if now != seen {
                    turns += 1;
                    seen = now;
                    satisfied.fetch_add((turns == TURNS).into(), Ordering::Relaxed);
                }
                satisfied.load(Ordering::Relaxed) == 2
            });
            signal.raise();
        })?;
    }
    done.wait(None)?;
    match satisfied.load(Ordering::Relaxed) {
        2 => Ok("both had their turns".into()),
        _ => Err(Error::Invalid("one of two equals ran and the other didn't".into())),
    }
}

/// A more urgent thread runs as soon as it can, whoever runs: when its time has come, and when it is woken.
pub fn preempt() -> Result<String> {
    const TIMES: u32 = 20;
    let woken: &'static AtomicU32 = Box::leak(Box::default());
    let done = Event::new()?;
    let (signal, event) = (done.signal(), Event::new()?);
    let wake = event.signal();
    spawn_with_priority("urgent", Priority::High, move || {
        for _ in 0..TIMES {
            if time::sleep(Duration::from_millis(1)).is_err() {
                return;
            }
            woken.fetch_add(1, Ordering::Relaxed);
        }
        while event.wait(None).is_ok() && woken.fetch_add(1, Ordering::Relaxed) < 2 * TIMES - 1 {}
    })?;
    spawn_with_priority("hog", Priority::Normal, move || {
        let slept = spin_until(|| woken.load(Ordering::Relaxed) == TIMES);
        let mut at_once = 0;
        for count in TIMES + 1..=2 * TIMES {
            wake.raise();
            at_once += u32::from(woken.load(Ordering::Relaxed) == count);
            spin_until(|| woken.load(Ordering::Relaxed) >= count);
        }
        warn!("preempt: woken by time: {slept}, at once when raised: {at_once} of {TIMES}");
        signal.raise();
    })?;
    done.wait(None)?;
    Ok("done".into())
}

/// Sleepers, whose deadlines aren't in the order in which they begin to sleep, and waits that time out.
pub fn sleep() -> Result<String> {
    const SLEEPERS: u32 = 17;
    let woken = Arc::new(Mutex::new(Vec::new()));
    let early = Arc::new(AtomicU32::new(0));
    let done = Event::new()?;
    let start = Instant::now() + Duration::from_millis(50);
    for index in 0..SLEEPERS {
        let (woken, early, signal) = (woken.clone(), early.clone(), done.signal());
        let place = index * 5 % SLEEPERS;
        let deadline = start + Duration::from_millis(5) * place;
        spawn_with_priority("sleeper", Priority::High, move || {
            let in_time = if index % 2 == 0 {
                time::sleep(deadline - Instant::now()).is_ok()
            } else {
                Event::new().and_then(|event| event.wait(Some(deadline))).is_ok_and(|wake| wake == Wake::TimedOut)
            };
            early.fetch_add((!in_time || Instant::now() < deadline).into(), Ordering::Relaxed);
            if let Ok(mut woken) = woken.lock() {
                woken.push(place);
                if woken.len() == SLEEPERS as usize {
                    signal.raise();
                }
            }
        })?;
    }
    if done.wait(Some(start + LIMIT))? == Wake::TimedOut {
        return Err(Error::TimedOut);
    }
    let order = if woken.lock()?.is_sorted() { "in order" } else { "out of order" };
    Ok(format!("{SLEEPERS} woken {order}, {} of them early", early.load(Ordering::Relaxed)))
}
